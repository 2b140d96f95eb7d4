#include "support/test.hpp"

#include <p2pdvm/link/datagram.hpp>

#include <optional>
#include <string>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::link;

namespace {

crypto::identity identity_of(std::string_view text) {
  return crypto::identity(crypto::secret_key(crypto::hash(as_bytes(text)).bytes()));
}

const crypto::identity alice = identity_of("alice");
const crypto::identity bob = identity_of("bob");
const swarm_id swarm{crypto::hash(as_bytes("swarm")).bytes()};
constexpr std::size_t overhead = datagram_header_bytes + crypto::tag_bytes;

datagram_sealer at_alice(std::uint64_t instance = 11) {
  return datagram_sealer(alice, swarm, instance);
}
datagram_sealer at_bob(std::uint64_t instance = 22) {
  return datagram_sealer(bob, swarm, instance);
}

byte_vector sealed(datagram_sealer& from, const crypto::identity& to, std::string_view text) {
  auto datagram = from.seal(to.key(), as_bytes(text));
  REQUIRE(datagram.ok());
  return to_vector(*datagram);
}

errc refusal(datagram_sealer& at, byte_view datagram) {
  auto opened = at.open(datagram);
  return opened ? errc::ok : opened.error().code();
}

}  // namespace

TEST_CASE("the first datagrams carry the sender's key until an answer comes back") {
  datagram_sealer a = at_alice();
  datagram_sealer b = at_bob();
  const byte_vector first = sealed(a, bob, "ping");
  CHECK(first.size() == overhead + public_key::size + 4);
  CHECK(sealed(a, bob, "ping").size() == first.size());
  auto opened = b.open(first);
  REQUIRE(opened.ok());
  CHECK(opened->from == alice.key());
  CHECK(as_text(opened->plain) == "ping");

  const byte_vector answer = sealed(b, alice, "pong");
  CHECK(answer.size() == overhead + 4);
  auto back = a.open(answer);
  REQUIRE(back.ok());
  CHECK(as_text(back->plain) == "pong");
  CHECK(sealed(a, bob, "ping").size() == overhead + 4);
}

TEST_CASE("the key is sent again to a peer that stopped answering and may have restarted") {
  datagram_sealer a = at_alice();
  datagram_sealer b = at_bob();
  REQUIRE(b.open(sealed(a, bob, "x")).ok());
  REQUIRE(a.open(sealed(b, alice, "y")).ok());
  datagram_sealer restarted = at_bob(23);
  std::vector<errc> outcomes;
  for (unsigned i = 0; i <= datagram_unanswered_max; ++i)
    outcomes.push_back(refusal(restarted, sealed(a, bob, "again")));
  CHECK(outcomes == std::vector<errc>{errc::not_found, errc::not_found, errc::not_found, errc::ok});
  CHECK(refusal(a, sealed(restarted, alice, "new")) == errc::ok);
}

TEST_CASE("each datagram is accepted once, in any order within the window") {
  datagram_sealer a = at_alice();
  datagram_sealer b = at_bob();
  std::vector<byte_vector> sent;
  for (std::size_t i = 0; i < datagram_replay_window + 10; ++i)
    sent.push_back(sealed(a, bob, std::to_string(i)));
  CHECK(refusal(b, sent[20]) == errc::ok);
  CHECK(refusal(b, sent[5]) == errc::ok);
  CHECK(refusal(b, sent[5]) == errc::conflict);
  CHECK(refusal(b, sent[20]) == errc::conflict);
  CHECK(refusal(b, sent.back()) == errc::ok);
  CHECK(refusal(b, sent[9]) == errc::conflict);  // never seen, but too old
  CHECK(refusal(b, sent[10]) == errc::ok);
  for (std::size_t i = 11; i < sent.size() - 1; ++i)
    CHECK(refusal(b, sent[i]) == (i == 20 ? errc::conflict : errc::ok));
  for (const auto& datagram : sent) CHECK(refusal(b, datagram) == errc::conflict);
}

TEST_CASE("a restarted sender is accepted, and its earlier process cannot be replayed at once") {
  datagram_sealer b = at_bob();
  datagram_sealer before = at_alice(1);
  const byte_vector old = sealed(before, bob, "same");
  CHECK(refusal(b, old) == errc::ok);
  datagram_sealer after = at_alice(2);
  const byte_vector fresh = sealed(after, bob, "same");
  CHECK(fresh != old);
  CHECK(refusal(b, fresh) == errc::ok);
  CHECK(refusal(b, old) == errc::conflict);
  CHECK(refusal(b, fresh) == errc::conflict);
}

TEST_CASE("every altered or cut datagram is refused and harms nothing") {
  datagram_sealer a = at_alice();
  const byte_vector with_key = sealed(a, bob, "payload");
  datagram_sealer answering = at_bob();
  REQUIRE(answering.open(with_key).ok());
  REQUIRE(a.open(sealed(answering, alice, "y")).ok());
  const byte_vector without = sealed(a, bob, "payload");
  for (const byte_vector& datagram : {with_key, without}) {
    datagram_sealer b = at_bob();
    REQUIRE(b.open(with_key).ok() == true);
    datagram_sealer stranger = at_bob();
    for (std::size_t at = 0; at < datagram.size(); ++at) {
      byte_vector damaged = datagram;
      damaged[at] ^= std::byte{1};
      CHECK(refusal(b, damaged) != errc::ok);
      CHECK(refusal(stranger, damaged) != errc::ok);
      CHECK(refusal(b, byte_view(datagram).first(at)) != errc::ok);
    }
    CHECK(stranger.peers() == 0);
    CHECK(refusal(b, without) == errc::ok);
  }
}

TEST_CASE("datagrams of another swarm, for another peer or reflected are refused") {
  datagram_sealer a = at_alice();
  datagram_sealer foreign(alice, swarm_id(crypto::hash(as_bytes("other")).bytes()), 11);
  datagram_sealer b = at_bob();
  const crypto::identity carol = identity_of("carol");
  CHECK(refusal(b, sealed(foreign, bob, "x")) == errc::authentication);
  CHECK(refusal(b, sealed(a, carol, "x")) == errc::authentication);
  const byte_vector mine = sealed(a, bob, "x");
  CHECK(refusal(a, mine) != errc::ok);
  CHECK(b.open(mine, false).error().code() == errc::refused);
  CHECK(refusal(b, mine) == errc::ok);
  CHECK(b.open(sealed(a, bob, "x"), false).ok());
}

TEST_CASE("the largest datagram fits the limit and a larger one is refused") {
  datagram_sealer a = at_alice();
  const byte_vector plain(datagram_plain_bytes_max);
  auto datagram = a.seal(bob.key(), plain);
  REQUIRE(datagram.ok());
  CHECK(datagram->size() == limits::datagram_bytes_max);
  CHECK(at_bob().open(*datagram).ok());
  const byte_vector more(datagram_plain_bytes_max + 1);
  CHECK(a.seal(bob.key(), more).error().code() == errc::too_large);
  CHECK(a.seal(public_key(), plain).error().code() == errc::authentication);
}

TEST_CASE("a forgotten peer never sees a counter again, and the cache stays bounded") {
  datagram_sealer a(alice, swarm, 1, 2);
  datagram_sealer b = at_bob();
  REQUIRE(b.open(sealed(a, bob, "one")).ok());
  REQUIRE(b.open(sealed(a, bob, "two")).ok());
  for (const auto* name : {"c", "d", "e"}) sealed(a, identity_of(name), "x");
  CHECK(a.peers() == 2);
  CHECK(refusal(b, sealed(a, bob, "three")) == errc::ok);  // a repeated counter would conflict
  CHECK(a.peers() == 2);
}

TEST_CASE("what was sent to an earlier process of the receiver is not current in the next") {
  datagram_sealer a = at_alice();
  datagram_sealer before = at_bob(1);
  datagram_sealer after = at_bob(2);
  const byte_vector unbound = sealed(a, bob, "x");
  a.confirm(bob.key(), 1);
  before.confirm(alice.key(), 11);
  const byte_vector old = sealed(a, bob, "x");
  CHECK(before.open(old)->current);
  CHECK_FALSE(before.open(unbound)->current);  // who was met has met us
  CHECK(after.open(unbound)->current);         // not met yet: all that there is
  CHECK_FALSE(after.open(old)->current);
  after.confirm(alice.key(), 11);
  CHECK_FALSE(after.open(sealed(a, bob, "x"))->current);  // it does not know yet
  a.confirm(bob.key(), 2);
  CHECK(after.open(sealed(a, bob, "x"))->current);
  CHECK_FALSE(before.open(sealed(a, bob, "x"))->current);
}

TEST_CASE("only datagrams of the confirmed process are current, and none of them comes twice") {
  datagram_sealer b = at_bob();
  datagram_sealer first = at_alice(1);
  datagram_sealer second = at_alice(2);
  datagram_sealer third = at_alice(3);
  for (datagram_sealer* a : {&first, &second, &third}) a->confirm(bob.key(), 22);
  const auto current = [&](const byte_vector& datagram) {
    auto opened = b.open(datagram);
    REQUIRE(opened.ok());
    return opened->current;
  };
  CHECK(current(sealed(first, bob, "x")));  // none is confirmed: the newest
  const byte_vector of_second = sealed(second, bob, "x");
  CHECK(current(of_second));
  CHECK_FALSE(current(sealed(first, bob, "x")));
  b.confirm(alice.key(), 3);
  CHECK_FALSE(current(sealed(second, bob, "x")));
  const byte_vector of_third = sealed(third, bob, "x");
  CHECK(current(of_third));
  // Many earlier processes, and more strangers than the cache holds, change nothing.
  for (std::uint64_t instance = 10; instance < 20; ++instance) {
    datagram_sealer earlier = at_alice(instance);
    CHECK_FALSE(current(sealed(earlier, bob, "x")));
    CHECK(refusal(b, of_third) == errc::conflict);
  }
  datagram_sealer small(bob, swarm, 22, 2);
  small.confirm(alice.key(), 3);
  CHECK(refusal(small, of_third) == errc::ok);
  for (const auto* name : {"c", "d", "e", "f"}) {
    const crypto::identity stranger = identity_of(name);
    datagram_sealer s(stranger, swarm, 5);
    CHECK(refusal(small, sealed(s, bob, "x")) == errc::ok);
  }
  CHECK(refusal(small, of_third) == errc::conflict);
  CHECK(small.peers() == 3);
  small.release(alice.id());
  CHECK(small.peers() == 2);
  b.confirm(alice.key(), 2);  // known already, with its window
  CHECK(current(sealed(second, bob, "x")));
  CHECK_FALSE(current(sealed(third, bob, "x")));
}

TEST_CASE("clear datagrams are as long as sealed ones, and for whom they are meant") {
  clear_datagrams a(alice.key(), 11);
  clear_datagrams b(bob.key(), 22);
  const byte_vector sent = to_vector(a.seal(bob.key(), as_bytes("ping")).value());
  CHECK(sent.size() == overhead + 4);
  auto opened = b.open(sent, false);
  REQUIRE(opened.ok());
  CHECK(opened->from == alice.key());
  CHECK(as_text(opened->plain) == "ping");
  CHECK(opened->current);
  CHECK(a.open(sent, true).error().code() == errc::authentication);
  for (std::size_t size = 0; size < overhead; ++size) {
    CHECK_FALSE(b.open(byte_view(sent).first(size), true).ok());
  }
  // Another process of the same peer is told apart once a handshake has confirmed one.
  b.confirm(alice.key(), 12);
  CHECK_FALSE(b.open(sent, true)->current);
  b.release(alice.id());
  CHECK(b.open(sent, true)->current);
  // Neither kind of codec takes the other's.
  CHECK_FALSE(at_bob().open(sent).ok());
  datagram_sealer sealing = at_alice();
  CHECK_FALSE(b.open(sealed(sealing, bob, "ping"), true).ok());
  CHECK_FALSE(a.seal(bob.key(), byte_vector(datagram_plain_bytes_max + 1)).ok());
}

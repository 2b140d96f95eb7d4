#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/link/handshake.hpp>

#include <functional>
#include <optional>

using namespace p2pdvm;
using namespace p2pdvm::link;
using noise::role;

namespace {

crypto::secret_key key_of(std::string_view text) {
  return crypto::secret_key(crypto::hash(as_bytes(text)).bytes());
}

const crypto::identity alice(key_of("alice"));
const crypto::identity bob(key_of("bob"));
const crypto::identity carol(key_of("carol"));

handshake_options options_of(std::string_view name) {
  handshake_options o;
  o.swarm = swarm_id(crypto::hash(as_bytes("swarm")).bytes());
  o.instance = name.size();
  o.port = static_cast<std::uint16_t>(4000 + name.size());
  o.ephemeral = key_of(std::string("ephemeral of ") + std::string(name));
  return o;
}

handshake initiator(bool ik) {
  handshake_options o = options_of("alice");
  if (ik) o.remote = bob.key();
  return handshake(role::initiator, alice, o, time_point());
}

handshake responder() { return handshake(role::responder, bob, options_of("bob"), time_point()); }

using mangle = std::function<byte_vector(bool from_initiator, byte_vector)>;

/// Carries bytes to and fro until both are silent; the errors that each side ended with.
struct outcome {
  std::optional<error> a;
  std::optional<error> b;
};
outcome run(handshake& a, handshake& b, const mangle& on_the_way = nullptr) {
  outcome end;
  for (bool busy = true; busy;) {
    busy = false;
    for (const bool forth : {true, false}) {
      handshake& from = forth ? a : b;
      handshake& to = forth ? b : a;
      std::optional<error>& failure = forth ? end.b : end.a;
      byte_vector bytes = from.take_output();
      if (on_the_way) bytes = on_the_way(forth, std::move(bytes));
      if (bytes.empty() || failure) continue;
      busy = true;
      byte_view input = bytes;
      if (auto fed = to.feed(input); !fed) failure = fed.error();
    }
  }
  return end;
}

void check_records(handshake_result& from, handshake_result& to) {
  byte_vector wire;
  from.sender.add(as_bytes("hello"));
  from.sender.finish();
  append(wire, from.sender.take());
  byte_view input = wire;
  auto got = to.receiver.next(input);
  REQUIRE(got.ok());
  REQUIRE(got->has_value());
  CHECK(as_text(**got) == "hello");
}

std::array<std::size_t, 2> transcript_sizes(bool ik) {
  handshake a = initiator(ik);
  handshake b = responder();
  std::array<std::size_t, 2> sizes{};
  run(a, b, [&](bool forth, byte_vector bytes) {
    sizes[forth ? 0 : 1] += bytes.size();
    return bytes;
  });
  REQUIRE(a.finished());
  REQUIRE(b.finished());
  return sizes;
}

}  // namespace

TEST_CASE("both patterns authenticate both sides and give matching record ciphers") {
  for (const bool ik : {false, true}) {
    handshake a = initiator(ik);
    handshake b = responder();
    const outcome end = run(a, b);
    CHECK_FALSE(end.a);
    CHECK_FALSE(end.b);
    REQUIRE(a.finished());
    REQUIRE(b.finished());
    handshake_result at_a = a.take_result();
    handshake_result at_b = b.take_result();
    CHECK(at_a.key == bob.key());
    CHECK(at_a.id == bob.id());
    CHECK(at_a.instance == 3);
    CHECK(at_a.port == 4003);
    CHECK(at_b.key == alice.key());
    CHECK(at_b.instance == 5);
    CHECK(at_b.port == 4005);
    CHECK((at_a.cipher == noise::cipher::aes256_gcm) == crypto::aes_available());
    CHECK(at_a.cipher == at_b.cipher);
    check_records(at_a, at_b);
    check_records(at_b, at_a);
  }
}

TEST_CASE("AES is used only when both sides allow it") {
  for (const bool alice_allows : {false, true}) {
    handshake_options o = options_of("alice");
    o.allow_aes = alice_allows;
    handshake_options p = options_of("bob");
    p.allow_aes = !alice_allows;
    handshake a(role::initiator, alice, o, time_point());
    handshake b(role::responder, bob, p, time_point());
    run(a, b);
    REQUIRE(a.finished());
    REQUIRE(b.finished());
    handshake_result at_a = a.take_result();
    handshake_result at_b = b.take_result();
    CHECK(at_a.cipher == noise::cipher::chacha20_poly1305);
    check_records(at_a, at_b);
  }
}

TEST_CASE("a handshake may arrive byte by byte, and what follows it is left for the records") {
  for (const bool ik : {false, true}) {
    handshake a = initiator(ik);
    handshake b = responder();
    byte_vector rest;
    for (bool busy = true; busy;) {
      busy = false;
      for (const bool forth : {true, false}) {
        byte_vector bytes = (forth ? a : b).take_output();
        busy = busy || !bytes.empty();
        handshake& to = forth ? b : a;
        for (const std::byte& byte : bytes) {
          byte_view input(&byte, 1);
          REQUIRE(to.feed(input).ok());
          CHECK(input.empty());
        }
      }
    }
    REQUIRE(a.finished());
    REQUIRE(b.finished());
    byte_view early = as_bytes("record");
    REQUIRE(a.feed(early).ok());
    CHECK(early.size() == 6);
  }
}

TEST_CASE("a handshake cut at any byte neither finishes nor fails on the side that waits") {
  for (const bool ik : {false, true}) {
    const auto sizes = transcript_sizes(ik);
    for (const bool cut_forth : {true, false}) {
      for (std::size_t keep = 0; keep < sizes[cut_forth ? 0 : 1]; ++keep) {
        handshake a = initiator(ik);
        handshake b = responder();
        std::size_t passed = 0;
        const outcome end = run(a, b, [&](bool forth, byte_vector bytes) {
          if (forth != cut_forth) return bytes;
          bytes.resize(std::min(bytes.size(), keep - std::min(keep, passed)));
          passed += bytes.size();
          return bytes;
        });
        CHECK_FALSE(end.a);
        CHECK_FALSE(end.b);
        CHECK_FALSE((cut_forth ? b : a).finished());
      }
    }
  }
}

TEST_CASE("a handshake altered at any byte never finishes on both sides") {
  for (const bool ik : {false, true}) {
    const auto sizes = transcript_sizes(ik);
    for (const bool alter_forth : {true, false}) {
      for (std::size_t at = 0; at < sizes[alter_forth ? 0 : 1]; ++at) {
        handshake a = initiator(ik);
        handshake b = responder();
        std::size_t passed = 0;
        run(a, b, [&](bool forth, byte_vector bytes) {
          if (forth == alter_forth) {
            if (at >= passed && at < passed + bytes.size())
              bytes[at - passed] ^= std::byte{1};
            passed += bytes.size();
          }
          return bytes;
        });
        CHECK_FALSE((a.finished() && b.finished()));
      }
    }
  }
}

TEST_CASE("peers of different swarms do not get past the handshake") {
  for (const bool ik : {false, true}) {
    handshake a = initiator(ik);
    handshake_options o = options_of("bob");
    o.swarm = swarm_id(crypto::hash(as_bytes("another swarm")).bytes());
    handshake b(role::responder, bob, o, time_point());
    const outcome end = run(a, b);
    CHECK_FALSE(a.finished());
    CHECK_FALSE(b.finished());
    const auto& failure = ik ? end.b : end.a;
    REQUIRE(failure);
    CHECK(failure->code() == errc::authentication);
    CHECK(failure->message().find("another swarm") != std::string::npos);
  }
}

TEST_CASE("an unknown version is refused with both versions named, on both sides") {
  handshake a = initiator(false);
  handshake b = responder();
  bool first = true;
  const outcome end = run(a, b, [&](bool forth, byte_vector bytes) {
    if (forth && std::exchange(first, false)) bytes[4] = std::byte{9};
    if (!forth && !bytes.empty()) {
      CHECK(bytes.size() == handshake_preamble_bytes);  // the answer names the responder's version
      bytes[4] = std::byte{9};
    }
    return bytes;
  });
  for (const auto& failure : {end.a, end.b}) {
    REQUIRE(failure);
    CHECK(failure->code() == errc::unsupported_version);
    CHECK(failure->message().find("version 9") != std::string::npos);
    CHECK(failure->message().find("version " + std::to_string(protocol_version)) != std::string::npos);
  }
}

TEST_CASE("whoever answers must be the one expected, and not oneself") {
  handshake_options o = options_of("alice");
  o.expected = carol.id();
  handshake a(role::initiator, alice, o, time_point());
  handshake b = responder();
  const outcome end = run(a, b);
  REQUIRE(end.a);
  CHECK(end.a->code() == errc::authentication);
  CHECK(end.a->message().find(carol.id().brief()) != std::string::npos);
  CHECK_FALSE(b.finished());

  handshake self_a = initiator(false);
  handshake self_b(role::responder, alice, options_of("bob"), time_point());
  const outcome self_end = run(self_a, self_b);
  REQUIRE(self_end.a);
  CHECK(self_end.a->code() == errc::refused);
}

TEST_CASE("an IK handshake meant for another key fails at the responder") {
  handshake_options o = options_of("alice");
  o.remote = carol.key();
  handshake a(role::initiator, alice, o, time_point());
  handshake b = responder();
  const outcome end = run(a, b);
  REQUIRE(end.b);
  CHECK(end.b->code() == errc::authentication);
  CHECK_FALSE(a.finished());
}

TEST_CASE("an invalid key of the remote fails without a message") {
  handshake_options o = options_of("alice");
  o.remote = public_key();  // a point of small order
  handshake a(role::initiator, alice, o, time_point());
  CHECK(a.take_output().empty());
  byte_view nothing;
  auto fed = a.feed(nothing);
  REQUIRE_FALSE(fed.ok());
  CHECK(fed.error().code() == errc::authentication);
}

TEST_CASE("noise and other protocols are refused within the first bytes") {
  random_generator random(1);
  for (int i = 0; i < 2000; ++i) {
    byte_vector junk(random.below(600));
    for (auto& b : junk) b = static_cast<std::byte>(random());
    if (i % 2 == 0 && junk.size() > 7) {  // get past the preamble
      const byte_vector head = initiator(i % 4 == 0).take_output();
      std::copy_n(head.begin(), 7, junk.begin());
    }
    handshake b = responder();
    byte_view input = junk;
    const auto fed = b.feed(input);
    CHECK_FALSE(b.finished());
    if (junk.size() >= 7 && i % 2 == 1) CHECK_FALSE(fed.ok());
  }
  handshake b = responder();
  byte_view http = as_bytes("GET / HTTP/1.1\r\n");
  auto fed = b.feed(http);
  REQUIRE_FALSE(fed.ok());
  CHECK(fed.error().code() == errc::malformed);
}

TEST_CASE("a handshake has a deadline") {
  handshake b(role::responder, bob, options_of("bob"), time_point(std::chrono::seconds(7)));
  CHECK(b.deadline() == time_point(std::chrono::seconds(7)) + limits::handshake_time_max);
}

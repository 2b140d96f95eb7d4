#include "overlay/swarm.hpp"
#include "support/test.hpp"

#include <p2pdvm/overlay/rpc.hpp>
#include <p2pdvm/wire/codec.hpp>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;

namespace {

constexpr unix_seconds wall = wall_start;
const node_id owner = crypto::node_id_of(make_identity(1).key());
const address here = address::v4(20, 1, 1, 1, 4000);
const time_point later = time_point(1h);

record sample(std::uint64_t publisher, std::uint64_t place, std::uint64_t sequence = 1,
              unix_seconds lifetime = 3600, std::string_view value = "value") {
  const node_id target(crypto::hash(bytes_of(place)).bytes());
  return make_record(make_identity(publisher), target, sequence, wall + lifetime,
                     to_vector(as_bytes(value)));
}

record_store empty_store() { return record_store(owner, {}); }

/// Brought by its publisher.
result<> put(record_store& store, record r, const address& from, unix_seconds at,
             time_point due) {
  const contact publisher{r.publisher, from};
  return store.put(std::move(r), publisher, at, due);
}

}  // namespace

TEST_CASE("a record is valid only as its publisher signed it") {
  const record good = sample(1, 1);
  CHECK(validate(good, wall).ok());
  record r = good;
  r.value[0] ^= std::byte{1};
  CHECK(validate(r, wall).error().code() == errc::authentication);
  r = good;
  r.sequence += 1;
  CHECK(validate(r, wall).error().code() == errc::authentication);
  r = good;
  r.target.mutable_bytes()[5] ^= std::byte{4};
  CHECK(validate(r, wall).error().code() == errc::authentication);
  r = good;
  r.publisher = make_identity(2).key();
  CHECK(validate(r, wall).error().code() == errc::authentication);
  r = good;
  r.expiry += 1;
  CHECK(validate(r, wall).error().code() == errc::authentication);
}

TEST_CASE("expired, overlong and oversized records are refused") {
  CHECK(validate(sample(1, 1, 1, 0), wall).error().code() == errc::expired);
  CHECK(validate(sample(1, 1, 1, -5), wall).error().code() == errc::expired);
  CHECK(validate(sample(1, 1, 1, record_lifetime_max.count()), wall).ok());
  CHECK(validate(sample(1, 1, 1, record_lifetime_max.count() + 1), wall).error().code() ==
        errc::refused);
  record absurd = sample(1, 1);
  absurd.expiry = std::numeric_limits<unix_seconds>::max();
  CHECK(validate(absurd, wall).error().code() == errc::refused);
  absurd.expiry = std::numeric_limits<unix_seconds>::min();
  CHECK(validate(absurd, wall).error().code() == errc::expired);
  record large = sample(1, 1);
  large.value.resize(record_value_max + 1);
  CHECK(validate(large, wall).error().code() == errc::too_large);
}

TEST_CASE("the largest record fits into one datagram, stored or found") {
  message m;
  m.transaction = ~0ull;
  m.token = address_token(~0ull);
  m.what = make_record(make_identity(1), owner, 1, wall + 60, byte_vector(record_value_max));
  m.kind = message_kind::store;
  CHECK(wire::encode(m).size() <= datagram_payload_max);
  m.kind = message_kind::value;
  CHECK(wire::encode(m).size() <= value_reply_bytes_max);
  m.kind = message_kind::nodes;
  m.nearest.resize(limits::bucket_size);
  CHECK(wire::encode(m).size() <= nodes_reply_bytes_max);
  for (const auto kind : {message_kind::pong, message_kind::prove, message_kind::stored}) {
    m.kind = kind;
    CHECK(wire::encode(m).size() <= small_reply_bytes_max);
  }
  CHECK(wire::encode(contact{}).size() == contact_bytes_max);
  CHECK(wire::encode(contact{{}, make_address(1)}).size() == contact_bytes_v4);
}

TEST_CASE("the newer record of a publisher wins and the older is refused") {
  record_store store = empty_store();
  random_generator random(1);
  CHECK(put(store, sample(1, 1, 5, 3600, "five"), here, wall, later).ok());
  CHECK(put(store, sample(1, 1, 5, 3600, "five"), here, wall, later).ok());  // the same again
  CHECK(put(store, sample(1, 1, 5, 3600, "other"), here, wall, later).error().code() ==
        errc::conflict);
  CHECK(put(store, sample(1, 1, 4, 3600, "four"), here, wall, later).error().code() ==
        errc::conflict);
  CHECK(put(store, sample(1, 1, 6, 3600, "six"), here, wall, later).ok());
  CHECK(store.size() == 1);
  const auto found = store.get(sample(1, 1).target, std::nullopt, wall, random);
  REQUIRE(found);
  CHECK(as_text(found->value) == "six");
}

TEST_CASE("nobody can overwrite or hide another publisher's record") {
  record_store store = empty_store();
  random_generator random(2);
  CHECK(put(store, sample(1, 1, 1, 3600, "mine"), here, wall, later).ok());
  CHECK(put(store, sample(2, 1, 9, 3600, "theirs"), here, wall, later).ok());
  CHECK(store.size() == 2);
  const node_id target = sample(1, 1).target;
  CHECK(as_text(store.get(target, make_identity(1).key(), wall, random)->value) == "mine");
  CHECK(as_text(store.get(target, make_identity(2).key(), wall, random)->value) == "theirs");
  CHECK_FALSE(store.get(target, make_identity(3).key(), wall, random));
  int mine = 0;
  for (int i = 0; i < 400; ++i) {
    const auto any = store.get(target, std::nullopt, wall, random);
    REQUIRE(any);
    mine += as_text(any->value) == "mine" ? 1 : 0;
  }
  CHECK(mine > 0);
  CHECK(mine < 400);
}

TEST_CASE("records expire") {
  record_store store = empty_store();
  random_generator random(3);
  for (std::uint64_t i = 0; i < 10; ++i) {
    CHECK(put(store, sample(1, i, 1, 100 + static_cast<unix_seconds>(i)), here, wall, later).ok());
  }
  CHECK_FALSE(store.get(sample(1, 0).target, std::nullopt, wall + 100, random));
  store.expire(wall + 104);
  CHECK(store.size() == 5);
  CHECK(store.get(sample(1, 9).target, std::nullopt, wall + 104, random));
  store.expire(wall + 1000);
  CHECK(store.size() == 0);
  CHECK(store.next_due() == time_point_never);
}

TEST_CASE("one publisher may keep only so many records here") {
  record_store_options options;
  options.per_publisher_max = 5;
  record_store store(owner, options);
  for (std::uint64_t i = 0; i < 5; ++i) CHECK(put(store, sample(1, i), here, wall, later).ok());
  CHECK(put(store, sample(1, 9), here, wall, later).error().code() == errc::no_space);
  CHECK(put(store, sample(1, 3, 2), here, wall, later).ok());  // a newer one is no more
  CHECK(put(store, sample(2, 9), here, wall, later).ok());
  store.expire(wall + 5000);
  CHECK(put(store, sample(1, 9, 1, 9000), here, wall + 5000, later).ok());
}

TEST_CASE("one public network may bring only so many records, by however many keys") {
  record_store_options options;
  options.per_network_max = 5;
  record_store store(owner, options);
  for (std::uint64_t i = 0; i < 5; ++i) CHECK(put(store, sample(10 + i, i), here, wall, later).ok());
  CHECK(put(store, sample(20, 9), here, wall, later).error().code() == errc::no_space);
  CHECK(put(store, sample(20, 9), address::v4(21, 1, 1, 1, 1), wall, later).ok());
  for (std::uint64_t i = 30; i < 40; ++i) {
    CHECK(put(store, sample(i, i), address::loopback(1), wall, later).ok());
  }
}

TEST_CASE("what a network relays for others leaves room for what it publishes itself") {
  record_store_options options;
  options.per_network_max = 5;
  options.relayed_max = 3;
  record_store store(owner, options);
  const contact relay{make_identity(99).key(), here};
  for (std::uint64_t i = 0; i < 3; ++i) {
    CHECK(store.put(sample(10 + i, i), relay, wall, later).ok());
  }
  CHECK(store.put(sample(13, 3), relay, wall, later).error().code() == errc::no_space);
  CHECK(store.put(sample(10, 0, 2), relay, wall, later).ok());  // a newer one is no more
  for (std::uint64_t i = 0; i < 4; ++i) {
    CHECK(put(store, sample(20 + i, 50 + i), here, wall, later).ok());
  }
  // From its publisher, a record that was relayed before counts as published.
  CHECK(put(store, sample(11, 1), here, wall, later).ok());
  CHECK(store.put(sample(13, 3), relay, wall, later).ok());
  CHECK(put(store, sample(30, 60), here, wall, later).error().code() == errc::no_space);
  store.expire(wall + 5000);
  CHECK(store.size() == 0);
  CHECK(put(store, sample(30, 60, 1, 9000), here, wall, later).ok());
}

TEST_CASE("a full store prefers records near its owner") {
  record_store_options options;
  options.records_max = 20;
  record_store store(owner, options);
  random_generator random(4);
  std::vector<node_id> targets;
  for (std::uint64_t i = 0; i < 100; ++i) {
    const record r = sample(100 + i, i);
    targets.push_back(r.target);
    const auto kept = put(store, r, address::loopback(1), wall, later);
    if (!kept) CHECK(kept.error().code() == errc::no_space);
    CHECK(store.size() <= 20);
  }
  std::sort(targets.begin(), targets.end(),
            [](const node_id& a, const node_id& b) { return nearer(owner, a, b); });
  for (std::size_t i = 0; i < 100; ++i) {
    CHECK(store.get(targets[i], std::nullopt, wall, random).has_value() == (i < 20));
  }
}

TEST_CASE("records come up for replication one by one, repeated stores postpone them") {
  record_store store = empty_store();
  for (std::uint64_t i = 0; i < 3; ++i) {
    CHECK(put(store, sample(1, i), here, wall, time_point((i + 1) * 1min)).ok());
  }
  CHECK(put(store, sample(1, 0), here, wall, time_point(10min)).ok());
  CHECK(store.next_due() == time_point(2min));
  CHECK_FALSE(store.take_due(time_point(1min), 20min));
  CHECK(store.take_due(time_point(3min), 20min)->target == sample(1, 1).target);
  CHECK(store.take_due(time_point(3min), 20min)->target == sample(1, 2).target);
  CHECK_FALSE(store.take_due(time_point(3min), 20min));
  CHECK(store.next_due() == time_point(10min));
}

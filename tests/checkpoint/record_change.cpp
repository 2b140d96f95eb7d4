#include "make.hpp"
#include "support/test.hpp"

#include <p2pdvm/checkpoint/record_change.hpp>
#include <p2pdvm/wire/codec.hpp>

namespace p2pdvm::test {
namespace {

using namespace checkpoint;

TEST_CASE("what changed in a record, applied to the older one, gives the newer one") {
  const job_record three = make::forming(4, 3);
  const job_record five = *admit(*admit(three, make::member_number(3)), make::member_number(4));
  const job_record begun = *start(five, {});
  const job_record without = *evict(begun, {make::node(1)}, {});
  const std::vector<job_record> all{three, five, begun, without};
  for (std::size_t from = 0; from < all.size(); ++from) {
    for (std::size_t to = from; to < all.size(); ++to) {
      const record_change change = change_between(all[from], all[to]);
      const auto result = apply(all[from], change);
      REQUIRE(result.ok());
      CHECK(*result == all[to]);
      CHECK(result->digest() == all[to].digest());
    }
  }
  CHECK(change_between(begun, without).places == std::vector<std::uint32_t>{1});
  CHECK(change_between(five, begun).entries.empty());
}

TEST_CASE("a change may be applied to any record between the two that it was made of") {
  const job_record two = make::forming(4, 2);
  const job_record three = *admit(two, make::member_number(2));
  const job_record four = *admit(three, make::member_number(3));
  const record_change change = change_between(two, four);
  const auto result = apply(three, change);
  REQUIRE(result.ok());
  CHECK(result->digest() == four.digest());
  const auto older = apply(make::forming(4, 1), change);
  CHECK(older.error().code() == errc::malformed);
}

TEST_CASE("changes that fit to no record are refused") {
  const job_record two = make::forming(4, 2);
  const job_record four = *admit(*admit(two, make::member_number(2)), make::member_number(3));
  const record_change good = change_between(two, four);
  REQUIRE(good.places == std::vector<std::uint32_t>{2, 3});
  const auto refused = [&](auto&& spoil) {
    record_change bad = good;
    spoil(bad);
    const auto result = apply(two, bad);
    return !result.ok() && result.error().code() == errc::malformed;
  };
  CHECK(refused([](record_change& c) { c.members = 1; }));
  CHECK(refused([](record_change& c) { c.members = 5; }));
  CHECK(refused([](record_change& c) { c.members = limits::members_max + 1; }));
  CHECK(refused([](record_change& c) { c.places = {3, 2}; }));
  CHECK(refused([](record_change& c) { c.places = {2, 2}; }));
  CHECK(refused([](record_change& c) { c.places = {2, 4}; }));
  CHECK(refused([](record_change& c) { c.entries.pop_back(); }));
  CHECK(refused([](record_change& c) { c.rest.members.push_back(make::member_number(7)); }));
}

TEST_CASE("one more member among a thousand is told in a few kilobytes") {
  job_record many = make::forming(4, 1);
  std::vector<member> joiners;
  for (std::uint64_t i = 1; i < 300; ++i) {
    member m = make::member_number(0);
    m.node.mutable_bytes()[0] = static_cast<std::byte>(i);
    m.node.mutable_bytes()[1] = static_cast<std::byte>(i >> 8);
    joiners.push_back(m);
  }
  many = *admit(many, joiners);
  const job_record more = *admit(many, make::member_number(1));
  CHECK(wire::encoded_bytes(more) > 20'000);
  CHECK(wire::encoded_bytes(change_between(many, more)) < 1'000);
}

}  // namespace
}  // namespace p2pdvm::test

#include "checkpoint/make.hpp"
#include "support/test.hpp"

#include <p2pdvm/runtime/record_followers.hpp>

#include <memory>

namespace p2pdvm::test {
namespace {

using runtime::record_difference;
using runtime::record_followers;
using runtime::record_update;

checkpoint::certified_record known(checkpoint::job_record record) {
  return {std::make_shared<const checkpoint::job_record>(std::move(record)), {}};
}

TEST_CASE("a follower gets the whole record once it is a member, and then what changes") {
  record_followers followers;
  REQUIRE(followers.add(make::node(2)));
  const auto two = known(make::forming(4, 2));
  CHECK(followers.tell(two, {}).empty());
  const auto three = known(*admit(*two.record, make::member_number(2)));
  const auto first = followers.tell(three, {});
  REQUIRE(first.size() == 1);
  CHECK(first[0].first == make::node(2));
  CHECK(std::get<record_update>(first[0].second).record == *three.record);
  CHECK(followers.told(make::node(2), three.record));
  CHECK(followers.tell(three, {}).empty());
  const auto four = known(*admit(*three.record, make::member_number(3)));
  CHECK_FALSE(followers.told(make::node(2), four.record));
  const auto second = followers.tell(four, {});
  REQUIRE(second.size() == 1);
  const auto& news = std::get<record_difference>(second[0].second);
  const auto applied = checkpoint::apply(*three.record, news.change);
  REQUIRE(applied.ok());
  CHECK(*applied == *four.record);
}

TEST_CASE("the links to a record come along when its keepers have changed") {
  record_followers followers;
  REQUIRE(followers.add(make::node(1)));
  const auto three = known(make::forming(4, 3));
  (void)followers.tell(three, {});
  checkpoint::job_record same = *three.record;
  same.roster = same.roster.next();
  checkpoint::job_record other = same;
  ++other.keeper_version;
  const std::vector<checkpoint::certificate> links(2);
  const auto without = followers.tell(known(same), links);
  REQUIRE(without.size() == 1);
  CHECK(std::get<record_difference>(without[0].second).links.empty());
  const auto with = followers.tell(known(other), links);
  REQUIRE(with.size() == 1);
  CHECK(std::get<record_difference>(with[0].second).links.size() == 2);
}

TEST_CASE("who asks again has lost what it was told; who is kept goes on") {
  record_followers followers;
  const auto two = known(make::forming(4, 2));
  REQUIRE(followers.add(make::node(1)));
  CHECK(followers.tell(two, {}).size() == 1);
  REQUIRE(followers.keep(make::node(1)));
  CHECK(followers.tell(two, {}).empty());
  REQUIRE(followers.add(make::node(1)));
  const auto again = followers.tell(two, {});
  REQUIRE(again.size() == 1);
  CHECK(std::holds_alternative<record_update>(again[0].second));
}

TEST_CASE("nobody follows a job that has begun, but who has not heard of it yet") {
  record_followers followers;
  const auto two = known(make::forming(4, 2));
  REQUIRE(followers.add(make::node(1)));
  (void)followers.tell(two, {});
  const auto begun = known(*start(*two.record, {}));
  CHECK(followers.tell(begun, {}).size() == 1);
  REQUIRE(followers.add(make::node(2)));
  const auto three = known(*admit(*begun.record, make::member_number(2)));
  const auto told = followers.tell(three, {});
  REQUIRE(told.size() == 1);
  CHECK(told[0].first == make::node(2));
  CHECK_FALSE(followers.contains(make::node(1)));
}

TEST_CASE("there is a limit to followers") {
  record_followers followers;
  node_id id;
  for (std::size_t i = 0; i < limits::followers_max; ++i) {
    id.mutable_bytes()[0] = static_cast<std::byte>(i);
    id.mutable_bytes()[1] = static_cast<std::byte>(i >> 8);
    REQUIRE(followers.add(id));
  }
  CHECK_FALSE(followers.add(make::node(1)));
  CHECK(followers.add(id));
  followers.remove(id);
  CHECK(followers.add(make::node(1)));
}

}  // namespace
}  // namespace p2pdvm::test

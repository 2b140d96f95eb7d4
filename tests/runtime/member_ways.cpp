#include "support/test.hpp"

#include <p2pdvm/runtime/member_ways.hpp>

namespace p2pdvm::test {
namespace {

using namespace runtime;
using namespace std::chrono_literals;

const node_id who(byte_vector(node_id::size, std::byte{1}));
const address outside = address::v4(198, 18, 0, 1, 50123);
const time_point start{100s};

TEST_CASE("nothing is known of a member that nothing was heard of") {
  const member_ways ways;
  CHECK_FALSE(ways.source(who, start));
  CHECK_FALSE(ways.is_passed_on(who, start));
}

TEST_CASE("datagrams go where they came from, as long as a NAT may remember them") {
  member_ways ways;
  ways.by_datagram(who, outside, false, start);
  CHECK(ways.source(who, start + member_ways::source_age_max) == outside);
  CHECK_FALSE(ways.source(who, start + member_ways::source_age_max + 1ns));
  ways.by_datagram(who, outside, false, start + 40s);
  CHECK(ways.source(who, start + 60s) == outside);
}

TEST_CASE("a member whose datagrams come from an address of its own can always be sent some") {
  member_ways ways;
  ways.by_datagram(who, outside, true, start);
  CHECK(ways.source(who, start + 24h) == outside);
  ways.forget(who);
  CHECK_FALSE(ways.source(who, start));
}

TEST_CASE("what had to be passed on once is passed on at once for a while") {
  member_ways ways;
  ways.passed_on(who, start);
  CHECK(ways.is_passed_on(who, start + member_ways::passed_age_max));
  CHECK_FALSE(ways.is_passed_on(who, start + member_ways::passed_age_max + 1ns));
  CHECK_FALSE(ways.source(who, start));
}

}  // namespace
}  // namespace p2pdvm::test

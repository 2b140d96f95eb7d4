#include "support/test.hpp"

#include <p2pdvm/runtime/member_lifetimes.hpp>

namespace p2pdvm::test {
namespace {

using namespace runtime;
using namespace std::chrono_literals;

node_id member_of(int number) { return node_id(byte_vector(node_id::size, static_cast<std::byte>(number))); }
const time_point start{1000s};

/// Of this many who do not grow old, of whom one in so many seconds and peers dies.
double expected(double deaths, double seconds, double hosts) {
  return hosts * (deaths + checkpoint::prior_deaths) / (seconds + to_seconds(checkpoint::prior_lifetime));
}

TEST_CASE("deaths, polite leaves and those that live all count with the time for which they were seen") {
  member_lifetimes seen;
  for (int i = 0; i < 4; ++i) seen.joined(member_of(i), start, false);
  seen.died(member_of(0), start + 1h);
  seen.left(member_of(1), start + 3h);
  const auto all = seen.all(start + 10h);
  CHECK(all.deaths == 1);
  CHECK(all.seconds == (1 + 3 + 10 + 10) * 3600);
  CHECK(seen.failures_per_second(start + 10h, {member_of(2), member_of(3)}) == Approx(expected(1, 24 * 3600, 2)));
}

TEST_CASE("only the death of who has ranks takes the job back") {
  member_lifetimes seen;
  for (int i = 0; i < 5; ++i) seen.joined(member_of(i), start, false);
  CHECK(seen.failures_per_second(start + 2h, {member_of(1)}) == Approx(expected(0, 10 * 3600, 1)));
}

TEST_CASE("a newcomer is in more danger than who was there before, until it is old") {
  member_lifetimes seen;
  seen.joined(member_of(0), start, false);
  seen.joined(member_of(1), start + 1h, true);
  for (int i = 2; i < 22; ++i) {
    seen.joined(member_of(i), start, false);
    seen.died(member_of(i), start + 1h);
  }
  const auto young = start + 1h + 1min;
  CHECK(seen.failures_per_second(young, {member_of(1)}) > 1.9 * seen.failures_per_second(young, {member_of(0)}));
  const auto old = start + 1000h;
  CHECK(seen.failures_per_second(old, {member_of(1)}) < seen.failures_per_second(old, {member_of(0)}));
}

TEST_CASE("who comes back begins a new life") {
  member_lifetimes seen;
  seen.joined(member_of(0), start, false);
  seen.died(member_of(0), start + 1h);
  seen.joined(member_of(0), start + 5h, true);
  CHECK(seen.all(start + 6h).seconds == 2 * 3600);
  CHECK(seen.all(start + 6h).deaths == 1);
}

TEST_CASE("a newcomer takes over what others have seen, and keeps what it has seen itself if that is more") {
  member_lifetimes old, fresh;
  for (int i = 0; i < 3; ++i) old.joined(member_of(i), start, false);
  old.died(member_of(0), start + 30min);
  const auto now = start + 100h;
  for (int i = 1; i < 3; ++i) fresh.joined(member_of(i), now, false);
  fresh.learn(old.all(now), now);
  const std::set<node_id> hosts{member_of(1), member_of(2)};
  CHECK(fresh.failures_per_second(now + 1h, hosts) == Approx(old.failures_per_second(now + 1h, hosts)));
  fresh.died(member_of(1), now + 1h);
  fresh.learn({7, 60}, now + 1h);
  CHECK(fresh.all(now + 1h).deaths == 2);
}

TEST_CASE("absurd lifetimes that somebody tells are limited") {
  member_lifetimes seen;
  seen.joined(member_of(0), start, false);
  seen.learn({~std::uint64_t{0}, ~std::uint64_t{0}}, start);
  const auto all = seen.all(start + 1h);
  CHECK(all.deaths == lifetimes_told::deaths_max);
  CHECK(all.seconds == lifetimes_told::seconds_max);
  seen.died(member_of(0), start + 1h);
  CHECK(seen.all(start + 1h).deaths == lifetimes_told::deaths_max);
}

}  // namespace
}  // namespace p2pdvm::test

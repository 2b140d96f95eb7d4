#include "checkpoint/make.hpp"
#include "support/test.hpp"

#include <p2pdvm/runtime/reception.hpp>

#include <map>

namespace p2pdvm::test {
namespace {

using runtime::reception;
using std::chrono::milliseconds;

messaging::contact contact(std::uint64_t number) {
  return {make::identity(number).key(), {address::loopback(4000)}};
}

TEST_CASE("of a small job the one who admits tells the record to all") {
  reception r;
  const auto record = make::forming(4, 1);
  const std::size_t wanted = reception::direct_first + reception::direct_last;
  for (std::uint64_t i = 1; i < wanted; ++i) CHECK_FALSE(r.guide_of(contact(i), record, wanted));
  CHECK(r.seen() == wanted - 1);
}

TEST_CASE("of a large job the first newcomers serve the others in equal parts, but not the last") {
  reception r;
  const auto record = make::forming(4, 1);
  const std::size_t wanted = 200;
  std::map<public_key, std::size_t> served;
  for (std::uint64_t i = 1; i < wanted; ++i) {
    const auto guide = r.guide_of(contact(i), record, wanted);
    CHECK(guide.has_value() == (i > reception::direct_first && i + reception::direct_last < wanted));
    if (guide) ++served[guide->key];
  }
  CHECK(served.size() == reception::direct_first);
  for (std::uint64_t i = 1; i <= reception::direct_first; ++i) {
    const std::size_t count = served[contact(i).key];
    CHECK(count >= 4);
    CHECK(count <= 5);
  }
}

TEST_CASE("who asks twice has the same guide, or another one once that is gone") {
  reception r;
  auto record = make::forming(4, 1);
  const std::size_t wanted = 200;
  for (std::uint64_t i = 1; i <= reception::direct_first; ++i) (void)r.guide_of(contact(i), record, wanted);
  const auto first = r.guide_of(contact(100), record, wanted);
  REQUIRE(first);
  CHECK(first->key == contact(1).key);
  CHECK(r.guide_of(contact(100), record, wanted)->key == first->key);
  CHECK(r.seen() == reception::direct_first + 1);
  record = *evict(*admit(record, make::member_number(1)), {make::node(1)}, {});
  const auto second = r.guide_of(contact(100), record, wanted);
  REQUIRE(second);
  CHECK(second->key == contact(2).key);
  CHECK_FALSE(r.guide_of(contact(3), record, wanted));
}

TEST_CASE("writes of large records are rarer, within a limit") {
  reception r;
  const time_point now{milliseconds(1000)};
  CHECK(r.next_write() <= now);
  r.wrote(now, reception::write_bytes_per_second / 128, 5);
  CHECK(r.next_write() == now + std::chrono::nanoseconds(39'062'500));
  r.wrote(now, reception::write_bytes_per_second, 5);
  CHECK(r.next_write() == now + reception::write_pause_max);
}

}  // namespace
}  // namespace p2pdvm::test

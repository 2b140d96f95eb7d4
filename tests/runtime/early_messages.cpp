#include "support/test.hpp"

#include <p2pdvm/runtime/early_messages.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::test {
namespace {

using runtime::early_messages;
using runtime::job_message;
using runtime::ready_notice;

node_id node(std::size_t number) {
  node_id id;
  id.mutable_bytes()[0] = static_cast<std::byte>(number);
  id.mutable_bytes()[1] = static_cast<std::byte>(number >> 8);
  return id;
}

/// A notice that takes about `bytes` on the wire.
job_message notice(std::uint64_t incarnation, std::size_t bytes = 0) {
  ready_notice n;
  n.incarnation = incarnation_number(incarnation);
  n.ranks.resize(bytes / sizeof(std::uint32_t));
  return n;
}

std::uint64_t number_of(const job_message& m) { return std::get<ready_notice>(m).incarnation.value(); }

TEST_CASE("early messages come back once, in order, each sender's apart") {
  early_messages early;
  REQUIRE(early.hold(node(1), notice(10)));
  REQUIRE(early.hold(node(2), notice(20)));
  REQUIRE(early.hold(node(1), notice(11)));
  CHECK(early.senders() == std::vector<node_id>{node(1), node(2)});
  const auto first = early.take(node(1));
  REQUIRE(first.size() == 2);
  CHECK(number_of(first[0]) == 10);
  CHECK(number_of(first[1]) == 11);
  CHECK(early.take(node(1)).empty());
  CHECK(early.take(node(9)).empty());
  CHECK(early.senders() == std::vector<node_id>{node(2)});
}

TEST_CASE("what its sender repeats anyway is not held") {
  early_messages early;
  CHECK_FALSE(early.hold(node(1), checkpoint::register_request()));
  CHECK_FALSE(early.hold(node(1), checkpoint::register_reply()));
  CHECK_FALSE(early.hold(node(1), runtime::record_request()));
  CHECK(early.senders().empty());
  CHECK(early.hold(node(1), checkpoint::cut_facts()));
  CHECK(early.hold(node(1), runtime::end_seen()));
}

TEST_CASE("of one sender only so many early messages are held, the first ones") {
  early_messages early;
  for (std::size_t i = 0; i < limits::early_messages_max; ++i)
    REQUIRE(early.hold(node(1), notice(i)));
  CHECK_FALSE(early.hold(node(1), notice(9999)));
  CHECK(early.hold(node(2), notice(0)));
  const auto held = early.take(node(1));
  REQUIRE(held.size() == limits::early_messages_max);
  CHECK(number_of(held.back()) == limits::early_messages_max - 1);
  CHECK(early.hold(node(1), notice(0)));  // its count began anew
}

TEST_CASE("of one sender only so many bytes of early messages are held") {
  early_messages early;
  const std::size_t third = limits::early_bytes_max / 3;
  REQUIRE(early.hold(node(1), notice(0, third)));
  REQUIRE(early.hold(node(1), notice(1, third)));
  CHECK_FALSE(early.hold(node(1), notice(2, third)));
  CHECK(early.hold(node(1), notice(3, 100)));  // a small one still fits
  CHECK(early.hold(node(2), notice(0, third)));
  std::size_t bytes = 0;
  for (const auto& m : early.take(node(1))) bytes += wire::encode(m).size();
  CHECK(bytes <= limits::early_bytes_max);
  CHECK(bytes > 2 * third);
  CHECK(early.hold(node(1), notice(4, third)));
}

TEST_CASE("a single early message over the limit is refused and takes nobody's place") {
  early_messages early;
  CHECK_FALSE(early.hold(node(1), notice(0, limits::early_bytes_max)));
  CHECK(early.senders().empty());
}

TEST_CASE("of all senders together only so many bytes are held, the newest senders'") {
  early_messages early;
  const std::size_t count = limits::early_total_bytes_max / limits::early_bytes_max + 3;
  for (std::size_t i = 0; i < count; ++i) REQUIRE(early.hold(node(i), notice(i, limits::early_bytes_max - 100)));
  CHECK(early.senders().size() < count);
  CHECK(early.take(node(0)).empty());
  CHECK(early.take(node(count - 1)).size() == 1);
}

TEST_CASE("strangers cannot keep a member's early messages out") {
  early_messages early;
  for (std::size_t i = 0; i < limits::early_senders_max; ++i)
    REQUIRE(early.hold(node(i), notice(i)));
  REQUIRE(early.hold(node(0), notice(1)));  // still the first that came
  CHECK(early.hold(node(limits::early_senders_max), notice(7)));
  CHECK(early.senders().size() == limits::early_senders_max);
  CHECK(early.take(node(0)).empty());
  CHECK(early.take(node(1)).size() == 1);
  CHECK(early.take(node(limits::early_senders_max)).size() == 1);
}

}  // namespace
}  // namespace p2pdvm::test

#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/runtime/home_relays.hpp>

#include <algorithm>
#include <map>

namespace p2pdvm::test {
namespace {

using namespace runtime;

checkpoint::job_record record_of(std::size_t members, std::size_t hidden_every) {
  random_generator random(3);
  checkpoint::job_record r;
  for (std::size_t i = 0; i < members; ++i) {
    checkpoint::member m;
    for (std::byte& b : m.node.mutable_bytes()) b = static_cast<std::byte>(random.below(256));
    if (i % hidden_every != 0) m.flags |= checkpoint::member::hidden;
    r.members.push_back(m);
  }
  return r;
}

TEST_CASE("home relays are living members that can be reached, the same for whoever asks, and share the work") {
  const checkpoint::job_record r = record_of(600, 6);
  std::map<node_id, int> served;
  for (const auto& m : r.members) {
    if (!m.is_hidden()) continue;
    const auto relays = home_relays(r, m.node);
    REQUIRE(relays.size() == home_relays_max);
    CHECK(relays[0] != relays[1]);
    for (const node_id& relay : relays) {
      CHECK_FALSE(r.find(relay)->is_hidden());
      ++served[relay];
    }
  }
  // 500 hidden members, 2 relays each, 100 that serve: 10 on average.
  CHECK(served.size() == 100);
  for (const auto& [relay, count] : served) CHECK(count < 30);
}

TEST_CASE("when a home relay is lost only those change that had it") {
  const checkpoint::job_record before = record_of(60, 6);
  checkpoint::job_record after = before;
  after.members[6].flags |= checkpoint::member::evicted;
  const node_id gone = after.members[6].node;
  for (const auto& m : before.members) {
    const auto old = home_relays(before, m.node);
    const auto now = home_relays(after, m.node);
    CHECK(std::find(now.begin(), now.end(), gone) == now.end());
    if (std::find(old.begin(), old.end(), gone) == old.end()) CHECK(old == now);
  }
}

TEST_CASE("where nobody can be reached nobody is a home relay") {
  checkpoint::job_record r = record_of(5, 6);
  CHECK(home_relays(r, r.members[1].node) == std::vector{r.members[0].node});
  CHECK(home_relays(r, r.members[0].node).empty());
}

}  // namespace
}  // namespace p2pdvm::test

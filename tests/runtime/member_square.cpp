#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/runtime/member_square.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <vector>

namespace p2pdvm::test {
namespace {

using checkpoint::job_record;
using checkpoint::member;
using runtime::member_square;

node_id node(std::size_t number) {
  node_id id;
  id.mutable_bytes()[0] = static_cast<std::byte>(number);
  id.mutable_bytes()[1] = static_cast<std::byte>(number >> 8);
  return id;
}

job_record record_of(std::size_t members, const std::set<std::size_t>& gone = {}) {
  job_record r;
  for (std::size_t i = 0; i < members; ++i) {
    member m;
    m.node = node(i);
    if (gone.contains(i)) m.flags = member::evicted;
    r.members.push_back(std::move(m));
  }
  return r;
}

/// How often each member hears what `author` tells all.
std::map<node_id, int> heard(const job_record& r, const node_id& author) {
  std::map<node_id, int> times;
  for (const auto& first : member_square(r, author).recipients()) {
    ++times[first.node];
    if (!first.passes_on) continue;
    for (const node_id& second : member_square(r, first.node).column()) {
      if (second != author) ++times[second];
    }
  }
  return times;
}

}  // namespace

TEST_CASE("whoever tells all reaches every living member once, in two steps") {
  random_generator random(7);
  for (const std::size_t members : {1u, 2u, 31u, 32u, 33u, 64u, 65u, 300u, 1024u}) {
    for (int draw = 0; draw < 20; ++draw) {
      std::set<std::size_t> gone;
      for (std::size_t i = 0; i < members; ++i) {
        if (random.chance(draw * 0.04)) gone.insert(i);
      }
      const std::size_t author = random.below(members);
      gone.erase(author);
      const job_record r = record_of(members, gone);
      const auto times = heard(r, node(author));
      CAPTURE(members, draw, author);
      REQUIRE(times.size() == members - gone.size() - 1);
      REQUIRE(std::all_of(times.begin(), times.end(), [](const auto& t) { return t.second == 1; }));
      REQUIRE(std::none_of(gone.begin(), gone.end(), [&](std::size_t i) { return times.contains(node(i)); }));
    }
  }
}

TEST_CASE("up to one row of members everybody is linked to everybody, and nobody passes on") {
  const job_record r = record_of(member_square::width, {4});
  CHECK(member_square(r, node(0)).links().size() == member_square::width - 2);
  for (const auto& to : member_square(r, node(9)).recipients()) CHECK_FALSE(to.passes_on);
}

TEST_CASE("links are mutual and few") {
  const job_record r = record_of(1000, {3, 500, 999});
  for (std::size_t i = 0; i < 1000; i += 37) {
    const auto links = member_square(r, node(i)).links();
    CHECK(links.size() <= 63);
    for (const node_id& other : links) {
      CHECK(r.is_live(other));
      CHECK(member_square(r, node(i)).is_link(other));
      CHECK(member_square(r, other).is_link(node(i)));
    }
  }
}

TEST_CASE("who is no member any more has no links and tells everybody itself") {
  const job_record r = record_of(100, {70});
  CHECK(member_square(r, node(70)).links().empty());
  CHECK_FALSE(member_square(r, node(70)).is_link(node(71)));
  const auto to = member_square(r, node(70)).recipients();
  CHECK(to.size() == 99);
  CHECK(std::none_of(to.begin(), to.end(), [](const auto& t) { return t.passes_on; }));
}

TEST_CASE("members are cut off from each other when both where their lines cross are gone") {
  // 33 members: the last one alone in its row, below member 0.
  CHECK(member_square(record_of(33), node(32)).cut_off().empty());
  const job_record without = record_of(33, {0});
  CHECK(member_square(without, node(32)).links().empty());
  CHECK(member_square(without, node(32)).cut_off().size() == 31);
  CHECK(member_square(without, node(5)).cut_off() == std::vector{node(32)});
  random_generator random(8);
  for (int draw = 0; draw < 20; ++draw) {
    std::set<std::size_t> gone;
    for (std::size_t i = 0; i < 150; ++i) {
      if (random.chance(draw * 0.03)) gone.insert(i);
    }
    const job_record r = record_of(150, gone);
    for (std::size_t a = 0; a < 150; ++a) {
      if (gone.contains(a)) continue;
      const member_square mine(r, node(a));
      const auto links = mine.links();
      const auto apart = mine.cut_off();
      for (std::size_t b = 0; b < 150; ++b) {
        if (gone.contains(b) || a == b) continue;
        const member_square theirs(r, node(b));
        const bool reached = mine.is_link(node(b)) ||
                             std::any_of(links.begin(), links.end(), [&](const node_id& l) { return theirs.is_link(l); });
        CHECK(reached == (std::find(apart.begin(), apart.end(), node(b)) == apart.end()));
      }
    }
  }
}

}  // namespace p2pdvm::test

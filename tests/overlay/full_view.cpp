/// Small swarms, in which everybody knows everybody.
#include "overlay/swarm.hpp"
#include "support/test.hpp"

#include <algorithm>

using namespace p2pdvm;
using namespace p2pdvm::overlay;
using namespace p2pdvm::overlay::test;

namespace {

using include = routing_table::include;

contact peer(std::uint64_t i) { return {make_identity(i).key(), make_address(i)}; }
node_id id_of(const contact& c) { return crypto::node_id_of(c.key); }
const node_id self = crypto::node_id_of(make_identity(0).key());
time_point at(duration since_start) { return time_point(since_start); }

std::size_t largest_bucket(const routing_table& table) {
  std::array<std::size_t, 257> count{};
  for (const peer_entry& e : table.oldest_first()) ++count[common_prefix(self, e.id())];
  return *std::max_element(count.begin(), count.end());
}

/// How many of the living others all living peers have in their tables, as a share.
double knowledge(swarm& s) {
  std::size_t known = 0;
  std::size_t all = 0;
  for (std::size_t i = 0; i < s.size(); ++i) {
    for (std::size_t j = 0; j < s.size(); ++j) {
      if (i == j || !s.at(i).alive || !s.at(j).alive) continue;
      known += s.node_at(i).table().find(s.node_at(j).id()) != nullptr ? 1 : 0;
      ++all;
    }
  }
  return static_cast<double>(known) / static_cast<double>(all);
}

std::size_t full_views(swarm& s) {
  std::size_t count = 0;
  for (std::size_t i = 0; i < s.size(); ++i)
    count += s.at(i).alive && s.node_at(i).table().full_view() ? 1 : 0;
  return count;
}

}  // namespace

TEST_CASE("a table keeps everybody up to its limit, then buckets, and everybody again") {
  const routing_options options;
  routing_table table(self, options);
  for (std::uint64_t i = 1; i <= options.full_view_max; ++i)
    CHECK(table.proven(at(i * 1s), peer(i), 20ms));
  CHECK(table.full_view());
  CHECK(table.size() == options.full_view_max);
  CHECK(largest_bucket(table) > options.bucket_size + 4);
  CHECK(table.checked() == options.full_view_max);
  for (const peer_entry& e : std::vector<peer_entry>(table.siblings()))
    table.proven(at(90s), e.peer, 20ms);
  CHECK(table.most_doubtful(at(90s)).has_value());  // of the others all are kept checked too
  CHECK(table.wants(peer(99), at(0s)) == routing_table::wish::needed);

  table.proven(at(100s), peer(100), 20ms);
  CHECK_FALSE(table.full_view());
  CHECK(table.size() < options.full_view_max);
  CHECK(table.checked() < options.full_view_max);
  std::size_t far = 0;  // the half of the ids that is farthest: one bucket, and no siblings
  for (const peer_entry& e : table.oldest_first()) far += common_prefix(self, e.id()) == 0 ? 1 : 0;
  CHECK(far == options.bucket_size);

  std::vector<peer_entry> all = table.oldest_first();
  for (const peer_entry& e : all) {
    if (table.full_view()) break;
    while (table.find(e.id()) != nullptr) table.failed(e.id());
  }
  CHECK(table.full_view());
  CHECK(table.size() < options.full_view_max * 5 / 8);
  CHECK(table.size() >= options.full_view_max / 2);
}

TEST_CASE("who finds itself among close neighbours does not try to know a large swarm") {
  routing_table table(self, {});
  std::size_t near = 0;
  for (std::uint64_t i = 1; near < 16; ++i) {
    if (common_prefix(self, id_of(peer(i))) < 6) continue;
    CHECK(table.full_view());
    table.proven(at(0s), peer(i), 20ms);
    ++near;
  }
  CHECK_FALSE(table.full_view());
  for (const peer_entry& e : std::vector<peer_entry>(table.siblings())) {
    if (table.size() == 12) break;
    while (table.find(e.id()) != nullptr) table.failed(e.id());
  }
  CHECK(table.full_view());  // no longer so sure
}

TEST_CASE("in a swarm of 40 all know all, and a lookup takes one round of confirmation") {
  swarm s(31);
  s.build(40);
  s.run_for(15min);
  CHECK(knowledge(s) == 1);
  CHECK(full_views(s) == 40);
  for (std::size_t i = 0; i < 40; ++i) {
    const node_id target = random_id(s.random());
    std::vector<node_id> ids;
    for (std::size_t j = 0; j < 40; ++j) {
      if (j != i) ids.push_back(s.node_at(j).id());
    }
    std::sort(ids.begin(), ids.end(),
              [&](const node_id& a, const node_id& b) { return nearer(target, a, b); });
    const time_point begin = s.now();
    bool done = false;
    s.node_at(i).lookup(s.now(), target, [&](const lookup_result& r) {
      done = true;
      CHECK(r.hops == 1);
      CHECK(r.queries == 16);
      REQUIRE(r.nearest.size() == 16);
      for (std::size_t k = 0; k < 16; ++k) CHECK(id_of(r.nearest[k]) == ids[k]);
    });
    s.arm(i);
    CHECK(s.run_until([&] { return done; }, 10s));
    CHECK(s.now() - begin <= 260ms);  // the longest round trip there is, once
  }
}

TEST_CASE("a swarm leaves the full view when it grows and comes back to it when it shrinks") {
  swarm s(32);
  s.build(30);
  s.run_for(10min);
  CHECK(knowledge(s) == 1);
  for (int more = 0; more < 100; ++more) {
    const std::size_t i = s.add();
    s.node_at(i).join(s.now(), {s.at(3).where});
    s.arm(i);
    s.run_for(200ms);
  }
  s.run_for(15min);
  CHECK(full_views(s) == 0);
  for (std::size_t i = 0; i < s.size(); ++i) CHECK(s.node_at(i).table().size() < 100);
  for (std::size_t i = 25; i < s.size(); ++i) s.kill(i);
  s.run_for(2h);
  CHECK(full_views(s) == 25);
  CHECK(knowledge(s) == 1);
}

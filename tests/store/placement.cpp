#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/placement.hpp>

#include <algorithm>
#include <map>
#include <set>

using namespace p2pdvm;
using namespace p2pdvm::store;

namespace {

std::vector<member> some_members(std::size_t count, std::uint64_t seed) {
  random_generator random(seed);
  std::vector<member> members;
  for (std::size_t i = 0; i < count; ++i) {
    member m;
    for (std::byte& b : m.id.mutable_bytes()) b = std::byte(random() & 0xff);
    m.domain = "d" + std::to_string(i);
    members.push_back(m);
  }
  return members;
}

job_id some_job(std::uint64_t seed) {
  job_id job;
  random_generator random(seed);
  for (std::byte& b : job.mutable_bytes()) b = std::byte(random() & 0xff);
  return job;
}

using target_sets = std::array<std::set<node_id>, limits::stripes_per_rank>;

target_sets targets_of(const job_id& job, std::uint32_t rank, const std::vector<member>& members,
                       unsigned replicas) {
  const placement p(job, rank_number(rank), members, replicas);
  target_sets sets;
  for (unsigned s = 0; s < sets.size(); ++s) {
    for (const std::uint32_t m : p.targets(s)) sets.at(s).insert(members[m].id);
  }
  return sets;
}

}  // namespace

TEST_CASE("no holder keeps more than one and a half times its share of a rank") {
  for (std::size_t count = 3; count <= 16; ++count) {
    for (const unsigned replicas : {2u, 3u}) {
      for (std::uint64_t seed = 0; seed < 60; ++seed) {
        const auto members = some_members(count, seed * 100 + count);
        std::map<node_id, std::size_t> load;
        for (const auto& stripe : targets_of(some_job(seed), 1, members, replicas)) {
          CHECK(stripe.size() == replicas);
          for (const node_id& id : stripe) ++load[id];
        }
        for (const auto& [id, stripes] : load)
          CHECK(stripes * count * 2 <= 3 * replicas * limits::stripes_per_rank);
      }
    }
  }
}

TEST_CASE("a leaving member moves little but what it held") {
  for (std::size_t count = 4; count <= 16; ++count) {
    for (const unsigned replicas : {2u, 3u}) {
      std::size_t moved = 0, total = 0;
      for (std::uint64_t seed = 0; seed < 40; ++seed) {
        auto members = some_members(count, seed);
        const auto before = targets_of(some_job(seed), 0, members, replicas);
        const node_id gone = members.back().id;
        members.pop_back();
        const auto after = targets_of(some_job(seed), 0, members, replicas);
        for (std::size_t s = 0; s < before.size(); ++s) {
          std::size_t fresh = 0;
          for (const node_id& id : after.at(s)) fresh += before.at(s).count(id) == 0;
          moved += fresh - std::min<std::size_t>(fresh, before.at(s).count(gone));
          total += replicas;
        }
      }
      INFO(count << " members, " << replicas << " replicas: " << moved << " of " << total);
      CHECK(moved * 10 <= total);
    }
  }
}

TEST_CASE("placement does not depend on the order in which members are listed") {
  auto members = some_members(9, 4);
  members[3].domain = members[5].domain;
  const auto before = targets_of(some_job(1), 3, members, 3);
  std::reverse(members.begin(), members.end());
  CHECK(targets_of(some_job(1), 3, members, 3) == before);
}

TEST_CASE("a failure domain keeps at most one replica, and few domains cap the replicas") {
  auto members = some_members(8, 2);
  for (std::size_t i = 0; i < members.size(); ++i) members[i].domain = i % 2 == 0 ? "a" : "b";
  const placement p(some_job(1), rank_number(0), members, 3);
  std::set<std::uint32_t> used;
  for (unsigned s = 0; s < limits::stripes_per_rank; ++s) {
    REQUIRE(p.targets(s).size() == 2);
    CHECK(members[p.targets(s)[0]].domain != members[p.targets(s)[1]].domain);
    used.insert(p.targets(s).begin(), p.targets(s).end());
  }
  CHECK(used.size() > 4);
  CHECK(placement(some_job(1), rank_number(0), {}, 3).targets(0).empty());
}

TEST_CASE("a member of three times the weight keeps about three times as much") {
  std::map<node_id, std::size_t> load;
  auto members = some_members(9, 7);
  members[0].weight = 3;
  for (std::uint32_t rank = 0; rank < 100; ++rank) {
    for (const auto& stripe : targets_of(some_job(9), rank, members, 2)) {
      for (const node_id& id : stripe) ++load[id];
    }
  }
  const std::size_t others = (16 * 100 * 2 - load[members[0].id]) / 8;
  CHECK(load[members[0].id] * 10 >= others * 20);
  CHECK(load[members[0].id] * 10 <= others * 36);
}

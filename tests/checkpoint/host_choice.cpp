#include "checkpoint/make.hpp"
#include "support/test.hpp"

#include <p2pdvm/checkpoint/host_choice.hpp>

#include <algorithm>
#include <map>
#include <set>

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;
using namespace std::chrono_literals;

namespace {

overlay::packed_coordinate place_at(double x, double y) {
  overlay::coordinate c;
  c.position[0] = static_cast<float>(x);
  c.position[1] = static_cast<float>(y);
  c.height = 0.001f;
  c.error = 0.1f;
  return overlay::pack(c);
}

/// Members 0, 1, 2 … alternate between two towns 100 ms apart, a millisecond from the next one.
job_record two_towns(std::uint32_t ranks, std::uint64_t members) {
  job_record r = make::forming(ranks, members);
  for (std::size_t i = 0; i < members; ++i)
    r.members[i].place = place_at(i % 2 == 0 ? 0 : 0.1, 0.001 * static_cast<double>(i));
  return r;
}

std::map<std::uint32_t, int> ranks_per_host(const job_record& r) {
  std::map<std::uint32_t, int> count;
  for (const std::uint32_t h : r.host_of_rank) ++count[h];
  return count;
}

}  // namespace

TEST_CASE("hosts are chosen in one town, and neighbouring ranks next to each other") {
  const job_record r = two_towns(5, 16);
  const auto placement = near_placement(r, member_distances(r));
  REQUIRE(placement.size() == 5);
  CHECK(std::set<std::uint32_t>(placement.begin(), placement.end()).size() == 5);
  for (const std::uint32_t host : placement) CHECK(host % 2 == placement[0] % 2);
  for (std::size_t i = 1; i < placement.size(); ++i) {
    const bool up = placement[1] > placement[0];
    CHECK(placement[i] == placement[i - 1] + (up ? 2 : -2));
  }
  CHECK(start(r, placement).ok());
  CHECK(near_placement(r, member_distances(r)) == placement);
}

TEST_CASE("where all members are needed all get their share, in an order that is near") {
  const job_record r = two_towns(16, 8);
  const auto placement = near_placement(r, member_distances(r));
  const job_record running = *start(r, placement);
  for (const auto& [host, ranks] : ranks_per_host(running)) CHECK(ranks == 2);
  CHECK(ranks_per_host(running).size() == 8);
  int crossings = 0;
  for (std::size_t i = 1; i < placement.size(); ++i)
    crossings += placement[i] % 2 != placement[i - 1] % 2 ? 1 : 0;
  CHECK(crossings == 1);
}

TEST_CASE("the plain placement stays where nothing is known or nothing would be gained") {
  CHECK(near_placement(make::forming(3, 8), member_distances(make::forming(3, 8))).empty());
  job_record lan = make::forming(3, 8);
  for (std::size_t i = 0; i < 8; ++i)
    lan.members[i].place = place_at(0.0001 * static_cast<double>(i * 37 % 8), 0);
  CHECK(near_placement(lan, member_distances(lan)).empty());
  CHECK(near_placement(make::forming(1, 8), member_distances(make::forming(1, 8))).empty());
}

TEST_CASE("spares, storage and members that have gone host nothing by being near") {
  job_record r = two_towns(3, 12);
  r.members[2].flags = member::spare;
  r.members[4].flags = member::storage_only;
  r.members[6].flags = member::evicted;
  const auto placement = near_placement(r, member_distances(r));
  REQUIRE(placement.size() == 3);
  for (const std::uint32_t host : placement) CHECK(r.members[host].flags == 0);
}

TEST_CASE("what was measured counts for more than coordinates") {
  const job_record r = two_towns(2, 4);
  member_distances known(r);
  CHECK(known.between(0, 1) > 0.1);
  CHECK(known.between(2, 2) == 0);
  known.measured(0, 1, 2ms);
  CHECK(known.between(0, 1) == 0.002);
  CHECK(known.between(1, 0) == 0.002);
  CHECK(known.between(1, 2) > 0.1);
  known.place(2, place_at(0.1, 0));  // it has learnt better
  CHECK(known.between(1, 2) < 0.01);
  overlay::packed_coordinate absurd;
  absurd.exponent = 200;
  known.place(2, absurd);
  CHECK(known.between(1, 2) < 0.01);
  const job_record blank = make::forming(2, 4);
  CHECK(member_distances(blank).between(1, 2) == member_distance_default);
}

TEST_CASE("ranks of the lost go to the nearest of the least loaded") {
  const job_record r = *start(two_towns(4, 10), {0, 2, 4, 6});
  const std::set<node_id> lost{make::node(2), make::node(4)};
  const auto placement = placement_without(r, lost, member_distances(r));
  CHECK(placement[0] == 0);
  CHECK(placement[3] == 6);
  CHECK(placement[1] == 8);      // the last one of that town that is free
  CHECK(placement[2] % 2 == 1);  // rather than a second rank on one host
  const job_record after = *evict(r, lost, placement);
  CHECK(after.host_of_rank == placement);
  CHECK(after.incarnation == r.incarnation.next());
  for (const auto& [host, ranks] : ranks_per_host(after)) CHECK(ranks == 1);
}

TEST_CASE("with or without distances every member gets as many ranks") {
  random_generator random(9);
  for (int round = 0; round < 60; ++round) {
    const std::uint64_t members = 2 + random.below(9);
    const auto ranks = static_cast<std::uint32_t>(1 + random.below(24));
    job_record r = make::running(ranks, members);
    for (member& m : r.members) {
      const double x = random.unit();
      const double y = random.unit();
      m.place = place_at(x, y);
    }
    std::set<node_id> lost;
    for (std::uint64_t i = 1; i < members; ++i) {
      if (random.chance(0.4)) lost.insert(make::node(i));
    }
    if (lost.empty()) continue;
    const auto loads = [](const job_record& record) {
      std::multiset<int> all;
      for (const auto& [host, count] : ranks_per_host(record)) all.insert(count);
      return all;
    };
    const job_record plain = *evict(r, lost);
    const job_record near = *evict(r, lost, placement_without(r, lost, member_distances(r)));
    CHECK(loads(plain) == loads(near));
    CHECK(plain.incarnation == near.incarnation);
    CHECK(near.validate().ok());
  }
}

TEST_CASE("ranks are spread over who has come, with no more moves than needed") {
  const auto everybody = [](const node_id&) { return true; };
  const job_record two = make::running(6, 2);
  CHECK(even_placement_of(two, everybody, member_distances(two)).empty());
  const job_record three = *admit(two, make::member_number(2));
  CHECK(even_placement_of(three, [](const node_id& n) { return n != make::node(2); }, member_distances(three)).empty());
  const auto placement = even_placement_of(three, everybody, member_distances(three));
  const job_record after = *spread_ranks(three, three.incarnation, three.committed.epoch, placement);
  for (const auto& [host, ranks] : ranks_per_host(after)) CHECK(ranks == 2);
  CHECK(placement == std::vector<std::uint32_t>{0, 0, 2, 1, 1, 2});
  CHECK(busiest(three.host_of_rank) == 3);
  CHECK(busiest(placement) == 2);
  auto spare = make::member_number(2);
  spare.flags |= member::spare;
  const job_record kept = *admit(two, spare);
  CHECK(even_placement_of(kept, everybody, member_distances(kept)).empty());
}

TEST_CASE("however many ranks and members there are, who may take some has as many as others in the end") {
  random_generator random(10);
  for (int round = 0; round < 100; ++round) {
    const std::uint64_t members = 1 + random.below(5), more = 1 + random.below(4);
    const auto ranks = static_cast<std::uint32_t>(members + random.below(24));
    job_record r = make::running(ranks, members);
    for (std::uint64_t m = members; m < members + more; ++m) r = *admit(r, make::member_number(m));
    std::set<node_id> takers;
    for (std::uint64_t m = 0; m < members + more; ++m) {
      if (random.chance(0.7)) takers.insert(make::node(m));
    }
    const auto placement =
        even_placement_of(r, [&](const node_id& n) { return takers.contains(n); }, member_distances(r));
    if (placement.empty()) continue;
    const auto before = ranks_per_host(r);
    const job_record after = *spread_ranks(r, r.incarnation, r.committed.epoch, placement);
    CHECK(after.validate().ok());
    auto loads = ranks_per_host(after);
    int moved = 0, more_than_before = 0;
    for (std::uint32_t rank = 0; rank < ranks; ++rank) moved += placement[rank] != r.host_of_rank[rank];
    for (std::uint32_t m = 0; m < r.members.size(); ++m) {
      const int had = before.contains(m) ? before.at(m) : 0;
      more_than_before += std::max(0, loads[m] - had);
      if (!takers.contains(r.members[m].node)) {
        CHECK(loads[m] <= had);
        continue;
      }
      CHECK(loads[m] + 1 >= static_cast<int>(busiest(placement)));
    }
    CHECK(moved == more_than_before);  // no rank goes from one to another that another one follows
  }
}

TEST_CASE("an eviction takes nothing of a placement that does more than rehouse the lost ranks") {
  const job_record r = make::running(4, 4);
  const job_record plain = *evict(r, {make::node(3)});
  for (const std::vector<std::uint32_t>& bad :
       {std::vector<std::uint32_t>{0, 1, 2, 3}, {1, 0, 2, 0}, {0, 1, 2}, {0, 1, 2, 9}}) {
    CHECK(evict(r, {make::node(3)}, bad)->host_of_rank == plain.host_of_rank);
  }
  CHECK(evict(r, {make::node(3)}, {0, 1, 2, 2})->host_of_rank == std::vector<std::uint32_t>{0, 1, 2, 2});
  CHECK(placement_without(make::forming(4, 4), {make::node(3)}, member_distances(r)).empty());
  std::set<node_id> everybody;
  for (std::uint64_t i = 0; i < 4; ++i) everybody.insert(make::node(i));
  CHECK(placement_without(r, everybody, member_distances(r)).empty());
}

TEST_CASE("a record with an impossible coordinate is refused") {
  job_record r = make::running(4, 4);
  r.members[1].place.exponent = 77;
  CHECK_FALSE(r.validate().ok());
}

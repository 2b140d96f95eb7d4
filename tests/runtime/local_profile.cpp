#include "support/test.hpp"

#include <p2pdvm/runtime/local_profile.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <algorithm>
#include <vector>

namespace p2pdvm::test {
namespace {

using runtime::local_profile;

TEST_CASE("a local peer is known by its address") {
  for (const std::uint32_t peer : {0u, 1u, 254u, 255u, 256u, 65534u}) {
    const address where = local_profile::address_of(peer);
    CHECK(where.is_loopback());
    CHECK(local_profile::peer_at(where.with_port(4000)) == peer);
  }
  CHECK_FALSE(local_profile::peer_at(address::loopback(4000)));
  CHECK_FALSE(local_profile::peer_at(address::v4(127, 77, 0, 0, 1)));
  CHECK_FALSE(local_profile::peer_at(*address::parse("[::1]:4000")));
}

TEST_CASE("both ends of a way agree on its length, whoever is asked about first") {
  for (const auto profile : {sim::latency_profile::planetlab, sim::latency_profile::residential}) {
    std::vector<duration> all;
    for (std::uint32_t a = 0; a < 12; ++a) {
      for (std::uint32_t b = 0; b < a; ++b) {
        local_profile here(profile, 1, a);
        local_profile there(profile, 1, b);
        const host::path forth = here.to(local_profile::address_of(b));
        const host::path back = there.to(local_profile::address_of(a));
        CHECK(forth.one_way == back.one_way);
        CHECK(forth.up == back.down);
        CHECK(forth.down == back.up);
        CHECK(forth.one_way > duration::zero());
        all.push_back(forth.one_way);
      }
    }
    std::sort(all.begin(), all.end());
    CHECK(all.front() * 2 < all.back());
  }
}

TEST_CASE("real processes are as far apart as simulated ones with the same seed, and lose as much") {
  for (const auto profile : {sim::latency_profile::lan, sim::latency_profile::planetlab,
                             sim::latency_profile::residential}) {
    sim::options o;
    o.profile = profile;
    for (const std::uint64_t seed : {1u, 2u, 77u}) {
      o.seed = seed;
      sim::simulation simulated(o);
      for (int i = 0; i < 6; ++i) simulated.add_machine();
      for (std::uint32_t a = 0; a < 6; ++a) {
        local_profile real(profile, seed, a);
        for (std::uint32_t b = 0; b < 6; ++b) {
          if (a == b) continue;
          const host::path way = real.to(local_profile::address_of(b));
          CHECK(way.one_way == simulated.round_trip(simulated.at(a), simulated.at(b)) / 2);
          CHECK(way.loss == simulated.conditions().loss);
          CHECK(way.jitter == simulated.conditions().jitter);
        }
      }
    }
  }
  local_profile one(sim::latency_profile::planetlab, 1, 0);
  local_profile other(sim::latency_profile::planetlab, 2, 0);
  CHECK(one.to(local_profile::address_of(1)).one_way != other.to(local_profile::address_of(1)).one_way);
}

TEST_CASE("who is no peer of the run, and a peer itself, are near") {
  local_profile p(sim::latency_profile::planetlab, 1, 3);
  CHECK(p.to(address::loopback(1)).one_way == duration::zero());
  CHECK(p.to(local_profile::address_of(3)).one_way == duration::zero());
}

}  // namespace
}  // namespace p2pdvm::test

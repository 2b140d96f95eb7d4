/// Scenarios that p2pdvm-sim swarm found jobs to fail by, shrunk: each was seen to fail once.
#include "runtime/cluster.hpp"

#include <p2pdvm/runtime/scenario_run.hpp>

namespace p2pdvm::test {
namespace {

/// `faults` in a quiet small job on a LAN, unless it says otherwise.
runtime::scenario_verdict verdict_of(const std::string& faults) {
  const auto s = runtime::scenario::parse(
      "program supersteps\nprofile lan\ncheckpoint-every 0.04\n" + faults, "scenario");
  INFO((s.ok() ? "" : s.error().message()));
  REQUIRE(s.ok());
  return try_scenario(*s, small_program(s->program));
}

void must_be_right(const std::string& faults) {
  const auto v = verdict_of(faults);
  INFO(faults << v.reason);
  CHECK(v.right());
}

TEST_CASE("what is said to a peer that restarts before it hears it is said again") {
  // Peer 2 hears late that peer 0 is another process; it had told the old one that its rank is ready.
  must_be_right(
      "option steps 50\nseed 442\npeers 3\nranks 3\n"
      "at 0.153 deafen peer 2 for 2.56\nat 0.871 crash-silent peer 0 for 0.02\n");
}

TEST_CASE("a peer that was cut off while the others ended may have no end, whichever side was called cut off") {
  // Peers 0 and 1 are cut off, but they are the majority that goes on and ends.
  must_be_right(
      "option steps 6\nseed 371\npeers 4\nranks 1\n"
      "after rank_started 1 +0 crash-reset maker\nat 0.582 isolate peer 0 group 2 for 10.24\n");
}

}  // namespace
}  // namespace p2pdvm::test

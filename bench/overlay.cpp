/// overlay: the swarm under churn; what peers know of the network; members of a large job.
#include "overlay_coordinates.hpp"
#include "overlay_members.hpp"
#include "overlay_swarm.hpp"

namespace p2pdvm::bench {

void run_overlay(const settings& how, report& out) {
  measure_mild_churn(how, out);
  measure_harsh_churn(how, out);
  measure_hostile(how, out);
  measure_coordinates(how, out);
  measure_placement(how, out);
  measure_relays(how, out);
  measure_crash_agreement(how, out);
  measure_false_evictions(how, out);
  measure_roster(how, out);
}

}  // namespace p2pdvm::bench

/// overlay: the swarm under churn; what peers know of the network; members of a large job.
#include "overlay_churn.hpp"
#include "overlay_coordinates.hpp"
#include "overlay_members.hpp"
#include "overlay_swarm.hpp"
#include "parts.hpp"

namespace p2pdvm::bench {

void run_overlay(const settings& how, report& out) {
  measure_parts(how, out,
                {{"mild-churn", measure_mild_churn},
                 {"harsh-churn", measure_harsh_churn},
                 {"hostile", measure_hostile},
                 {"coordinates", measure_coordinates},
                 {"placement", measure_placement},
                 {"relays", measure_relays},
                 {"crashes", measure_crash_agreement},
                 {"roster", measure_roster},
                 {"churn", measure_churn},
                 {"false-evictions", measure_false_evictions}});
}

}  // namespace p2pdvm::bench

/// overlay: the swarm under churn; what peers know of the network; members of a large job.
#include "overlay_churn.hpp"
#include "overlay_coordinates.hpp"
#include "overlay_members.hpp"
#include "overlay_swarm.hpp"

#include <stdexcept>
#include <string>

namespace p2pdvm::bench {

void run_overlay(const settings& how, report& out) {
  struct part {
    const char* name;
    void (*measure)(const settings&, report&);
  };
  constexpr part parts[] = {{"mild-churn", measure_mild_churn},
                            {"harsh-churn", measure_harsh_churn},
                            {"hostile", measure_hostile},
                            {"coordinates", measure_coordinates},
                            {"placement", measure_placement},
                            {"relays", measure_relays},
                            {"crashes", measure_crash_agreement},
                            {"roster", measure_roster},
                            {"churn", measure_churn},
                            {"false-evictions", measure_false_evictions}};
  std::string names;
  bool found = false;
  for (const part& p : parts) {
    names += std::string(names.empty() ? "" : ", ") + p.name;
    if (!how.part.empty() && how.part != p.name) continue;
    found = true;
    p.measure(how, out);
  }
  if (!found) throw std::runtime_error("there is no part '" + how.part + "'; there are " + names);
}

}  // namespace p2pdvm::bench

/// overlay: what peers know of the network, and what they choose by it.
#include "overlay_coordinates.hpp"

namespace p2pdvm::bench {

void run_overlay(const settings& how, report& out) {
  measure_coordinates(how, out);
  measure_placement(how, out);
  measure_relays(how, out);
}

}  // namespace p2pdvm::bench

/// The part of the suite overlay that is about latencies: coordinates, and what is chosen by them.
#pragma once

#include "suites.hpp"

namespace p2pdvm::bench {

/// coordinate_error after 50 and 400 samples by each peer.
void measure_coordinates(const settings& how, report& out);
/// placement_stretch of 64 ranks on 2000 peers, each of which has made 400 samples.
void measure_placement(const settings& how, report& out);
/// relay_share, relay_gain: of pairs that find a clearly faster path through one relay, with few
/// relays known.
void measure_relays(const settings& how, report& out);

}  // namespace p2pdvm::bench

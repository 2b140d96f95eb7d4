/// The part of suite `store` that is measured in the simulator.
#pragma once

#include "measurement.hpp"
#include "suites.hpp"

namespace p2pdvm::bench {

void measure_far_store(const settings& how, report& out);

}  // namespace p2pdvm::bench

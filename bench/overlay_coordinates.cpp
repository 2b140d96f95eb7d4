/// overlay: how well coordinates predict round trips.
#include "overlay_coordinates.hpp"

#include "round_trips.hpp"

namespace p2pdvm::bench {

void measure_coordinates(const settings& how, report& out) {
  for (const place_source& source : place_sources(how)) {
    const std::size_t peers = how.quick      ? 40
                              : source.matrix ? source.matrix->size()
                                              : 2000;
    for (const std::uint64_t seed : seeds(how)) {
      const round_trips world(source, peers, seed);
      coordinate_swarm swarm(world, seed);
      for (int samples = 1; samples <= (how.quick ? 50 : 400); ++samples) {
        swarm.round();
        if (samples != 50 && samples != 400) continue;
        measurement m;
        m.benchmark = "overlay";
        m.system = "p2pdvm";
        m.profile = source.name;
        m.parameters["samples"] = samples;
        m.parameters["goal"] = samples == 50 ? 0.20 : 0.085;
        m.parameters["peers"] = peers;
        m.parameters["seed"] = seed;
        m.parameters["processes"] = 1;
        m.metric = "coordinate_error";
        m.unit = fraction_unit;
        m.value = swarm.error();
        out.add(m);
      }
    }
  }
}

}  // namespace p2pdvm::bench

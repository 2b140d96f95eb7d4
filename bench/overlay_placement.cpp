/// overlay: how near each other ranks end up that are placed by coordinates and measurements.
#include "overlay_coordinates.hpp"

#include "round_trips.hpp"

#include <p2pdvm/overlay/placement.hpp>

#include <algorithm>
#include <numeric>
#include <set>

namespace p2pdvm::bench {

namespace {

using host_list = std::vector<std::uint32_t>;

overlay::round_trip_table all_of(const round_trips& world) {
  overlay::round_trip_table table(world.size());
  for (std::size_t i = 0; i < world.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) table.set(i, j, world.at(i, j));
  }
  return table;
}

host_list ball_around(const overlay::round_trip_table& table, std::size_t centre,
                      std::size_t ranks) {
  host_list order(table.size());
  std::iota(order.begin(), order.end(), 0u);
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return table.at(centre, a) < table.at(centre, b);
  });
  order.resize(ranks);
  return order;
}

/// The best group that a search with full knowledge finds: local search over all peers from the
/// ten tightest balls, from ten balls at random, and from `placed`, which is to be judged.
host_list best_known(const overlay::round_trip_table& table, const host_list& placed,
                     std::uint64_t seed) {
  std::vector<std::pair<double, host_list>> starts;
  for (std::size_t c = 0; c < table.size(); ++c) {
    host_list ball = ball_around(table, c, placed.size());
    const double mean = overlay::mean_round_trip(table, ball);
    starts.emplace_back(mean, std::move(ball));
  }
  std::sort(starts.begin(), starts.end());
  starts.resize(10);
  random_generator random(seed);
  for (int i = 0; i < 10; ++i)
    starts.emplace_back(0, ball_around(table, random.below(table.size()), placed.size()));
  starts.emplace_back(0, placed);
  const std::vector<std::uint32_t> slots(table.size(), 1);
  for (auto& [mean, hosts] : starts) {
    overlay::tighten(table, slots, hosts);
    mean = overlay::mean_round_trip(table, hosts);
  }
  return std::min_element(starts.begin(), starts.end())->second;
}

double neighbour_mean(const overlay::round_trip_table& table, const host_list& hosts) {
  double sum = 0;
  for (std::size_t i = 1; i < hosts.size(); ++i) sum += table.at(hosts[i - 1], hosts[i]);
  return sum / static_cast<double>(hosts.size() - 1);
}

class placement_case {
 public:
  placement_case(const place_source& source, std::size_t peers, std::size_t ranks,
                 std::uint64_t seed, int samples)
      : world_(source, peers, seed), table_(all_of(world_)), seed_(seed) {
    coordinate_swarm swarm(world_, seed);
    for (int i = 0; i < samples; ++i) swarm.round();
    std::vector<overlay::placement_candidate> candidates;
    for (const overlay::coordinate& c : swarm.coordinates()) candidates.push_back({c, 1});
    overlay::rank_placement placement(candidates, static_cast<std::uint32_t>(ranks));
    predicted_ = placement.hosts();
    random_generator random(seed);
    while (const auto probe = placement.next()) {
      placement.measured(*probe, from_seconds(world_.sample(probe->from, probe->to, random)));
      ++measurements_;
      measuring_.insert(probe->from);
    }
    placed_ = placement.hosts();
  }

  void report_to(report& out, measurement m) const {
    const double best = overlay::mean_round_trip(table_, best_known(table_, placed_, seed_));
    const auto add = [&](const char* metric, std::string_view unit, const char* how, double value) {
      m.metric = metric;
      m.unit = unit;
      m.parameters["placed"] = how;
      m.value = value;
      out.add(m);
    };
    const auto mean = [&](const host_list& hosts) {
      return overlay::mean_round_trip(table_, hosts);
    };
    m.parameters["goal"] = 1.3;
    add("placement_stretch", fraction_unit, "coordinates and measurements", mean(placed_) / best);
    add("placement_stretch", fraction_unit, "coordinates alone", mean(predicted_) / best);
    m.parameters.erase("goal");
    add("placement_round_trip", seconds_unit, "full knowledge", best);
    add("placement_round_trip", seconds_unit, "coordinates and measurements", mean(placed_));
    add("placement_round_trip", seconds_unit, "at random", mean(any_hosts()));
    add("neighbour_round_trip", seconds_unit, "coordinates and measurements",
        neighbour_mean(table_, placed_));
  }
  [[nodiscard]] std::size_t measurements() const { return measurements_; }
  /// Peers that made them; the others make none.
  [[nodiscard]] std::size_t measuring() const { return measuring_.size(); }

 private:
  [[nodiscard]] host_list any_hosts() const {
    random_generator random(seed_);
    host_list hosts(world_.size());
    std::iota(hosts.begin(), hosts.end(), 0u);
    for (std::size_t i = hosts.size(); i > 1; --i) std::swap(hosts[i - 1], hosts[random.below(i)]);
    hosts.resize(placed_.size());
    return hosts;
  }

  round_trips world_;
  overlay::round_trip_table table_;
  std::uint64_t seed_;
  host_list predicted_;
  host_list placed_;
  std::size_t measurements_ = 0;
  std::set<std::uint32_t> measuring_;
};

}  // namespace

void measure_placement(const settings& how, report& out) {
  const std::size_t peers = how.quick ? 60 : 2000;
  const std::size_t ranks = how.quick ? 8 : 64;
  for (const place_source& source : place_sources(how)) {
    for (const std::uint64_t seed : seeds(how)) {
      const placement_case one(source, peers, ranks, seed, how.quick ? 20 : 400);
      measurement m;
      m.benchmark = "overlay";
      m.system = "p2pdvm";
      m.profile = source.name;
      m.parameters["peers"] = peers;
      m.parameters["ranks"] = ranks;
      m.parameters["measurements"] = one.measurements();
      m.parameters["measuring_peers"] = one.measuring();
      m.parameters["seed"] = seed;
      m.parameters["processes"] = 1;
      one.report_to(out, m);
    }
  }
}

}  // namespace p2pdvm::bench

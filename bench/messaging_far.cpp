/// Collectives of ranks far apart, in virtual time, beside bounds and models of other algorithms for
/// the very same places.
#include "collective_models.hpp"
#include "messaging.hpp"
#include "round_trips.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::bench {

namespace {

constexpr std::size_t large_bytes = std::size_t{1} << 20;

enum class collective { barrier, small_allreduce, large_allreduce, superstep };
constexpr std::size_t superstep_bytes = 64;  ///< from each rank to each

/// All ranks enter at the same virtual time; what counts is when the last one leaves.
class far_ranks {
 public:
  explicit far_ranks(peal::rank& rank)
      : rank_(rank), world_(rank), supersteps_(rank), repeats_(rank.option<int>("repeats")) {}

  /// The median of some, after others that make connections and may learn about the network.
  task<double> time_of(collective what) {
    std::vector<double> times;
    for (int i = 0; i < warm_ups + repeats_; ++i) {
      const double time = co_await once(what);
      if (i >= warm_ups) times.push_back(time);
    }
    co_return median(std::move(times));
  }

 private:
  static constexpr int warm_ups = 3;
  /// In which everybody hears of it [s].
  static constexpr double notice = 2;

  task<double> once(collective what) {
    double begin = rank_.now() + notice;
    co_await world_.bcast(begin);
    co_await rank_.sleep(from_seconds(begin - rank_.now()));
    if (what == collective::barrier) {
      co_await world_.barrier();
    } else if (what == collective::superstep) {
      for (int r = 0; r < world_.size(); ++r) supersteps_.send(r, 0, std::array<char, superstep_bytes>());
      co_await supersteps_.sync();
    } else if (what == collective::small_allreduce) {
      sum_ = co_await world_.allreduce(sum_ / world_.size());
    } else {
      values_.assign(large_bytes / sizeof(double), 1);
      co_await world_.allreduce(std::span(values_));
    }
    const double end = rank_.now();
    const double last = co_await world_.allreduce(end, mpi::maximum());
    co_return last - begin;
  }

  peal::rank& rank_;
  mpi::communicator world_;
  bsp::world supersteps_;
  int repeats_;
  double sum_ = 1;
  std::vector<double> values_;
};

task<> far_body(peal::rank& rank) {
  far_ranks ranks(rank);
  co_await rank.restore();
  std::string lines;
  if (rank.option<int>("large") != 0) {
    const double time = co_await ranks.time_of(collective::large_allreduce);
    lines = fmt::format("allreduce_time {} {}\n", large_bytes, time);
  } else {
    const double barrier = co_await ranks.time_of(collective::barrier);
    const double allreduce = co_await ranks.time_of(collective::small_allreduce);
    const double superstep = co_await ranks.time_of(collective::superstep);
    lines = fmt::format("barrier_time 0 {}\nallreduce_time 8 {}\nsuperstep_time {} {}\n", barrier, allreduce, superstep_bytes, superstep);
  }
  if (rank.id() == 0) rank.result("output", lines);
}

struct draw {
  const place_source& source;
  std::uint32_t ranks;
  std::uint64_t seed;
  bool large;  ///< 1 MiB, and the access links of desktop peers
  bool lossy;  ///< packets are lost and routes shift as the profile says
};

sim::options network_of(const draw& d) {
  sim::options o;
  o.seed = d.seed;
  o.profile = d.source.profile;
  o.matrix = d.source.matrix;
  if (d.large) o.access = sim::latency_profile::residential;
  o.conditions = sim::conditions_of(d.source.profile);
  if (!d.lossy) o.conditions->loss = o.conditions->shift_share = 0;
  return o;
}

/// The same places and links as in the simulation, in the order of the job's ranks.
far_network model_of(const draw& d, const std::vector<std::uint32_t>& machine_of_rank) {
  const sim::options o = network_of(d);
  const std::uint64_t seed = sim::places_seed(d.seed);
  sim::latency_map map = o.matrix ? sim::latency_map(*o.matrix, seed) : sim::latency_map(o.profile, seed);
  if (o.access) map.access_of(*o.access);
  std::vector<far_network::access> drawn, links;
  for (std::uint32_t i = 0; i < d.ranks; ++i) {
    map.add_machine();
    const auto access = map.draw_access();
    drawn.push_back({static_cast<double>(access.up) / 8, static_cast<double>(access.down) / 8});
  }
  std::vector<double> times;
  for (const std::uint32_t i : machine_of_rank) {
    links.push_back(drawn[i]);
    for (const std::uint32_t j : machine_of_rank) times.push_back(i == j ? 0 : to_seconds(map.round_trip(i, j)));
  }
  return {std::move(times), std::move(links)};
}

struct far_run {
  std::string lines;
  std::vector<std::uint32_t> machine_of_rank;
};

far_run run_simulated(const settings& how, const draw& d) {
  const peal::program program =
      peal::program("far", far_body).option("large", "0", "").option("repeats", "1", "");
  runtime::simulated_cluster::options o;
  o.peers = d.ranks;
  o.job.ranks = d.ranks;
  o.job.options = {{"large", d.large ? "1" : "0"}, {"repeats", how.quick ? "1" : "3"}};
  o.checkpoint_interval = duration::zero();
  o.network = network_of(d);
  runtime::simulated_cluster cluster(program, std::move(o));
  // The first result is enough: the end of the job is of no interest.
  const bool ended = cluster.run_until(
      [&] { return cluster.outcome(0).has_value(); }, std::chrono::hours(2));
  const auto* record = runtime::newest_record(cluster);
  if (!ended || !cluster.outcome(0)->ok() || record == nullptr)
    throw std::runtime_error(fmt::format("the simulated job of {} ranks has no result, {}, seed {}", d.ranks,
                                         d.source.name, d.seed));
  far_run run;
  run.lines = as_text((**cluster.outcome(0)).at("output"));
  for (std::uint32_t r = 0; r < d.ranks; ++r)
    run.machine_of_rank.push_back(
        static_cast<std::uint32_t>(cluster.index_of(record->host(rank_number(r))->node).value()));
  return run;
}

void add_draw(const settings& how, const draw& d, comparison& out) {
  measurement m;
  m.benchmark = "messaging";
  m.profile = d.source.name;
  m.unit = seconds_unit;
  m.parameters["path"] = "sim";
  m.parameters["processes"] = d.ranks;
  m.parameters["bytes"] = 0;
  m.parameters["loss"] = d.lossy ? sim::conditions_of(d.source.profile).loss : 0.0;
  const auto add = [&](std::string_view system, double value) {
    m.system = system;
    m.value = value;
    out.add(m);
  };
  const far_run run = run_simulated(how, d);
  const far_network model = model_of(d, run.machine_of_rank);
  std::istringstream lines(run.lines);
  std::size_t bytes = 0;
  double value = 0;
  while (lines >> m.metric >> bytes >> value) {
    const auto size = static_cast<double>(bytes);
    m.parameters["bytes"] = bytes;
    add("p2pdvm", value);
    if (!d.large) add("relay_bound", model.relay_bound());
    if (m.metric == "barrier_time") {
      add("dissemination", model.dissemination());
    } else if (m.metric == "allreduce_time") {
      add("recursive_doubling", model.recursive_doubling(size));
      add("binomial", model.binomial(size));
    }
    if (!d.large) {
      add("direct", model.direct());
    } else {
      add("rabenseifner", model.rabenseifner(size));
      add("ring", model.ring(size));
    }
  }
}

}  // namespace

void measure_far_ranks(const settings& how, comparison& out) {
  const int draws = how.draws > 0 ? how.draws : how.quick ? 1 : 3;
  const std::uint32_t ranks = how.quick ? 4 : 64;
  for (const place_source& source : place_sources(how)) {
    for (int i = 1; i <= draws; ++i) {
      const auto seed = static_cast<std::uint64_t>(i);
      add_draw(how, {source, ranks, seed, false, false}, out);
      add_draw(how, {source, ranks, seed, false, true}, out);
      add_draw(how, {source, ranks, seed, true, false}, out);
    }
  }
}

}  // namespace p2pdvm::bench

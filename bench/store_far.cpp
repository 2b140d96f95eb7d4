/// What holders do for each other over access links of desktops, in virtual time: copies of a lost holder are made anew, and a lost rank's
/// state comes to its new host.
#include "store_far.hpp"

#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

namespace p2pdvm::bench {

namespace {

using namespace std::chrono_literals;
using runtime::event_kind;

constexpr std::uint32_t peers = 9, ranks = 4;
constexpr unsigned replicas = 3;

/// Computes nothing, and takes no checkpoint but those that are asked for.
task<> resting_body(peal::rank& rank) {
  std::vector<std::byte> region(rank.option<std::size_t>("bytes"));
  for (std::byte& b : region) b = static_cast<std::byte>(rank.random()());
  std::uint64_t step = 0;
  rank.region("region", region);
  rank.state("step", step);
  co_await rank.restore();
  for (; step < 100'000; ++step) {
    co_await rank.sleep(1s);
    co_await rank.safe_point();
  }
}

/// Bytes per second, drawn as the simulator draws them for the same seed.
struct link {
  double up, down;
};
std::vector<link> links_of(const sim::options& network) {
  sim::latency_map map(network.profile, sim::places_seed(network.seed));
  map.access_of(*network.access);
  std::vector<link> all;
  for (std::uint32_t i = 0; i < peers; ++i) {
    map.add_machine();
    const auto access = map.draw_access();
    all.push_back({static_cast<double>(access.up) / 8, static_cast<double>(access.down) / 8});
  }
  return all;
}

class far_holders {
 public:
  far_holders(std::uint64_t seed, std::size_t bytes) : bytes_(bytes), program_("resting", resting_body) {
    program_.option("bytes", "65536", "of each rank");
    runtime::simulated_cluster::options o;
    o.peers = peers;
    o.job.ranks = ranks;
    o.job.options = {{"bytes", std::to_string(bytes)}};
    o.checkpoint_interval = duration::zero();
    o.hang_after = duration::zero();
    o.network.seed = seed;
    o.network.profile = sim::latency_profile::planetlab;
    o.network.access = sim::latency_profile::residential;
    links_ = links_of(o.network);
    cluster_.emplace(program_, std::move(o), [this](std::size_t peer, const runtime::event& e) { events_.push_back({peer, e}); });
    wait([&] { return record() != nullptr && record()->state == checkpoint::job_state::running; }, "does not start");
    cluster_->wish(0);
    wait([&] { return !record()->committed.epoch.value() ? false : true; }, "takes no checkpoint");
    (void)cluster_->run_until([] { return false; }, 5s);
  }

  struct repair {
    double lost = 0, given = 0;  ///< bytes
    double seconds = 0;
    double link = 0;             ///< the median uplink [bytes/s]
  };
  /// A holder without ranks is killed.
  [[nodiscard]] repair lose_a_holder() {
    const std::size_t victim = without_ranks();
    repair r;
    r.lost = static_cast<double>(cluster_->at(victim).held().chunk_bytes);
    const double before = given();
    cluster_->crash(victim);
    const double evicted = next(event_kind::evicted).second;
    while (least_copies() < replicas) {
      (void)cluster_->run_until([] { return false; }, 100ms);
      r.seconds = now() - evicted;
      if (r.seconds > 3600) throw std::runtime_error("copies of a lost holder are not made anew within an hour");
    }
    r.given = given() - before;
    std::vector<double> ups;
    for (std::size_t i = 0; i < peers; ++i) {
      if (cluster_->alive(i)) ups.push_back(links_[i].up);
    }
    r.link = median(std::move(ups));
    return r;
  }

  struct restore {
    double given = 0;  ///< bytes that came from others
    double seconds = 0;
    double link = 0;   ///< the new host's downlink, or all uplinks together [bytes/s]
  };
  [[nodiscard]] restore lose_a_rank() {
    const auto victim = cluster_->index_of(record()->host(rank_number(0))->node).value();
    const double before = given();
    cluster_->crash(victim);
    const auto [host, fetched] = next(event_kind::fetched);
    restore r;
    r.given = given() - before;
    double recovering = 0, ups = 0;
    for (const auto& [peer, e] : events_) {
      if (peer == host && e.kind == event_kind::recovering) recovering = to_seconds(e.at.time_since_epoch());
    }
    r.seconds = fetched - recovering;
    for (std::size_t i = 0; i < peers; ++i) ups += cluster_->alive(i) && i != host ? links_[i].up : 0;
    r.link = std::min(links_[host].down, ups);
    return r;
  }

 private:
  [[nodiscard]] const checkpoint::job_record* record() { return runtime::newest_record(*cluster_); }
  [[nodiscard]] double now() { return to_seconds(cluster_->network().now().time_since_epoch()); }
  template <class Condition>
  void wait(Condition condition, const char* trouble) {
    if (!cluster_->run_until(condition, 1h)) throw std::runtime_error(std::string("the simulated job ") + trouble);
  }
  /// Which peer tells of it first from now on, and when.
  std::pair<std::size_t, double> next(event_kind kind) {
    const std::size_t seen = events_.size();
    std::size_t at = seen;
    wait([&] {
      while (at < events_.size() && events_[at].second.kind != kind) ++at;
      return at < events_.size();
    }, "does not recover");
    return {events_[at].first, to_seconds(events_[at].second.at.time_since_epoch())};
  }
  [[nodiscard]] std::size_t without_ranks() {
    for (std::size_t i = 0; i < peers; ++i) {
      if (cluster_->alive(i) && cluster_->at(i).current_job()->now().ranks_here == 0) return i;
    }
    throw std::runtime_error("every peer has ranks");
  }
  [[nodiscard]] double given() {
    double all = 0;
    for (std::size_t i = 0; i < peers; ++i) {
      if (cluster_->alive(i)) all += static_cast<double>(cluster_->at(i).held().given_bytes);
    }
    return all;
  }
  /// Of the chunk of which there are fewest.
  [[nodiscard]] std::size_t least_copies() {
    std::map<chunk_id, std::size_t> copies;
    const epoch_number epoch = record()->committed.epoch;
    for (std::size_t i = 0; i < peers; ++i) {
      if (!cluster_->alive(i)) continue;
      std::set<chunk_id> here;
      const store::chunk_log& log = cluster_->at(i).log();
      for (const store::pin& p : log.pins()) {
        if (p.epoch != epoch) continue;
        for (const chunk_id& id : log.pinned(p)) here.insert(id);
      }
      for (const chunk_id& id : here) copies[id] += log.contains(id) ? 1 : 0;
    }
    std::size_t least = replicas;
    for (const auto& [id, count] : copies) least = std::min(least, count);
    return least;
  }

  std::size_t bytes_;
  peal::program program_;
  std::vector<link> links_;
  std::vector<std::pair<std::size_t, runtime::event>> events_;
  std::optional<runtime::simulated_cluster> cluster_;
};

}  // namespace

void measure_far_store(const settings& how, report& out) {
  const std::size_t bytes = how.quick ? 256 << 10 : 32 << 20;
  // So much is there before holders begin to make copies for each other, which would count as given.
  const std::size_t restored_bytes = how.quick ? bytes : bytes / 4;
  const int draws = how.draws > 0 ? how.draws : how.quick ? 1 : 5;
  std::vector<double> repair_times, repair_traffic, repair_seconds, restores;
  for (int seed = 1; seed <= draws; ++seed) {
    far_holders holders(static_cast<std::uint64_t>(seed), bytes);
    const auto repair = holders.lose_a_holder();
    repair_seconds.push_back(repair.seconds);
    repair_times.push_back(repair.seconds / (repair.lost / repair.link));
    repair_traffic.push_back(repair.given / repair.lost);
    far_holders others(static_cast<std::uint64_t>(seed), restored_bytes);
    const auto restore = others.lose_a_rank();
    restores.push_back(restore.given / restore.seconds / restore.link);
  }
  measurement m;
  m.benchmark = "store";
  m.system = "p2pdvm";
  m.profile = "residential";
  m.parameters["path"] = "sim";
  m.parameters["bytes"] = bytes;  // of each of four ranks
  m.parameters["processes"] = peers;
  const auto add = [&](const char* metric, std::string_view unit, double value) {
    m.metric = metric;
    m.unit = unit;
    m.value = value;
    out.add(m);
  };
  add("repair_time", seconds_unit, median(repair_seconds));
  add("repair_time_ratio", fraction_unit, median(repair_times));
  add("repair_traffic_ratio", fraction_unit, median(repair_traffic));
  m.parameters["bytes"] = restored_bytes;
  add("restore_ratio", fraction_unit, median(restores));
}

}  // namespace p2pdvm::bench

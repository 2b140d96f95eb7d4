#include "detector_group.hpp"
#include "overlay_members.hpp"

#include <p2pdvm/peal/mpi/communicator.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>

#include <algorithm>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::bench {

namespace {

using overlay::detector_options;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// Waits for a message that nobody sends.
task<> idle_body(peal::rank& rank) {
  mpi::communicator world(rank);
  (void)co_await world.recv<int>(rank.id());
}

/// Seconds from the ticket until everybody runs the job with the record of all.
double roster_time(std::uint32_t peers, std::uint64_t seed) {
  const peal::program program("idle", idle_body);
  runtime::simulated_cluster::options o;
  o.peers = peers;
  o.job.ranks = peers;
  o.checkpoint_interval = duration::zero();
  o.network.seed = seed;
  o.network.profile = sim::latency_profile::planetlab;
  o.detector = detector_options::wan();
  runtime::simulated_cluster* world = nullptr;
  std::optional<time_point> begin;
  std::uint32_t started = 0;
  runtime::simulated_cluster cluster(program, o, [&](std::size_t, const runtime::event& e) {
    if (e.kind == runtime::event_kind::ticket) begin = world->network().now();
    if (e.kind == runtime::event_kind::started) ++started;
  });
  world = &cluster;
  if (!cluster.run_until([&] { return started == peers; }, std::chrono::minutes(5)))
    throw std::runtime_error(fmt::format("{} of {} peers have the whole roster after five minutes, seed {}",
                                         started, peers, seed));
  return to_seconds(cluster.network().now() - *begin);
}

}  // namespace

void measure_crash_agreement(const settings& how, report& out) {
  const std::size_t members = how.quick ? 16 : 1024;
  const std::uint64_t seeds = how.quick ? 1 : 5;
  const std::size_t crashes = how.quick ? 1 : 10;
  for (const job_profile& profile : job_profiles) {
    std::vector<double> times;
    double datagrams = 0, bytes = 0, span = 0;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) {
      detector_group job(profile, members, seed);
      job.world().run_for(seconds(5));
      const std::uint64_t datagrams_before = job.datagrams, bytes_before = job.bytes;
      job.world().run_for(seconds(10));
      span += 10.0 * static_cast<double>(members);
      datagrams += static_cast<double>(job.datagrams - datagrams_before);
      bytes += static_cast<double>(job.bytes - bytes_before);
      for (std::size_t i = 0; i < crashes; ++i) {
        job.world().run_for(milliseconds(1000 + 37 * i));
        const time_point death = job.world().now();
        job.crash(i);
        const std::size_t living = members - 1 - i;
        const bool all = job.world().run_until([&] { return job.agreed(i) == living; },
                                               death + seconds(60));
        if (!all)
          throw std::runtime_error("a crash is not agreed by all after a minute, seed " +
                                   std::to_string(seed));
        times.push_back(to_seconds(job.world().now() - death));
        job.evict(i);
      }
    }
    measurement m = about(profile, members);
    m.parameters["crashes"] = crashes;
    m.parameters["seeds"] = seeds;
    m.unit = seconds_unit;
    m.metric = "crash_agreed_time";
    m.parameters["of"] = "median";
    m.value = median(times);
    out.add(m);
    m.parameters["of"] = "worst";
    m.value = *std::max_element(times.begin(), times.end());
    out.add(m);
    m.parameters.erase("of");
    m.parameters.erase("crashes");
    m.metric = "detector_bytes_per_s";
    m.unit = byte_rate_unit;
    m.value = bytes / span;
    out.add(m);
    m.metric = "detector_datagrams_per_s";
    m.unit = rate_unit;
    m.value = datagrams / span;
    out.add(m);
  }
}

void measure_false_evictions(const settings& how, report& out) {
  const std::size_t members = how.quick ? 20 : 1024;
  const double peer_hours = how.quick ? 5 : 1e4;
  const std::uint64_t seed = 1;
  const job_profile& profile = job_profiles[1];
  detector_group job(profile, members, seed, 0.05);
  const std::size_t stallers = members / 10;  // the first ones
  random_generator random(seed);
  const time_point end = job.world().now() + from_seconds(peer_hours * 3600 / static_cast<double>(members));
  const std::function<void(std::size_t)> stall_again = [&](std::size_t i) {
    const duration pause = milliseconds(random.below(180'000));
    job.world().call_at(job.world().now() + pause, [&, i] {
      job.stall(i, seconds(20));
      job.world().call_at(job.world().now() + seconds(20), [&, i] { stall_again(i); });
    });
  };
  for (std::size_t i = 0; i < stallers; ++i) stall_again(i);
  job.world().run_until(end);
  double evicted = 0, stalled = 0;
  for (std::size_t i = 0; i < members; ++i) {
    if (job.agreed(i) > 0) ++(i < stallers ? stalled : evicted);
  }
  if (stalled < static_cast<double>(stallers))
    throw std::runtime_error("not every member that stalled was agreed dead: nothing was tested");
  const double span = to_seconds(end.time_since_epoch()) * static_cast<double>(members);
  measurement m = about(profile, members);
  m.parameters["peer_hours"] = peer_hours;
  m.parameters["stallers"] = stallers;
  m.parameters["loss"] = 0.05;
  m.parameters["seed"] = seed;
  m.metric = "false_evictions";
  m.unit = count_unit;
  m.value = evicted;
  out.add(m);
  m.metric = "detector_bytes_per_s";
  m.unit = byte_rate_unit;
  m.value = static_cast<double>(job.bytes) / span;
  out.add(m);
  m.metric = "detector_datagrams_per_s";
  m.unit = rate_unit;
  m.value = static_cast<double>(job.datagrams) / span;
  out.add(m);
}

void measure_roster(const settings& how, report& out) {
  const std::vector<std::uint32_t> sizes = how.quick ? std::vector<std::uint32_t>{4}
                                                     : std::vector<std::uint32_t>{16, 64, 128, 256, 1024};
  for (const std::uint32_t peers : sizes) {
    const std::uint64_t seeds = how.quick || peers > 256 ? 1 : 3;  // 1024 take minutes each
    std::vector<double> times;
    for (std::uint64_t seed = 1; seed <= seeds; ++seed) times.push_back(roster_time(peers, seed));
    measurement m = about(job_profiles[1], peers);
    m.parameters["seeds"] = seeds;
    m.metric = "roster_time";
    m.unit = seconds_unit;
    m.value = median(times);
    out.add(m);
  }
}

}  // namespace p2pdvm::bench

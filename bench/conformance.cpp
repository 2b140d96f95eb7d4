/// conformance: the same job in virtual time and on real processes that are delayed like it.
#include "runs.hpp"
#include "suites.hpp"

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>

#include <algorithm>
#include <cstddef>
#include <map>
#include <numeric>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::bench {

namespace {

constexpr std::uint32_t peers = 4;
constexpr std::size_t ring_bytes = 64 << 10;

/// Reductions of 8 bytes, then messages around a ring, in every order of the ranks: which rank is on
/// which peer differs from run to run, and must not matter. The mean time of one of each.
task<> conformance_body(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int repeats = rank.option<int>("repeats");
  std::vector<std::byte> mine(ring_bytes), theirs(ring_bytes);
  std::vector<int> order(static_cast<std::size_t>(rank.size()));
  std::iota(order.begin(), order.end(), 0);
  double value = rank.id();
  double reduction = 0, shift = 0;
  int orders = 0;
  do {
    const int key = order[static_cast<std::size_t>(rank.id())];
    mpi::communicator ring = co_await world.split(0, key);
    const int next = (ring.rank() + 1) % ring.size();
    const int before = (ring.rank() + ring.size() - 1) % ring.size();
    // The first ones make connections, and let all begin together.
    for (int i = 0; i < 2; ++i) value = co_await ring.allreduce(value) / ring.size();
    double begin = rank.now();
    for (int i = 0; i < repeats; ++i) value = co_await ring.allreduce(value) / ring.size();
    reduction += (rank.now() - begin) / repeats;
    co_await ring.sendrecv(std::span(mine), next, std::span(theirs), before);
    begin = rank.now();
    for (int i = 0; i < repeats; ++i)
      co_await ring.sendrecv(std::span(mine), next, std::span(theirs), before);
    shift += (rank.now() - begin) / repeats;
    ++orders;
  } while (std::next_permutation(order.begin(), order.end()) && repeats > 1);
  reduction = co_await world.allreduce(reduction) / (orders * rank.size());
  shift = co_await world.allreduce(shift) / (orders * rank.size());
  if (rank.id() == 0) rank.result("output", fmt::format("{}\n{}\n", reduction, shift));
}

struct job_times {
  double reduction = 0;
  double shift = 0;
};

job_times parsed(const std::vector<std::string>& lines) {
  if (lines.size() < 2) throw std::runtime_error("the job gave no times");
  return {std::stod(lines[0]), std::stod(lines[1])};
}

using option_map = std::map<std::string, std::string>;

job_times simulated(const char* profile, std::uint64_t seed, const option_map& options) {
  const peal::program program = conformance_program();
  runtime::simulated_cluster::options o;
  o.peers = peers;
  o.job.ranks = peers;
  o.job.options = options;
  o.checkpoint_interval = duration::zero();
  o.network.seed = seed;
  o.network.profile = *sim::latency_profile_of(profile);
  runtime::simulated_cluster cluster(program, std::move(o));
  if (!cluster.run(std::chrono::hours(1)) || !cluster.outcome(0) || !cluster.outcome(0)->ok())
    throw std::runtime_error(fmt::format("the simulated job has no result, {}, seed {}", profile, seed));
  const std::string text(as_text((**cluster.outcome(0)).at("output")));
  const std::size_t line = text.find('\n');
  return parsed({text.substr(0, line), text.substr(line + 1)});
}

job_times real(const char* profile, std::uint64_t seed, const option_map& options) {
  const temporary_folder folder;
  const std::string output = folder.path() + "/output";
  std::vector<std::string> words = {
      "--ranks", std::to_string(peers), "--local", std::to_string(peers), "--profile", profile,
      "--seed", std::to_string(seed), "--data", folder.path() + "/data", "--quiet", "--json",
      "--checkpoint-every", "off", "--", "--output", output};
  for (const auto& [name, value] : options) words.insert(words.end(), {"--" + name, value});
  process job(conformance_program().name(), words);
  constexpr std::chrono::seconds limit(600);
  const auto status = job.wait(limit, nullptr, nullptr);
  if (!status || *status != 0)
    throw std::runtime_error(fmt::format("the job of {} processes {}, {}, seed {}", peers,
                                         status ? "failed" : "did not end within ten minutes", profile, seed));
  return parsed(lines_of(output));
}

}  // namespace

peal::program conformance_program() {
  peal::program p("p2pdvm-bench-conformance", conformance_body);
  p.option("repeats", "4", "reductions, and shifts of 64 KiB around the ring, in each order of the ranks")
      .output("output", "the time of one of each [s]");
  return p;
}

void run_conformance(const settings& how, report& out) {
  for (const char* profile : {"planetlab", "residential"}) {
    for (const std::uint64_t seed : {1, 2, 3}) {
      const option_map options = {{"repeats", how.quick ? "1" : "4"}};
      const job_times virtually = simulated(profile, seed, options);
      const job_times really = real(profile, seed, options);
      measurement m;
      m.benchmark = "conformance";
      m.system = "p2pdvm";
      m.profile = profile;
      const auto add = [&](const char* what, std::size_t bytes, double here, double there) {
        m.parameters = {{"of", what}, {"peers", peers}, {"bytes", bytes}, {"seed", seed}, {"processes", 1}};
        m.metric = "simulated_time";
        m.unit = seconds_unit;
        m.value = here;
        out.add(m);
        m.parameters["processes"] = peers;
        m.metric = "delayed_time";
        m.value = there;
        out.add(m);
        m.metric = "conformance_ratio";  // real over virtual
        m.unit = fraction_unit;
        m.value = there / here;
        out.add(m);
      };
      add("allreduce", 8, virtually.reduction, really.reduction);
      add("ring", ring_bytes, virtually.shift, really.shift);
      if (how.quick) return;
    }
  }
}

}  // namespace p2pdvm::bench

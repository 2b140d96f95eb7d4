/// bsp: what a superstep costs, and a word that is put in it, beside supersteps of MPI libraries.
#include "comparison.hpp"
#include "messaging_plan.hpp"
#include "parts.hpp"
#include "real_runs.hpp"
#include "suites.hpp"
#include "superstep_plan.hpp"

#include <p2pdvm/peal/bsp.hpp>

#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::bench {

namespace {

/// "superstep_time WORDS SECONDS"
task<> bsp_body(peal::rank& rank) {
  bsp::world world(rank);
  bind_if_asked(rank);
  std::vector<double> memory(static_cast<std::size_t>(supersteps::words_max * rank.size()));
  bsp::array<double> shared(world, memory);
  co_await rank.restore();
  const supersteps::effort e = supersteps::effort_of(rank.option<int>("quick") != 0);
  std::string lines;
  for (const int words : supersteps::words) {
    std::vector<double> seconds;
    for (int sample = -1; sample < e.samples; ++sample) {
      const double begin = rank.now();
      for (int n = 0; n < e.supersteps; ++n) {
        for (int i = 0; i < words; ++i)
          shared.put(supersteps::destination(rank.id(), rank.size(), i), static_cast<std::size_t>(rank.id() * words + i), 1.0 + i);
        co_await world.sync();
      }
      if (sample >= 0) seconds.push_back((rank.now() - begin) / e.supersteps);
    }
    lines += fmt::format("superstep_time {} {:.9g}\n", words, median(seconds));
  }
  if (rank.id() == 0) rank.result("output", lines);
}

void add_figures(const real_run& run, const std::vector<std::string>& lines, comparison& out) {
  measurement m;
  m.benchmark = "bsp";
  m.system = run.system;
  m.profile = "native";
  m.parameters = {{"path", run.path}, {"processes", run.path == "process" ? 1 : run.ranks}, {"ranks", run.ranks}};
  m.unit = seconds_unit;
  std::vector<std::pair<int, double>> times;
  for (const std::string& line : lines) {
    std::istringstream in(line);
    int words = 0;
    if (!(in >> m.metric >> words >> m.value))
      throw std::runtime_error(fmt::format("{} over {} printed '{}', which is no figure", run.system, run.path, line));
    times.emplace_back(words, m.value);
  }
  const supersteps::machine fit = supersteps::fitted(times);
  m.metric = "l";
  m.value = fit.l;
  out.add(m);
  m.metric = "g";
  m.value = fit.g;
  out.add(m);
  m.metric = "superstep_time";
  for (const auto& [words, seconds] : times) {
    m.parameters["words"] = words;
    m.value = seconds;
    out.add(m);
  }
}

comparison goals() {
  const std::vector<std::string> either = {"openmpi", "mpich"};
  std::vector<goal> all;
  for (const char* metric : {"l", "g"}) {
    for (const char* path : {"shm", "tcp"}) all.push_back({metric, path, {}, {}, either, 1, "≤ the better MPI"});
  }
  return comparison(std::move(all));
}

}  // namespace

peal::program bsp_program() {
  peal::program p("p2pdvm-bench-bsp", bsp_body);
  p.option("quick", "0", "1: tiny counts")
      .option(bind_option, "0", "1: each rank to a core of its own")
      .output("output", "the figures");
  return p;
}

void run_bsp(const settings& how, report& out) {
  check_mpi_programs("bsp", how.against);
  plan::take_share();
  comparison all = goals();
  std::vector<real_run> runs = {{"p2pdvm", "process", 1}, {"p2pdvm", "process", 4}};
  for (const char* path : {"shm", "tcp"}) {
    for (const int ranks : {2, 4}) {
      if (how.quick && ranks == 4) continue;
      runs.push_back({"p2pdvm", path, ranks});
      for (const std::string& system : how.against) {
        // Ranks of MPICH spin without giving way: more of them than cores take minutes.
        if (system != "mpich" || bound({system, path, ranks})) runs.push_back({system, path, ranks});
      }
    }
  }
  const int rounds = how.rounds > 0 ? how.rounds : how.quick ? 1 : 5;
  std::vector<bool> broken(runs.size());
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const real_run& run = runs[i];
      if (broken[i]) continue;
      try {
        add_figures(run, run.system == "p2pdvm" ? run_ranks(bsp_program(), run, {{"quick", how.quick ? "1" : "0"}}) : run_mpi("bsp", run, how.quick), all);
      } catch (const std::exception& e) {
        // One that cannot be measured does not take the others with it.
        if (run.system == "p2pdvm") throw;
        broken[i] = true;
        fmt::print(stderr, "p2pdvm-bench: bsp: {}; it is left out\n", e.what());
      }
    }
  }
  all.print(how, out);
}

}  // namespace p2pdvm::bench

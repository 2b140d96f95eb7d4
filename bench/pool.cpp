/// pool: bags of tasks; what a task costs, and how busy ranks are with tasks of 10 ms.
#include "messaging_plan.hpp"
#include "parts.hpp"
#include "runs.hpp"
#include "suites.hpp"

#include <p2pdvm/peal/pool.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <chrono>
#include <cstdint>
#include <ranges>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::bench {

namespace {

/// As long as asked for, by the clock. Gives the seconds that it took, which are more where others have the core at the end.
double spin(duration length) {
  const auto begin = std::chrono::steady_clock::now();
  if (length > duration::zero()) {
    while (std::chrono::steady_clock::now() < begin + length) {
    }
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// Between nothing and twice the mean, the same on every rank.
duration length_of(std::uint32_t task, duration mean, bool even) {
  if (even || mean == duration::zero()) return mean;
  return from_seconds(to_seconds(mean) * 2 * random_generator(task).unit());
}

/// "SECONDS NOMINAL BUSY" for each bag: how long it took, how long its tasks are, how long they took. The first bag warms up; the others are timed by rank 0, from before it submits.
task<> pool_body(peal::rank& rank) {
  pool::bag bag(rank);
  bag.again_after(0);  // what tasks give here are times, which differ
  co_await rank.restore();
  const auto tasks = rank.option<std::uint32_t>("tasks");
  const auto bags = rank.option<int>("bags");
  const duration mean = std::chrono::microseconds(rank.option<std::int64_t>("microseconds"));
  const bool even = rank.option<int>("even") != 0;
  std::string lines;
  for (int i = 0; i <= bags; ++i) {
    const std::uint32_t count = i == 0 ? std::max(tasks / 10, 2u) : tasks;
    const double begin = rank.now();
    const auto times = bag.map(std::views::iota(0u, count),
                               [mean, even](std::uint32_t task) { return spin(length_of(task, mean, even)); });
    co_await bag.run();
    const double took = rank.now() - begin;
    double nominal = 0, busy = 0;
    for (std::uint32_t task = 0; task < count; ++task) {
      nominal += to_seconds(length_of(task, mean, even));
      busy += times[task].value();
    }
    if (i > 0) lines += fmt::format("{:.9g} {:.9g} {:.9g}\n", took, nominal, busy);
  }
  if (rank.id() == 0) rank.result("output", lines);
}

struct shape {
  const char* path;  ///< process: all ranks in one thread; shm, tcp: a process each
  int ranks;
  std::uint32_t tasks;
  int bags;
  int microseconds;
  bool even = true;
};

std::vector<std::string> lines_from(const shape& s) {
  const std::map<std::string, std::string> options = {{"tasks", std::to_string(s.tasks)},
                                                      {"bags", std::to_string(s.bags)},
                                                      {"microseconds", std::to_string(s.microseconds)},
                                                      {"even", s.even ? "1" : "0"}};
  const peal::program program = pool_program();
  const std::string path = s.path;
  if (path == "process") {
    embedded_run::options alone;
    alone.ranks = static_cast<std::uint32_t>(s.ranks);
    alone.program_options = options;
    alone.checkpoint_interval = duration::zero();
    std::istringstream in{std::string(as_text(embedded_run(program, alone).run().at("output")))};
    std::vector<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  }
  const temporary_folder folder;
  const std::string output = folder.path() + "/output";
  std::vector<std::string> words = {"--ranks", std::to_string(s.ranks), "--local", std::to_string(s.ranks),
                                    "--data", folder.path() + "/data", "--quiet", "--json",
                                    "--checkpoint-every", "off", "--shared-memory", path == "shm" ? "on" : "off",
                                    "--", "--output", output};
  for (const auto& [name, value] : options) words.insert(words.end(), {"--" + name, value});
  process job(program.name(), words);
  const auto status = job.wait(std::chrono::seconds(300), nullptr, nullptr);
  if (!status || *status != 0) throw std::runtime_error(fmt::format("{} ranks of a bag over {} did not end well", s.ranks, path));
  return lines_of(output);
}

/// Medians over the bags.
struct figures {
  double took = 0, efficiency = 0, occupancy = 0;
};
figures measured(const shape& s) {
  std::vector<double> took, efficiency, occupancy;
  for (const std::string& line : lines_from(s)) {
    std::istringstream in(line);
    double seconds = 0, nominal = 0, busy = 0;
    in >> seconds >> nominal >> busy;
    took.push_back(seconds);
    efficiency.push_back(nominal / (s.ranks * seconds));
    occupancy.push_back(busy / (s.ranks * seconds));
  }
  if (took.empty()) throw std::runtime_error("a bag gave no times");
  return {median(took), median(efficiency), median(occupancy)};
}

measurement row(const shape& s) {
  measurement m;
  m.benchmark = "pool";
  m.system = "p2pdvm";
  m.profile = "native";
  m.parameters = {{"path", s.path}, {"ranks", s.ranks}, {"tasks", s.tasks},
                  {"processes", std::string(s.path) == "process" ? 1 : s.ranks}};
  return m;
}

void measure_empty(const settings& how, report& out) {
  for (const char* path : {"process", "shm", "tcp"}) {
    for (const int ranks : {1, 2, 4}) {
      if (ranks == 1 && std::string(path) != "process") continue;
      if (how.quick && ranks == 4) continue;
      const shape s{path, ranks, how.quick ? 1000u : 200'000u, how.quick ? 1 : 7, 0};
      measurement m = row(s);
      m.metric = "task_rate";
      m.unit = rate_unit;
      m.value = s.tasks / measured(s).took;
      out.add(m);
    }
  }
}

void measure_efficiency(const settings& how, report& out) {
  for (const char* path : {"shm", "tcp"}) {
    for (const bool even : {true, false}) {
      if (how.quick && !even) continue;
      const shape s{path, 2, how.quick ? 20u : 400u, how.quick ? 1 : 5, how.quick ? 1000 : 10'000, even};
      const figures f = measured(s);
      measurement m = row(s);
      m.parameters["lengths"] = even ? "equal" : "0 to 20 ms";
      m.metric = "efficiency";
      m.unit = fraction_unit;
      m.value = f.efficiency;
      out.add(m);
      m.metric = "occupancy";
      m.value = f.occupancy;
      out.add(m);
    }
  }
}

}  // namespace

peal::program pool_program() {
  peal::program p("p2pdvm-bench-pool", pool_body);
  p.option("tasks", "1000", "of a bag")
      .option("bags", "1", "that are timed")
      .option("microseconds", "0", "that a task takes, by the clock")
      .option("even", "1", "0: tasks take between nothing and twice that")
      .output("output", "for each bag how long it took, how long its tasks are and took [s]");
  return p;
}

void run_pool(const settings& how, report& out) {
  plan::take_share();
  measure_parts(how, out, {{"empty", measure_empty}, {"efficiency", measure_efficiency}});
}

}  // namespace p2pdvm::bench

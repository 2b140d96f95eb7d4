/// messaging: half round trips, bandwidth and rate between two ranks, collectives, and idle
/// connections; all systems take turns in one run.
#include "messaging.hpp"
#include "runs.hpp"

#include <algorithm>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::bench {

namespace {

std::vector<goal> goals() {
  const std::vector<std::string> openmpi = {"openmpi"}, mpich = {"mpich"}, either = {"openmpi", "mpich"};
  const std::vector<std::string> classic = {"recursive_doubling", "rabenseifner", "ring", "binomial"};
  std::vector<goal> all = {
      {"half_rtt", "process", 8, {}, {}, 0.06e-6, "≤ 0.06 µs"},
      {"half_rtt", "shm", 8, {}, mpich, 0.7, "≤ 0.7 × mpich"},
      {"half_rtt", "tcp", 8, {}, openmpi, 0.95, "≤ 0.95 × openmpi"},
      {"half_rtt", "tcp", 4 << 20, {}, {"cipher"}, 1 / 0.85, "≤ cipher / 0.85"},
      {"message_rate", "tcp", 8, {}, {}, 10e6, "≥ 10 M/s"},
      {"message_rate", "shm", 8, {}, mpich, 1.5, "≥ 1.5 × mpich"},
      {"barrier_time", "shm", {}, {}, either, 1, "≤ the better MPI"},
      {"allreduce_time", "shm", {}, {}, either, 1, "≤ the better MPI"},
      {"barrier_time", "sim", {}, {}, {"relay_bound"}, 1.1, "≤ 1.1 × relay bound"},
      {"allreduce_time", "sim", 8, {}, {"relay_bound"}, 1.1, "≤ 1.1 × relay bound"},
      {"allreduce_time", "sim", 1 << 20, {}, classic, 1 / 1.5, "≤ the best classic / 1.5"},
      {"connection_bytes", "tcp", {}, {}, {}, 32768, "≤ 32768 B"},
      {"idle_cpu", "tcp", {}, {}, {}, 0.005, "≤ 0.005"}};
  for (const std::size_t bytes : {1 << 10, 8 << 10, 64 << 10, 512 << 10, 4 << 20})
    all.push_back({"half_rtt", "shm", bytes, {}, mpich, 1, "≤ mpich"});
  return all;
}

/// Medians become the only repetition; ratios follow from them.
void read_figures(const std::vector<std::string>& files, comparison& out) {
  for (const std::string& file : files) {
    const std::vector<std::string> lines = lines_of(file);
    if (lines.empty()) throw std::runtime_error(file + " holds no figures");
    for (const std::string& line : lines) {
      measurement m;
      try {
        m = from_line(line);
      } catch (const std::exception&) {
        throw std::runtime_error(file + " holds a line that scripts/bench messaging --json did not print");
      }
      m.parameters.erase("repetitions");
      if (m.benchmark == "messaging" && !m.parameters.contains("against")) out.add(m);
    }
  }
}

}  // namespace

void run_messaging(const settings& how, report& out) {
  const std::vector<std::string> real = {"process", "shm", "tcp"};
  const std::vector<std::string> parts = {"process", "shm", "tcp", "real", "cipher", "sim", "idle"};
  if (!how.part.empty() && std::find(parts.begin(), parts.end(), how.part) == parts.end())
    throw std::runtime_error("there is no part '" + how.part +
                             "'; there are process, shm, tcp, real (these three), cipher, sim and idle");
  const auto wanted = [&](const std::string& part) { return how.part.empty() || how.part == part; };
  comparison all(goals());
  if (!how.from.empty()) {
    read_figures(how.from, all);
    all.print(how, out);
    return;
  }
  std::vector<std::string> paths;
  for (const std::string& path : real)
    if (wanted(path) || how.part == "real") paths.push_back(path);
  if (!paths.empty()) measure_real_ranks(how, paths, all);
  if (wanted("cipher")) measure_ciphers(how, all);
  if (wanted("sim")) measure_far_ranks(how, all);
  if (wanted("idle")) measure_idle_connections(how, all);
  all.print(how, out);
}

}  // namespace p2pdvm::bench

#include "real_runs.hpp"

#include <fmt/core.h>

#include <sched.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>

namespace p2pdvm::bench {

namespace {

constexpr std::chrono::seconds run_time_max(120);

std::runtime_error ended_wrong(const real_run& run, const std::optional<int>& status) {
  const std::string how = status ? fmt::format("ended with status {}", *status)
                                 : fmt::format("did not end within {} s", run_time_max.count());
  return std::runtime_error(fmt::format("{} processes of {} over {} {}", run.ranks, run.system, run.path, how));
}

std::vector<std::string> run_embedded(const peal::program& program, const real_run& run, std::map<std::string, std::string> options) {
  embedded_run::options alone;
  alone.ranks = static_cast<std::uint32_t>(run.ranks);
  alone.program_options = std::move(options);
  alone.checkpoint_interval = duration::zero();
  const runtime::job_results results = embedded_run(program, alone).run();
  std::vector<std::string> lines;
  std::istringstream in{std::string(as_text(results.at("output")))};
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

std::string mpi_program(const std::string& system) {
  return (std::filesystem::read_symlink("/proc/self/exe").parent_path() / ("p2pdvm-bench-" + system)).string();
}

std::vector<std::string> mpi_words(const real_run& run) {
  std::vector<std::string> words;
  if (run.system == "openmpi") {
    words = {"mpiexec.openmpi", "--bind-to", bound(run) ? "core" : "none"};
    if (::geteuid() == 0) words.emplace_back("--allow-run-as-root");
    if (!bound(run)) words.emplace_back("--oversubscribe");
    if (run.path == "tcp")
      for (const char* word : {"--mca", "pml", "ob1", "--mca", "btl", "self,tcp", "--mca", "btl_tcp_if_include", "lo"})
        words.emplace_back(word);
  } else {
    // Debian's MPICH is built on UCX, which has a transport over TCP; MPICH's own shared memory and
    // UCX's must be out of the way.
    if (run.path == "tcp") words = {"env", "MPIR_CVAR_NOLOCAL=1", "UCX_TLS=tcp,self", "UCX_NET_DEVICES=lo"};
    words.emplace_back("mpiexec.mpich");
    if (bound(run)) words.insert(words.end(), {"-bind-to", "core"});
  }
  for (const std::string& word : {std::string("-n"), std::to_string(run.ranks), mpi_program(run.system)})
    words.push_back(word);
  return words;
}

}  // namespace

bool bound(const real_run& run) { return static_cast<unsigned>(run.ranks) <= std::thread::hardware_concurrency(); }

void bind_if_asked(const peal::rank& rank) {
  if (rank.option<int>(bind_option) == 0) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(static_cast<unsigned>(rank.id()), &set);
  ::sched_setaffinity(0, sizeof set, &set);
}

std::vector<std::string> run_ranks(const peal::program& program, const real_run& run,
                                   const std::map<std::string, std::string>& options) {
  if (run.path == "process") {
    auto all = options;
    all[bind_option] = "0";
    return run_embedded(program, run, std::move(all));
  }
  const temporary_folder folder;
  const std::string output = folder.path() + "/output";
  std::vector<std::string> words = {"--ranks", std::to_string(run.ranks), "--local", std::to_string(run.ranks),
                                    "--data", folder.path() + "/data", "--quiet", "--json",
                                    "--checkpoint-every", "off", "--shared-memory", run.path == "shm" ? "on" : "off",
                                    "--", std::string("--") + bind_option, bound(run) ? "1" : "0", "--output", output};
  for (const auto& [name, value] : options) words.insert(words.end(), {"--" + name, value});
  process peers(program.name(), words);
  const auto status = peers.wait(run_time_max, nullptr, nullptr);
  if (!status || *status != 0) throw ended_wrong(run, status);
  return lines_of(output);
}

std::vector<std::string> run_mpi(const std::string& suite, const real_run& run, bool quick) {
  std::vector<std::string> words = mpi_words(run);
  words.push_back(suite);
  if (quick) words.emplace_back("--quick");
  std::vector<std::string> lines;
  process ranks(words);
  const auto status = ranks.wait(run_time_max, [&](std::string_view line) { lines.emplace_back(line); }, nullptr);
  if (!status || *status != 0) throw ended_wrong(run, status);
  return lines;
}

void check_mpi_programs(const std::string& suite, const std::vector<std::string>& libraries) {
  for (const std::string& system : libraries) {
    if (::access(mpi_program(system).c_str(), X_OK) != 0)
      throw std::runtime_error(fmt::format("{} is not there: scripts/bench {} --against {} installs {} and builds it",
                                           mpi_program(system), suite, system, system));
  }
}

}  // namespace p2pdvm::bench

/// p2pdvm-sim swarm: a random job with random faults for each seed; what fails is shrunk.
#include "commands.hpp"

#include <p2pdvm/base/config.hpp>
#include <p2pdvm/runtime/scenario_programs.hpp>
#include <p2pdvm/runtime/scenario_run.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::tools {
namespace {

using runtime::scenario;
using runtime::scenario_fault;
using runtime::scenario_verdict;

struct swarm_options {
  std::uint64_t seeds = 100;
  std::uint64_t first_seed = 1;
  std::uint64_t shrink_tries = 60;
  std::string folder = ".";
  std::string digests;
  bool json = false;
  fault_kinds faults;
};

/// Of virtual time: a job takes seconds, and each try of a shrinking that hangs takes all of it.
constexpr duration patience = std::chrono::minutes(5);

scenario_verdict try_once(const scenario& what) {
  return try_scenario(what, runtime::small_program(what.program), {}, patience);
}

class swarm {
 public:
  explicit swarm(const swarm_options& how)
      : how_(how), live_(!how.json && ::isatty(STDOUT_FILENO) == 1) {}

  int run() {
    for (std::uint64_t i = 0; i < how_.seeds; ++i) {
      progress(i);
      try_seed(how_.first_seed + i);
    }
    clear_line();
    if (!how_.digests.empty()) write(how_.digests, digests_);
    if (how_.json) {
      print({{"seeds", how_.seeds}, {"failed", failed_}, {"seconds", seconds()}});
    } else {
      fmt::print("{} of {} seeds failed, {:.1f} s\n", failed_, how_.seeds, seconds());
    }
    return failed_ == 0 ? 0 : 1;
  }

 private:
  void try_seed(std::uint64_t seed) {
    const scenario what = runtime::draw_scenario(seed, runtime::small_program_names(), how_.faults);
    const scenario_verdict v = try_once(what);
    if (!how_.digests.empty()) digests_ += fmt::format("{} {:016x}\n", seed, v.digest);
    std::string file;
    if (!v.right()) {
      ++failed_;
      file = write_shrunk(what, v);
    }
    if (how_.json) {
      nlohmann::ordered_json line = {{"seed", seed},
                                     {"right", v.right()},
                                     {"events", v.events},
                                     {"digest", fmt::format("{:016x}", v.digest)}};
      if (!v.right()) line.update({{"reason", v.reason}, {"scenario", file}});
      print(line);
    } else if (!v.right()) {
      clear_line();
      fmt::print("seed {} fails: {}; shrunk: p2pdvm-sim replay {}\n", seed, v.reason, file);
      std::fflush(stdout);
    }
  }

  /// The same kind of failure by fewer faults.
  std::string write_shrunk(const scenario& what, const scenario_verdict& v) {
    const scenario small = shrink(
        what, [&v](const scenario& s) { return try_once(s).what == v.what; },
        static_cast<std::size_t>(how_.shrink_tries));
    const std::string path = fmt::format("{}/seed-{}.scenario", how_.folder, what.seed);
    write(path, fmt::format("# p2pdvm-sim {}: seed {} fails: {}\n{}", P2PDVM_VERSION_STRING, what.seed,
                            v.reason, small.text()));
    return path;
  }
  static void write(const std::string& path, const std::string& text) {
    std::FILE* out = std::fopen(path.c_str(), "w");
    if (out == nullptr) throw std::runtime_error("cannot write " + path);
    fmt::print(out, "{}", text);
    if (std::fclose(out) != 0) throw std::runtime_error("cannot write " + path);
  }

  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
  }
  void progress(std::uint64_t done) const {
    if (!live_ || done == 0) return;
    fmt::print("\r\033[K{} of {} seeds, {} failed, {:.1f}/s", done, how_.seeds, failed_,
               static_cast<double>(done) / seconds());
    std::fflush(stdout);
  }
  void clear_line() const {
    if (live_) std::fputs("\r\033[K", stdout);
  }
  static void print(const nlohmann::ordered_json& line) {
    fmt::print("{}\n", line.dump());
    std::fflush(stdout);
  }

  swarm_options how_;
  std::string digests_;
  bool live_;
  std::uint64_t failed_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace

command swarm_command(CLI::App& app) {
  const auto how = std::make_shared<swarm_options>();
  CLI::App* own = app.add_subcommand(
      "swarm", "a random job with random faults for each seed; exits 1 when one ends otherwise than "
               "undisturbed, and writes what is left of its faults to a file");
  own->add_option("--seeds", how->seeds, "how many")->check(CLI::Range(1, 100'000'000))->capture_default_str();
  own->add_option("--first-seed", how->first_seed, "from which on")->capture_default_str();
  own->add_option("--shrink-tries", how->shrink_tries, "runs for shrinking a failure; 0: leave it as it is")
      ->capture_default_str();
  own->add_option("--out", how->folder, "folder for the scenarios of what fails")->capture_default_str();
  add_faults_option(*own, how->faults);
  own->add_option("--digests", how->digests, "write each seed and the digest of all its events to this file");
  own->add_flag("--json", how->json, "print one JSON object a seed, and one at the end");
  return [how] { return swarm(*how).run(); };
}

}  // namespace p2pdvm::tools

/// p2pdvm-bench: measures this machine; docs/performance.md says what the figures mean.
///
///     p2pdvm-bench messaging --json
#include "messaging.hpp"
#include "suites.hpp"

#include <p2pdvm/runtime/main.hpp>

#include <CLI/CLI.hpp>

#include <exception>
#include <string>
#include <string_view>

namespace {

using namespace p2pdvm::bench;

struct suite {
  const char* name;
  void (*run)(const settings&, report&);
};
constexpr suite suites[] = {{"messaging", run_messaging},
                            {"checkpoint", run_checkpoint},
                            {"store", run_store},
                            {"simulator", run_simulator},
                            {"conformance", run_conformance},
                            {"overlay", run_overlay},
                            {"pool", run_pool},
                            {"bsp", run_bsp}};

}  // namespace

int main(int argc, char** argv) {
  // Suites start this program again as peers of a job, under the name of the job's program.
  if (std::string_view(argv[0]) == connections_program) return hold_connections(argc, argv);
  for (const auto& program : {messaging_program(), replacement_program(), conformance_program(), pool_program(), bsp_program()}) {
    if (program.name() == argv[0]) return p2pdvm::main(argc, argv, program);
  }
  CLI::App app("Measures p2pdvm on this machine.\n"
               "  messaging   messages and collectives, also beside MPI libraries; idle connections\n"
               "  checkpoint  what a checkpoint costs, and how soon a lost rank runs again\n"
               "  store       chunks to disk, and their names\n"
               "  simulator   events per second, for swarms and whole jobs\n"
               "  conformance a job in the simulator and on real processes with the same delays\n"
               "  overlay     coordinates, placement, relays; members of a job of 1024 peers\n"
               "  pool        bags of tasks: empty ones per second, efficiency on tasks of 10 ms\n"
               "  bsp         supersteps, and words put in them, also beside MPI libraries\n"
               "  all         one after another",
               "p2pdvm-bench");
  std::string wanted;
  bool json = false;
  settings how;
  app.add_option("suite", wanted, "which to run")
      ->required()
      ->check(CLI::IsMember({"messaging", "checkpoint", "store", "simulator", "conformance", "overlay", "pool", "bsp",
                             "all"}));
  app.add_flag("--json", json, "one JSON object a line: benchmark, system, profile, parameters, "
                               "metric, unit, value");
  app.add_option("--latency-matrix", how.latency_matrix,
                 "messaging, simulator, overlay: also with round trips from this square matrix "
                 "(milliseconds)");
  app.add_flag("--matrix-in-seconds", how.matrix_in_seconds, "its numbers are seconds");
  app.add_option("--part", how.part,
                 "checkpoint, overlay, messaging, pool: only this part, such as mild-churn or shm; a wrong one names all");
  app.add_option("--against", how.against,
                 "messaging, bsp: MPI libraries to measure in the same run: openmpi, mpich, or both with a "
                 "comma; scripts/bench builds what they need")
      ->delimiter(',')
      ->check(CLI::IsMember({"openmpi", "mpich"}));
  app.add_option("--rounds", how.rounds, "messaging, bsp: how often everything is repeated on real processes")
      ->check(CLI::Range(1, 1000));
  app.add_option("--draws", how.draws, "messaging: how many times 64 places are drawn for the simulator")
      ->check(CLI::Range(1, 1000));
  app.add_flag("--markdown", how.markdown, "messaging, bsp: the table as docs/performance.md has it");
  app.add_option("--from", how.from,
                 "messaging: measure nothing, print the table of what --json printed into these files");
  app.add_flag("--quick", how.quick, "tiny counts: shows that it works, measures nothing");
  CLI11_PARSE(app, argc, argv);
  report out(json);
  int failures = 0;
  for (const suite& s : suites) {
    if (wanted != s.name && wanted != "all") continue;
    try {
      s.run(how, out);
    } catch (const std::exception& e) {
      fmt::print(stderr, "p2pdvm-bench: {}: {}\n", s.name, e.what());
      ++failures;
    }
  }
  return failures == 0 ? 0 : 1;
}

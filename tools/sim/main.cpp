/// p2pdvm-sim: a simulated swarm under churn, intervals of checkpoints, many jobs with random faults, or one of them again.
#include "commands.hpp"

#include <p2pdvm/base/config.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <utility>

namespace p2pdvm::tools {

int fail(const std::string& sentence) {
  fmt::print(stderr, "p2pdvm-sim: {}\n", sentence);
  return 1;
}

CLI::Option* add_faults_option(CLI::App& to, fault_kinds& kinds) {
  const auto& all = runtime::all_fault_actions;
  kinds.assign(all.begin(), all.end());
  std::vector<std::string> names;
  for (const auto kind : all) names.emplace_back(runtime::name_of(kind));
  return to
      .add_option_function<std::vector<std::string>>(
          "--faults",
          [&kinds, names](const std::vector<std::string>& given) {
            kinds.clear();
            for (const std::string& name : given) {
              const auto found = std::find(names.begin(), names.end(), name);
              kinds.push_back(runtime::all_fault_actions[static_cast<std::size_t>(found - names.begin())]);
            }
          },
          "kinds to draw from, besides crashes for good; otherwise all: " +
              fmt::format("{}", fmt::join(names, ",")))
      ->delimiter(',')
      ->check(CLI::IsMember(names));
}

namespace {

int run(int argc, char** argv) {
  CLI::App app("Runs of p2pdvm in virtual time, the same for the same seed", "p2pdvm-sim");
  app.set_version_flag("--version", "p2pdvm-sim " P2PDVM_VERSION_STRING);
  app.require_subcommand(1);
  const std::array commands = {std::pair("overlay", overlay_command(app)),
                               std::pair("interval", interval_command(app)),
                               std::pair("swarm", swarm_command(app)),
                               std::pair("replay", replay_command(app))};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // help or version
    (void)fail(std::string(e.what()) + "; see p2pdvm-sim --help");
    return 2;
  }
  for (const auto& [name, start] : commands)
    if (app.got_subcommand(name)) return start();
  return 2;
}

}  // namespace

}  // namespace p2pdvm::tools

int main(int argc, char** argv) {
  try {
    return p2pdvm::tools::run(argc, argv);
  } catch (const std::exception& e) {
    return p2pdvm::tools::fail(e.what());
  }
}

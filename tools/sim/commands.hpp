/// The subcommands of p2pdvm-sim.
#pragma once

#include <p2pdvm/runtime/scenario.hpp>

#include <CLI/CLI.hpp>

#include <functional>
#include <string>
#include <vector>

namespace p2pdvm::tools {

/// Gives the exit code; an exception's text becomes the sentence.
using command = std::function<int()>;

/// Each adds its subcommand to `app`, which must outlive what is returned.
[[nodiscard]] command overlay_command(CLI::App& app);
[[nodiscard]] command interval_command(CLI::App& app);
[[nodiscard]] command swarm_command(CLI::App& app);
[[nodiscard]] command replay_command(CLI::App& app);

/// `--faults`: the kinds that a seed may enable; all of them while it is not given.
using fault_kinds = std::vector<runtime::scenario_fault::action>;
CLI::Option* add_faults_option(CLI::App& to, fault_kinds& kinds);

/// Prints the sentence to standard error; gives 1.
int fail(const std::string& sentence);

}  // namespace p2pdvm::tools

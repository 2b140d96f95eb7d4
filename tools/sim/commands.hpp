/// The subcommands of p2pdvm-sim.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>
#include <string>

namespace p2pdvm::tools {

/// Gives the exit code; an exception's text becomes the sentence.
using command = std::function<int()>;

/// Each adds its subcommand to `app`, which must outlive what is returned.
[[nodiscard]] command overlay_command(CLI::App& app);
[[nodiscard]] command swarm_command(CLI::App& app);
[[nodiscard]] command replay_command(CLI::App& app);

/// Prints the sentence to standard error; gives 1.
int fail(const std::string& sentence);

}  // namespace p2pdvm::tools

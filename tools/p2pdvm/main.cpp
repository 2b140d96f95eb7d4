/// p2pdvm: holds checkpoints for others; looks at those that lie in peers' folders, checks them, moves and forks jobs.
#include "commands.hpp"

#include <p2pdvm/base/config.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <exception>
#include <string_view>
#include <utility>

namespace p2pdvm::tools {

int fail(const std::string& sentence) {
  fmt::print(stderr, "p2pdvm: {}\n", sentence);
  return 1;
}

namespace {

int run(int argc, char** argv) {
  // What follows "--" is for the job's program, as on its own command line.
  std::vector<std::string> own, after;
  for (int i = 1, split = 0; i < argc; ++i) {
    if (split == 0 && std::string_view(argv[i]) == "--") {
      split = 1;
    } else {
      (split == 0 ? own : after).emplace_back(argv[i]);
    }
  }
  CLI::App app("Peers that hold checkpoints for others; and checkpoints of jobs that do not run: what is there, whether it is whole, and "
               "jobs to move or to fork",
               "p2pdvm");
  app.set_version_flag("--version", "p2pdvm " P2PDVM_VERSION_STRING);
  app.require_subcommand(1);
  const std::array commands = {std::pair("peer", peer_command(app)),
                               std::pair("status", status_command(app)),
                               std::pair("ls", ls_command(app)),
                               std::pair("verify", verify_command(app)),
                               std::pair("diff", diff_command(app)),
                               std::pair("export", export_command(app)),
                               std::pair("import", import_command(app)),
                               std::pair("fork", fork_command(app, after))};
  try {
    std::reverse(own.begin(), own.end());  // CLI11 takes them from the back
    app.parse(own);
    if (!after.empty() && !app.got_subcommand("fork")) throw CLI::ExtrasError(after);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // help or version
    (void)fail(std::string(e.what()) + "; see p2pdvm --help");
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

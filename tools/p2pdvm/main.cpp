/// p2pdvm: looks at checkpoints that lie in peers' folders, checks them, moves and forks jobs.
#include "commands.hpp"

#include <p2pdvm/base/config.hpp>

#include <fmt/format.h>

#include <array>
#include <exception>
#include <utility>

namespace p2pdvm::tools {

int fail(const std::string& sentence) {
  fmt::print(stderr, "p2pdvm: {}\n", sentence);
  return 1;
}

namespace {

int run(int argc, char** argv) {
  CLI::App app("Checkpoints of jobs that do not run: what is there, whether it is whole, and jobs to move or fork",
               "p2pdvm");
  app.set_version_flag("--version", "p2pdvm " P2PDVM_VERSION_STRING);
  app.require_subcommand(1);
  const std::array commands = {
      std::pair("ls", ls_command(app)), std::pair("verify", verify_command(app))};
  try {
    app.parse(argc, argv);
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

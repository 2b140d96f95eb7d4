/// p2pdvm-mpiexec: runs MPI programs on this computer, and together with others behind a ticket.
#include "launcher.hpp"

#include <fmt/core.h>

#include <exception>

int main(int argc, char** argv) {
  p2pdvm::mpiexec::options how;
  if (const auto stop = p2pdvm::mpiexec::parse(argc, argv, how)) {
    fmt::print(stop->code == 0 ? stdout : stderr, "{}", stop->text);
    return stop->code;
  }
  try {
    return p2pdvm::mpiexec::launcher(std::move(how)).run();
  } catch (const std::exception& e) {
    fmt::print(stderr, "p2pdvm-mpiexec: {}\n", e.what());
    return 1;
  }
}

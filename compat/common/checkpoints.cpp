/// The functions of p2pdvm.h; each interface's library has them.
#include "c_program.hpp"

#include <p2pdvm.h>

#include <fmt/core.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

namespace p2pdvm::compat {

namespace {

template <class F>
auto on_program(const char* name, F&& body) {
  const auto here = checkpointed_here();
  if (!here) {
    fmt::print(stderr, "{} was called before the program took part in a job, or after it\n", name);
    std::exit(EXIT_FAILURE);
  }
  try {
    return body(*here);
  } catch (const std::exception& e) {
    here->program->abort(EXIT_FAILURE, fmt::format("rank {}: {}: {}", here->program->rank().id(), name, sentence_of(e)));
  }
}

}  // namespace

}  // namespace p2pdvm::compat

#define P2PDVM_C_FUNCTION extern "C" __attribute__((visibility("default")))

using namespace p2pdvm::compat;

P2PDVM_C_FUNCTION void p2pdvm_state(const char* name, void* memory, size_t bytes) {
  on_program("p2pdvm_state", [&](const checkpointed& here) { here.program->memory().name(name, memory, bytes); });
}

P2PDVM_C_FUNCTION int p2pdvm_restore(void) {
  return on_program("p2pdvm_restore", [](const checkpointed& here) { return here.program->memory().restore() ? 1 : 0; });
}

P2PDVM_C_FUNCTION long p2pdvm_checkpoint(void) {
  return on_program("p2pdvm_checkpoint", [](const checkpointed& here) { return static_cast<long>(here.program->checkpoint(here.ranks)); });
}

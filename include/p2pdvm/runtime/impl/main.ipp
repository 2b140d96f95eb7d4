#pragma once

#include <p2pdvm/runtime/main.hpp>
#include <p2pdvm/runtime/native_process.hpp>

#include <fmt/core.h>

#include <cstdio>
#include <exception>

namespace p2pdvm {

P2PDVM_DECL int main(int argc, char** argv, const program& what) {
  runtime::command_line line;
  if (const auto stop = runtime::parse_command_line(argc, argv, what, line)) {
    fmt::print(stop->code == 0 ? stdout : stderr, "{}", stop->text);
    return stop->code;
  }
  try {
    if (!line.simulate.empty() || !line.latency_matrix.empty()) return runtime::run_simulated(what, line);
    if (line.local > 0) return runtime::run_local(what, line);
    return runtime::run_peer(what, line);
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", what.name(), e.what());
    return 1;
  }
}

}  // namespace p2pdvm

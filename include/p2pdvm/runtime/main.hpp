/// The `main` of a program: command line, output, signals, and one peer, several, or simulated ones.
#pragma once

#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>

namespace p2pdvm {

using peal::program;

/// Runs the program as its command line says (see `--help`) and gives the exit code. A
/// convenience: applications that embed a peer use `runtime::peer`.
int main(int argc, char** argv, const program& what);

}  // namespace p2pdvm

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/main.ipp>
#endif

/// The parts of the messaging suite.
#pragma once

#include "comparison.hpp"
#include "suites.hpp"

#include <string>
#include <vector>

namespace p2pdvm::bench {

/// Real ranks in one process, over shared memory and over TCP, beside those of MPI libraries. `paths`
/// are some of "process", "shm" and "tcp"; all of them take turns in every round.
void measure_real_ranks(const settings& how, const std::vector<std::string>& paths, comparison& out);
/// Collectives of 64 ranks far apart, in the simulator, beside what models say of other algorithms.
void measure_far_ranks(const settings& how, comparison& out);
/// What idle cores save of the time of the cipher.
void measure_ciphers(const settings& how, comparison& out);
/// What connections cost that nobody uses.
void measure_idle_connections(const settings& how, comparison& out);

/// Holds the far ends of connections for `measure_idle_connections`, as a process of its own.
int hold_connections(int argc, char** argv);
inline constexpr const char* connections_program = "p2pdvm-bench-connections";

}  // namespace p2pdvm::bench

/// Real ranks of p2pdvm and of MPI libraries that do the same, as processes that are started one run after another.
#pragma once

#include "runs.hpp"

#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <map>
#include <string>
#include <vector>

namespace p2pdvm::bench {

struct real_run {
  std::string system;  ///< p2pdvm, openmpi, mpich
  std::string path;    ///< process: all ranks in one thread; shm, tcp: a process each
  int ranks = 1;
};

/// Whether each rank is bound to a core of its own. Else a system that does something else too may
/// leave two ranks that spin on one core for seconds, where each waits for the end of the other's
/// time slice.
[[nodiscard]] bool bound(const real_run& run);
inline constexpr const char* bind_option = "bind";
/// By ranks whose program has that option: the thread that runs them, as MPI launchers bind theirs.
void bind_if_asked(const peal::rank& rank);

/// The lines of the result "output" of a program that main.cpp knows. Throws `std::runtime_error` with a sentence.
[[nodiscard]] std::vector<std::string> run_ranks(const peal::program& program, const real_run& run,
                                                 const std::map<std::string, std::string>& options);
/// What the program for that library prints, see mpi/main.cpp.
[[nodiscard]] std::vector<std::string> run_mpi(const std::string& suite, const real_run& run, bool quick);
/// Throws where scripts/bench has not built what is needed.
void check_mpi_programs(const std::string& suite, const std::vector<std::string>& libraries);

}  // namespace p2pdvm::bench

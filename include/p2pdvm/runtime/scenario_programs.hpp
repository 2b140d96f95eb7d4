/// Small programs for scenarios: their results depend on every message that any rank received.
#pragma once

#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <cstdint>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

/// `halo` speaks MPI, `supersteps` BSP, `both` both. Options: `steps` (100) and `cells`, numbers
/// of a rank (64).
[[nodiscard]] const std::vector<std::string>& small_program_names();
/// Precondition: one of those names.
[[nodiscard]] peal::program small_program(const std::string& name);

namespace detail {

/// Not commutative: a value that comes too late, twice or not at all changes everything after it.
[[nodiscard]] std::uint64_t mixed(std::uint64_t a, std::uint64_t b);
[[nodiscard]] std::string hex_of(const std::vector<std::uint64_t>& cells);
[[nodiscard]] std::vector<std::uint64_t> first_cells(const peal::rank& rank);
/// One step as in `heat`: a line's ends travel to both neighbours of a ring.
task<> exchange_halos(peal::rank& rank, mpi::communicator& world, std::vector<std::uint64_t>& cells,
                      std::uint64_t step);

}  // namespace detail

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/scenario_programs.ipp>
#endif

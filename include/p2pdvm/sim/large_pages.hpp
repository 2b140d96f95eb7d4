/// Large pages for the memory of a large simulation.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <cstddef>

namespace p2pdvm::sim {

/// Asks the system to back the next `bytes` of this process's heap with large pages: where events
/// touch the memory of thousands of peers in turn, the processor spends much of its time looking
/// up small ones. For a program's `main`: it tells malloc to keep what is freed. No effect where
/// the system cannot (other than glibc on Linux), or when it is asked for less than a few pages.
void use_large_pages(std::size_t bytes);

}  // namespace p2pdvm::sim

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/large_pages.ipp>
#endif

/// How collectives run: each is a coroutine over the bytes of `peal/mpi`, awaited by a call, or by a request.
#pragma once

#include "communicator.hpp"

#include <functional>

namespace p2pdvm::c_mpi {

/// Runs a collective of `over` to its end, and what was begun on it before.
void run(communicator& over, task<> work);
/// The same of what is no collective of a communicator.
void wait_for(task<> work);
/// Begins it; `ended` is called by the call that completes the request.
void begin(communicator& over, task<> work, MPI_Request* request, std::function<void()> ended = {});

/// A request that begins such a collective whenever it is started.
void prepare(communicator& over, std::function<task<>()> work, MPI_Request* request);

/// As MPI_Comm_split.
[[nodiscard]] ref<communicator> split(communicator& c, int colour, int key);

}  // namespace p2pdvm::c_mpi

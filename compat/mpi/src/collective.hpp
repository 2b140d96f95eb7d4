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

/// A request that begins such a collective of `own` whenever it is started. Requests of this kind are matched by the order in which
/// they are made, whatever the order in which they are started: so each has a communicator of its own. Errors are those of `over`.
void prepare(communicator& over, ref<communicator> own, std::function<task<>()> work, MPI_Request* request);
/// Collective: the same ranks, known to the library alone.
[[nodiscard]] ref<communicator> private_copy(communicator& c);

/// As MPI_Comm_split.
[[nodiscard]] ref<communicator> split(communicator& c, int colour, int key);

}  // namespace p2pdvm::c_mpi

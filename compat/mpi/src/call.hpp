/// How the functions of the interface are written: their names, and what becomes of what goes wrong in them.
///
///     P2PDVM_FUNCTION(Send)(const void* buf, int count, …) {
///       return call_on(comm, "MPI_Send", [&](communicator& c) { … });
///     }
///
/// defines PMPI_Send, and MPI_Send as a weak name of it, which a profiling library may have for itself.
#pragma once

#include "communicator.hpp"
#include "process.hpp"

#include <exception>

#define P2PDVM_FUNCTION_OF(result, name)                                                                          \
  extern "C" __attribute__((weak, alias("PMPI_" #name), visibility("default"))) decltype(PMPI_##name) MPI_##name; \
  extern "C" __attribute__((visibility("default"))) result PMPI_##name
#define P2PDVM_FUNCTION(name) P2PDVM_FUNCTION_OF(int, name)

namespace p2pdvm::c_mpi {

/// Gives what is being thrown to the error handler of `on`, or of all where that is null; returns the code for the caller.
int raise(communicator* on, const char* call);
/// Of a call that needs MPI to be initialised and not finalised; ends the process otherwise.
void check_running(const char* call);

template <class F>
int call_on(MPI_Comm handle, const char* name, F&& body) {
  check_running(name);
  communicator* on = nullptr;
  try {
    on = &communicator_of(handle);
    body(*on);
    return MPI_SUCCESS;
  } catch (...) {
    return raise(on, name);
  }
}

/// The same of one that is not about a communicator.
template <class F>
int call(const char* name, F&& body) {
  check_running(name);
  try {
    body();
    return MPI_SUCCESS;
  } catch (...) {
    return raise(nullptr, name);
  }
}
/// The same, at any time.
template <class F>
int call_any_time(const char* name, F&& body) {
  try {
    body();
    return MPI_SUCCESS;
  } catch (...) {
    return raise(nullptr, name);
  }
}

}  // namespace p2pdvm::c_mpi

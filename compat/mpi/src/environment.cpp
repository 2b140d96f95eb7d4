/// The beginning, the end, and what surrounds a program.
#include "call.hpp"

#include <p2pdvm/base/config.hpp>

#include <fmt/core.h>

#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

namespace p2pdvm::c_mpi {

void wait_for_abandoned();

namespace {

void copy_text(const std::string& text, char* to, int* length) {
  std::memcpy(to, text.c_str(), text.size() + 1);
  *length = static_cast<int>(text.size());
}

}  // namespace

P2PDVM_FUNCTION(Init)(int*, char***) {
  return call_any_time("MPI_Init", [] { here().begin(MPI_THREAD_SINGLE); });
}

P2PDVM_FUNCTION(Init_thread)(int*, char***, int required, int* provided) {
  return call_any_time("MPI_Init_thread", [&] {
    here().begin(required);
    *provided = here().threads();
  });
}

P2PDVM_FUNCTION(Finalize)(void) {
  return call("MPI_Finalize", [] {
    wait_for_abandoned();
    here().end();
  });
}

P2PDVM_FUNCTION(Initialized)(int* flag) {
  *flag = here().begun() ? 1 : 0;
  return MPI_SUCCESS;
}

P2PDVM_FUNCTION(Finalized)(int* flag) {
  *flag = here().ended() ? 1 : 0;
  return MPI_SUCCESS;
}

P2PDVM_FUNCTION(Query_thread)(int* provided) {
  return call("MPI_Query_thread", [&] { *provided = here().threads(); });
}

P2PDVM_FUNCTION(Is_thread_main)(int* flag) {
  return call("MPI_Is_thread_main", [&] { *flag = std::this_thread::get_id() == here().main_thread() ? 1 : 0; });
}

P2PDVM_FUNCTION(Abort)(MPI_Comm, int errorcode) {
  const std::string who = here().begun() ? fmt::format("rank {}", here().world_rank()) : std::string("a process");
  here().abort(errorcode, fmt::format("{} called MPI_Abort with code {}", who, errorcode));
}

P2PDVM_FUNCTION(Get_version)(int* version, int* subversion) {
  *version = MPI_VERSION;
  *subversion = MPI_SUBVERSION;
  return MPI_SUCCESS;
}

P2PDVM_FUNCTION(Abi_get_version)(int* major, int* minor) {
  *major = MPI_ABI_VERSION;
  *minor = MPI_ABI_SUBVERSION;
  return MPI_SUCCESS;
}

P2PDVM_FUNCTION(Get_library_version)(char* version, int* length) {
  copy_text("p2pdvm " P2PDVM_VERSION_STRING, version, length);
  return MPI_SUCCESS;
}

P2PDVM_FUNCTION(Get_processor_name)(char* name, int* length) {
  return call("MPI_Get_processor_name", [&] {
    char text[MPI_MAX_PROCESSOR_NAME] = {};
    ::gethostname(text, sizeof text - 1);
    copy_text(text, name, length);
  });
}

P2PDVM_FUNCTION_OF(double, Wtime)(void) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

P2PDVM_FUNCTION_OF(double, Wtick)(void) { return 1e-9; }

P2PDVM_FUNCTION(Pcontrol)(const int, ...) { return MPI_SUCCESS; }

P2PDVM_FUNCTION(Alloc_mem)(MPI_Aint size, MPI_Info, void* baseptr) {
  return call("MPI_Alloc_mem", [&] {
    require(size >= 0, MPI_ERR_ARG, "the size is negative");
    void* const memory = std::malloc(size == 0 ? 1 : static_cast<std::size_t>(size));
    require(memory != nullptr, MPI_ERR_NO_MEM, "there is no memory left");
    *static_cast<void**>(baseptr) = memory;
  });
}

P2PDVM_FUNCTION(Free_mem)(void* base) {
  return call("MPI_Free_mem", [&] { std::free(base); });
}

}  // namespace p2pdvm::c_mpi

/// What is checked of the arguments of calls that send and receive.
#pragma once

#include "request.hpp"

#include <climits>

namespace p2pdvm::c_mpi {

inline constexpr int tag_max = INT_MAX;

inline void check_buffer(const void* buffer, MPI_Count count, const datatype& type) {
  require(count >= 0, MPI_ERR_COUNT, "the count is negative");
  require(buffer != nullptr || count == 0 || type.size() == 0 || !type.named(), MPI_ERR_BUFFER, "the address is null");
}

/// To or from MPI_PROC_NULL, where nothing else matters.
[[nodiscard]] inline message_spec spec_of_nobody(communicator& c) {
  return {ref<communicator>(c), nullptr, 0, ref<datatype>(datatype_of(MPI_BYTE)), MPI_PROC_NULL, 0};
}

[[nodiscard]] inline message_spec send_spec(communicator& c, const void* buffer, MPI_Count count, MPI_Datatype type, int destination, int tag) {
  if (destination == MPI_PROC_NULL) return spec_of_nobody(c);
  datatype& of = committed_type(type);
  check_buffer(buffer, count, of);
  require(tag >= 0, MPI_ERR_TAG, "tags are 0 or more");
  c.check_peer(destination, "destination");
  return {ref<communicator>(c), const_cast<void*>(buffer), count, ref<datatype>(of), destination, tag};
}

inline void check_source(communicator& c, int source, int tag) {
  require(tag >= 0 || tag == MPI_ANY_TAG, MPI_ERR_TAG, "tags are 0 or more, or MPI_ANY_TAG");
  if (source != MPI_PROC_NULL && source != MPI_ANY_SOURCE) c.check_peer(source, "source");
}

[[nodiscard]] inline message_spec receive_spec(communicator& c, void* buffer, MPI_Count count, MPI_Datatype type, int source, int tag) {
  if (source == MPI_PROC_NULL) return spec_of_nobody(c);
  datatype& of = committed_type(type);
  check_buffer(buffer, count, of);
  check_source(c, source, tag);
  return {ref<communicator>(c), buffer, count, ref<datatype>(of), source, tag};
}

/// What a receive from MPI_PROC_NULL gets.
inline void fill_from_nobody(MPI_Status* status) noexcept { fill(status, MPI_PROC_NULL, MPI_ANY_TAG, 0); }

}  // namespace p2pdvm::c_mpi

/// What goes wrong in a call, on its way to the error handler.
#pragma once

#include <mpi.h>

#include <string>
#include <utility>

namespace p2pdvm::c_mpi {

/// Thrown inside of a call, never out of it.
struct failure {
  int code;         ///< a class, or a code that a program added
  std::string why;  ///< a clause
};
[[noreturn]] inline void fail(int code, std::string why) { throw failure{code, std::move(why)}; }
inline void require(bool holds, int code, const char* why) {
  if (!holds) [[unlikely]]
    fail(code, why);
}

/// "MPI_ERR_RANK: no such rank", of a class or code.
[[nodiscard]] std::string error_text(int code);
[[nodiscard]] int error_class(int code);
[[nodiscard]] int last_error_code() noexcept;

}  // namespace p2pdvm::c_mpi

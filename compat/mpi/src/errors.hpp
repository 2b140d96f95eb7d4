/// Error handlers, and what codes mean.
#pragma once

#include "failure.hpp"
#include "object.hpp"

namespace p2pdvm::c_mpi {

class error_handler final : public object {
 public:
  explicit error_handler(MPI_Errhandler predefined) : value_(predefined) {}
  explicit error_handler(MPI_Comm_errhandler_function* given) : function_(given) {}
  [[nodiscard]] MPI_Comm_errhandler_function* function() const noexcept { return function_; }
  [[nodiscard]] MPI_Errhandler handle() noexcept { return function_ != nullptr ? reinterpret_cast<MPI_Errhandler>(this) : value_; }
  [[nodiscard]] bool returns() const noexcept { return value_ == MPI_ERRORS_RETURN; }

 private:
  MPI_Errhandler value_ = nullptr;
  MPI_Comm_errhandler_function* function_ = nullptr;
};
[[nodiscard]] ref<error_handler> error_handler_of(MPI_Errhandler handle);

}  // namespace p2pdvm::c_mpi

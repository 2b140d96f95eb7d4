/// Barrier and broadcast.
#pragma once

#include <p2pdvm/peal/mpi/point_to_point.hpp>

namespace p2pdvm::mpi {

/// Collectives are called by all ranks of a communicator in the same order. A rank that is in
/// another collective, or in the same with another root, operation or type of element, gets
/// an error that names both sides.
class broadcasts : public point_to_point {
 public:
  broadcasts() = default;

  /// Returns when all have called it.
  task<> barrier(std::source_location where = std::source_location::current()) {
    return in_->barrier(detail::call(detail::operation::barrier, where));
  }

  /// From the root's `data` to everybody else's: a span of the same length, a vector or string
  /// (resized), or any value.
  template <class T>
  task<> bcast(T&& data, int root = 0,
               std::source_location where = std::source_location::current()) {
    const auto c = detail::call(detail::operation::bcast, where).with_root(root);
    in_->check_root(c);
    return in_->broadcast(c, detail::target_of(std::forward<T>(data)));
  }

 protected:
  using point_to_point::point_to_point;
};

}  // namespace p2pdvm::mpi

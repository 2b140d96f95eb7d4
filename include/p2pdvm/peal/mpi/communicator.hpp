/// Communicators: groups of ranks that exchange messages and call collectives.
#pragma once

#include <p2pdvm/peal/mpi/gather.hpp>

#include <memory>
#include <utility>

namespace p2pdvm::mpi {

/// A copyable handle.
///
///     mpi::communicator world(rank);
///     co_await rank.restore();
///     const double total = co_await world.allreduce(part, mpi::plus());
///
/// Make the first one at the top of the body, before `restore()`, and keep it until the body
/// ends: it is an adapter of the rank, whose counters are part of every snapshot. Communicators
/// made from it before `restore()` are the same again after a restart, with the messages that
/// were on their way in them; those made after it are made anew, and empty, when the body runs
/// again. The calls are in the base classes, one header for each group of them.
class communicator : public gatherings {
 public:
  communicator() = default;
  /// All ranks of the job, in an MPI environment of its own.
  explicit communicator(peal::rank& rank)
      : gatherings(std::make_shared<detail::group>(std::make_shared<detail::context>(rank), 0,
                                                   std::vector<int>(), rank.id())) {}

  /// Collective: one communicator for each colour, its ranks in the order of (key, rank here).
  /// A rank with a negative colour gets an empty handle.
  task<communicator> split(int colour, int key = 0,
                           std::source_location where = std::source_location::current()) const {
    return parted(detail::call(detail::operation::split, where), colour, key);
  }
  /// Collective: the same ranks; messages of the two do not meet.
  task<communicator> dup(std::source_location where = std::source_location::current()) const {
    return parted(detail::call(detail::operation::dup, where), 0, 0);
  }

 private:
  explicit communicator(std::shared_ptr<detail::group> in) : gatherings(std::move(in)) {}
  task<communicator> parted(detail::call c, int colour, int key) const {
    const std::shared_ptr<detail::group> in = in_;
    std::shared_ptr<detail::group> made = co_await in->split(c, colour, key);
    co_return communicator(std::move(made));
  }
};

}  // namespace p2pdvm::mpi

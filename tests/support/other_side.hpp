/// Calls in another file than the test's, for errors that name both.
#pragma once

#include <p2pdvm/peal/mpi.hpp>

#include <vector>

namespace p2pdvm::test {

inline peal::sending send_from_elsewhere(mpi::communicator& world, const std::vector<double>& values, int to) {
  return world.send(values, to);
}

inline task<> reduce_elsewhere(mpi::communicator& world, double& value) { value = co_await world.allreduce(value); }

}  // namespace p2pdvm::test

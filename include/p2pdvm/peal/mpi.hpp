/// MPI's vocabulary for ranks: `mpi::communicator world(rank);`.
#pragma once

#include <p2pdvm/peal/mpi/communicator.hpp>

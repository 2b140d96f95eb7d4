#pragma once

#include <p2pdvm/peal/mpi/impl/call.ipp>
#include <p2pdvm/peal/mpi/impl/collectives.ipp>
#include <p2pdvm/peal/mpi/impl/context.ipp>
#include <p2pdvm/peal/mpi/impl/data.ipp>
#include <p2pdvm/peal/mpi/impl/group.ipp>

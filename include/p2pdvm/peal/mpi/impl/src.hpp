#pragma once

#include <p2pdvm/peal/mpi/impl/call.ipp>
#include <p2pdvm/peal/mpi/impl/collective.ipp>
#include <p2pdvm/peal/mpi/impl/collective_choice.ipp>
#include <p2pdvm/peal/mpi/impl/collectives.ipp>
#include <p2pdvm/peal/mpi/impl/context.ipp>
#include <p2pdvm/peal/mpi/impl/data.ipp>
#include <p2pdvm/peal/mpi/impl/group.ipp>
#include <p2pdvm/peal/mpi/impl/group_network.ipp>
#include <p2pdvm/peal/mpi/impl/network_agreement.ipp>
#include <p2pdvm/peal/mpi/impl/part_exchange.ipp>
#include <p2pdvm/peal/mpi/impl/uplink_agreement.ipp>

#pragma once

#include <p2pdvm/peal/impl/distributed.ipp>
#include <p2pdvm/peal/impl/output.ipp>
#include <p2pdvm/peal/impl/port.ipp>
#include <p2pdvm/peal/impl/rank.ipp>
#include <p2pdvm/peal/impl/region_copier.ipp>
#include <p2pdvm/peal/impl/waiting.ipp>

#include <p2pdvm/peal/actors/impl/src.hpp>
#include <p2pdvm/peal/bsp/impl/src.hpp>
#include <p2pdvm/peal/mpi/impl/src.hpp>
#include <p2pdvm/peal/pool/impl/src.hpp>

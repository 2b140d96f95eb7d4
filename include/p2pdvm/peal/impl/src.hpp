#pragma once

#include <p2pdvm/peal/impl/port.ipp>
#include <p2pdvm/peal/impl/rank.ipp>
#include <p2pdvm/peal/impl/waiting.ipp>

#include <p2pdvm/peal/mpi/impl/src.hpp>

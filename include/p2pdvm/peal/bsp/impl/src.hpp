#pragma once

#include <p2pdvm/peal/bsp/impl/cost.ipp>
#include <p2pdvm/peal/bsp/impl/exchange.ipp>
#include <p2pdvm/peal/bsp/impl/partition.ipp>
#include <p2pdvm/peal/bsp/impl/record.ipp>
#include <p2pdvm/peal/bsp/impl/relays.ipp>
#include <p2pdvm/peal/bsp/impl/world.ipp>

/// BSP's vocabulary for ranks: supersteps, variables and arrays that others reach, messages.
#pragma once

#include <p2pdvm/peal/bsp/partition.hpp>
#include <p2pdvm/peal/bsp/variable.hpp>
#include <p2pdvm/peal/bsp/world.hpp>

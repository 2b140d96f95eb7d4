/// Everything that a program on p2pdvm needs.
#pragma once

#include <p2pdvm/peal/actors.hpp>
#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/pool.hpp>
#include <p2pdvm/runtime/main.hpp>

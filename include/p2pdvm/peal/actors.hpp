/// The actor model for ranks: actors with addresses, messages between them, an end when all is quiet.
#pragma once

#include <p2pdvm/peal/actors/system.hpp>

#include <p2pdvm/sim/impl/src.hpp>

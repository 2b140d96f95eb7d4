#include <p2pdvm/link/impl/src.hpp>

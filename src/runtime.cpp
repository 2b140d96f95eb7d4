#include <p2pdvm/runtime/impl/src.hpp>

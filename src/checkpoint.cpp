#include <p2pdvm/checkpoint/impl/src.hpp>

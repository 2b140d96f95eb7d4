#include <p2pdvm/overlay/impl/src.hpp>

#include <p2pdvm/base/impl/src.hpp>

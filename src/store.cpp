#include <p2pdvm/store/impl/src.hpp>

#include <p2pdvm/peal/impl/src.hpp>

#include <p2pdvm/host/native/impl/src.hpp>

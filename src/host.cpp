#include <p2pdvm/host/impl/src.hpp>
#include <p2pdvm/host/native/impl/src.hpp>

#include <p2pdvm/crypto/impl/src.hpp>

#include <p2pdvm/messaging/impl/src.hpp>

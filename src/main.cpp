#include <p2pdvm/runtime/impl/main_src.hpp>

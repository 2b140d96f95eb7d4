#pragma once

#include <p2pdvm/base/assert.hpp>

#include <cstdio>
#include <cstdlib>

namespace p2pdvm::detail {

[[noreturn]] P2PDVM_DECL void assertion_failed(const char* condition, const char* file,
                                               int line) noexcept {
  std::fprintf(stderr, "p2pdvm: bug: assertion '%s' failed at %s:%d; please report this line\n",
               condition, file, line);
  std::abort();
}

}  // namespace p2pdvm::detail

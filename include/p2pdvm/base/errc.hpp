/// The error category of p2pdvm.
#pragma once

#include <p2pdvm/base/config.hpp>

#include <string>
#include <system_error>

namespace p2pdvm {

enum class errc {
  ok = 0,
  malformed,            ///< bytes that do not decode
  too_large,            ///< over a named limit
  authentication,       ///< wrong key, signature or tag
  unsupported_version,  ///< a protocol version this build does not speak
  refused,              ///< the other side said no, and why
  not_found,
  corrupted,            ///< stored bytes that no longer match their checksum or id
  no_space,             ///< disk full or quota used up
  io,                   ///< the operating system refused; the detail says what
  address_in_use,
  unreachable,
  timed_out,
  cancelled,
  closed,
  conflict,             ///< somebody else's write came first
  no_majority,          ///< too few keepers answer
  expired,
  invalid_argument,
  wrong_job,            ///< data of another job
  incompatible,         ///< another program build or platform
  misuse,               ///< the user's program called something wrongly
  lost,                 ///< too few copies are left
};

[[nodiscard]] const std::error_category& error_category() noexcept;
[[nodiscard]] std::error_code make_error_code(errc code) noexcept;

}  // namespace p2pdvm

template <>
struct std::is_error_code_enum<p2pdvm::errc> : std::true_type {};

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/base/impl/errc.ipp>
#endif

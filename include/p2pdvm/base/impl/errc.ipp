#pragma once

#include <p2pdvm/base/errc.hpp>

namespace p2pdvm {

namespace detail {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "p2pdvm"; }
  std::string message(int value) const override {
    switch (static_cast<errc>(value)) {
      case errc::ok: return "no error";
      case errc::malformed: return "malformed data";
      case errc::too_large: return "over a limit";
      case errc::authentication: return "authentication failed";
      case errc::unsupported_version: return "unsupported protocol version";
      case errc::refused: return "refused";
      case errc::not_found: return "not found";
      case errc::corrupted: return "corrupted data";
      case errc::no_space: return "no space left";
      case errc::io: return "input/output error";
      case errc::address_in_use: return "address in use";
      case errc::unreachable: return "unreachable";
      case errc::timed_out: return "timed out";
      case errc::cancelled: return "cancelled";
      case errc::closed: return "closed";
      case errc::conflict: return "conflicting write";
      case errc::no_majority: return "no majority of keepers";
      case errc::expired: return "expired";
      case errc::invalid_argument: return "invalid argument";
      case errc::wrong_job: return "data of another job";
      case errc::incompatible: return "incompatible program or platform";
      case errc::misuse: return "wrong use";
      case errc::lost: return "too few copies left";
    }
    return "unknown error";
  }
};

}  // namespace detail

P2PDVM_DECL const std::error_category& error_category() noexcept {
  static const detail::category instance;
  return instance;
}

P2PDVM_DECL std::error_code make_error_code(errc code) noexcept {
  return {static_cast<int>(code), error_category()};
}

}  // namespace p2pdvm

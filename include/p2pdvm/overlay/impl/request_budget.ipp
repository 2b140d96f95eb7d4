#pragma once

#include <p2pdvm/overlay/contact.hpp>
#include <p2pdvm/overlay/request_budget.hpp>

#include <algorithm>

namespace p2pdvm::overlay {

namespace detail {

/// Equal for all of one public network; else for one address and port.
inline std::uint64_t source_of(const address& from) {
  if (const network_prefix net = network_of(from); net != network_prefix()) return net.value();
  std::uint64_t mixed = from.port();
  for (const auto byte : from.ip()) mixed = mixed * 0x100000001b3ull + static_cast<std::uint8_t>(byte);
  return (mixed * 0x9e3779b97f4a7c15ull) >> 8;  // networks have their highest byte set
}

}  // namespace detail

P2PDVM_DECL bool request_budget::spend(time_point now, const address& from) {
  const std::uint64_t source = detail::source_of(from);
  auto known = empty_at_.find(source);
  if (known == empty_at_.end()) {
    if (empty_at_.size() >= tidy_at_) {
      std::erase_if(empty_at_, [now](const auto& entry) { return entry.second <= now; });
      tidy_at_ = std::clamp(2 * empty_at_.size(), tidy_min, request_sources_max);
    }
    if (empty_at_.size() >= request_sources_max) return true;
    known = empty_at_.emplace(source, now).first;
  }
  const time_point begin = std::max(known->second, now);
  if (begin - now > burst - per_request) return false;
  known->second = begin + per_request;
  return true;
}

}  // namespace p2pdvm::overlay

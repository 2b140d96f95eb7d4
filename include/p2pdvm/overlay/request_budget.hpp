/// How many requests each network may make: who floods gets no answers until it calms, others do.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/time.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>

namespace p2pdvm::overlay {

/// What one network (`network_of`; of private ones and loopback, one address with its port) may ask a
/// peer: so much at once, and this rate in the long run. A peer in health asks another one less
/// than once a second.
inline constexpr std::size_t request_burst_max = 256;
inline constexpr std::size_t requests_per_second_max = 64;
/// Networks watched at a time. One is forgotten when it might have its whole burst again, so only
/// forged addresses fill this; those beyond are served.
inline constexpr std::size_t request_sources_max = 256;

/// A leaky bucket for each network, kept as the time at which it will be empty.
class request_budget {
 public:
  /// False: this request is one too many.
  [[nodiscard]] bool spend(time_point now, const address& from);
  [[nodiscard]] std::size_t size() const noexcept { return empty_at_.size(); }

 private:
  static constexpr duration per_request =
      duration(std::chrono::seconds(1)) / static_cast<std::int64_t>(requests_per_second_max);
  static constexpr duration burst = per_request * static_cast<std::int64_t>(request_burst_max);

  static constexpr std::size_t tidy_min = 16;

  std::map<std::uint64_t, time_point> empty_at_;
  std::size_t tidy_at_ = tidy_min;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/request_budget.ipp>
#endif

/// How fast a peer may send chunks: a token bucket that may be overdrawn.
#pragma once

#include <p2pdvm/base/time.hpp>

#include <algorithm>
#include <chrono>
#include <cstdint>

namespace p2pdvm::store {

/// The least rate that a user may set [bytes/s]: a chunk in two seconds; after four a fetcher asks somebody else.
inline constexpr std::uint64_t upload_rate_min = 32 * 1024;
/// How long a pause is made up for.
inline constexpr duration upload_burst = std::chrono::milliseconds(250);

/// Something of any size may be sent whenever the bucket is not empty, and is paid for afterwards: so nothing is too large for it, what waits is sent in the end
/// however low the rate is, and no more than burst, rate and one message are sent in any time. Who waits does so with what it has yet to send, not with
/// what it has sent: timeouts for answers begin when something goes out.
class upload_budget {
 public:
  /// 0: no limit.
  explicit upload_budget(std::uint64_t bytes_per_second = 0) : rate_(bytes_per_second) {}

  [[nodiscard]] bool limited() const noexcept { return rate_ != 0; }
  [[nodiscard]] bool ready(time_point now) const noexcept { return rate_ == 0 || now >= next(); }
  /// When it is ready, if nothing is spent before.
  [[nodiscard]] time_point next() const noexcept { return rate_ == 0 ? time_point() : paid_ - upload_burst; }
  void spend(time_point now, std::uint64_t bytes) noexcept {
    spent_ += bytes;
    if (rate_ == 0) return;
    paid_ = std::max(paid_, now) + from_seconds(static_cast<double>(bytes) / static_cast<double>(rate_));
  }
  /// All bytes so far.
  [[nodiscard]] std::uint64_t spent() const noexcept { return spent_; }

 private:
  std::uint64_t rate_;
  std::uint64_t spent_ = 0;
  time_point paid_{};  ///< until then all that was sent is paid for
};

}  // namespace p2pdvm::store

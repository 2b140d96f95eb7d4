/// How the member that lets newcomers into a forming job treats them: who tells each of them the
/// record, and how often it writes.
#pragma once

#include <p2pdvm/base/time.hpp>
#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/messaging/address_book.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace p2pdvm::runtime {

/// The record of a thousand members has 140 KB: one member that sends it to each of them sends
/// for 12 s on a line of 100 Mbit/s. So it serves the first ones, which are near, and the last
/// ones, which have no time for a second connection; each of the first ones serves some others.
class reception {
 public:
  static constexpr std::size_t direct_first = 32;
  static constexpr std::size_t direct_last = 24;
  static constexpr std::size_t others_max = 2;
  /// What a writer may send to keepers, on a line that has other things to carry.
  static constexpr std::uint64_t write_bytes_per_second = 8 * 1024 * 1024;
  static constexpr duration write_pause_max = std::chrono::milliseconds(250);

  /// Who tells the record to `newcomer`, one of `wanted` members: another newcomer, or (none) this
  /// peer. The same answer each time, while that one is not known to be gone.
  std::optional<messaging::contact> guide_of(const messaging::contact& newcomer,
                                             const checkpoint::job_record& record,
                                             std::size_t wanted);
  /// The first that came, besides `newcomer`.
  [[nodiscard]] std::vector<messaging::contact> others_than(const public_key& newcomer) const;
  /// Newcomers that have been told who serves them.
  [[nodiscard]] std::size_t seen() const noexcept { return guides_.size(); }

  /// A record of so many bytes goes to so many keepers now.
  void wrote(time_point now, std::size_t bytes, std::size_t keepers);
  /// When the next one may; at once if it is the one with which the roster is whole.
  [[nodiscard]] time_point next_write() const noexcept { return next_write_; }

 private:
  struct guide {
    messaging::contact who;
    std::size_t served = 0;
  };
  static constexpr std::size_t nobody = static_cast<std::size_t>(-1);

  [[nodiscard]] std::size_t least_busy(const checkpoint::job_record& record) const;
  [[nodiscard]] static bool is_gone(const guide& g, const checkpoint::job_record& record);

  std::vector<guide> direct_;              ///< in the order in which they came
  std::map<node_id, std::size_t> guides_;  ///< of every newcomer seen: index of `direct_`, or nobody
  time_point next_write_{};
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/reception.ipp>
#endif

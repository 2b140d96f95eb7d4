/// How the members of a communicator come to know how fast each of them can send.
///
/// Each sends a burst to some others, when they have shown that they are there, and tells everybody the rate, as
/// the transfers that were least held up at their receivers show it. Whether the uplink serves them one after another or all
/// together, none shows more than there is; what half of the burst and more took is not mistaken for a delay on the way.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/mpi/network_agreement.hpp>

#include <cstdint>
#include <utility>
#include <vector>

namespace p2pdvm::mpi {

inline constexpr int burst_targets_max = 8;
/// To each of them.
inline constexpr std::size_t burst_bytes = 32 * 1024;

class uplink_agreement {
 public:
  using output = network_agreement::output;
  /// `network` must outlive it.
  uplink_agreement(const network_view& network, int self);

  /// Once.
  void begin(double now);
  /// `errc::malformed` when no member sends such a message.
  [[nodiscard]] result<> on_message(double now, int from, byte_view data);
  /// What is to be sent since the last call. When every member is done nothing is left.
  [[nodiscard]] std::vector<output> take_output() { return std::exchange(output_, {}); }
  [[nodiscard]] bool done() const noexcept { return rates_known_ == network_.members(); }
  /// Precondition: `done()`. Bytes per second of each member.
  [[nodiscard]] const std::vector<std::uint32_t>& rates() const noexcept { return rates_; }

 private:
  enum class kind : std::uint8_t { ping, pong, burst, got, rate };
  void tell(int to, kind what, byte_view more = {});
  void on_pong(double now, std::size_t place);
  void on_got(double now, std::size_t place);

  const network_view& network_;
  int self_;
  std::vector<int> targets_;
  std::vector<double> round_trips_;  ///< to the targets, as their pongs show them; negative: none yet
  std::vector<bool> got_;            ///< which of the targets have their part
  double begun_at_ = 0;
  std::size_t pongs_ = 0;
  std::size_t gots_ = 0;
  double burst_at_ = 0;
  std::vector<std::uint32_t> shown_;  ///< rates
  int rates_known_ = 0;
  std::vector<std::uint32_t> rates_;  ///< 0: not yet
  std::vector<output> output_;
};

}  // namespace p2pdvm::mpi

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/uplink_agreement.ipp>
#endif

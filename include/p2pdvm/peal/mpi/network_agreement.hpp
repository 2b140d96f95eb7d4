/// How the members of a communicator come to know the same round trips between all of them.
///
/// Each gives what it knows already of its own paths, measures the others by pings, and tells its row to everybody.
/// A member that comes late makes others measure too much, but never itself: of two directions the shorter counts. With its row
/// it says how many cores its computer has.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/mpi/collective_choice.hpp>

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace p2pdvm::mpi {

/// Pings to each member whose distance is unknown, one after the other. The first may have to set up a connection.
inline constexpr int agreement_pings = 2;

class network_agreement {
 public:
  struct output {
    int to;
    byte_vector data;
  };
  network_agreement(int members, int self);

  /// Once: `round_trips` to each member [s], those that are known. `cores`: 0 when they are not.
  void begin(double now, const std::vector<std::optional<double>>& round_trips, std::uint32_t cores = 0);
  /// `errc::malformed` when no member sends such a message.
  [[nodiscard]] result<> on_message(double now, int from, byte_view data);
  /// What is to be sent since the last call. All that is sent is needed: when every member is done nothing is left.
  [[nodiscard]] std::vector<output> take_output() { return std::exchange(output_, {}); }
  [[nodiscard]] bool done() const noexcept { return begun_ && unknown_ == 0 && rows_ == members_ - 1; }
  /// Precondition: `done()`. Once.
  [[nodiscard]] network_view take();

 private:
  enum class kind : std::uint8_t { ping, pong, row };
  struct asked {
    double at = 0;
    int times = 0;
    bool has_row = false;
  };
  [[nodiscard]] std::uint32_t& entry(int from, int to) noexcept {
    return round_trips_[static_cast<std::size_t>(from) * static_cast<std::size_t>(members_) +
                        static_cast<std::size_t>(to)];
  }
  void tell(int to, kind what, byte_view more = {});
  void ask(double now, int to);
  void tell_row();
  void on_pong(double now, int from);

  int members_;
  int self_;
  bool begun_ = false;
  int unknown_ = 0;
  int rows_ = 0;  ///< of others
  std::vector<std::uint32_t> round_trips_;
  std::vector<asked> asked_;
  std::vector<output> output_;
};

}  // namespace p2pdvm::mpi

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/network_agreement.ipp>
#endif

/// Peers of a simulated job that go without a word and come back, as a session model says.
#pragma once

#include <p2pdvm/runtime/simulated_cluster.hpp>
#include <p2pdvm/sim/sessions.hpp>

#include <cstddef>
#include <cstdint>
#include <functional>

namespace p2pdvm::runtime {

/// A session ends with a crash, of the process or of the machine by equal chance; the next one
/// begins with the process on the same disk. A session whose end the job could not survive goes
/// on until it could: with a majority of keepers, two other members and a copy of every snapshot
/// left, and with the losses before it repaired.
class simulated_churn {
 public:
  /// A session of a peer begins (not its first) or ends.
  using observer = std::function<void(std::size_t peer, time_point at, bool begins)>;

  /// The cluster must live longer, and not run any more once this is gone.
  simulated_churn(simulated_cluster& cluster, sim::session_model sessions, std::uint32_t replicas,
                  std::uint64_t seed, observer watch = nullptr);
  simulated_churn(const simulated_churn&) = delete;
  simulated_churn& operator=(const simulated_churn&) = delete;

  [[nodiscard]] std::size_t departures() const noexcept { return departures_; }
  [[nodiscard]] std::size_t returns() const noexcept { return returns_; }

 private:
  void begin_session(std::size_t peer);
  void end_session(std::size_t peer);
  void come_back(std::size_t peer);
  [[nodiscard]] bool survivable(std::size_t peer);
  void tell(std::size_t peer, bool begins);
  [[nodiscard]] time_point now() { return cluster_.network().now(); }

  simulated_cluster& cluster_;
  sim::session_model sessions_;
  std::uint32_t replicas_;
  random_generator random_;
  observer watch_;
  std::size_t departures_ = 0, returns_ = 0;
  std::uint32_t since_commit_ = 0;  ///< departures
  epoch_number committed_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/simulated_churn.ipp>
#endif

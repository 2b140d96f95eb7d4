/// A swarm of whole peers in the simulator, coming and going: the same `peer` as in reality.
#pragma once

#include <p2pdvm/runtime/peer.hpp>
#include <p2pdvm/sim/sessions.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <vector>

namespace p2pdvm::runtime {

/// From so many peers on, simulated datagrams are not encrypted unless one insists.
inline constexpr std::size_t clear_datagrams_from = 501;

class simulated_swarm {
 public:
  struct options {
    std::size_t peers = 100;
    sim::options network;
    overlay::node_options overlay;
    /// Who leaves is replaced by a new peer, with another identity, on the same machine.
    sim::session_model sessions;
    /// None: from `clear_datagrams_from` peers on.
    std::optional<bool> clear_datagrams;
    /// Share of the peers that lie: see hostile_peers.hpp. They need clear datagrams.
    double hostile = 0;
    /// Between the first peers' entries.
    duration entry_pause = std::chrono::milliseconds(5);
    /// Every peer has an address in a public /24 of its own: as different as homes are.
    bool public_addresses = true;
  };

  explicit simulated_swarm(options how);
  ~simulated_swarm();
  simulated_swarm(const simulated_swarm&) = delete;
  simulated_swarm& operator=(const simulated_swarm&) = delete;

  /// Lets all peers enter, one after another, and rest for `settling`; then sessions begin.
  void form(duration settling);
  void run_for(duration time) { simulation_.run_for(time); }
  [[nodiscard]] time_point now() const noexcept { return simulation_.now(); }

  [[nodiscard]] std::size_t size() const noexcept { return slots_.size(); }
  [[nodiscard]] bool alive(std::size_t i) const { return slots_[i].process != nullptr; }
  [[nodiscard]] peer& at(std::size_t i) { return *slots_[i].process; }
  /// Of the present peer, or the last one.
  [[nodiscard]] const node_id& id(std::size_t i) const { return slots_[i].id; }
  [[nodiscard]] overlay::contact contact_of(std::size_t i) const;
  /// When the present peer of this machine entered.
  [[nodiscard]] time_point since(std::size_t i) const { return slots_[i].since; }
  /// Counts the peers of this machine: who is asked later for an earlier one has gone.
  [[nodiscard]] std::uint64_t generation(std::size_t i) const { return slots_[i].generation; }
  [[nodiscard]] bool clear_datagrams() const noexcept { return clear_; }
  [[nodiscard]] std::uint64_t sessions_begun() const noexcept { return sessions_; }
  /// Of all peers that ever were.
  [[nodiscard]] overlay::node_statistics statistics() const;
  [[nodiscard]] sim::simulation& network() noexcept { return simulation_; }

  /// The machine's process dies without a word; nobody takes its place.
  void kill(std::size_t i);
  void begin(std::size_t i);
  [[nodiscard]] bool hostile(std::size_t i) const noexcept;
  /// An honest living machine that entered before `latest`, at random.
  [[nodiscard]] std::optional<std::size_t> somebody(time_point latest);
  [[nodiscard]] random_generator& random() noexcept { return random_; }

 private:
  struct slot {
    sim::machine* machine = nullptr;
    std::unique_ptr<peer> process;
    node_id id;
    time_point since = time_point_never;
    std::uint64_t generation = 0;
  };

  void end_session_later(std::size_t i);
  [[nodiscard]] std::vector<overlay::contact> entrance(std::size_t except);

  options options_;
  bool clear_;
  peal::program program_;
  queue_context ranks_;
  driver_token token_;
  sim::simulation simulation_;
  random_generator random_;
  std::vector<slot> slots_;
  overlay::node_statistics gone_;
  std::uint64_t sessions_ = 0;
  bool sessions_end_ = false;
  std::unique_ptr<class hostile_peers> liars_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/simulated_swarm.ipp>
#endif

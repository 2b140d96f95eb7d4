/// One simulated computer: what a peer on it sees, and what a test may do to it.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/sim/datagrams.hpp>
#include <p2pdvm/sim/disk.hpp>
#include <p2pdvm/sim/fabric.hpp>
#include <p2pdvm/sim/streams.hpp>

#include <memory>
#include <string>
#include <vector>

namespace p2pdvm::sim {

namespace detail {

struct world {
  world(latency_map map, network_conditions conditions, std::uint64_t network_seed)
      : core(std::move(map), conditions, network_seed), udp(core), tcp(core) {}
  fabric core;
  datagrams udp;
  streams tcp;
  std::uint64_t seed = 0;
  unix_seconds wall_start = 0;
};

class life;

}  // namespace detail

/// Made by `simulation::add_machine`. `clock()` and the like are those of the current life. What
/// a peer got in an earlier life (also those references) stays valid and does nothing any more:
/// its handlers are never called again, and it may be destroyed at any time before the
/// simulation is.
class machine final : public host::machine {
 public:
  machine(detail::world& w, const machine_options& how);
  machine(const machine&) = delete;
  machine& operator=(const machine&) = delete;
  ~machine() override;

  host::clock& clock() override;
  host::entropy& entropy() override;
  host::network& network() override;
  host::disk& disk() override;

  [[nodiscard]] const std::string& name() const noexcept { return site_.name; }
  [[nodiscard]] std::uint32_t index() const noexcept { return site_.index; }
  /// Port 0. Behind a NAT: the private one.
  [[nodiscard]] p2pdvm::address address() const noexcept { return site_.ip; }
  /// Port 0. By which machines elsewhere see it.
  [[nodiscard]] p2pdvm::address public_address() const noexcept {
    return site_.nat != nullptr ? site_.nat->outside() : site_.ip;
  }
  [[nodiscard]] bool up() const noexcept { return site_.up; }

  /// Ends this life at once: timers and sockets are gone, connections are reset or, with
  /// `silent`, left half open; unsynced writes are lost, reordered or torn. No effect when down.
  void crash(crash_mode mode = crash_mode::reset);
  /// Begins a new life with the same address and disk. No effect when up.
  void restart();
  /// The process does not run for so long; its kernel keeps what arrives, within limits.
  void stall(duration how_long);
  [[nodiscard]] disk_image& storage() noexcept { return storage_; }

 private:
  friend class simulation;
  void begin_life();
  void prefetch_life() const noexcept;

  detail::world& world_;
  detail::site& site_;
  detail::life* life_ = nullptr;  ///< the current one
  machine_options options_;
  disk_image storage_;
  std::vector<std::unique_ptr<detail::life>> lives_;
};

}  // namespace p2pdvm::sim

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/machine.ipp>
#endif

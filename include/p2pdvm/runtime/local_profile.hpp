/// The peers of one `--local` run as if they were as far apart as a latency profile has it.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/host/delayed_network.hpp>
#include <p2pdvm/sim/latency.hpp>
#include <p2pdvm/sim/options.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace p2pdvm::runtime {

/// Peer k listens on a loopback address of its own, by which the others know where it "is". Every
/// process computes the same places from the same seed: those that `--simulate` has with it.
class local_profile {
 public:
  local_profile(sim::latency_profile profile, std::uint64_t seed, std::uint32_t self);

  /// Port 0.
  [[nodiscard]] static address address_of(std::uint32_t peer);
  [[nodiscard]] static std::optional<std::uint32_t> peer_at(const address& where);
  /// From `self` to whoever has that address. The slower of both access links counts.
  [[nodiscard]] host::path to(const address& remote);

 private:
  void know(std::uint32_t peer);

  sim::latency_map map_;
  sim::network_conditions weather_;
  std::vector<sim::latency_map::access> access_;
  std::uint32_t self_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/local_profile.ipp>
#endif

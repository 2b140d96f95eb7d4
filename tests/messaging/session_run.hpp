/// One run of two peers' session: what is sent and what goes wrong are drawn from a seed; every
/// message must arrive once, in order, with its bytes, and the session must end idle.
#pragma once

#include "messaging/faulty_network.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/messaging/exchange.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <array>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::test {

/// A number that whoever runs the tests gives.
inline std::uint64_t environment(const char* name, std::uint64_t fallback) {
  const char* const text = std::getenv(name);
  return text == nullptr ? fallback : std::strtoull(text, nullptr, 10);
}

/// What went wrong, counted over runs.
struct fault_tally {
  std::array<std::uint64_t, stream_ends> cuts{};
  std::uint64_t partitions = 0;
  std::uint64_t stalls = 0;
  std::uint64_t moves = 0;
  std::uint64_t connections = 0;
  std::uint64_t detours = 0;
  std::uint64_t handshakes_failed = 0;
  std::uint64_t messages = 0;
  void add(const fault_tally& more);
  [[nodiscard]] std::string text() const;
};

/// How much befalls a run; without a plan it is drawn.
struct session_plan {
  std::size_t messages = 1000;
  /// All that happens: this fate of the first stream of peer 0, or of its second, when the first is cut soon.
  std::optional<stream_fate> only;
  /// Upwards, of all machines; none: as drawn.
  std::optional<std::uint64_t> bits_per_second;
  bool of_second = false;
  bool print = false;  ///< what happens, and when
};

struct session_outcome {
  std::string failure;  ///< empty when all is well
  std::uint64_t digest = 0;
  fault_tally tally;
};

[[nodiscard]] session_outcome run_session(std::uint64_t seed, const session_plan& plan = {});

}  // namespace p2pdvm::test

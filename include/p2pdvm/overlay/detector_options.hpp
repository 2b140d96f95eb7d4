/// Settings of the failure detector: presets derived from each other.
#pragma once

#include <p2pdvm/base/time.hpp>

#include <chrono>
#include <cstddef>

namespace p2pdvm::overlay {

/// From death to agreement, with n members:
///   first probe of the dead    about probe_interval (each member probes one other per
///                              interval, so each is probed once per interval on average;
///                              5 × probe_interval is exceeded in less than 1 % of cases)
///   + the probe fails          3 × probe_timeout
///   + suspicion                suspicion_min + gossip_interval × log(n) / log(1 + fanout), up to
///                              suspicion_spread times that with few observers.
/// A member that stalls and then answers is not agreed dead if its stall is shorter than the
/// last two together: 1.4 s (local, lan), 3.4 s (wan), whatever n.
struct detector_options {
  /// [s] Pause between two probes of one member each. Halving it halves the wait for the first
  /// probe and doubles the upkeep: about 2 datagrams of 100 bytes per interval and member.
  duration probe_interval = std::chrono::milliseconds(200);
  /// [s] Patience for a direct answer; raised to mean + 4 deviations of the member's measured
  /// round trips where that is longer. Too short: healthy members are probed indirectly for
  /// nothing. Too long: a third of the detection time each.
  duration probe_timeout = std::chrono::milliseconds(150);
  /// Others that are asked to probe when a direct answer is overdue. Each one more divides the
  /// probability that loss alone fails a probe, and costs up to 4 datagrams.
  std::size_t indirect_probes = 3;
  /// [s] Pause between two rounds of news, and how many members each round reaches. News
  /// reaches n members in about log(n) / log(1 + fanout) rounds. Silent when there is no news.
  duration gossip_interval = std::chrono::milliseconds(50);
  std::size_t gossip_fanout = 3;
  /// [s] Time that a suspect has to refute. The stall that is forgiven grows with it, and so
  /// does the time to agree.
  duration suspicion_min = std::chrono::milliseconds(950);
  /// Suspicion by a single observer lasts this many times longer than by four.
  unsigned suspicion_spread = 2;
  /// [s] Suspicion time after a hint (a refused connection): covers one exchange of news.
  duration suspicion_hinted = std::chrono::milliseconds(200);
  /// Observers that must agree, or all unsuspected members when they are fewer.
  std::size_t observers = 3;
  /// Members that probe a suspect out of turn when they first hear of it, on average: enough
  /// for `observers` to agree soon, without everybody asking at once.
  std::size_t confirmers = 8;
  /// Upper bound of the local health multiplier (Lifeguard): a member that seems slow itself
  /// stretches its probes up to 1 + this many times.
  unsigned health_max = 8;

  /// One switch between members, or few.
  [[nodiscard]] static detector_options lan() { return {}; }
  /// One machine: answers come sooner, but processes stall as long as anywhere.
  [[nodiscard]] static detector_options local() {
    detector_options o = lan();
    o.probe_interval /= 2;
    return o;
  }
  /// The Internet: round trips up to half a second, bursts of loss.
  [[nodiscard]] static detector_options wan() {
    detector_options o = lan();
    o.probe_interval *= 2;                           // 400 ms
    o.probe_timeout = std::chrono::milliseconds(500);
    o.gossip_interval *= 2;                          // 100 ms
    o.suspicion_min *= 2;                            // 1.9 s
    o.suspicion_hinted = o.gossip_interval * 5 / 2;  // 250 ms
    return o;
  }
};

}  // namespace p2pdvm::overlay

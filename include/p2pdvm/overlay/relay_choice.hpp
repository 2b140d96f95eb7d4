/// Whether messages to a peer get there sooner through another peer, and through which.
///
/// What relays claim only says whom to try: a path is taken when its own end-to-end measurement
/// beats the direct one clearly. A relay that claims too little costs one measurement, after
/// which its claims are not followed for a while that doubles each time.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/time.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

namespace p2pdvm::overlay {

inline constexpr std::size_t relay_destinations_max = 256;
inline constexpr std::size_t relay_peers_max = 1024;      ///< whose own round trip is remembered
inline constexpr std::size_t relay_paths_max = 4;         ///< per destination, the best ones
inline constexpr double relay_gain_min = 0.1;             ///< share that another path must save
inline constexpr duration relay_gain_least = std::chrono::milliseconds(2);  ///< and at least this
/// A path that takes longer than this share over what was claimed was claimed falsely.
inline constexpr double relay_claim_slack = 0.5;
/// Of anything measured or told.
inline constexpr duration relay_age_max = std::chrono::minutes(5);
inline constexpr duration relay_remeasure = std::chrono::minutes(1);  ///< of a path in use
inline constexpr duration relay_distrust_first = std::chrono::minutes(2);
/// Of the pause after a false claim, and of that between probes without an answer.
inline constexpr int relay_doublings_max = 8;

/// A synchronous state machine. Times must not go back; round trips outside 0 … 10 s are ignored.
class relay_choice {
 public:
  /// From now on a path to `destination` is sought. What relays tell of others is ignored; of more
  /// than `relay_destinations_max` the one followed first is forgotten.
  void follow(time_point now, const node_id& destination);
  void forget(const node_id& destination) { destinations_.erase(destination); }
  /// We measured our own round trip to `peer`, a destination or a relay; nothing: it does not
  /// answer us.
  void direct(time_point now, const node_id& peer, std::optional<duration> round_trip);
  /// `relay` says that its round trip to `destination` is this.
  void told(time_point now, const node_id& relay, const node_id& destination, duration round_trip);
  /// Outcome of a probe; nothing: no answer.
  void measured(time_point now, const node_id& relay, const node_id& destination,
                std::optional<duration> round_trip);

  /// A path whose whole round trip is to be measured, through the relay.
  struct probe {
    node_id relay;
    node_id destination;
  };
  /// The next one due; asking is taken as doing. Call again until there is none, and now and then.
  [[nodiscard]] std::optional<probe> next_probe(time_point now);

  struct path {
    std::optional<node_id> relay;  ///< none: directly
    duration round_trip{};
  };
  /// The path to take, or none when nothing recent is known.
  [[nodiscard]] std::optional<path> path_to(time_point now, const node_id& destination) const;

 private:
  struct sample {
    duration round_trip{};
    time_point at{};
    [[nodiscard]] bool recent(time_point now) const { return now - at <= relay_age_max; }
  };
  struct candidate {
    node_id relay;
    sample told;                     ///< from the relay on
    std::optional<sample> measured;  ///< end to end
    std::optional<time_point> tried;
    int failures = 0;  ///< unanswered probes since the last answer
  };
  struct destination_state {
    std::vector<candidate> paths;
    std::optional<node_id> chosen;
    time_point used{};
  };
  struct peer_state {
    std::optional<sample> own;
    time_point distrusted_until{};
    int distrusted = 0;  ///< times
    time_point used{};
  };

  [[nodiscard]] peer_state& peer(time_point now, const node_id& who);
  [[nodiscard]] std::optional<duration> own(time_point now, const node_id& who) const;
  [[nodiscard]] bool trusted(time_point now, const node_id& relay) const;
  /// The sum of what we measured to the relay and what it told.
  [[nodiscard]] std::optional<duration> claimed(time_point now, const candidate& c) const;
  /// The measured round trip of a path or else the claimed one; the longest when there is none.
  [[nodiscard]] duration sum_of(time_point now, const candidate& c) const;
  [[nodiscard]] bool due(time_point now, const destination_state& d, const candidate& c,
                         std::optional<duration> present) const;
  [[nodiscard]] std::optional<duration> present(time_point now, const node_id& destination) const;
  void distrust(time_point now, const node_id& relay);
  void choose(time_point now, const node_id& destination, destination_state& d);

  std::map<node_id, destination_state> destinations_;
  std::map<node_id, peer_state> peers_;
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/relay_choice.ipp>
#endif

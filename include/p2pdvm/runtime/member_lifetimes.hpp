/// How long members of the job have been seen to live: what the checkpoint interval is made of.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/checkpoint/policy.hpp>

#include <cstdint>
#include <map>
#include <set>
#include <vector>

namespace p2pdvm::runtime {

/// What its sender has seen and been told of lifetimes in this job, for a newcomer. Bounded when it is used.
struct lifetimes_told {
  static constexpr std::uint64_t deaths_max = 1'000'000'000;
  static constexpr std::uint64_t seconds_max = std::uint64_t{1} << 50;
  std::uint64_t deaths = 0;
  std::uint64_t seconds = 0;  ///< of all peers together, living ones included
  template <class F>
  void fields(F&& f) {
    f(deaths), f(seconds);
  }
};

class member_lifetimes {
 public:
  /// `newcomer`: it joined a job that was running; how old the others are nobody knows.
  void joined(const node_id& member, time_point now, bool newcomer);
  void died(const node_id& member, time_point now);
  /// It went politely: how long it would have lived is not known.
  void left(const node_id& member, time_point now);

  /// Since when it has been seen here; zero for who is no member.
  [[nodiscard]] duration seen(const node_id& member, time_point now) const;
  [[nodiscard]] lifetimes_told all(time_point now) const;
  /// Replaces what was seen here if the other one has seen more.
  void learn(const lifetimes_told& told, time_point now);
  /// `hosts`: those that have ranks.
  [[nodiscard]] double failures_per_second(time_point now, const std::set<node_id>& hosts) const;

 private:
  struct watched {
    time_point since;
    bool newcomer;
  };
  /// For how long it was seen; forgets it.
  duration take(const node_id& member, time_point now);

  checkpoint::lifetime_estimator estimator_;
  std::map<node_id, watched> living_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/member_lifetimes.ipp>
#endif

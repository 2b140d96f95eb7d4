/// By which way a member's small messages came last, and so by which ways to answer: datagrams may not get
/// through to it, as when it is behind a NAT.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/time.hpp>

#include <map>
#include <optional>

namespace p2pdvm::runtime {

class member_ways {
 public:
  /// NATs forget what they have let out for a while, some after half a minute.
  static constexpr duration source_age_max = std::chrono::seconds(30);
  /// So long what had to be passed on once is passed on at once.
  static constexpr duration passed_age_max = std::chrono::minutes(10);

  /// A datagram has come from there; `listed`: an address by which the member says it can be reached.
  void by_datagram(const node_id& member, const address& source, bool listed, time_point now);
  /// Another member has passed something on.
  void passed_on(const node_id& member, time_point now);
  void forget(const node_id& member) { ways_.erase(member); }

  /// Where its datagrams come from, if some may be expected to get back there.
  [[nodiscard]] std::optional<address> source(const node_id& member, time_point now) const;
  /// Others have had to pass on what it said.
  [[nodiscard]] bool is_passed_on(const node_id& member, time_point now) const;

 private:
  struct way {
    address source;
    bool listed = false;
    time_point datagram = time_point_never;
    time_point passed = time_point_never;
  };
  std::map<node_id, way> ways_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/member_ways.ipp>
#endif

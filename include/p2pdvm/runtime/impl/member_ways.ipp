#pragma once

#include <p2pdvm/runtime/member_ways.hpp>

namespace p2pdvm::runtime {

P2PDVM_DECL void member_ways::by_datagram(const node_id& member, const address& source, bool listed, time_point now) {
  way& w = ways_[member];
  w.source = source;
  w.listed = listed;
  w.datagram = now;
}

P2PDVM_DECL void member_ways::passed_on(const node_id& member, time_point now) { ways_[member].passed = now; }

P2PDVM_DECL std::optional<address> member_ways::source(const node_id& member, time_point now) const {
  const auto found = ways_.find(member);
  if (found == ways_.end() || found->second.datagram == time_point_never) return std::nullopt;
  const way& w = found->second;
  if (!w.listed && now - w.datagram > source_age_max) return std::nullopt;
  return w.source;
}

P2PDVM_DECL bool member_ways::is_passed_on(const node_id& member, time_point now) const {
  const auto found = ways_.find(member);
  return found != ways_.end() && found->second.passed != time_point_never &&
         now - found->second.passed <= passed_age_max;
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/overlay/relay_choice.hpp>

#include <algorithm>
#include <tuple>

namespace p2pdvm::overlay {

namespace detail {

inline bool believable(duration round_trip) noexcept {
  return round_trip > duration::zero() && round_trip <= from_seconds(coordinate_seconds_max);
}

/// Better by enough to be worth a change.
inline bool clearly_less(duration a, duration b) noexcept {
  return b - a >= relay_gain_least && to_seconds(a) <= to_seconds(b) * (1 - relay_gain_min);
}

/// Makes room for one more by dropping the entry that was used least recently.
template <class Map>
void make_room(Map& map, std::size_t most) {
  if (map.size() < most) return;
  map.erase(std::min_element(map.begin(), map.end(), [](const auto& a, const auto& b) {
    return a.second.used < b.second.used;
  }));
}

}  // namespace detail

P2PDVM_DECL relay_choice::peer_state& relay_choice::peer(time_point now, const node_id& who) {
  auto found = peers_.find(who);
  if (found == peers_.end()) {
    detail::make_room(peers_, relay_peers_max);
    found = peers_.emplace(who, peer_state()).first;
  }
  found->second.used = now;
  return found->second;
}

P2PDVM_DECL void relay_choice::follow(time_point now, const node_id& destination) {
  if (destinations_.contains(destination)) return;
  detail::make_room(destinations_, relay_destinations_max);
  destinations_[destination].used = now;
}

P2PDVM_DECL void relay_choice::direct(time_point now, const node_id& who,
                                      std::optional<duration> round_trip) {
  peer_state& p = peer(now, who);
  if (!round_trip) {
    p.own.reset();
  } else if (detail::believable(*round_trip)) {
    p.own = sample{*round_trip, now};
  }
  const auto d = destinations_.find(who);
  if (d != destinations_.end()) choose(now, who, d->second);
}

P2PDVM_DECL void relay_choice::told(time_point now, const node_id& relay,
                                    const node_id& destination, duration round_trip) {
  if (!detail::believable(round_trip) || relay == destination) return;
  const auto found = destinations_.find(destination);
  if (found == destinations_.end()) return;
  destination_state& d = found->second;
  const auto known = std::find_if(d.paths.begin(), d.paths.end(),
                                  [&](const candidate& c) { return c.relay == relay; });
  if (known != d.paths.end()) {
    known->told = {round_trip, now};
    return;
  }
  candidate fresh;
  fresh.relay = relay;
  fresh.told = {round_trip, now};
  if (!claimed(now, fresh)) return;
  d.paths.push_back(fresh);
  if (d.paths.size() <= relay_paths_max) return;
  // Out goes the one of least promise, but not the one in use.
  const auto promise = [&](const candidate& c) {
    return std::tuple(d.chosen != c.relay, !trusted(now, c.relay), sum_of(now, c));
  };
  d.paths.erase(std::max_element(d.paths.begin(), d.paths.end(), [&](const auto& a, const auto& b) {
    return promise(a) < promise(b);
  }));
}

P2PDVM_DECL void relay_choice::measured(time_point now, const node_id& relay,
                                        const node_id& destination,
                                        std::optional<duration> round_trip) {
  const auto found = destinations_.find(destination);
  if (found == destinations_.end()) return;
  destination_state& d = found->second;
  const auto c = std::find_if(d.paths.begin(), d.paths.end(),
                              [&](const candidate& p) { return p.relay == relay; });
  if (c == d.paths.end() || !c->tried) return;
  c->measured.reset();
  if (round_trip && detail::believable(*round_trip)) {
    c->measured = sample{*round_trip, now};
    c->failures = 0;
    const auto promised = claimed(now, *c);
    if (promised && to_seconds(*round_trip) > to_seconds(*promised) * (1 + relay_claim_slack))
      distrust(now, relay);
  } else {
    c->failures = std::min(c->failures + 1, relay_doublings_max);
  }
  choose(now, destination, d);
}

/// Of each destination the most promising path first: once it is measured others may not be due.
P2PDVM_DECL std::optional<relay_choice::probe> relay_choice::next_probe(time_point now) {
  for (auto& [destination, d] : destinations_) {
    const auto expected = present(now, destination);
    candidate* best = nullptr;
    for (candidate& c : d.paths) {
      if (!due(now, d, c, expected)) continue;
      if (!best || sum_of(now, c) < sum_of(now, *best)) best = &c;
    }
    if (!best) continue;
    best->tried = now;
    return probe{best->relay, destination};
  }
  return std::nullopt;
}

P2PDVM_DECL bool relay_choice::due(time_point now, const destination_state& d, const candidate& c,
                                   std::optional<duration> expected) const {
  if (c.tried && now - *c.tried < relay_remeasure * (1 << c.failures)) return false;
  if (d.chosen == c.relay) return true;
  const auto sum = claimed(now, c);
  return sum && trusted(now, c.relay) && (!expected || detail::clearly_less(*sum, *expected));
}

P2PDVM_DECL std::optional<relay_choice::path> relay_choice::path_to(
    time_point now, const node_id& destination) const {
  const auto round_trip = present(now, destination);
  if (!round_trip) return std::nullopt;
  const auto found = destinations_.find(destination);
  path p;
  p.round_trip = *round_trip;
  if (found != destinations_.end() && found->second.chosen) {
    const auto& paths = found->second.paths;
    const bool fresh = std::any_of(paths.begin(), paths.end(), [&](const candidate& c) {
      return c.relay == *found->second.chosen && c.measured && c.measured->recent(now);
    });
    if (fresh) p.relay = found->second.chosen;
  }
  return p;
}

/// The round trip of the path in use.
P2PDVM_DECL std::optional<duration> relay_choice::present(time_point now,
                                                          const node_id& destination) const {
  const auto found = destinations_.find(destination);
  if (found != destinations_.end() && found->second.chosen) {
    for (const candidate& c : found->second.paths) {
      if (c.relay == *found->second.chosen && c.measured && c.measured->recent(now))
        return c.measured->round_trip;
    }
  }
  return own(now, destination);
}

P2PDVM_DECL std::optional<duration> relay_choice::own(time_point now, const node_id& who) const {
  const auto found = peers_.find(who);
  if (found == peers_.end() || !found->second.own || !found->second.own->recent(now))
    return std::nullopt;
  return found->second.own->round_trip;
}

P2PDVM_DECL bool relay_choice::trusted(time_point now, const node_id& relay) const {
  const auto found = peers_.find(relay);
  return found == peers_.end() || now >= found->second.distrusted_until;
}

P2PDVM_DECL std::optional<duration> relay_choice::claimed(time_point now,
                                                          const candidate& c) const {
  const auto to_relay = own(now, c.relay);
  if (!to_relay || !c.told.recent(now)) return std::nullopt;
  return *to_relay + c.told.round_trip;
}

P2PDVM_DECL duration relay_choice::sum_of(time_point now, const candidate& c) const {
  if (c.measured && c.measured->recent(now)) return c.measured->round_trip;
  return claimed(now, c).value_or(duration::max());
}

P2PDVM_DECL void relay_choice::distrust(time_point now, const node_id& relay) {
  peer_state& p = peer(now, relay);
  p.distrusted_until = now + relay_distrust_first * (1 << p.distrusted);
  p.distrusted = std::min(p.distrusted + 1, relay_doublings_max);
}

/// Of the measured paths the best, when it is clearly better than the one in use.
P2PDVM_DECL void relay_choice::choose(time_point now, const node_id& destination,
                                      destination_state& d) {
  const candidate* best = nullptr;
  for (const candidate& c : d.paths) {
    if (!c.measured || !c.measured->recent(now)) {
      if (d.chosen == c.relay) d.chosen.reset();
      continue;
    }
    if (!best || c.measured->round_trip < best->measured->round_trip) best = &c;
  }
  const auto straight = own(now, destination);
  // A path in use that has become worse is kept until the direct one is no slower.
  if (d.chosen && straight && *straight <= *present(now, destination)) d.chosen.reset();
  const auto expected = present(now, destination);
  if (best && (!expected || detail::clearly_less(best->measured->round_trip, *expected)))
    d.chosen = best->relay;
}

}  // namespace p2pdvm::overlay

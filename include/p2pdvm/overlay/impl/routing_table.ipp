#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/routing_table.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::overlay {

namespace detail {

inline std::size_t index_of(const std::vector<peer_entry>& group, const node_id& id) {
  std::size_t i = 0;
  while (i < group.size() && group[i].id != id) ++i;
  return i;
}

inline std::size_t count_network(const std::vector<peer_entry>& group, network_prefix network) {
  std::size_t count = 0;
  for (const peer_entry& e : group) count += network_of(e.peer.where) == network ? 1 : 0;
  return count;
}

inline void erase_at(std::vector<peer_entry>& group, std::size_t i) {
  group.erase(group.begin() + static_cast<std::ptrdiff_t>(i));
}

}  // namespace detail

P2PDVM_DECL routing_table::routing_table(const node_id& self, const routing_options& options)
    : self_(self), options_(options) {}

P2PDVM_DECL routing_table::bucket& routing_table::bucket_of(const node_id& id) {
  const std::size_t index = common_prefix(self_, id);
  if (index >= buckets_.size()) buckets_.resize(index + 1);
  return buckets_[index];
}

P2PDVM_DECL const routing_table::bucket* routing_table::existing_bucket_of(
    const node_id& id) const {
  const std::size_t index = common_prefix(self_, id);
  return index < buckets_.size() ? &buckets_[index] : nullptr;
}

P2PDVM_DECL const peer_entry* routing_table::find(const node_id& id) const {
  const std::size_t s = detail::index_of(siblings_, id);
  if (s < siblings_.size()) return &siblings_[s];
  const bucket* in = existing_bucket_of(id);
  if (in == nullptr) return nullptr;
  const std::size_t m = detail::index_of(in->members, id);
  return m < in->members.size() ? &in->members[m] : nullptr;
}

P2PDVM_DECL peer_entry* routing_table::find_mutable(const node_id& id) {
  return const_cast<peer_entry*>(find(id));  // the object itself is ours and not const
}

P2PDVM_DECL std::size_t routing_table::size() const noexcept {
  std::size_t total = siblings_.size();
  for (const bucket& b : buckets_) total += b.members.size();
  return total;
}

P2PDVM_DECL bool routing_table::fits_network(const peer_entry& entry,
                                             const std::vector<peer_entry>& group,
                                             std::size_t group_max) const {
  const network_prefix network = network_of(entry.peer.where);
  if (network == network_prefix()) return true;
  if (detail::count_network(group, network) >= group_max) return false;
  std::size_t total = detail::count_network(siblings_, network);
  for (const bucket& b : buckets_) total += detail::count_network(b.members, network);
  return total < options_.per_network_max;
}

P2PDVM_DECL bool routing_table::proven(time_point now, const contact& peer,
                                       std::optional<duration> round_trip_time) {
  const node_id id = crypto::node_id_of(peer.key);
  if (id == self_) return false;
  peer_entry entry{id, peer, now, now, 0, {}};
  bool known = false;
  if (peer_entry* existing = find_mutable(id)) {
    existing->heard = now;
    existing->failures = 0;
    if (round_trip_time) existing->rtt.sample(*round_trip_time);
    if (existing->peer.where == peer.where) return false;
    entry = *existing;  // it moved: the caps of its new network apply
    entry.peer = peer;
    known = true;
    remove(id);
  } else {
    std::vector<peer_entry>& waiting = bucket_of(id).replacements;
    const std::size_t i = detail::index_of(waiting, id);
    if (i < waiting.size()) {
      entry.since = waiting[i].since;
      entry.rtt = waiting[i].rtt;
      detail::erase_at(waiting, i);
    }
    if (round_trip_time) entry.rtt.sample(*round_trip_time);
  }
  return place(now, std::move(entry)) && !known;
}

P2PDVM_DECL bool routing_table::place(time_point now, peer_entry entry) {
  const bool near = siblings_.size() < options_.siblings ||
                    (!siblings_.empty() && nearer(self_, entry.id, siblings_.back().id));
  if (!near || !fits_network(entry, siblings_, options_.per_network_siblings_max)) {
    return place_in_bucket(now, std::move(entry));
  }
  const auto at = std::find_if(siblings_.begin(), siblings_.end(), [&](const peer_entry& e) {
    return nearer(self_, entry.id, e.id);
  });
  siblings_.insert(at, std::move(entry));
  if (siblings_.size() > options_.siblings) {
    peer_entry last = std::move(siblings_.back());
    siblings_.pop_back();
    place_in_bucket(now, std::move(last));
  }
  return true;
}

P2PDVM_DECL bool routing_table::place_in_bucket(time_point now, peer_entry entry) {
  bucket& in = bucket_of(entry.id);
  if (!fits_network(entry, in.members, options_.per_network_bucket_max)) return false;
  if (in.members.size() < options_.bucket_size) {
    in.members.push_back(std::move(entry));
    return true;
  }
  const auto victim = displaceable(now, in, entry);
  if (!victim) {
    keep_as_replacement(in, std::move(entry));
    return false;
  }
  std::swap(in.members[*victim], entry);
  if (entry.failures == 0) keep_as_replacement(in, std::move(entry));
  return true;
}

/// A failing member gives way to anybody, a young and distant one to one clearly nearer.
P2PDVM_DECL std::optional<std::size_t> routing_table::displaceable(time_point now,
                                                                   const bucket& in,
                                                                   const peer_entry& by) const {
  std::optional<std::size_t> farthest;
  for (std::size_t i = 0; i < in.members.size(); ++i) {
    const peer_entry& member = in.members[i];
    if (member.failures > 0) return i;
    if (!member.rtt.known() || now - member.since >= options_.long_lived) continue;
    if (!farthest || member.rtt.mean() > in.members[*farthest].rtt.mean()) farthest = i;
  }
  if (!farthest || !by.rtt.known()) return std::nullopt;
  if (by.rtt.mean() > in.members[*farthest].rtt.mean() / 4 * 3) return std::nullopt;
  return farthest;
}

P2PDVM_DECL void routing_table::keep_as_replacement(bucket& in, peer_entry entry) {
  if (options_.replacements == 0) return;
  if (in.replacements.size() >= options_.replacements) detail::erase_at(in.replacements, 0);
  in.replacements.push_back(std::move(entry));
}

P2PDVM_DECL bool routing_table::wants(const contact& peer) const {
  const node_id id = crypto::node_id_of(peer.key);
  if (id == self_ || find(id) != nullptr) return false;
  const peer_entry entry{id, peer, {}, {}, 0, {}};
  const bool near = siblings_.size() < options_.siblings ||
                    (!siblings_.empty() && nearer(self_, id, siblings_.back().id));
  if (near && fits_network(entry, siblings_, options_.per_network_siblings_max)) return true;
  const bucket* in = existing_bucket_of(id);
  if (in == nullptr) return true;
  if (!fits_network(entry, in->members, options_.per_network_bucket_max)) return false;
  if (in->members.size() < options_.bucket_size) return true;
  return std::any_of(in->members.begin(), in->members.end(),
                     [](const peer_entry& e) { return e.failures > 0; });
}

P2PDVM_DECL void routing_table::failed(const node_id& id) {
  peer_entry* entry = find_mutable(id);
  if (entry == nullptr) {
    const bucket* in = existing_bucket_of(id);
    if (in == nullptr) return;
    std::vector<peer_entry>& waiting = bucket_of(id).replacements;
    const std::size_t i = detail::index_of(waiting, id);
    if (i < waiting.size()) detail::erase_at(waiting, i);
    return;
  }
  ++entry->failures;
  const bool sibling = detail::index_of(siblings_, id) < siblings_.size();
  const bool replaceable = !sibling && !bucket_of(id).replacements.empty();
  if (entry->failures >= options_.failures_max || replaceable) remove(id);
}

P2PDVM_DECL void routing_table::remove(const node_id& id) {
  const std::size_t s = detail::index_of(siblings_, id);
  if (s < siblings_.size()) {
    detail::erase_at(siblings_, s);
    refill_siblings();
    return;
  }
  bucket& in = bucket_of(id);
  const std::size_t m = detail::index_of(in.members, id);
  if (m == in.members.size()) return;
  detail::erase_at(in.members, m);
  promote(in);
}

/// The longest known waiting peer takes the free place, the nearer of equally old ones.
P2PDVM_DECL void routing_table::promote(bucket& in) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < in.replacements.size(); ++i) {
    const peer_entry& e = in.replacements[i];
    if (!fits_network(e, in.members, options_.per_network_bucket_max)) continue;
    if (!best || e.since < in.replacements[*best].since) best = i;
  }
  if (!best) return;
  in.members.push_back(std::move(in.replacements[*best]));
  detail::erase_at(in.replacements, *best);
}

P2PDVM_DECL void routing_table::refill_siblings() {
  for (std::size_t b = buckets_.size(); b-- > 0 && siblings_.size() < options_.siblings;) {
    bucket& in = buckets_[b];
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < in.members.size(); ++i) {
      if (!fits_network(in.members[i], siblings_, options_.per_network_siblings_max)) continue;
      if (!best || nearer(self_, in.members[i].id, in.members[*best].id)) best = i;
    }
    if (!best) continue;
    siblings_.push_back(std::move(in.members[*best]));
    detail::erase_at(in.members, *best);
    promote(in);
    std::sort(siblings_.begin(), siblings_.end(), [&](const peer_entry& x, const peer_entry& y) {
      return nearer(self_, x.id, y.id);
    });
    return;
  }
}

P2PDVM_DECL std::vector<contact> routing_table::closest(const node_id& target, std::size_t count,
                                                        include which) const {
  std::vector<const peer_entry*> found;
  const auto take = [&](const std::vector<peer_entry>& group) {
    for (const peer_entry& e : group) {
      if (which == include::all || e.failures == 0) found.push_back(&e);
    }
  };
  // The target's own bucket holds what is nearest to it, then all deeper ones together, then
  // the shallower ones one by one; siblings may belong to any of them.
  const std::size_t start = common_prefix(self_, target);
  for (std::size_t b = start; b < buckets_.size(); ++b) {
    take(buckets_[b].members);
    if (b == start && found.size() >= count) break;
  }
  for (std::size_t b = std::min(start, buckets_.size()); b-- > 0 && found.size() < count;) {
    take(buckets_[b].members);
  }
  take(siblings_);
  const std::size_t kept = std::min(count, found.size());
  std::partial_sort(
      found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end(),
      [&](const peer_entry* x, const peer_entry* y) { return nearer(target, x->id, y->id); });
  std::vector<contact> out;
  out.reserve(kept);
  for (std::size_t i = 0; i < kept; ++i) out.push_back(found[i]->peer);
  return out;
}

P2PDVM_DECL std::optional<contact> routing_table::quietest(time_point before) const {
  const peer_entry* best = nullptr;
  const auto look = [&](const std::vector<peer_entry>& group) {
    for (const peer_entry& e : group) {
      if (e.heard < before && (best == nullptr || e.heard < best->heard)) best = &e;
    }
  };
  look(siblings_);
  for (const bucket& b : buckets_) look(b.members);
  if (best == nullptr) return std::nullopt;
  return best->peer;
}

P2PDVM_DECL std::vector<peer_entry> routing_table::oldest_first() const {
  std::vector<peer_entry> all = siblings_;
  for (const bucket& b : buckets_) all.insert(all.end(), b.members.begin(), b.members.end());
  std::sort(all.begin(), all.end(), [](const peer_entry& x, const peer_entry& y) {
    return x.since != y.since ? x.since < y.since : x.id < y.id;
  });
  return all;
}

P2PDVM_DECL void routing_table::looked_up(time_point now, const node_id& target) {
  const std::size_t index = common_prefix(self_, target);
  if (index < 256) bucket_of(target).looked_up = now;
}

P2PDVM_DECL std::size_t routing_table::stalest_bucket() const {
  const bool small = siblings_.size() < options_.siblings || siblings_.empty();
  const std::size_t depth = small ? 0 : common_prefix(self_, siblings_.back().id);
  std::size_t stalest = 0;
  time_point oldest = time_point_never;
  for (std::size_t b = 0; b <= depth; ++b) {
    const time_point at = b < buckets_.size() ? buckets_[b].looked_up : time_point{};
    if (at >= oldest) continue;
    oldest = at;
    stalest = b;
  }
  return stalest;
}

P2PDVM_DECL node_id routing_table::random_id_in(std::size_t bucket_index,
                                                random_generator& random) const {
  P2PDVM_ASSERT(bucket_index < 256);
  node_id id;
  for (std::size_t i = 0; i < node_id::size; ++i) {
    id.mutable_bytes()[i] = static_cast<std::byte>(random.below(256));
  }
  const auto bit = [](std::size_t i) { return std::byte{0x80} >> static_cast<int>(i % 8); };
  for (std::size_t i = 0; i <= bucket_index; ++i) {
    const bool own = (self_.bytes()[i / 8] & bit(i)) != std::byte{0};
    const bool wanted = i < bucket_index ? own : !own;
    std::byte& b = id.mutable_bytes()[i / 8];
    b = wanted ? b | bit(i) : b & ~bit(i);
  }
  return id;
}

}  // namespace p2pdvm::overlay

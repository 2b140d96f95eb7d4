#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/routing_table.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::overlay {

namespace detail {

inline std::size_t index_of(const std::vector<peer_entry>& group, const node_id& id) {
  std::size_t i = 0;
  while (i < group.size() && !same(group[i].id(), id)) ++i;
  return i;
}

inline std::size_t count_network(const peer_group& group, network_prefix network) {
  std::size_t count = 0;
  for (const peer_entry& e : group.entries()) count += e.network == network ? 1 : 0;
  return count;
}

/// More than two full groups: what a search mostly looks at.
inline constexpr std::size_t closest_reserve = 128;

inline void erase_at(std::vector<peer_entry>& group, std::size_t i) {
  group.erase(group.begin() + static_cast<std::ptrdiff_t>(i));
}

}  // namespace detail

P2PDVM_DECL std::size_t peer_group::index_of(const node_id& id) const {
  const std::uint64_t word = detail::id_word(id, 0);
  std::size_t i = 0;
  while (i < digests_.size() && !(digests_[i].word == word && entries_[i].id() == id)) ++i;
  return i;
}

P2PDVM_DECL std::size_t peer_group::count_heard(time_point since) const {
  return static_cast<std::size_t>(std::count_if(
      digests_.begin(), digests_.end(), [&](const digest& d) { return d.heard >= since; }));
}

P2PDVM_DECL void peer_group::insert(std::size_t at, peer_entry entry) {
  // Little at a time: thousands of groups are not to hold room for what never comes.
  constexpr std::size_t step = 4;
  if (entries_.size() == entries_.capacity()) {
    entries_.reserve(entries_.size() + step);
    digests_.reserve(entries_.size() + step);
  }
  const auto offset = static_cast<std::ptrdiff_t>(at);
  digests_.insert(digests_.begin() + offset, digest_of(entry));
  entries_.insert(entries_.begin() + offset, std::move(entry));
}

P2PDVM_DECL peer_entry peer_group::take(std::size_t i) {
  peer_entry taken = std::move(entries_[i]);
  detail::erase_at(entries_, i);
  digests_.erase(digests_.begin() + static_cast<std::ptrdiff_t>(i));
  return taken;
}

P2PDVM_DECL routing_table::routing_table(const node_id& self, const routing_options& options)
    : self_(self), options_(options), full_view_(options.full_view_max > 0) {}

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
  const std::size_t s = siblings_.index_of(id);
  if (s < siblings_.size()) return &siblings_[s];
  const bucket* in = existing_bucket_of(id);
  if (in == nullptr) return nullptr;
  const std::size_t m = in->members.index_of(id);
  return m < in->members.size() ? &in->members[m] : nullptr;
}

/// False when there is no such peer in the table.
template <class Change>
bool routing_table::update(const node_id& id, Change change) {
  const std::size_t s = siblings_.index_of(id);
  if (s < siblings_.size()) {
    siblings_.update(s, change);
    return true;
  }
  if (existing_bucket_of(id) == nullptr) return false;
  peer_group& members = bucket_of(id).members;
  const std::size_t m = members.index_of(id);
  if (m == members.size()) return false;
  members.update(m, change);
  return true;
}

P2PDVM_DECL std::size_t routing_table::size() const noexcept {
  return networks_.size();
}

P2PDVM_DECL bool routing_table::fits_network(network_prefix network,
                                             const peer_group& group,
                                             std::size_t group_max) const {
  if (network == network_prefix()) return true;
  const auto total = std::count(networks_.begin(), networks_.end(), network);
  if (total == 0) return true;
  return static_cast<std::size_t>(total) < options_.per_network_max &&
         detail::count_network(group, network) < group_max;
}

P2PDVM_DECL void routing_table::leave_network(network_prefix network) {
  const auto at = std::find(networks_.begin(), networks_.end(), network);
  P2PDVM_ASSERT(at != networks_.end());
  *at = networks_.back();
  networks_.pop_back();
}

P2PDVM_DECL bool routing_table::proven(time_point now, const contact& peer,
                                       std::optional<duration> round_trip_time) {
  const node_id id = crypto::node_id_of(peer.key);
  if (id == self_) return false;
  peer_entry entry{peer, network_of(peer.where), {}, {}, now, now, 0, {}, {}};
  const bool known = update(id, [&](peer_entry& existing) {
    existing.heard = now;
    existing.failures = 0;
    if (round_trip_time) existing.rtt.sample(*round_trip_time);
    entry = existing;
  });
  if (known) {
    if (entry.peer.where == peer.where) return false;
    entry.peer = peer;  // it moved: the caps of its new network apply
    entry.network = network_of(peer.where);
    remove(id);
  } else {
    std::vector<peer_entry>& waiting = bucket_of(id).replacements;
    const std::size_t i = detail::index_of(waiting, id);
    if (i < waiting.size()) {
      entry.since = waiting[i].since;
      entry.rtt = waiting[i].rtt;
      entry.place = waiting[i].place;
      detail::erase_at(waiting, i);
    }
    if (round_trip_time) entry.rtt.sample(*round_trip_time);
  }
  const bool placed = place(std::move(entry));
  review_view();
  return placed && !known;
}

/// The siblings lie as densely as in a swarm four times larger than a full view: by chance that
/// is as good as impossible, and a newcomer in a large swarm must not try to know everybody.
P2PDVM_DECL bool routing_table::crowded() const {
  if (siblings_.empty() || siblings_.size() < options_.siblings) return false;
  const std::uint64_t reach =
      detail::id_word(self_, 0) ^ detail::id_word(siblings_.back().id(), 0);
  return reach / siblings_.size() < ~std::uint64_t{0} / (4 * options_.full_view_max);
}

/// Begins or ends the full view. Who then has no place in a bucket waits for one, if there is room:
/// the newest, since who stayed long will stay longer.
P2PDVM_DECL void routing_table::review_view() {
  if (options_.full_view_max == 0) return;
  if (!full_view_) {
    full_view_ = size() < options_.full_view_max * 5 / 8 && !crowded();
    return;
  }
  if (size() <= options_.full_view_max && !crowded()) return;
  full_view_ = false;
  for (bucket& b : buckets_) {
    while (b.members.size() > options_.bucket_size) {
      const auto& all = b.members.entries();
      const auto newest = std::max_element(all.begin(), all.end(), [](const auto& x, const auto& y) {
        return std::pair(x.failures, x.since) < std::pair(y.failures, y.since);
      });
      peer_entry out = b.members.take(static_cast<std::size_t>(newest - all.begin()));
      leave_network(out.network);
      if (out.failures == 0) keep_as_replacement(b, std::move(out));
    }
  }
}

P2PDVM_DECL bool routing_table::place(peer_entry entry) {
  const bool near = siblings_.size() < options_.siblings ||
                    (!siblings_.empty() && nearer(self_, entry.id(), siblings_.back().id()));
  if (!near || !fits_network(entry.network, siblings_, options_.per_network_siblings_max)) {
    return place_in_bucket(std::move(entry));
  }
  std::size_t at = 0;
  while (at < siblings_.size() && !nearer(self_, entry.id(), siblings_[at].id())) ++at;
  networks_.push_back(entry.network);
  siblings_.insert(at, std::move(entry));
  if (siblings_.size() > options_.siblings) {
    peer_entry last = siblings_.take(siblings_.size() - 1);
    leave_network(last.network);
    place_in_bucket(std::move(last));
  }
  return true;
}

P2PDVM_DECL bool routing_table::place_in_bucket(peer_entry entry) {
  bucket& in = bucket_of(entry.id());
  if (!fits_network(entry.network, in.members, options_.per_network_bucket_max)) return false;
  if (full_view_ || in.members.size() < options_.bucket_size) {
    networks_.push_back(entry.network);
    in.members.push_back(std::move(entry));
    return true;
  }
  const auto victim = displaceable(in, entry);
  if (!victim) {
    keep_as_replacement(in, std::move(entry));
    return false;
  }
  networks_.push_back(entry.network);
  in.members.update(*victim, [&](peer_entry& e) { std::swap(e, entry); });
  leave_network(entry.network);
  if (entry.failures == 0) keep_as_replacement(in, std::move(entry));
  return true;
}

/// A failing member gives way to anybody, a distant one to one clearly nearer, a veteran to
/// nobody.
P2PDVM_DECL std::optional<std::size_t> routing_table::displaceable(const bucket& in,
                                                                   const peer_entry& by) const {
  std::optional<std::size_t> farthest;
  for (std::size_t i = 0; i < in.members.size(); ++i) {
    const peer_entry& member = in.members[i];
    if (member.failures > 0) return i;
    if (!member.rtt.known()) continue;
    if (farthest && member.rtt.mean() <= in.members[*farthest].rtt.mean()) continue;
    const auto& all = in.members.entries();
    const auto older = std::count_if(all.begin(), all.end(), [&](const peer_entry& e) {
      return e.since < member.since;
    });
    if (static_cast<std::size_t>(older) >= options_.veterans) farthest = i;
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

P2PDVM_DECL routing_table::wish routing_table::wants(const contact& peer,
                                                     time_point heard_since) const {
  const node_id id = crypto::node_id_of(peer.key);
  if (id == self_ || find(id) != nullptr) return wish::none;
  const network_prefix network = network_of(peer.where);
  const bool near = siblings_.size() < options_.siblings ||
                    (!siblings_.empty() && nearer(self_, id, siblings_.back().id()));
  if (near && fits_network(network, siblings_, options_.per_network_siblings_max)) {
    return wish::needed;
  }
  const bucket* in = existing_bucket_of(id);
  if (in == nullptr) return wish::needed;
  if (!fits_network(network, in->members, options_.per_network_bucket_max)) return wish::none;
  if (full_view_) return wish::needed;
  if (in->members.count_heard(heard_since) < checked_per_bucket) return wish::needed;
  return wish::welcome;
}

P2PDVM_DECL bool routing_table::keep_token(time_point now, const node_id& id,
                                           address_token token) {
  return update(id, [&](peer_entry& entry) {
    entry.token = token;
    entry.token_since = now;
  });
}

P2PDVM_DECL void routing_table::keep_place(const node_id& id, const packed_coordinate& place) {
  update(id, [&](peer_entry& entry) { entry.place = place; });
}

P2PDVM_DECL void routing_table::failed(const node_id& id) {
  unsigned failures = 0;
  if (!update(id, [&](peer_entry& entry) { failures = ++entry.failures; })) {
    const bucket* in = existing_bucket_of(id);
    if (in == nullptr) return;
    std::vector<peer_entry>& waiting = bucket_of(id).replacements;
    const std::size_t i = detail::index_of(waiting, id);
    if (i < waiting.size()) detail::erase_at(waiting, i);
    return;
  }
  const bool sibling = siblings_.index_of(id) < siblings_.size();
  const bool replaceable = !sibling && !bucket_of(id).replacements.empty();
  if (failures >= options_.failures_max || replaceable) remove(id);
}

P2PDVM_DECL void routing_table::remove(const node_id& id) {
  const std::size_t s = siblings_.index_of(id);
  if (s < siblings_.size()) {
    leave_network(siblings_.take(s).network);
    refill_siblings();
    return review_view();
  }
  bucket& in = bucket_of(id);
  const std::size_t m = in.members.index_of(id);
  if (m == in.members.size()) return;
  leave_network(in.members.take(m).network);
  promote(in);
  review_view();
}

/// The longest known waiting peer takes the free place, the nearer of equally old ones.
P2PDVM_DECL void routing_table::promote(bucket& in) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < in.replacements.size(); ++i) {
    const peer_entry& e = in.replacements[i];
    if (!fits_network(e.network, in.members, options_.per_network_bucket_max)) continue;
    if (!best || e.since < in.replacements[*best].since) best = i;
  }
  if (!best) return;
  networks_.push_back(in.replacements[*best].network);
  in.members.push_back(std::move(in.replacements[*best]));
  detail::erase_at(in.replacements, *best);
}

P2PDVM_DECL void routing_table::refill_siblings() {
  for (std::size_t b = buckets_.size(); b-- > 0 && siblings_.size() < options_.siblings;) {
    bucket& in = buckets_[b];
    std::optional<std::size_t> best;
    for (std::size_t i = 0; i < in.members.size(); ++i) {
      if (!fits_network(in.members[i].network, siblings_, options_.per_network_siblings_max)) continue;
      if (!best || nearer(self_, in.members[i].id(), in.members[*best].id())) best = i;
    }
    if (!best) continue;
    peer_entry entry = in.members.take(*best);
    promote(in);
    std::size_t at = siblings_.size();
    while (at > 0 && nearer(self_, entry.id(), siblings_[at - 1].id())) --at;
    siblings_.insert(at, std::move(entry));
    return;
  }
}

P2PDVM_DECL std::vector<contact> routing_table::closest(const node_id& target, std::size_t count,
                                                        include which,
                                                        time_point heard_since) const {
  struct choice {
    std::uint64_t far;  ///< the first bytes of its distance
    const peer_entry* entry;
  };
  std::vector<choice> found;
  found.reserve(detail::closest_reserve);
  const std::uint64_t target_word = detail::id_word(target, 0);
  const auto take = [&](const peer_group& group) {
    for (std::size_t i = 0; i < group.size(); ++i) {
      if (which == include::all || group.healthy(i, heard_since)) {
        found.push_back({group.word(i) ^ target_word, &group[i]});
      }
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
  std::partial_sort(found.begin(), found.begin() + static_cast<std::ptrdiff_t>(kept), found.end(),
                    [&](const choice& x, const choice& y) {
                      if (x.far != y.far) return x.far < y.far;
                      return nearer(target, x.entry->id(), y.entry->id());
                    });
  std::vector<contact> out;
  out.reserve(kept);
  for (std::size_t i = 0; i < kept; ++i) out.push_back(found[i].entry->peer);
  return out;
}

P2PDVM_DECL std::vector<contact> routing_table::starts(const node_id& target, std::size_t count,
                                                       std::size_t paths,
                                                       random_generator& random) const {
  std::vector<contact> near = closest(target, count, include::all);
  // Few enough to start from all of them.
  if (paths < 2 || near.size() < count || size() <= count) return near;
  const std::size_t apart = count / paths;
  near.resize(count - apart);
  std::vector<std::vector<contact>> parts;
  const auto take = [&](const peer_group& group) {
    std::vector<contact>& part = parts.emplace_back();
    for (const peer_entry& e : group.entries()) {
      if (std::find(near.begin(), near.end(), e.peer) == near.end()) part.push_back(e.peer);
    }
  };
  take(siblings_);
  for (const bucket& b : buckets_) take(b.members);
  std::vector<contact> spread;
  while (spread.size() < apart) {
    for (std::vector<contact>& part : parts) {
      if (part.empty() || spread.size() == apart) continue;
      std::swap(part[static_cast<std::size_t>(random.below(part.size()))], part.back());
      spread.push_back(part.back());
      part.pop_back();
    }
  }
  std::vector<contact> dealt;
  std::size_t next = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const bool last = i % paths == paths - 1;
    dealt.push_back(last ? spread[i / paths] : near[next++]);
  }
  return dealt;
}

P2PDVM_DECL std::optional<contact> routing_table::quietest(time_point before) const {
  const peer_entry* best = nullptr;
  const auto look = [&](const peer_group& group) {
    for (const peer_entry& e : group.entries()) {
      if (e.heard < before && (best == nullptr || e.heard < best->heard)) best = &e;
    }
  };
  look(siblings_);
  for (const bucket& b : buckets_) look(b.members);
  if (best == nullptr) return std::nullopt;
  return best->peer;
}

P2PDVM_DECL std::vector<peer_entry> routing_table::oldest_first() const {
  std::vector<peer_entry> all = siblings_.entries();
  for (const bucket& b : buckets_) {
    const std::vector<peer_entry>& members = b.members.entries();
    all.insert(all.end(), members.begin(), members.end());
  }
  std::sort(all.begin(), all.end(), [](const peer_entry& x, const peer_entry& y) {
    return x.since != y.since ? x.since < y.since : x.id() < y.id();
  });
  return all;
}

P2PDVM_DECL std::optional<contact> routing_table::most_doubtful(time_point heard_since) const {
  const peer_entry* best = nullptr;
  for (std::size_t i = 0; i < siblings_.size(); ++i) {
    if (siblings_.healthy(i, heard_since)) continue;
    const peer_entry& e = siblings_[i];
    if (best == nullptr || e.heard < best->heard) best = &e;
  }
  if (best != nullptr) return best->peer;
  if (full_view_) return quietest(heard_since);
  for (const bucket& b : buckets_) {
    if (b.members.count_heard(heard_since) >= checked_per_bucket) continue;
    for (std::size_t i = 0; i < b.members.size(); ++i) {
      if (b.members.healthy(i, heard_since)) continue;
      const peer_entry& e = b.members[i];
      if (best == nullptr || e.heard > best->heard) best = &e;
    }
  }
  if (best == nullptr) return std::nullopt;
  return best->peer;
}

P2PDVM_DECL void routing_table::expect(unsigned stage) const noexcept {
  constexpr std::size_t often = 3;  // seven of eight ids fall into one of these buckets
  if (stage == 0) {
    siblings_.fetch();
    prefetch(buckets_.data(), buckets_.size() * sizeof(bucket));
    return;
  }
  for (std::size_t b = 0; b < std::min(often, buckets_.size()); ++b) buckets_[b].members.fetch();
}

P2PDVM_DECL void routing_table::refreshed(time_point now, const node_id& target) {
  const std::size_t index = common_prefix(self_, target);
  if (index < 256) bucket_of(target).refreshed = now;
}

P2PDVM_DECL std::size_t routing_table::depth() const {
  const bool small = siblings_.size() < options_.siblings || siblings_.empty();
  return small ? 1 : common_prefix(self_, siblings_.back().id()) + 1;
}

P2PDVM_DECL std::size_t routing_table::checked() const {
  const std::size_t some = depth() * checked_per_bucket + options_.siblings;
  return full_view_ ? std::max(some, size()) : some;
}

P2PDVM_DECL std::optional<std::size_t> routing_table::neediest_bucket(
    time_point heard_since, time_point refreshed_before) const {
  std::optional<std::size_t> neediest;
  time_point oldest = refreshed_before;
  const std::size_t end = depth();
  for (std::size_t b = 0; b < end; ++b) {
    const bool exists = b < buckets_.size();
    if (exists && buckets_[b].members.count_heard(heard_since) >= checked_per_bucket) {
      continue;
    }
    const time_point at = exists ? buckets_[b].refreshed : time_point::min();
    if (at >= oldest) continue;
    oldest = at;
    neediest = b;
  }
  return neediest;
}

P2PDVM_DECL std::size_t routing_table::stalest_bucket() const {
  std::size_t stalest = 0;
  time_point oldest = time_point_never;
  const std::size_t end = depth();
  for (std::size_t b = 0; b < end; ++b) {
    const time_point at = b < buckets_.size() ? buckets_[b].refreshed : time_point::min();
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

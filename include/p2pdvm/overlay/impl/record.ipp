#pragma once

#include <p2pdvm/overlay/record.hpp>
#include <p2pdvm/wire/codec.hpp>

namespace p2pdvm::overlay {

namespace detail {

/// What is signed: a purpose, so that the signature fits nothing else, and every field.
inline byte_vector signed_part(const record& r) {
  byte_vector bytes = to_vector(as_bytes("p2pdvm overlay record 1"));
  wire::writer w(bytes);
  w(r.target);
  w(r.publisher);
  w(r.sequence);
  w(r.expiry);
  w(r.value);
  return bytes;
}

template <class Map, class Key>
void count_down(Map& counts, const Key& key) {
  const auto at = counts.find(key);
  P2PDVM_ASSERT(at != counts.end());
  if (--at->second == 0) counts.erase(at);
}

template <class Map, class Key>
std::size_t count_in(const Map& counts, const Key& key) {
  const auto at = counts.find(key);
  return at == counts.end() ? 0 : at->second;
}

}  // namespace detail

P2PDVM_DECL record make_record(const crypto::identity& publisher, const node_id& target,
                               std::uint64_t sequence, unix_seconds expiry, byte_vector value) {
  P2PDVM_ASSERT(value.size() <= record_value_max);
  record r{target, publisher.key(), sequence, expiry, std::move(value), {}};
  r.proof = publisher.sign(detail::signed_part(r));
  return r;
}

P2PDVM_DECL result<> validate(const record& r, unix_seconds wall) {
  if (r.value.size() > record_value_max) {
    return error(errc::too_large, "the record's value is larger than a datagram can carry");
  }
  if (r.expiry <= wall) return error(errc::expired, "the record has expired");
  if (r.expiry > wall + record_lifetime_max.count()) {
    return error(errc::refused, "the record claims a longer life than records may have");
  }
  if (!crypto::verify(r.publisher, detail::signed_part(r), r.proof)) {
    return error(errc::authentication, "the record's signature is not its publisher's");
  }
  return {};
}

P2PDVM_DECL record_store::record_store(const node_id& self, const record_store_options& options)
    : self_(self), options_(options) {
  P2PDVM_ASSERT(options.records_max > 0);
}

P2PDVM_DECL record_store::place record_store::place_of(const record& r) const {
  return {distance(self_, r.target), r.publisher};
}

P2PDVM_DECL bool record_store::used_up(const budget& b) const {
  if (b.network == network_prefix()) return false;
  const std::size_t most = b.relayed ? options_.relayed_max : options_.per_network_max;
  return detail::count_in(per_network_, b) >= most;
}

P2PDVM_DECL result<> record_store::put(record r, const contact& bringer, unix_seconds wall,
                                       time_point due) {
  const place where = place_of(r);
  const budget charge{network_of(bringer.where), bringer.key != r.publisher};
  const auto old = records_.find(where);
  if (old != records_.end() && old->second.r == r) {
    if (r.expiry <= wall) return error(errc::expired, "the record has expired");
    by_due_.erase({old->second.due, where});
    old->second.due = due;
    by_due_.insert({due, where});
    note_next_due();
    if (old->second.charged.relayed && !charge.relayed && !used_up(charge)) {
      detail::count_down(per_network_, old->second.charged);
      ++per_network_[charge];
      old->second.charged = charge;
    }
    return {};
  }
  // The cheap refusals come before the signature.
  if (old != records_.end() && old->second.r.sequence >= r.sequence) {
    return error(errc::conflict, "a record with this or a higher sequence is already kept");
  }
  const bool too_many =
      detail::count_in(per_publisher_, r.publisher) >= options_.per_publisher_max;
  if (old == records_.end() && (too_many || used_up(charge))) {
    return error(errc::no_space, "this source already has as many records here as it may have");
  }
  if (old == records_.end() && records_.size() >= options_.records_max &&
      !(where < records_.rbegin()->first)) {
    return error(errc::no_space, "the record store is full of nearer records");
  }
  if (auto valid = validate(r, wall); !valid) return valid;

  if (old != records_.end()) {
    erase(old);
  } else if (records_.size() >= options_.records_max) {
    erase(std::prev(records_.end()));
  }
  ++per_publisher_[r.publisher];
  ++per_network_[charge];
  by_expiry_.insert({r.expiry, where});
  by_due_.insert({due, where});
  records_.emplace(where, kept{std::move(r), charge, due});
  note_next_due();
  return {};
}

P2PDVM_DECL void record_store::erase(std::map<place, kept>::iterator at) {
  const kept& k = at->second;
  detail::count_down(per_publisher_, k.r.publisher);
  detail::count_down(per_network_, k.charged);
  by_expiry_.erase({k.r.expiry, at->first});
  by_due_.erase({k.due, at->first});
  records_.erase(at);
  note_next_due();
}

P2PDVM_DECL std::optional<record> record_store::get(const node_id& target,
                                                    const std::optional<public_key>& publisher,
                                                    unix_seconds wall,
                                                    random_generator& random) const {
  const node_id where = distance(self_, target);
  if (publisher) {
    const auto at = records_.find(place{where, *publisher});
    if (at == records_.end() || at->second.r.expiry <= wall) return std::nullopt;
    return at->second.r;
  }
  // From a random key on, around once: the cost does not grow with the number of publishers.
  place start{where, {}};
  for (std::size_t i = 0; i < public_key::size; ++i) {
    start.publisher.mutable_bytes()[i] = static_cast<std::byte>(random.below(256));
  }
  auto at = records_.lower_bound(start);
  for (std::size_t tries = 0; tries < record_get_tries_max; ++tries) {
    if (at == records_.end() || at->first.target != where) at = records_.lower_bound({where, {}});
    if (at == records_.end() || at->first.target != where) return std::nullopt;
    if (at->second.r.expiry > wall) return at->second.r;
    ++at;
  }
  return std::nullopt;
}

P2PDVM_DECL std::optional<record> record_store::take_due(time_point now, duration interval) {
  if (next_due() > now) return std::nullopt;
  const place where = by_due_.begin()->second;
  kept& k = records_.at(where);
  by_due_.erase(by_due_.begin());
  k.due = now + interval;
  by_due_.insert({k.due, where});
  note_next_due();
  return k.r;
}

P2PDVM_DECL void record_store::note_next_due() {
  next_due_ = by_due_.empty() ? time_point_never : by_due_.begin()->first;
}

P2PDVM_DECL void record_store::expire(unix_seconds wall) {
  while (!by_expiry_.empty() && by_expiry_.begin()->first <= wall) {
    const auto at = records_.find(by_expiry_.begin()->second);
    P2PDVM_ASSERT(at != records_.end());
    erase(at);
  }
}

}  // namespace p2pdvm::overlay

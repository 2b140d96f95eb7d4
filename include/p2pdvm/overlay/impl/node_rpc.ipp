#pragma once

#include <p2pdvm/overlay/node.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::overlay {

namespace detail {

/// Low bits of a transaction number that tell the sendings of one request apart.
inline constexpr std::uint64_t sending_mask = 7;

/// Room for the answer, its place in it, and for the ping with which a stranger is met.
inline std::size_t padded_bytes(message_kind kind, std::size_t wanted) {
  if (kind == message_kind::find_node) {
    return 2 * small_reply_bytes_max + place_bytes + wanted * contact_bytes_v4;
  }
  if (kind == message_kind::find_value) return value_reply_bytes_max;
  return 2 * small_reply_bytes_max + place_bytes;
}

/// Encodes a request of at least `bytes_min` bytes.
inline byte_vector encode_padded(message m, std::size_t bytes_min) {
  const std::size_t size = wire::encoded_bytes(m);
  if (size < bytes_min) {
    const std::size_t missing = bytes_min - size;
    // From 128 bytes on the padding's length takes a second byte.
    m.padding.resize(missing > 128 ? missing - 1 : missing);
  }
  return wire::encode(m);
}

/// How many contacts of a reply of `size` bytes fit into `bytes_max`.
inline std::size_t contacts_that_fit(const message& r, std::size_t size, std::size_t bytes_max) {
  std::size_t fit = r.nearest.size();
  for (; fit > 0 && size > bytes_max; --fit) {
    size -= r.nearest[fit - 1].where.is_v4() ? contact_bytes_v4 : contact_bytes_max;
  }
  return fit;
}

}  // namespace detail

P2PDVM_DECL void node::on_datagram(time_point now, const contact& from, byte_view bytes) {
  ++statistics_.datagrams_in;
  statistics_.bytes_in += bytes.size();
  const auto decoded = bytes.size() > datagram_payload_max ? result<message>(error(errc::too_large))
                                                           : wire::decode<message>(bytes);
  const bool usable = decoded.ok() && decoded->version == overlay_protocol_version &&
                      decoded->nearest.size() <= limits::bucket_size && from.key != key_;
  if (usable && decoded->is_request()) return on_request(now, from, *decoded, bytes.size());
  if (usable && decoded->is_reply()) return on_reply(now, from, *decoded);
  ++statistics_.malformed;
}

P2PDVM_DECL void node::send(const contact& to, const byte_vector& bytes) {
  P2PDVM_ASSERT(bytes.size() <= datagram_payload_max);
  ++statistics_.datagrams_out;
  statistics_.bytes_out += bytes.size();
  transport_->send(to, bytes);
}

/// Twice the patience for the second sending, four times for the later ones.
P2PDVM_DECL duration node::timeout_for(const pending& p) const {
  const peer_entry* entry = table_.find(p.id());
  duration patience = options_.timeout_initial;
  if (rtt_.known()) patience = rtt_.timeout();
  if (entry != nullptr && entry->rtt.known()) patience = entry->rtt.timeout();
  patience = std::clamp(patience, options_.timeout_min, options_.timeout_max);
  return patience * (1 << std::min(p.timeouts, 2u));
}

P2PDVM_DECL node::pending* node::find_pending(std::uint64_t base) {
  for (pending& p : pending_) {
    if (p.base == base) return &p;
  }
  return nullptr;
}

P2PDVM_DECL node::pending node::take_pending(std::uint64_t base) {
  pending* p = find_pending(base);
  P2PDVM_ASSERT(p != nullptr);
  const pending taken = *p;
  *p = pending_.back();
  pending_.pop_back();
  if (taken.ping_back) --ping_backs_;
  return taken;
}

P2PDVM_DECL bool node::ask(time_point now, pending question) {
  if (pending_.size() >= rpcs_max) return false;
  question.base = prover_.unpredictable(++transactions_) & ~detail::sending_mask;
  if (find_pending(question.base) != nullptr) return false;
  ++statistics_.requests_sent;
  if (question.ping_back) ++ping_backs_;
  pending_.push_back(question);
  transmit(now, pending_.back());
  return true;
}

P2PDVM_DECL bool node::ping(time_point now, const contact& to) {
  pending q;
  q.to = to;
  return ask(now, q);
}

P2PDVM_DECL message node::question_of(const pending& p) const {
  message q;
  if (p.operation == 0) {
    q.kind = p.kind;
    q.target = p.target;
    q.wanted = p.wanted;
    return q;
  }
  const auto op = operations_.find(p.operation);
  if (op == operations_.end()) return q;  // its search has ended: a ping will do
  q.kind = p.kind;
  q.target = p.target;
  q.wanted = p.wanted;
  q.publisher = op->second.publisher;
  if (p.kind == message_kind::store) q.what = *op->second.subject;
  return q;
}

P2PDVM_DECL address_token node::token_for(time_point now, const node_id& id) const {
  const peer_entry* entry = table_.find(id);
  if (entry == nullptr) return tokens_.get(now, id);
  return now - entry->token_since < token_period ? entry->token : address_token();
}

P2PDVM_DECL void node::transmit(time_point now, pending& p) {
  P2PDVM_ASSERT(p.sendings < p.sent.size());
  p.deadline = now + timeout_for(p);
  message q = question_of(p);
  q.transaction = p.base + p.sendings;
  q.token = token_for(now, p.id());
  p.sent[p.sendings++] = now;
  const bool bare = q.token != address_token() || p.ping_back;
  const std::size_t bytes_min = bare ? 0 : detail::padded_bytes(q.kind, q.wanted);
  send(p.to, detail::encode_padded(std::move(q), bytes_min));
}

/// Nobody is in a hurry, and a peer that is far from everybody must not be missed by everybody.
P2PDVM_DECL bool node::is_upkeep(const pending& p) const {
  const auto op = operations_.find(p.operation);
  return op == operations_.end() || op->second.upkeep;
}

/// Strangers get one where nobody waits; a peer of the table is not given up for one lost datagram,
/// and those through whom we enter get all: where they miss out, the first who meet us are all that
/// we know, and if they lie it stays so.
P2PDVM_DECL unsigned node::attempts_for(const pending& p) const {
  if (p.ping_back) return 1;
  const auto op = operations_.find(p.operation);
  if (is_upkeep(p)) {
    const bool entrance = std::any_of(bootstrap_.begin(), bootstrap_.end(),
                                      [&](const contact& c) { return c.key == p.to.key; });
    if (entrance) return std::max(attempts_max, options_.attempts);
    return table_.find(p.id()) == nullptr ? 1 : options_.attempts;
  }
  const bool patient = op->second.search.rank(p.id()) < patient_candidates;
  return patient ? std::max(attempts_max, options_.attempts) : options_.attempts;
}

P2PDVM_DECL void node::on_request(time_point now, const contact& from, const message& q,
                                  std::size_t bytes) {
  if (!budget_.spend(now, from.where)) {
    ++statistics_.over_budget;
    return;
  }
  const bool proven = prover_.proves(now, from, q.token);
  message r;
  r.transaction = q.transaction;
  r.token = prover_.give(now, from);
  answer(now, from, q, proven, r);
  if (r.tells_place()) r.place = pack(tracker_.own());
  byte_vector encoded = wire::encode(r);
  // Contacts, and to meet the stranger, are worth more.
  if (!proven && r.place && encoded.size() + small_reply_bytes_max > bytes) {
    r.place.reset();
    encoded = wire::encode(r);
  }
  if (!proven && encoded.size() > bytes) {
    const std::size_t fit = detail::contacts_that_fit(r, encoded.size(), bytes);
    if (fit == 0) r.kind = message_kind::prove;
    r.nearest.resize(fit);
    encoded = wire::encode(r);
  }
  if (r.kind == message_kind::prove) ++statistics_.proofs_demanded;
  if (encoded.size() <= bytes || proven) send(from, encoded);
  if (proven) return meet(now, from, std::nullopt);
  if (encoded.size() + small_reply_bytes_max <= bytes) ping_back(now, from);
}

/// A stranger that the table wants must first answer a request of ours, sent once and small:
/// where it asked us first, reply and ping together are no larger than what came from there.
P2PDVM_DECL void node::ping_back(time_point now, const contact& stranger) {
  if (!acceptable(stranger.where, stranger.where) || ping_backs_ >= ping_backs_max) return;
  if (is_absent(now, crypto::node_id_of(stranger.key))) return;
  const auto wish = table_.wants(stranger, trusted_since(now));
  if (wish == routing_table::wish::none) return;
  if (wish == routing_table::wish::welcome) {
    if (now < next_surplus_) return;
    next_surplus_ = now + jittered(options_.surplus_interval);
  }
  for (const pending& p : pending_) {
    if (p.ping_back && p.to.key == stranger.key) return;
  }
  pending q;
  q.to = stranger;
  q.ping_back = true;
  ask(now, q);
}

P2PDVM_DECL std::vector<contact> node::nearest_for(time_point now, const contact& from,
                                                   const node_id& target,
                                                   std::size_t count) const {
  count = std::min({count, options_.routing.bucket_size, limits::bucket_size});
  const time_point since = now - 2 * lifetime_.trust();
  auto nearest = table_.closest(target, count + 1, routing_table::include::healthy, since);
  if (nearest.empty()) nearest = table_.closest(target, count, routing_table::include::healthy);
  std::erase_if(nearest, [&](const contact& c) { return c.key == from.key; });
  if (nearest.size() > count) nearest.resize(count);
  return nearest;
}

P2PDVM_DECL void node::answer(time_point now, const contact& from, const message& q, bool proven,
                              message& r) {
  if (q.kind == message_kind::ping) {
    r.kind = message_kind::pong;
    return;
  }
  if (q.kind == message_kind::store) {
    r.kind = proven ? message_kind::stored : message_kind::prove;
    r.kept = proven && keep(now, from, q.what);
    return;
  }
  if (q.kind == message_kind::find_value) {
    if (auto here = local(now, q.target, q.publisher)) {
      r.kind = message_kind::value;
      r.what = *std::move(here);
      return;
    }
  }
  r.kind = message_kind::nodes;
  r.nearest = nearest_for(now, from, q.target, q.wanted);
}

P2PDVM_DECL bool node::keep(time_point now, const contact& from, const record& r) {
  const time_point due = now + replicate_pause();
  const auto kept = store_.put(r, from, wall(now), due);
  ++(kept ? statistics_.stores_accepted : statistics_.stores_refused);
  if (!kept && kept.error().code() == errc::authentication) ++statistics_.invalid_records;
  return kept.ok();
}

P2PDVM_DECL void node::on_reply(time_point now, const contact& from, const message& r) {
  pending* p = find_pending(r.transaction & ~detail::sending_mask);
  const std::size_t sending = r.transaction & detail::sending_mask;
  if (p == nullptr || p->to.key != from.key || sending >= p->sendings) {
    ++statistics_.unexpected;
    return;
  }
  // An answer from elsewhere is an answer, but no proof of the address that we asked.
  const duration took = now - p->sent[sending];
  if (from.where == p->to.where) {
    meet(now, p->to, took);
    if (r.place) note_place(p->id(), *r.place, p->timeouts == 0 ? std::optional(took) : std::nullopt);
  }
  if (!table_.keep_token(now, p->id(), r.token)) tokens_.put(now, p->id(), r.token);
  if (r.kind == message_kind::prove && !p->proved && p->sendings < p->sent.size()) {
    p->proved = true;
    return transmit(now, *p);
  }
  const pending done = take_pending(p->base);
  if (done.measurement != 0) return measured(now, done, took);
  answered(now, done, from, r);
}

P2PDVM_DECL void node::on_timeout(time_point now, std::uint64_t base) {
  pending& p = *find_pending(base);
  ++p.timeouts;
  const bool again = p.timeouts < attempts_for(p) && p.sendings < p.sent.size();
  const time_point last = p.sent[p.sendings - 1] + options_.timeout_max;
  if (again || (!p.lingers && is_upkeep(p) && last > now)) {
    const auto op = operations_.find(p.operation);
    if (op != operations_.end()) op->second.search.slow(p.id());
    const std::uint64_t number = p.operation;
    if (again) {
      transmit(now, p);
    } else {
      p.lingers = true;
      p.deadline = last;
    }
    return drive(now, number);
  }
  ++statistics_.requests_failed;
  const pending done = take_pending(base);
  const peer_entry* entry = table_.find(done.id());
  if (entry != nullptr && entry->failures == 0) lifetime_.died(now - entry->heard);
  table_.failed(done.id());
  note_absent(now, done.id());
  unanswered(now, done);
}

P2PDVM_DECL void node::meet(time_point now, const contact& peer,
                            std::optional<duration> round_trip_time) {
  if (round_trip_time) rtt_.sample(*round_trip_time);
  const node_id id = crypto::node_id_of(peer.key);
  if (const peer_entry* entry = table_.find(id)) lifetime_.survived(now - entry->heard);
  if (!table_.proven(now, peer, round_trip_time)) return;
  remember(peer);
  rejoin_interval_ = options_.rejoin_interval_min;
  next_rejoin_ = now;
  const auto& near = table_.siblings();
  const bool sibling = std::any_of(near.begin(), near.end(), [&](const peer_entry& e) {
    return e.peer.key == peer.key;
  });
  if (sibling && (++new_siblings_, is_merging(now))) {
    next_explore_ = std::min(next_explore_, now + jittered(options_.explore_interval_merging));
    exchange_interval_ = options_.exchange_interval_min;
  }
  next_exchange_ = std::min(next_exchange_, now + jittered(exchange_interval_));
  if (next_check_ == time_point_never) next_check_ = now + jittered(options_.check_interval_min);
  if (next_refresh_ == time_point_never) {
    next_refresh_ = now + jittered(options_.refresh_interval_min);
  }
}

}  // namespace p2pdvm::overlay

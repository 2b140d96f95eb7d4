#pragma once

#include <p2pdvm/overlay/node.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::overlay {

namespace detail {

/// Low bits of a transaction number that tell the sendings of one request apart.
inline constexpr std::uint64_t sending_mask = 3;

/// Room for the answer and for the ping with which a stranger is met.
inline std::size_t padded_bytes(message_kind kind) {
  if (kind == message_kind::find_node) return nodes_reply_bytes_max + small_reply_bytes_max;
  if (kind == message_kind::find_value) return value_reply_bytes_max;
  return 2 * small_reply_bytes_max;
}

/// Encodes a request of at least `bytes_min` bytes.
inline byte_vector encode_padded(message m, std::size_t bytes_min) {
  const byte_vector bytes = wire::encode(m);
  if (bytes.size() >= bytes_min) return bytes;
  const std::size_t missing = bytes_min - bytes.size();
  // From 128 bytes on the padding's length takes a second byte.
  m.padding.resize(missing > 128 ? missing - 1 : missing);
  return wire::encode(m);
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

P2PDVM_DECL duration node::timeout_for(const node_id& id, unsigned timeouts) const {
  const peer_entry* entry = table_.find(id);
  duration patience = options_.timeout_initial;
  if (rtt_.known()) patience = rtt_.timeout();
  if (entry != nullptr && entry->rtt.known()) patience = entry->rtt.timeout();
  return std::clamp(patience, options_.timeout_min, options_.timeout_max) * (1 << timeouts);
}

P2PDVM_DECL bool node::ask(time_point now, const contact& to, message question,
                           std::uint64_t number) {
  if (pending_.size() >= rpcs_max) return false;
  const std::uint64_t base = prover_.unpredictable(++transactions_) & ~detail::sending_mask;
  pending p;
  p.to = to;
  p.id = crypto::node_id_of(to.key);
  p.question = std::move(question);
  p.operation = number;
  const auto [at, fresh] = pending_.emplace(base, std::move(p));
  if (!fresh) return false;
  ++statistics_.requests_sent;
  transmit(now, base, at->second);
  return true;
}

P2PDVM_DECL void node::transmit(time_point now, std::uint64_t base, pending& p) {
  P2PDVM_ASSERT(p.sendings < p.sent.size());
  deadlines_.erase({p.deadline, base});
  p.deadline = now + timeout_for(p.id, p.timeouts);
  deadlines_.insert({p.deadline, base});
  p.question.transaction = base + p.sendings;
  p.question.token = tokens_.get(now, p.id);
  p.sent[p.sendings++] = now;
  const bool bare = p.question.token != address_token() || is_ping_back(p);
  const std::size_t bytes_min = bare ? 0 : detail::padded_bytes(p.question.kind);
  send(p.to, detail::encode_padded(p.question, bytes_min));
}

P2PDVM_DECL void node::on_request(time_point now, const contact& from, const message& q,
                                  std::size_t bytes) {
  const bool proven = prover_.proves(now, from, q.token);
  message r;
  r.transaction = q.transaction;
  r.token = prover_.give(now, from);
  answer(now, from, q, proven, r);
  byte_vector encoded = wire::encode(r);
  if (!proven && encoded.size() > bytes) {
    r.kind = message_kind::prove;
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
  if (!acceptable(stranger.where, stranger.where) || !table_.wants(stranger)) return;
  if (pinged_back_.size() >= ping_backs_max) return;
  const node_id id = crypto::node_id_of(stranger.key);
  if (!pinged_back_.insert(id).second) return;
  if (!ask(now, stranger, message{}, 0)) pinged_back_.erase(id);
}

P2PDVM_DECL bool node::is_ping_back(const pending& p) const {
  return p.operation == 0 && pinged_back_.contains(p.id);
}

P2PDVM_DECL std::vector<contact> node::nearest_for(const contact& from,
                                                   const node_id& target) const {
  const std::size_t count = std::min(options_.routing.bucket_size, limits::bucket_size);
  auto nearest = table_.closest(target, count + 1, routing_table::include::healthy);
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
  r.nearest = nearest_for(from, q.target);
}

P2PDVM_DECL bool node::keep(time_point now, const contact& from, const record& r) {
  const time_point due = now + jittered(options_.replicate_interval);
  const auto kept = store_.put(r, from, wall(now), due);
  ++(kept ? statistics_.stores_accepted : statistics_.stores_refused);
  if (!kept && kept.error().code() == errc::authentication) ++statistics_.invalid_records;
  return kept.ok();
}

P2PDVM_DECL void node::on_reply(time_point now, const contact& from, const message& r) {
  const auto at = pending_.find(r.transaction & ~detail::sending_mask);
  const std::size_t sending = r.transaction & detail::sending_mask;
  if (at == pending_.end() || at->second.to.key != from.key || sending >= at->second.sendings) {
    ++statistics_.unexpected;
    return;
  }
  pending& p = at->second;
  tokens_.put(now, p.id, r.token);
  // An answer from elsewhere is an answer, but no proof of the address that we asked.
  if (from.where == p.to.where) meet(now, p.to, now - p.sent[sending]);
  if (r.kind == message_kind::prove && !p.proved && p.sendings < p.sent.size()) {
    p.proved = true;
    return transmit(now, at->first, p);
  }
  if (p.operation == 0) {
    pinged_back_.erase(p.id);
    check_interval_ = std::min(options_.check_interval_max, check_interval_ / 4 * 5);
  }
  const pending done = std::move(p);
  deadlines_.erase({done.deadline, at->first});
  pending_.erase(at);
  answered(now, done, from, r);
}

P2PDVM_DECL void node::on_timeout(time_point now, std::uint64_t base) {
  const auto at = pending_.find(base);
  P2PDVM_ASSERT(at != pending_.end());
  pending& p = at->second;
  ++p.timeouts;
  const unsigned attempts = is_ping_back(p) ? 1 : options_.attempts;
  if (p.timeouts < attempts && p.sendings < p.sent.size()) {
    const auto op = operations_.find(p.operation);
    if (op != operations_.end()) op->second.search.slow(p.id);
    const std::uint64_t number = p.operation;
    transmit(now, base, p);
    return drive(now, number);
  }
  ++statistics_.requests_failed;
  if (table_.find(p.id) != nullptr) {
    check_interval_ = std::max(options_.check_interval_min, check_interval_ / 2);
  }
  table_.failed(p.id);
  if (p.operation == 0) pinged_back_.erase(p.id);
  const pending done = std::move(p);
  deadlines_.erase({done.deadline, base});
  pending_.erase(at);
  unanswered(now, done);
}

P2PDVM_DECL void node::meet(time_point now, const contact& peer,
                            std::optional<duration> round_trip_time) {
  if (round_trip_time) rtt_.sample(*round_trip_time);
  if (!table_.proven(now, peer, round_trip_time)) return;
  ++met_;
  remember(peer);
  rejoin_interval_ = options_.rejoin_interval_min;
  next_rejoin_ = now;
  const std::vector<peer_entry>& near = table_.siblings();
  const bool sibling = std::any_of(near.begin(), near.end(),
                                   [&](const peer_entry& e) { return e.peer.key == peer.key; });
  if (sibling) exchange_interval_ = options_.exchange_interval_min;  // the neighbourhood changes
  next_exchange_ = std::min(next_exchange_, now + jittered(exchange_interval_));
  next_check_ = std::min(next_check_, now + jittered(check_interval_));
  next_refresh_ = std::min(next_refresh_, now + jittered(refresh_interval_));
}

}  // namespace p2pdvm::overlay

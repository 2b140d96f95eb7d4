#pragma once

#include <p2pdvm/link/datagram.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace p2pdvm::link {

namespace detail {

inline constexpr std::uint8_t datagram_plain_kind = 0xd0;
inline constexpr std::uint8_t datagram_keyed_kind = 0xd1;
inline constexpr std::uint8_t datagram_clear_kind = 0xd2;
/// As long as that of a sealed one, with its tag.
inline constexpr std::size_t clear_header_bytes = 1 + public_key::size + 4 + 4 + 8;

inline crypto::nonce12 datagram_nonce(std::uint64_t counter) {
  crypto::nonce12 nonce{};
  std::memcpy(nonce.data() + 4, &counter, sizeof counter);
  return nonce;
}

}  // namespace detail

/// A received datagram taken apart; the views point into it.
struct datagram_sealer::header {
  std::uint64_t hint = 0;
  std::uint64_t instance = 0;
  std::uint64_t counter = 0;
  std::optional<public_key> key;
  byte_view associated;
  byte_view sealed;
};

P2PDVM_DECL bool replay_window::fresh(std::uint64_t counter) const noexcept {
  if (counter == 0) return false;
  if (counter > highest_) return true;
  if (highest_ - counter >= datagram_replay_window) return false;
  return !seen_.test(counter % datagram_replay_window);
}

P2PDVM_DECL void replay_window::accept(std::uint64_t counter) noexcept {
  if (counter > highest_) {
    if (counter - highest_ >= datagram_replay_window) {
      seen_.reset();
    } else {
      for (std::uint64_t n = highest_ + 1; n < counter; ++n)
        seen_.reset(n % datagram_replay_window);
    }
    highest_ = counter;
  }
  seen_.set(counter % datagram_replay_window);
}

P2PDVM_DECL datagram_sealer::datagram_sealer(const crypto::identity& self, const swarm_id& swarm,
                                             std::uint64_t instance, std::size_t peers_max)
    : self_(self),
      swarm_(swarm),
      instance_(instance),
      peers_max_(peers_max),
      secret_(self.exchange_secret()) {
  P2PDVM_ASSERT(peers_max > 0);
  P2PDVM_ASSERT(instance != 0);
}

P2PDVM_DECL std::uint64_t datagram_sealer::hint_of(const public_key& key) noexcept {
  std::uint64_t hint = 0;
  std::memcpy(&hint, key.bytes().data(), sizeof hint);
  return hint;
}

P2PDVM_DECL crypto::secret_key datagram_sealer::direction_key(const crypto::secret_key& shared,
                                                              const public_key& from,
                                                              const public_key& to,
                                                              std::uint64_t instance) const {
  byte_vector purpose = to_vector(as_bytes("p2pdvm datagram"));
  append(purpose, swarm_.bytes());
  append(purpose, from.bytes());
  append(purpose, to.bytes());
  append(purpose, bytes_of(instance));
  return crypto::secret_key(crypto::keyed_hash(shared, purpose).bytes());
}

P2PDVM_DECL result<datagram_sealer::acquaintance> datagram_sealer::meet(
    const public_key& key) const {
  auto exchange = crypto::exchange_key_of(key);
  if (!exchange) return exchange.error();
  auto shared = crypto::agree(secret_, *exchange);
  if (!shared) return shared.error();
  acquaintance fresh;
  fresh.key = key;
  fresh.shared = *shared;
  fresh.send_key = direction_key(*shared, self_.key(), key, instance_);
  fresh.counter = counter_floor_;
  return fresh;
}

P2PDVM_DECL datagram_sealer::order::iterator datagram_sealer::remember(acquaintance fresh) {
  const std::uint64_t hint = hint_of(fresh.key);
  const auto old = by_hint_.find(hint);
  if (old != by_hint_.end()) {
    drop(old->second);
  } else if (order_.size() >= peers_max_) {
    drop(std::prev(order_.end()));
  }
  fresh.counter = std::max(fresh.counter, counter_floor_);
  order_.push_front(std::move(fresh));
  by_hint_[hint] = order_.begin();
  return order_.begin();
}

P2PDVM_DECL void datagram_sealer::drop(order::iterator peer) {
  counter_floor_ = std::max(counter_floor_, peer->counter);
  by_hint_.erase(hint_of(peer->key));
  (peer->confirmed ? confirmed_ : order_).erase(peer);
}

P2PDVM_DECL result<datagram_sealer::order::iterator> datagram_sealer::acquainted(
    const public_key& key) {
  const auto known = by_hint_.find(hint_of(key));
  if (known != by_hint_.end() && known->second->key == key) return known->second;
  auto fresh = meet(key);
  if (!fresh) return fresh.error();
  return remember(std::move(*fresh));
}

P2PDVM_DECL void datagram_sealer::confirm(const public_key& key, std::uint64_t instance) {
  P2PDVM_ASSERT(instance != 0);
  const auto found = acquainted(key);
  if (!found) return;  // no datagram can come with this key
  acquaintance& peer = **found;
  if (!std::exchange(peer.confirmed, true)) confirmed_.splice(confirmed_.begin(), order_, *found);
  if (peer.processes[0].instance == instance) return;
  std::swap(peer.processes[0], peer.processes[1]);
  if (peer.processes[0].instance == instance) return;
  inbound now;
  now.instance = instance;
  now.key = direction_key(peer.shared, peer.key, self_.key(), instance);
  peer.processes[0] = std::move(now);
}

P2PDVM_DECL void datagram_sealer::release(const node_id& id) {
  const auto known = by_hint_.find(hint_of(public_key(id.bytes())));
  if (known == by_hint_.end() || crypto::node_id_of(known->second->key) != id) return;
  if (!std::exchange(known->second->confirmed, false)) return;
  order_.splice(order_.begin(), confirmed_, known->second);
  if (order_.size() > peers_max_) drop(std::prev(order_.end()));
}

P2PDVM_DECL result<byte_view> datagram_sealer::seal(const public_key& to, byte_view plain) {
  if (plain.size() > datagram_plain_bytes_max)
    return error(errc::too_large, "a datagram of " + std::to_string(plain.size()) +
                                      " bytes is over the limit of " +
                                      std::to_string(datagram_plain_bytes_max));
  const auto found = acquainted(to);
  if (!found) return found.error();
  const order::iterator peer = *found;
  if (!peer->confirmed) order_.splice(order_.begin(), order_, peer);
  const bool with_key = peer->unanswered >= datagram_unanswered_max;
  if (!with_key) ++peer->unanswered;
  ++peer->counter;

  byte_vector& out = sealed_;
  out.clear();
  wire::writer w(out);
  w(with_key ? detail::datagram_keyed_kind : detail::datagram_plain_kind);
  w(hint_of(self_.key()));
  w(instance_);
  w(peer->counter);
  if (with_key) w(self_.key());
  const std::uint64_t meant_for = peer->confirmed ? peer->processes[0].instance : 0;
  byte_vector text = to_vector(bytes_of(meant_for));
  append(text, plain);
  const std::size_t start = out.size();
  out.resize(start + text.size() + crypto::tag_bytes);
  const byte_span whole(out);
  crypto::seal(peer->send_key, detail::datagram_nonce(peer->counter), whole.first(start), text,
               whole.subspan(start));
  return byte_view(out);
}

P2PDVM_DECL result<opened_datagram> datagram_sealer::open_from(acquaintance& peer,
                                                               const header& h) {
  auto process = std::find_if(peer.processes.begin(), peer.processes.end(),
                              [&](const inbound& p) { return p.instance == h.instance; });
  inbound fresh;
  const bool restarted = process == peer.processes.end();
  if (restarted) {
    fresh.instance = h.instance;
    fresh.key = direction_key(peer.shared, peer.key, self_.key(), h.instance);
  }
  inbound& from = restarted ? fresh : *process;
  if (!from.window.fresh(h.counter))
    return error(errc::conflict, "a datagram was repeated or came far too late");
  byte_vector& text = opened_;
  text.resize(h.sealed.size() - crypto::tag_bytes);
  if (!crypto::open(from.key, detail::datagram_nonce(h.counter), h.associated, h.sealed, text))
    return error(errc::authentication, "a datagram does not authenticate");
  wire::reader inside(text);
  std::uint64_t meant_for = 0;
  inside(meant_for);
  if (!inside.ok()) return error(errc::malformed, "a datagram is not one of p2pdvm");
  from.window.accept(h.counter);
  if (restarted) {
    // What is known of the confirmed process stays, or its datagrams could be taken again.
    if (!peer.confirmed) std::swap(peer.processes[0], peer.processes[1]);
    peer.processes[peer.confirmed ? 1 : 0] = std::move(fresh);
  }
  peer.unanswered = 0;
  // Whom we know by a handshake knows us by it, too. What it sent to an earlier process of ours
  // was accepted there, and could be repeated to this one.
  const bool meant = meant_for == instance_ || (meant_for == 0 && !peer.confirmed);
  const bool newest = peer.processes[0].instance == h.instance;
  return opened_datagram{peer.key, inside.raw(inside.remaining()), meant && newest};
}

P2PDVM_DECL result<opened_datagram> datagram_sealer::open(byte_view datagram, bool strangers) {
  wire::reader r(datagram);
  std::uint8_t kind = 0;
  header h;
  r(kind);
  r(h.hint);
  r(h.instance);
  r(h.counter);
  if (kind == detail::datagram_keyed_kind) r(h.key.emplace());
  h.associated = datagram.first(datagram.size() - r.remaining());
  h.sealed = r.raw(r.remaining());
  const bool known_kind =
      kind == detail::datagram_keyed_kind || kind == detail::datagram_plain_kind;
  if (!r.ok() || !known_kind || h.instance == 0 || h.sealed.size() < crypto::tag_bytes ||
      datagram.size() > limits::datagram_bytes_max)
    return error(errc::malformed, "a datagram is not one of p2pdvm");

  const auto known = by_hint_.find(h.hint);
  if (known != by_hint_.end() && (!h.key || known->second->key == *h.key)) {
    const auto peer = known->second;
    auto opened = open_from(*peer, h);
    if (opened && !peer->confirmed) order_.splice(order_.begin(), order_, peer);
    return opened;
  }
  if (!h.key) return error(errc::not_found, "a datagram comes from a peer that is not known");
  if (!strangers) return error(errc::refused, "too many datagrams come from unknown peers");
  if (*h.key == self_.key() || hint_of(*h.key) != h.hint)
    return error(errc::authentication, "a datagram names a sender that its key does not fit");
  ++agreements_;
  auto fresh = meet(*h.key);
  if (!fresh) return fresh.error();
  auto opened = open_from(*fresh, h);
  if (opened) static_cast<void>(remember(std::move(*fresh)));
  return opened;
}

P2PDVM_DECL clear_datagrams::clear_datagrams(const public_key& self, std::uint64_t instance)
    : self_(self), instance_(instance) {}

P2PDVM_DECL std::uint64_t clear_datagrams::confirmed(const public_key& peer) const {
  const auto at = confirmed_.find(peer);
  return at == confirmed_.end() ? 0 : at->second;
}

P2PDVM_DECL result<byte_view> clear_datagrams::seal(const public_key& to, byte_view plain) {
  if (plain.size() > datagram_plain_bytes_max)
    return error(errc::too_large, "a datagram is over the limit");
  sealed_.resize(detail::clear_header_bytes + plain.size());
  std::byte* at = sealed_.data();
  const auto put = [&at](byte_view bytes) { at = std::copy(bytes.begin(), bytes.end(), at); };
  put(bytes_of(detail::datagram_clear_kind));
  put(self_.bytes());
  put(bytes_of(static_cast<std::uint32_t>(instance_)));
  put(bytes_of(static_cast<std::uint32_t>(confirmed(to))));
  put(to.bytes().first(sizeof(std::uint64_t)));
  P2PDVM_ASSERT(at == sealed_.data() + detail::clear_header_bytes);
  put(plain);
  return byte_view(sealed_);
}

P2PDVM_DECL result<opened_datagram> clear_datagrams::open(byte_view datagram, bool) {
  wire::reader r(datagram);
  std::uint8_t kind = 0;
  public_key from;
  std::uint32_t instance = 0, meant_for = 0;
  r(kind);
  r(from);
  r(instance);
  r(meant_for);
  const byte_view to = r.raw(sizeof(std::uint64_t));
  if (!r.ok() || kind != detail::datagram_clear_kind)
    return error(errc::malformed, "a datagram is not one of p2pdvm");
  if (!std::equal(to.begin(), to.end(), self_.bytes().begin()))
    return error(errc::authentication, "a datagram is for another peer");
  const auto known = static_cast<std::uint32_t>(confirmed(from));
  const bool meant =
      meant_for == static_cast<std::uint32_t>(instance_) || (meant_for == 0 && known == 0);
  return opened_datagram{from, r.raw(r.remaining()), meant && (known == 0 || known == instance)};
}

P2PDVM_DECL void clear_datagrams::confirm(const public_key& peer, std::uint64_t instance) {
  confirmed_[peer] = instance;
}

P2PDVM_DECL void clear_datagrams::release(const node_id& peer) {
  confirmed_.erase(public_key(peer.bytes()));
}

}  // namespace p2pdvm::link

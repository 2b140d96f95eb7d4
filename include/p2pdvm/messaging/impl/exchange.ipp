#pragma once

#include <p2pdvm/messaging/exchange.hpp>

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

namespace p2pdvm::messaging {

namespace detail {

inline std::uint64_t draw_number(host::entropy& entropy) {
  std::uint64_t number = 0;
  while (number == 0) number = entropy.next();
  return number;
}

}  // namespace detail

struct exchange::peer final : list_link<exchange::peer>, landing_guest, landing_places {
  peer(const node_id& node, std::uint64_t number, host::clock& clock, exchange_handler& owner)
      : id(node), handler(owner), s(number), timer(clock), redial(clock), detour_timer(clock) {}
  ~peer() { intrusive_list<peer>::erase(*this); }

  void move_out() override {
    if (live) live->displace();
    s.move_out();
  }
  landing land(std::uint8_t channel, byte_view begin, std::size_t total) override {
    return channel == circuit_channel ? landing() : handler.land(id, channel, begin, total, *this);
  }

  /// It came by itself, and nobody here has vouched for it.
  [[nodiscard]] bool stranger() const noexcept { return !invited && !kept && !trusted; }
  /// Nobody here needs it any more.
  [[nodiscard]] bool spent() const noexcept {
    return !kept && !trusted && !live && !dial && !detour && s.unacknowledged() == 0;
  }

  node_id id;
  exchange_handler& handler;
  session s;
  connection_pointer live;  ///< the session is attached to it
  connection_pointer dial;    ///< being opened to an address,
  connection_pointer detour;  ///< and through another peer
  bool invited = false;  ///< this side began it
  bool kept = false;
  bool trusted = false;
  bool was_congested = false;
  std::size_t fresh_bytes = 0;  ///< given to its session since that last wrote
  bool met = false;      ///< there was a connection
  std::uint64_t instance = 0, former_instance = 0;  ///< its process and the one before, as far as there were connections
  bool reached = false;  ///< an address of it has led to it,
  bool hidden = false;   ///< and none did when they were last tried
  duration backoff = duration::zero();
  duration straighten = duration::zero();
  std::size_t next_address = 0;
  std::vector<node_id> relays;  ///< still to be tried, the best last
  std::optional<node_id> path;  ///< the relay that the handler was told of
  address source;       ///< where it came from; of a stranger
  time_point spoke_at;  ///< when a message of it was last delivered, or its session made
  time_point wrote_at;  ///< when its session was last given something to say
  time_point up_since = time_point_never;
  time_point armed_for = time_point_never;
  host::timer timer;
  host::timer redial;  ///< while connected through another peer: for its own addresses
  host::timer detour_timer;
};

P2PDVM_DECL exchange::exchange(host::machine& machine, const crypto::identity& self,
                               exchange_options options, exchange_handler& handler)
    : machine_(machine),
      self_(self),
      options_(std::move(options)),
      handler_(handler),
      random_(machine.entropy().next()),
      instance_(detail::draw_number(machine.entropy())),
      circuits_(machine.clock(), *this),
      flush_timer_(machine.clock()),
      stranger_second_(machine.clock().now()) {
  if (host::workers* const workers = machine.workers()) crew_.emplace(link::record_crew{*workers, {}});
  if (options_.clear_datagrams) {
    codec_ = std::make_unique<link::clear_datagrams>(self.key(), instance_);
  } else {
    codec_ = std::make_unique<link::datagram_sealer>(self, options_.swarm, instance_);
  }
}

P2PDVM_DECL exchange::~exchange() { circuits_.stop(); }

// --- peers ---

P2PDVM_DECL exchange::peer* exchange::find_peer(const node_id& node) const {
  if (last_found_ != nullptr && last_found_->id == node) return last_found_;
  const auto found = peers_.find(node);
  if (found == peers_.end()) return nullptr;
  return last_found_ = found->second.get();
}

P2PDVM_DECL exchange::peer& exchange::peer_of(const node_id& node, bool invited) {
  P2PDVM_ASSERT(node != self_.id());
  if (peer* known = find_peer(node)) return *known;
  last_found_ = nullptr;
  if (peers_.size() >= idle_sessions_max)
    std::erase_if(peers_, [this](const auto& entry) {
      if (entry.second->spent()) codec_->release(entry.first);
      return entry.second->spent();
    });
  auto fresh = std::make_unique<peer>(node, detail::draw_number(machine_.entropy()),
                                      machine_.clock(), handler_);
  fresh->invited = invited;
  fresh->trusted = trusted_.contains(node);
  fresh->spoke_at = machine_.clock().now();
  fresh->s.limit_messages(message_limit(*fresh));
  return *peers_.emplace(node, std::move(fresh)).first->second;
}

P2PDVM_DECL std::size_t exchange::message_limit(const peer& p) {
  if (p.trusted) return limits::session_message_bytes_max;
  return p.invited ? invited_message_bytes_max : stranger_message_bytes_max;
}

P2PDVM_DECL result<node_id> exchange::learn(const contact& who) {
  const contact* before = book_.find(crypto::node_id_of(who.key));
  const std::size_t addresses = before == nullptr ? 0 : before->addresses.size();
  auto node = book_.learn(who);
  if (!node) return node;
  peer* p = find_peer(*node);
  if (p != nullptr && p->redial.armed() && book_.find(*node)->addresses.size() > addresses) {
    if (p->live) {
      straighten_now(*p);
    } else {
      p->redial.cancel();
      touch(*p);
    }
  }
  return node;
}

P2PDVM_DECL void exchange::keep(const node_id& node, bool kept) {
  if (!kept && find_peer(node) == nullptr) return;
  peer& p = peer_of(node);
  p.kept = kept;
  touch(p);
}

P2PDVM_DECL void exchange::trust(const node_id& node) {
  trusted_.insert(node);
  peer* const p = find_peer(node);
  if (p == nullptr) return;
  p->trusted = true;
  p->s.limit_messages(message_limit(*p));
}

P2PDVM_DECL void exchange::forget(const node_id& node) {
  trusted_.erase(node);
  const auto found = peers_.find(node);
  if (found == peers_.end()) return;
  const peer& p = *found->second;
  for (const auto& c : {p.live, p.dial, p.detour}) {
    if (c) c->close();
  }
  last_found_ = nullptr;
  peers_.erase(found);
  codec_->release(node);
  circuits_.drop(node);
}

P2PDVM_DECL void exchange::send(const node_id& node, std::uint8_t channel, byte_view header,
                                payload body, priority priority_of) {
  peer& p = peer_of(node);
  const std::size_t bytes = header.size() + body.size();
  p.s.send(priority_of, channel, header, std::move(body));
  queued(p, bytes);
}

P2PDVM_DECL void exchange::send_small(const node_id& node, std::uint8_t channel, byte_view header, byte_view body) {
  peer& p = peer_of(node);
  p.s.send_small(priority::normal, channel, header, body);
  queued(p, header.size() + body.size());
}

/// A message was given to its session.
P2PDVM_DECL void exchange::queued(peer& p, std::size_t bytes) {
  ++statistics_.messages_sent;
  touch(p);
  p.fresh_bytes += bytes + frame_cost_bytes;
  if (p.fresh_bytes >= queued_bytes_max && p.s.established()) service(p);
}

P2PDVM_DECL void exchange::lend(const node_id& node, std::uint8_t channel, byte_view header, byte_view body,
                                std::uint64_t number) {
  peer& p = peer_of(node);
  p.s.lend(priority::normal, channel, header, body, number);
  queued(p, header.size() + body.size());
}

P2PDVM_DECL void exchange::take_back(const node_id& node, std::uint64_t number) {
  if (peer* const p = find_peer(node)) p->s.take_back(number);
}

P2PDVM_DECL void exchange::take_back(const node_id& node, std::uint64_t number, byte_view lent, const payload& copy) {
  if (peer* const p = find_peer(node)) p->s.take_back(number, lent, copy);
}

P2PDVM_DECL std::optional<duration> exchange::round_trip(const node_id& node) const {
  const peer* const p = find_peer(node);
  return p != nullptr && p->s.established() ? p->live->round_trip() : std::nullopt;
}

P2PDVM_DECL bool exchange::connected(const node_id& node) const {
  const peer* p = find_peer(node);
  return p != nullptr && p->s.established();
}

P2PDVM_DECL bool exchange::can_relay(const node_id& node) const {
  if (!trusted_.contains(node)) return false;
  const peer* p = find_peer(node);
  if (p == nullptr || !p->s.established()) return p == nullptr || !p->hidden;
  return !p->live->relay();
}

P2PDVM_DECL bool exchange::has_reached(const node_id& node) const {
  const peer* p = find_peer(node);
  return p != nullptr && p->reached;
}

P2PDVM_DECL bool exchange::has_met(const node_id& node) const {
  const peer* p = find_peer(node);
  return p != nullptr && p->met;
}

P2PDVM_DECL std::optional<address> exchange::remote_address(const node_id& node) const {
  const peer* p = find_peer(node);
  if (p == nullptr || !p->live || p->live->relay()) return std::nullopt;
  return p->live->remote_address();
}

P2PDVM_DECL std::optional<node_id> exchange::relay_to(const node_id& node) const {
  const peer* p = find_peer(node);
  return p != nullptr && p->s.established() ? p->live->relay() : std::nullopt;
}

P2PDVM_DECL bool exchange::congested(const node_id& node) {
  peer* p = find_peer(node);
  if (p == nullptr) return false;
  if (p->s.congested()) p->was_congested = true;
  return p->s.congested();
}

P2PDVM_DECL std::size_t exchange::unacknowledged(const node_id& node) const {
  const peer* p = find_peer(node);
  return p == nullptr ? 0 : p->s.unacknowledged();
}

P2PDVM_DECL bool exchange::wanted(const peer& p) { return p.kept || p.s.unacknowledged() > 0; }

P2PDVM_DECL void exchange::touch(peer& p) {
  if (!p.linked()) touched_.push_back(p);
  if (!flush_timer_.armed()) flush_timer_.at(time_point(), [this] { flush(); });
}

P2PDVM_DECL void exchange::flush() {
  // Who is touched again meanwhile comes in the next round: circuits write to their relay's session. Servicing one
  // may end another.
  constexpr int rounds_max = 3;
  for (int round = 0; round < rounds_max && !touched_.empty(); ++round) {
    flush_timer_.cancel();
    intrusive_list<peer> now;
    while (!touched_.empty()) {
      peer& p = touched_.front();
      intrusive_list<peer>::erase(p);
      now.push_back(p);
    }
    while (!now.empty()) {
      peer& p = now.front();
      intrusive_list<peer>::erase(p);
      service(p);
    }
  }
}

/// Lets a peer's session write, or sees to it that there is a connection to write to.
P2PDVM_DECL void exchange::service(peer& p) {
  if (!p.live) {
    if (wanted(p) && !p.dial && !p.detour && !p.redial.armed()) dial(p);
    return;
  }
  const time_point now = machine_.clock().now();
  p.fresh_bytes = 0;
  bool held_up = false;
  do {
    for (;;) {
      held_up = blocked(p);
      if (held_up || !p.s.fill(now, p.live->sender())) break;
      p.live->finish_record(p.s.queued());
      p.wrote_at = now;
    }
    p.live->flush();
    // A host that took everything at once will not call `on_drained`: go on until it does not.
  } while (held_up && !blocked(p));
  arm(p);
}

// --- timers ---

/// Nothing more can be written at present; `on_drained` will say when.
P2PDVM_DECL bool exchange::blocked(const peer& p) { return p.live->unsent() >= write_ahead_bytes; }

/// When the peer is given up unless it is heard; never while it owes nothing.
P2PDVM_DECL time_point exchange::patience(const peer& p) const {
  const time_point heard = p.live->heard();
  const time_point since = p.s.waiting_since();
  if (since == time_point_never)
    return blocked(p) ? heard + options_.silence_max : time_point_never;
  return std::max(since, heard) + options_.silence_max;
}

P2PDVM_DECL time_point exchange::next_deadline(const peer& p) const {
  if (!p.s.established()) return time_point_never;  // the handshake's own deadline holds
  const time_point give_up = patience(p);
  if (blocked(p)) return give_up;
  if (give_up != time_point_never) return std::min(p.s.deadline(), give_up);
  return std::min(p.s.deadline(),
                  p.live->heard() + (p.kept ? options_.keepalive : options_.idle_max));
}

P2PDVM_DECL void exchange::arm(peer& p) {
  const time_point next = next_deadline(p);
  if (p.timer.armed() && p.armed_for <= next) return;  // it will look again when it fires
  p.armed_for = next;
  p.timer.at(next, [this, &p] { on_timer(p); });
}

P2PDVM_DECL void exchange::on_timer(peer& p) {
  if (!p.live || !p.s.established()) return;
  const time_point now = machine_.clock().now();
  const time_point heard = p.live->heard();
  const time_point give_up = patience(p);
  if (give_up <= now) {
    p.live->close();
    return lose(p, error(errc::timed_out, "peer " + p.id.brief() + " has stopped answering"));
  }
  if (give_up != time_point_never) {
    // it owes an answer and has time left
  } else if (p.kept) {
    if (heard + options_.keepalive <= now) p.s.ping();
  } else if (heard + options_.idle_max <= now && p.s.unacknowledged() == 0) {
    p.live->close();
    p.live.reset();
    p.s.detach();
    p.redial.cancel();
    circuits_.drop(p.id);
    return;
  }
  service(p);
}

// --- dialling ---

/// Tries the peer's addresses, and soon ways through other peers as well.
P2PDVM_DECL void exchange::dial(peer& p) {
  const contact* who = book_.find(p.id);
  if (who == nullptr || who->addresses.empty()) {
    p.redial.at(machine_.clock().now(), [this, &p] {
      on_dial_failed(p, error(errc::not_found, "no address of peer " + p.id.brief() + " is known"));
    });
    return;
  }
  dial_next_address(p, *who);
  if (!p.trusted) return;
  p.detour_timer.after(p.hidden ? duration::zero() : options_.detour_after,
                       [this, &p] { static_cast<void>(take_detour(p)); });
}

P2PDVM_DECL void exchange::dial_next_address(peer& p, const contact& who) {
  ++statistics_.dials;
  const address where = who.addresses[p.next_address % who.addresses.size()];
  p.dial = open(link::noise::role::initiator, machine_.network().connect(where), who.key);
  p.dial->start();
}

P2PDVM_DECL void exchange::on_dial_failed(peer& p, const error& why) {
  p.dial.reset();
  const contact* who = book_.find(p.id);
  if (who != nullptr && p.next_address + 1 < who->addresses.size()) {
    ++p.next_address;
    if (wanted(p)) return dial_next_address(p, *who);
  }
  p.next_address = 0;
  p.hidden = true;
  if (p.live) return straighten_later(p);
  if (p.detour || take_detour(p)) return;
  rest(p, why);
}

/// It is connected with this peer, and not by a relay.
P2PDVM_DECL bool exchange::is_straight(const node_id& node) const {
  const peer* p = find_peer(node);
  return p != nullptr && p->trusted && p->s.established() && !p->live->relay();
}

P2PDVM_DECL bool exchange::take_detour(peer& p) {
  if (p.live || p.detour) return true;
  p.detour_timer.cancel();
  if (!p.trusted || !wanted(p)) return false;
  p.relays = handler_.relays_to(p.id);
  std::reverse(p.relays.begin(), p.relays.end());
  return next_relay(p);
}

P2PDVM_DECL bool exchange::next_relay(peer& p) {
  const contact* who = book_.find(p.id);
  while (who != nullptr && !p.relays.empty()) {
    const node_id relay = p.relays.back();
    p.relays.pop_back();
    if (relay == p.id || !can_relay(relay)) continue;
    ++statistics_.dials;
    static_cast<void>(peer_of(relay));  // it may have no session yet
    p.detour = open(link::noise::role::initiator, circuits_.connect(relay, p.id), who->key, relay);
    p.detour->start();
    return true;
  }
  return false;
}

P2PDVM_DECL void exchange::on_detour_failed(peer& p, const error& why) {
  p.detour.reset();
  if (p.live || next_relay(p) || p.dial) return;
  rest(p, why);
}

/// Nothing led to the peer: later again.
P2PDVM_DECL void exchange::rest(peer& p, const error& why) {
  circuits_.drop(p.id);
  redial_later(p);
  const node_id node = p.id;  // the handler may forget the peer
  handler_.on_unreachable(node, why);
}

P2PDVM_DECL void exchange::redial_later(peer& p) {
  if (!wanted(p)) return;
  p.backoff = p.backoff == duration::zero() ? options_.redial_min
                                            : std::min(p.backoff * 2, options_.redial_max);
  const auto spread = random_.below(static_cast<std::uint64_t>(p.backoff.count()) / 2 + 1);
  p.redial.after(p.backoff - duration(static_cast<std::int64_t>(spread)),
                 [this, &p] { service(p); });
}

/// What goes through another peer is to go directly as soon as it can.
P2PDVM_DECL void exchange::straighten_later(peer& p) {
  p.redial.after(p.straighten, [this, &p] { straighten_now(p); });
  p.straighten = std::clamp(p.straighten * 2, options_.straighten_min, options_.straighten_max);
}

P2PDVM_DECL void exchange::straighten_now(peer& p) {
  p.redial.cancel();
  const contact* who = book_.find(p.id);
  if (!p.live) return service(p);
  if (p.dial || !p.live->relay()) return;
  if (who != nullptr && !who->addresses.empty() && wanted(p)) return dial_next_address(p, *who);
  straighten_later(p);
}

P2PDVM_DECL void exchange::note_path(peer& p) {
  const std::optional<node_id> path = p.live->relay();
  if (path) ++statistics_.detours;
  if (std::exchange(p.path, path) != path) handler_.on_path(p.id, path);
}

/// The peer's connection has ended; if it broke the protocol, so has its session.
P2PDVM_DECL void exchange::lose(peer& p, const error& why, bool broken) {
  const node_id node = p.id;
  const bool established = p.s.established();
  const bool stable =
      established && machine_.clock().now() - p.up_since >= options_.stable;
  // A first connection that the remote drops at once has probably lost against its own dial.
  const bool yielded = !established && p.backoff == duration::zero();
  if (p.live && p.live->relay()) p.redial.cancel();
  p.live.reset();
  p.s.detach();
  p.timer.cancel();
  circuits_.drop(node);
  if (p.dial && !p.detour && p.trusted) {
    p.backoff = stable ? duration::zero() : std::clamp(p.backoff * 2, options_.redial_min, options_.redial_max);
    p.detour_timer.after(p.backoff, [this, &p] { static_cast<void>(take_detour(p)); });
  }
  if (broken) {
    p.s = session(detail::draw_number(machine_.entropy()));
    p.s.limit_messages(message_limit(p));
  }
  if (stable) {
    p.backoff = duration::zero();
    service(p);
  } else if (!p.dial && !p.detour && !p.redial.armed()) {
    redial_later(p);
  }
  if (broken || !yielded) handler_.on_connection_lost(node, why);
  if (broken && find_peer(node) != nullptr) handler_.on_peer_reset(node);
}

}  // namespace p2pdvm::messaging

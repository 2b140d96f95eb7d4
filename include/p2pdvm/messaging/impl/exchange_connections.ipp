#pragma once

#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/messaging/impl/exchange.ipp>

namespace p2pdvm::messaging {

namespace detail {

/// Whether two remotes count as one source: the same IPv4 address, or the same IPv6 /48, which
/// is what one customer gets.
inline bool same_source(const address& a, const address& b) {
  const std::size_t size = a.is_v4() ? 16 : 6;
  return std::equal(a.ip().begin(), a.ip().begin() + static_cast<std::ptrdiff_t>(size),
                    b.ip().begin());
}

/// How many of these come from the same source as each of them.
inline std::vector<std::size_t> crowds(const std::vector<address>& sources) {
  std::vector<std::size_t> counts;
  for (const address& a : sources) {
    counts.push_back(static_cast<std::size_t>(
        std::count_if(sources.begin(), sources.end(),
                      [&](const address& b) { return same_source(a, b); })));
  }
  return counts;
}

inline error listen_error(const address& local, const error& why) {
  if (why.code() != errc::address_in_use) return why;
  return error(errc::address_in_use, "cannot listen on " + local.text() +
                                         ": another program uses this port; choose another one, "
                                         "or port 0 for any that is free");
}

}  // namespace detail

// --- listening and strangers ---

P2PDVM_DECL result<> exchange::listen(const address& local) {
  P2PDVM_ASSERT(listener_ == nullptr);
  for (int attempt = 1;; ++attempt) {
    auto listener = machine_.network().listen(local, *this);
    if (!listener) return detail::listen_error(local, listener.error());
    const address chosen = local.with_port((*listener)->local().port());
    auto datagrams = machine_.network().open_datagrams(chosen, *this);
    if (datagrams) {
      listener_ = std::move(*listener);
      datagrams_ = std::move(*datagrams);
      return {};
    }
    const bool again = local.port() == 0 && datagrams.error().code() == errc::address_in_use &&
                       attempt < port_attempts_max;
    if (!again) return detail::listen_error(chosen, datagrams.error());
  }
}

P2PDVM_DECL address exchange::local() const { return listener_ ? listener_->local() : address(); }

P2PDVM_DECL exchange::connection_pointer exchange::open(link::noise::role side,
                                                        std::unique_ptr<host::stream> stream,
                                                        const std::optional<public_key>& remote,
                                                        const std::optional<node_id>& relay) {
  link::handshake_options o;
  o.swarm = options_.swarm;
  o.instance = instance_;
  o.port = local().port();
  machine_.entropy().fill(o.ephemeral.mutable_bytes());
  o.remote = remote;
  o.allow_aes = options_.allow_aes;
  link::handshake opening(side, self_, std::move(o), machine_.clock().now());
  link::connection_handler& events = *this;
  return std::make_shared<link::connection>(machine_.clock(), std::move(stream),
                                            std::move(opening), events, statistics_.bytes, relay,
                                            crew_ ? &*crew_ : nullptr);
}

P2PDVM_DECL void exchange::on_accept(std::unique_ptr<host::stream> stream) {
  const address source = stream->remote();
  const auto from_source = std::count_if(half_open_.begin(), half_open_.end(), [&](const auto& c) {
    return detail::same_source(c->remote_address(), source);
  });
  if (!source.is_loopback() &&
      static_cast<std::size_t>(from_source) >= limits::half_open_per_source_max) {
    ++statistics_.half_open_refused;
    return;
  }
  if (half_open_.size() >= limits::half_open_max) make_room_for_handshake();
  half_open_.push_back(open(link::noise::role::responder, std::move(stream), std::nullopt));
  half_open_.back()->start();
}

P2PDVM_DECL exchange::connection_pointer exchange::take_half_open(link::connection& from) {
  const auto at = std::find_if(half_open_.begin(), half_open_.end(),
                               [&](const auto& c) { return c.get() == &from; });
  if (at == half_open_.end()) return nullptr;
  connection_pointer taken = std::move(*at);
  half_open_.erase(at);
  return taken;
}

P2PDVM_DECL bool exchange::meet(const address& where) {
  if (meetings_.size() >= meetings_max) return false;
  ++statistics_.dials;
  const auto fresh =
      open(link::noise::role::initiator, machine_.network().connect(where), std::nullopt);
  meetings_.push_back({fresh, where});
  fresh->start();
  return true;
}

/// The oldest handshake of the source that has most of them makes room, one through a relay only when there are no
/// others: who uses those is known.
P2PDVM_DECL void exchange::make_room_for_handshake() {
  std::vector<std::size_t> candidates;
  for (std::size_t i = 0; i < half_open_.size(); ++i) {
    if (!half_open_[i]->relay()) candidates.push_back(i);
  }
  if (candidates.empty()) candidates.push_back(0);
  std::vector<address> sources;
  for (const std::size_t i : candidates) sources.push_back(half_open_[i]->remote_address());
  const std::vector<std::size_t> counts = detail::crowds(sources);
  const auto worst = static_cast<std::size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin());
  const auto victim = half_open_.begin() + static_cast<std::ptrdiff_t>(candidates[worst]);
  ++statistics_.half_open_refused;
  (*victim)->close();
  half_open_.erase(victim);
}

P2PDVM_DECL void exchange::make_room_for_stranger(const address& source) {
  std::vector<peer*> strangers;
  std::vector<address> sources;
  for (const auto& [node, p] : peers_) {
    if (!p->stranger()) continue;
    strangers.push_back(p.get());
    sources.push_back(p->source);
  }
  if (strangers.size() < strangers_max) return;
  sources.push_back(source);  // the newcomer counts
  const std::vector<std::size_t> counts = detail::crowds(sources);
  std::size_t victim = 0;
  for (std::size_t i = 1; i < strangers.size(); ++i) {
    const auto merit = [&](std::size_t k) {
      return std::tuple(strangers[k]->live != nullptr, std::numeric_limits<std::size_t>::max() - counts[k],
                        strangers[k]->spoke_at);
    };
    if (merit(i) < merit(victim)) victim = i;
  }
  ++statistics_.strangers_refused;
  const node_id node = strangers[victim]->id;
  forget(node);
}

P2PDVM_DECL bool exchange::admit(const link::connection& from) {
  const link::handshake_result& remote = from.remote();
  const peer* known = find_peer(remote.id);
  if (from.relay() && !trusted_.contains(remote.id)) return false;
  if (known != nullptr ? !known->stranger() : trusted_.contains(remote.id)) return true;
  if (!handler_.accept(remote.id, remote.key)) {
    ++statistics_.strangers_refused;
    return false;
  }
  if (known == nullptr) make_room_for_stranger(from.remote_address());
  return true;
}

// --- connections ---

/// When two connections to one peer meet, both sides keep the one whose initiator has the smaller
/// node id. A new connection of the same initiator, or of a new process, replaces the old one. A direct one
/// goes before one through another peer, as long as it is heard.
P2PDVM_DECL bool exchange::preferred(const peer& p, const link::connection& fresh) const {
  if (!p.live || fresh.remote().instance != p.live->remote().instance) return true;
  if (p.live->relay() && (!fresh.relay() || is_silent(p))) return true;
  if (fresh.relay() && !p.live->relay()) return is_silent(p);
  if (fresh.initiator() == p.live->initiator()) return true;
  return fresh.initiator() == (self_.id() < p.id);
}

/// Its established connection may be one that only this side still has.
P2PDVM_DECL bool exchange::is_silent(const peer& p) const {
  return p.s.established() && machine_.clock().now() - p.live->heard() > options_.silent_for_detour;
}

/// Attaches a session to its new connection; false when an older connection is preferred.
P2PDVM_DECL bool exchange::join(connection_pointer fresh) {
  peer& p = peer_of(fresh->remote().id, fresh->initiator());
  if (p.dial == fresh) p.dial.reset();
  if (p.detour == fresh) p.detour.reset();
  const std::uint64_t instance = fresh->remote().instance;
  if (instance == p.former_instance) {  // it died, and what it had sent came late
    fresh->close();
    if (!p.live && !p.dial && !p.detour) redial_later(p);
    return false;
  }
  if (!preferred(p, *fresh)) {
    fresh->close();
    p.s.ping();  // the remote may know that the older one is dead
    service(p);
    return false;
  }
  if (p.live) p.live->close();
  if (instance != p.instance) p.former_instance = std::exchange(p.instance, instance);
  if (fresh->relay()) circuits_.drop(p.id);  // nobody goes by two relays
  p.source = fresh->remote_address();
  p.live = std::move(fresh);
  codec_->confirm(p.live->remote().key, p.live->remote().instance);
  p.s.attach();
  return true;
}

P2PDVM_DECL void exchange::on_authenticated(link::connection& from) {
  if (!from.initiator()) return;  // wait until the remote has proven to be there
  const auto fresh = from.shared_from_this();
  const auto met = std::find_if(meetings_.begin(), meetings_.end(),
                                [&](const meeting& m) { return m.with.get() == &from; });
  if (met != meetings_.end()) {
    const address where = met->where;
    meetings_.erase(met);
    static_cast<void>(book_.learn({from.remote().key, {where}}));  // the key has proven valid
  }
  if (join(fresh)) service(*find_peer(from.remote().id));
}

P2PDVM_DECL void exchange::on_record(link::connection& from, byte_view plain) {
  if (const connection_pointer fresh = from.confirmed() ? nullptr : take_half_open(from)) {
    if (!admit(from)) return fresh->close();
    if (!join(fresh)) return;
  }
  receive(from, plain);
}

P2PDVM_DECL byte_span exchange::place(link::connection& from, std::size_t plain_bytes) {
  peer* const p = find_peer(from.remote().id);
  return p != nullptr && p->live.get() == &from ? p->s.place(plain_bytes, p) : byte_span();
}

P2PDVM_DECL void exchange::receive(link::connection& from, byte_view record) {
  const node_id node = from.remote().id;
  const auto current = [&]() -> peer* {  // an event may have ended it all
    peer* p = find_peer(node);
    return p != nullptr && p->live.get() == &from ? p : nullptr;
  };
  const time_point now = from.heard();  // a moment ago
  if (peer* p = current()) p->spoke_at = now;
  byte_vector displaced;  // `record`, also when the session is no more
  while (!record.empty()) {
    peer* p = current();
    if (p == nullptr) return;
    if (p->stranger() && p->s.unacknowledged() > stranger_unread_bytes_max) {
      from.close();
      return lose(*p, error(errc::too_large, "a stranger does not read what it is sent"), true);
    }
    if (whole_message whole; p->s.receive_whole(now, record, whole)) {
      take_run(*p, now, record, whole);
      continue;
    }
    auto event = p->s.receive(now, record, p);
    if (!event) {
      from.close();
      return lose(*p, event.error(), true);
    }
    if (displaced.empty()) displaced = p->s.take_displaced();
    if (event->has_value()) on_event(node, std::move(**event));
  }
  if (peer* p = current(); p != nullptr && p->was_congested && !p->s.congested()) {
    p->was_congested = false;
    handler_.on_writable(node);
  }
  if (peer* p = current(); p != nullptr && !p->linked()) {
    if (p->s.silent(now)) {
      arm(*p);
    } else {
      touched_.push_back(*p);
    }
  }
  flush();
}

P2PDVM_DECL void exchange::take(const node_id& node, std::uint8_t channel, arrived_message message) {
  if (channel == circuit_channel) return circuits_.on_message(node, message);
  ++statistics_.messages_received;
  handler_.on_message(node, channel, message);
}

/// A small message, and those of the same channel that are right behind it in the record.
P2PDVM_DECL void exchange::take_run(peer& p, time_point now, byte_view& record, const whole_message& first) {
  const std::uint8_t channel = first.channel;
  if (p.stranger() || !handler_.takes_runs(channel)) return take(node_id(p.id), channel, {first.view});
  std::array<byte_view, message_run_max> run;
  run[0] = first.view;
  std::size_t count = 1;
  for (whole_message next; count < message_run_max && session::is_of(record, channel); ++count) {
    if (!p.s.receive_whole(now, record, next)) break;
    run[count] = byte_view(apart(next.view.data()), apart(next.view.size()));
  }
  statistics_.messages_received += count;
  const node_id node = p.id;  // the peer may end meanwhile
  handler_.on_messages(node, channel, std::span(run).first(count));
}

P2PDVM_DECL void exchange::on_event(const node_id& node, session_event event) {
  using kind = session_event::kind;
  if (event.what == kind::message)
    return take(node, event.channel,
                {event.view, event.assembled.empty() ? nullptr : &event.assembled, event.landed});
  if (event.what == kind::reset) circuits_.drop(node);
  on_established(*find_peer(node));
  note_path(*find_peer(node));
  if (event.what == kind::resumed) return;
  if (event.what == kind::reset) handler_.on_peer_reset(node);
  if (connected(node)) handler_.on_peer_up(node);
}

P2PDVM_DECL void exchange::on_established(peer& p) {
  ++statistics_.connections;
  p.live->confirm();
  p.met = true;
  p.up_since = machine_.clock().now();
  p.next_address = 0;
  p.backoff = std::min(p.backoff, options_.redial_min * 4);
  p.redial.cancel();
  p.detour_timer.cancel();
  p.relays.clear();
  if (p.detour) std::exchange(p.detour, nullptr)->close();
  if (p.live->relay()) return on_detour(p);
  if (p.dial) std::exchange(p.dial, nullptr)->close();
  p.hidden = p.hidden && !p.live->initiator();
  const address where = p.live->remote_address();
  const link::handshake_result& remote = p.live->remote();
  if (p.live->initiator()) {
    p.reached = true;
    book_.confirm(p.id, where);
  } else {
    static_cast<void>(book_.learn({remote.key, {where.with_port(remote.port)}}));
  }
}

/// A peer that could not reach this one may well be reached from here.
P2PDVM_DECL void exchange::on_detour(peer& p) {
  p.straighten = p.live->initiator() ? options_.straighten_min : duration::zero();
  if (!p.dial) straighten_later(p);
}

P2PDVM_DECL void exchange::on_drained(link::connection& from) {
  peer* p = find_peer(from.remote().id);
  if (p != nullptr && p->live.get() == &from) service(*p);
}

/// On a slow link one record takes longer than the remote is patient.
P2PDVM_DECL void exchange::on_partial_record(link::connection& from) {
  peer* p = find_peer(from.remote().id);
  if (p == nullptr || p->live.get() != &from || !p->s.established()) return;
  if (from.heard() - p->wrote_at < options_.silence_max / 4) return;
  p->s.answer(from.heard());
  service(*p);
}

P2PDVM_DECL void exchange::on_ended(link::connection& from, const error& why) {
  if (take_half_open(from)) {
    ++statistics_.handshakes_failed;
    return;
  }
  const auto met = std::find_if(meetings_.begin(), meetings_.end(),
                                [&](const meeting& m) { return m.with.get() == &from; });
  if (met != meetings_.end()) {
    const address where = met->where;
    meetings_.erase(met);
    return handler_.on_meeting_failed(where, why);
  }
  peer* p = find_peer(from.authenticated() ? from.remote().id : from.expected().value());
  if (p == nullptr) return;
  if (p->dial.get() == &from) return on_dial_failed(*p, why);
  if (p->detour.get() == &from) return on_detour_failed(*p, why);
  if (p->live.get() == &from) lose(*p, why);
}

// --- circuits ---

P2PDVM_DECL void exchange::send_circuit(const node_id& to, byte_view head, payload body) {
  peer* const p = find_peer(to);
  if (p == nullptr) return;  // what ends with its peer has nobody to tell
  p->s.send(priority::normal, circuit_channel, head, std::move(body));
  touch(*p);
}

P2PDVM_DECL bool exchange::passes_on(const node_id& from, const node_id& to) {
  const peer* const asks = find_peer(from);
  return asks != nullptr && asks->trusted && is_straight(to);
}

P2PDVM_DECL void exchange::on_circuit(const node_id& relay, const node_id& origin,
                                      std::unique_ptr<host::stream> stream) {
  if (!is_straight(relay) || !trusted_.contains(origin)) return;
  if (half_open_.size() >= limits::half_open_max) make_room_for_handshake();
  half_open_.push_back(open(link::noise::role::responder, std::move(stream), std::nullopt, relay));
  half_open_.back()->start();
}

// --- datagrams ---

P2PDVM_DECL bool exchange::send_datagram(const public_key& to, const address& where,
                                         byte_view plain) {
  if (!datagrams_) return false;
  const auto datagram = codec_->seal(to, plain);
  if (!datagram) return false;
  ++statistics_.datagrams_sent;
  datagrams_->send(where, *datagram);
  return true;
}

P2PDVM_DECL void exchange::expect(unsigned stage) const noexcept {
  if (stage == 0) {
    prefetch(this, sizeof *this);
  } else if (stage == 1) {
    prefetch(codec_.get(), sizeof(link::clear_datagrams));
    prefetch(datagrams_.get(), 64);
    prefetch(&handler_);
  } else {
    handler_.expect(stage);
  }
}

P2PDVM_DECL void exchange::on_datagram(const address& from, byte_view bytes) {
  const time_point now = machine_.clock().now();
  if (now - stranger_second_ >= std::chrono::seconds(1)) {
    stranger_second_ = now;
    stranger_datagrams_ = 0;
  }
  const std::uint64_t before = codec_->agreements();
  const bool strangers = stranger_datagrams_ < stranger_datagrams_per_second_max;
  const auto opened = codec_->open(bytes, strangers);
  stranger_datagrams_ += codec_->agreements() - before;
  if (!opened) {
    ++statistics_.datagrams_refused;
    return;
  }
  ++statistics_.datagrams_received;
  handler_.on_datagram(*opened, from);
  flush();
}

}  // namespace p2pdvm::messaging

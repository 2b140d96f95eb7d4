#pragma once

#include <p2pdvm/sim/streams.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::sim::detail {

P2PDVM_DECL bool streams::happen(event_queue::slot slot) {
  event& e = fabric_.queue[slot];
  const bool in_order = e.kind == event_kind::segment || e.kind == event_kind::finish ||
                        e.kind == event_kind::reset || e.kind == event_kind::established;
  if (in_order && !e.passed_downlink && e.origin != e.machine &&
      fabric_.net.downlink_limited(e.machine)) {
    const auto in = fabric_.net.downlink(e.machine, e.bytes.size(), false, fabric_.now);
    e.passed_downlink = true;
    fabric_.queue.again(slot, *in);
    return true;
  }
  switch (e.kind) {
    case event_kind::connect: on_request(e); break;
    case event_kind::reply: on_reply(e); break;
    case event_kind::established: on_established(e); break;
    case event_kind::segment: on_segment(e); break;
    case event_kind::credit: on_credit(e); break;
    case event_kind::finish:
    case event_kind::reset: on_end(e); break;
    case event_kind::retry: on_retry(e); break;
    case event_kind::timeout: on_timeout(e); break;
    case event_kind::uplink: on_uplink(*fabric_.sites[e.machine]); break;
    case event_kind::notice:
      if (endpoint* told = find(e.to)) {
        told->notice_pending = false;
        deliver(e.to);
      }
      break;
    default: P2PDVM_ASSERT(!"an event of a stream");
  }
  return false;
}

/// What the kernel says for an endpoint that does not exist.
P2PDVM_DECL void streams::answer_for_missing(const event& e) {
  const site& s = *fabric_.sites[e.machine];
  if (s.up || !s.silent) {
    send_reset(e.machine, e.origin, e.from);
  } else if (endpoint* sender = find(e.from)) {
    sender->unanswered = true;
    watch(*sender);
  }
}

P2PDVM_DECL void streams::on_request(event& e) {
  site& s = *fabric_.sites[e.machine];
  if (!fabric_.pass_nat(s, e, traffic::stream)) return;
  if (!s.up && s.silent) return;
  const auto* port = s.up ? fabric::match(s.listeners, e.destination) : nullptr;
  if (port == nullptr) {
    send_reset(e.machine, e.origin, e.from);
    return;
  }
  if (e.amount > 0) {  // a repeated request: the first one may have arrived after all
    for (const endpoint_id id : s.endpoints) {
      endpoint& known = *find(id);
      if (known.peer != e.from) continue;
      send(event_kind::reply, known, e.from);
      return;
    }
  }
  endpoint& half_open = make(e.machine);
  half_open.peer = e.from;
  half_open.remote_machine = e.origin;
  half_open.local = e.destination;
  half_open.remote = e.source;
  send(event_kind::reply, half_open, e.from);
}

P2PDVM_DECL void streams::on_reply(const event& e) {
  endpoint* client = find(e.to);
  if (client == nullptr || client->failure) {
    answer_for_missing(e);
    return;
  }
  if (client->open) return;
  client->open = true;
  client->peer = e.from;
  send(event_kind::established, *client, client->peer);
  pump(*client);
  deliver(e.to);
}

P2PDVM_DECL void streams::on_established(const event& e) {
  endpoint* server = find(e.to);
  if (server == nullptr) {
    answer_for_missing(e);
  } else if (!server->accepted) {
    server->accept_pending = false;
    accept(*server);
  }
}

P2PDVM_DECL void streams::accept(endpoint& e) {
  site& s = site_of(e);
  if (e.accept_pending) return;
  if (fabric_.stalled(s)) {
    e.accept_pending = true;
    event& later = fabric_.schedule(s.stalled_until, event_kind::established, e.machine);
    later.origin = e.machine;  // from the kernel itself: not through the downlink again
    later.to = e.id;
    return;
  }
  const auto* port = fabric::match(s.listeners, e.local);
  if (port == nullptr) {
    send(event_kind::reset, e, e.peer);
    free(e);
    return;
  }
  e.accepted = e.open = true;
  port->handler->on_accept(handle_of(e));
}

P2PDVM_DECL void streams::on_segment(event& e) {
  endpoint* to = find(e.to);
  if (to == nullptr) {
    answer_for_missing(e);
    return;
  }
  if (to->failure) return;
  to->received.push(std::move(e.bytes));
  if (!to->outgoing && !to->accepted) {  // the end of the handshake got lost: this stands for it
    accept(*to);
  } else {
    deliver(e.to);
  }
}

P2PDVM_DECL void streams::on_credit(const event& e) {
  endpoint* to = find(e.to);
  if (to == nullptr) {
    answer_for_missing(e);
    return;
  }
  to->in_flight -= std::min<std::size_t>(to->in_flight, e.amount);
  pump(*to);
}

/// The remote has closed or lost its end.
P2PDVM_DECL void streams::on_end(const event& e) {
  endpoint* to = find(e.to);
  if (to == nullptr || to->failure) return;
  const std::string remote = to->remote.text();
  if (!to->outgoing && !to->accepted) {
    free(*to);
  } else if (e.kind == event_kind::finish) {
    close(*to, error(errc::closed, remote + " closed the connection"));
  } else {
    to->received.clear();
    const bool refused = !to->open;
    close(*to, refused ? error(errc::unreachable,
                               "cannot connect to " + remote + ": Connection refused")
                       : error(errc::io, "the connection to " + remote +
                                             " was reset by the other side"));
  }
}

P2PDVM_DECL void streams::on_retry(const event& e) {
  endpoint* client = find(e.to);
  if (client == nullptr || client->open || client->failure) return;
  if (fabric_.now < client->connect_deadline) {
    send_request(*client, e.amount);
    return;
  }
  close(*client, error(errc::unreachable,
                       "cannot connect to " + client->remote.text() + ": Connection timed out"));
}

/// Gives the stream up when its bytes get no answer for the whole of the timeout.
P2PDVM_DECL void streams::watch(endpoint& e) {
  if (e.failure) return;
  e.silent_since = std::min(e.silent_since, fabric_.now);
  if (e.watched) return;
  e.watched = true;
  const tick when = e.silent_since + fabric_.net.conditions.stream_timeout.count();
  fabric_.schedule(std::max(fabric_.now, when), event_kind::timeout, e.machine).to = e.id;
}

P2PDVM_DECL void streams::on_timeout(const event& e) {
  endpoint* waiting = find(e.to);
  if (waiting == nullptr || waiting->failure) return;
  waiting->watched = false;
  if (waiting->silent_since == tick_never) return;  // healed
  const tick deadline =
      waiting->silent_since + fabric_.net.conditions.stream_timeout.count();
  if (deadline > fabric_.now) {  // healed and cut off again
    watch(*waiting);
    return;
  }
  send(event_kind::reset, *waiting, waiting->peer);
  waiting->received.clear();
  close(*waiting, error(errc::timed_out, "the connection to " + waiting->remote.text() +
                                             " timed out: no answer"));
}

P2PDVM_DECL void streams::close(endpoint& e, error why) {
  e.failure = std::move(why);
  e.unsent.clear();
  deliver(e.id);
}

P2PDVM_DECL void streams::notify(endpoint& e, tick when) {
  if (e.notice_pending) return;
  e.notice_pending = true;
  fabric_.schedule(when, event_kind::notice, e.machine).to = e.id;
}

/// Tells the handler everything that is pending. It may destroy the stream, or crash its own
/// machine, in any call: the endpoint is looked up again after each.
P2PDVM_DECL void streams::deliver(endpoint_id id) {
  endpoint* e = find(id);
  if (e == nullptr || e->handler == nullptr) return;
  const site& s = site_of(*e);
  if (fabric_.stalled(s)) {
    notify(*e, s.stalled_until);
    return;
  }
  if (e->open && !e->open_told) {
    e->open_told = true;
    if (e->outgoing) e->handler->on_open();
  }
  deliver_bytes(id);
  e = find(id);
  if (e != nullptr && e->open && e->drain_wanted && e->unsent.empty() && !e->failure) {
    e->drain_wanted = false;
    e->handler->on_drained();
    e = find(id);
  }
  if (e != nullptr && e->failure && !e->closed_told && e->received.empty()) {
    e->closed_told = true;
    const error why = *e->failure;
    e->handler->on_closed(why);
  }
}

P2PDVM_DECL void streams::deliver_bytes(endpoint_id id) {
  for (endpoint* e = find(id); e != nullptr; e = find(id)) {
    if (e->paused || e->closed_told || e->received.empty()) return;
    byte_vector piece = next_piece(*e);
    e->consumed += piece.size();
    give_credit(*e);
    e->handler->on_data(piece);
    fabric_.queue.recycle(std::move(piece));
  }
}

P2PDVM_DECL byte_vector streams::next_piece(endpoint& e) {
  const std::size_t front = e.received.front_size();
  const double share = fabric_.net.conditions.partial_reads;
  if (share <= 0 || !fabric_.net.random.chance(share)) return e.received.take(front);
  if (e.received.size() > front) return e.received.take(segment_bytes_max);
  return e.received.take(1 + static_cast<std::size_t>(fabric_.net.random.below(front)));
}

}  // namespace p2pdvm::sim::detail

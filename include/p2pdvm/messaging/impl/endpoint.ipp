#pragma once

#include <p2pdvm/messaging/endpoint.hpp>

#include <algorithm>

namespace p2pdvm::messaging {

P2PDVM_DECL bool endpoint_state::fits(std::uint32_t ranks) const {
  const auto among = [ranks](const rank_message& m) {
    return m.source.value() < ranks && m.destination.value() < ranks;
  };
  return pairs.size() == ranks && std::all_of(window.begin(), window.end(), among) &&
         std::all_of(mailbox.begin(), mailbox.end(), among);
}

P2PDVM_DECL void endpoint_state::absorb(std::vector<rank_message> late) {
  for (rank_message& m : late) {
    auto& received = pairs[m.source.value()].received;
    P2PDVM_ASSERT(m.sequence == received);
    ++received;
    mailbox.push_back(std::move(m));
  }
}

P2PDVM_DECL endpoint::endpoint(endpoint_host& host, rank_number self, std::uint32_t ranks,
                               epoch_number epoch, epoch_number floor, const endpoint_state* state)
    : host_(host), self_(self), epoch_(epoch), floor_(floor), pairs_(ranks) {
  if (state == nullptr) return;
  P2PDVM_ASSERT(state->pairs.size() == ranks);
  for (std::uint32_t r = 0; r < ranks; ++r) {
    out(rank_number(r), numbering::main).next_sequence = state->pairs[r].next_sequence;
    in(rank_number(r), numbering::main).received = state->pairs[r].received;
  }
  for (const rank_message& m : state->window) {
    outgoing& o = out(m.destination, numbering::main);
    o.window.push_back({m, epoch});
    o.waiting_bytes += m.body.size();
  }
  for (const rank_message& m : state->mailbox) {
    mailbox_.push_back({m, numbering::main, false});
  }
}

P2PDVM_DECL bool endpoint::send(rank_number destination, space_number space, tag_number tag,
                                payload body) {
  P2PDVM_ASSERT(destination.value() < pairs_.size());
  outgoing& o = out(destination, stream_);
  rank_message message{self_, destination, o.next_sequence++, space, tag, std::move(body)};
  o.waiting_bytes += message.body.size();
  o.window.push_back({std::move(message), epoch_});
  pump(destination, stream_);
  return o.waiting_bytes <= limits::credit_bytes_per_pair * 4;
}

P2PDVM_DECL bool endpoint::has_credit(const outgoing& o, std::size_t bytes) const noexcept {
  const std::uint64_t messages = o.used_messages - o.consumed_messages;
  const std::uint64_t used = o.used_bytes - o.consumed_bytes;
  if (messages == 0 || o.lifted) return true;
  return messages < limits::credit_messages_per_pair && used + bytes <= limits::credit_bytes_per_pair;
}

P2PDVM_DECL void endpoint::pump(rank_number destination, numbering stream) {
  outgoing& o = out(destination, stream);
  if (!host_.ready(destination)) {
    if (o.transmitted < o.window.size()) host_.awaits(destination);
    return;
  }
  endpoint* const near = host_.local(destination);
  while (o.transmitted < o.window.size()) {
    sent& next = o.window[o.transmitted];
    const std::size_t bytes = next.message.body.size();
    if (!has_credit(o, bytes)) {
      if (!std::exchange(o.blocked_told, true)) {
        if (near != nullptr) {
          near->on_blocked(self_, stream);
          continue;  // credit may have been lifted by that very call
        }
        host_.tell_blocked(self_, destination, stream);
      }
      return;
    }
    o.used_messages += 1;
    o.used_bytes += bytes;
    o.waiting_bytes -= bytes;
    if (near != nullptr) {
      P2PDVM_ASSERT(o.transmitted == 0);
      const sent handed = std::move(next);
      o.window.pop_front();
      near->accept(handed.message, stream, handed.epoch);
    } else {
      ++o.transmitted;
      host_.transmit(next.message, stream, next.epoch);
    }
  }
  o.blocked_told = false;
  o.lifted = false;
}

P2PDVM_DECL void endpoint::wait_for_room(rank_number destination, room_waiter& waiter) {
  waiting_for_room_.push_back({destination, &waiter});
}

P2PDVM_DECL void endpoint::stop_waiting(room_waiter& waiter) {
  std::erase_if(waiting_for_room_, [&](const room& r) { return r.waiter == &waiter; });
}

P2PDVM_DECL void endpoint::wake_senders() {
  for (auto it = waiting_for_room_.begin(); it != waiting_for_room_.end();) {
    if (out(it->destination, stream_).waiting_bytes > limits::credit_bytes_per_pair * 4) {
      ++it;
      continue;
    }
    room_waiter* const waiter = it->waiter;
    it = waiting_for_room_.erase(it);
    waiter->on_room();
  }
}

P2PDVM_DECL std::list<endpoint::kept>::iterator endpoint::find(const pattern& p) {
  return std::find_if(mailbox_.begin(), mailbox_.end(), [&](const kept& k) {
    return k.stream == stream_ && p.matches(k.message);
  });
}

P2PDVM_DECL bool endpoint::post(receiver& r) {
  const auto match = find(r.pattern);
  if (match == mailbox_.end()) {
    posted_.push_back(&r);
    check_held(r.pattern);
    ask_for_lift(r.pattern);
    return false;
  }
  if (r.probe) {
    r.message = match->message;
    return true;
  }
  if (match->counted) consumed(match->message, match->stream);
  r.message = std::move(match->message);
  mailbox_.erase(match);
  return true;
}

P2PDVM_DECL void endpoint::withdraw(receiver& r) { posted_.remove(&r); }

P2PDVM_DECL const rank_message* endpoint::peek(const pattern& p) {
  const auto match = find(p);
  if (match != mailbox_.end()) return &match->message;
  check_held(p);
  ask_for_lift(p);
  return nullptr;
}

P2PDVM_DECL bool endpoint::end_prelude() {
  P2PDVM_ASSERT(stream_ == numbering::prelude);
  const bool clean = std::none_of(mailbox_.begin(), mailbox_.end(), [](const kept& k) {
    return k.stream == numbering::prelude;
  });
  stream_ = numbering::main;
  return clean;
}

P2PDVM_DECL void endpoint::accept(const rank_message& message, numbering stream,
                                  epoch_number epoch) {
  incoming& i = in(message.source, stream);
  if (message.sequence != i.received) {
    if (message.sequence > i.received) {
      i.gap = true;
    } else {
      consumed(message, stream);  // a duplicate took credit and will not be read
    }
    return mark(message.source, stream);
  }
  if (stream == numbering::main && epoch < i.epoch) {
    // Neither before nor after a cut of ours: no snapshot could hold it.
    return host_.must_abandon(self_, i.epoch,
                              "rank " + std::to_string(message.source.value()) +
                                  " sent a message of epoch " + std::to_string(epoch.value()) +
                                  " after one of epoch " + std::to_string(i.epoch.value()) +
                                  "; its peer is faulty, and the message was dropped");
  }
  i.epoch = epoch;
  ++i.received;
  if (host_.local(message.source) == nullptr) mark(message.source, stream);
  if (stream == numbering::main && early(epoch)) {
    held_.push_back({message, epoch});
    const bool awaited = std::any_of(posted_.begin(), posted_.end(), [&](const receiver* r) {
      return r->pattern.matches(message);
    });
    if (awaited) waits_for(held_.back());
    return;
  }
  if (stream == numbering::main && late_open_ && epoch < epoch_) keep_late(message);
  deliver(message, stream, true);
}

P2PDVM_DECL void endpoint::deliver(const rank_message& message, numbering stream, bool counted) {
  const kept k{message, stream, counted};
  if (stream == stream_) {
    for (auto it = posted_.begin(); it != posted_.end();) {
      receiver* const r = *it;
      if (!r->pattern.matches(message)) {
        ++it;
        continue;
      }
      it = posted_.erase(it);
      r->message = message;
      if (!r->probe) {
        if (counted) consumed(message, stream);
        r->on_message();
        return;
      }
      r->on_message();
    }
  }
  mailbox_.push_back(k);
}

P2PDVM_DECL void endpoint::consumed(const rank_message& message, numbering stream) {
  incoming& i = in(message.source, stream);
  const std::uint64_t quarter = limits::credit_bytes_per_pair / 4;
  const std::uint64_t bytes_before = i.consumed_bytes;
  i.consumed_messages += 1;
  i.consumed_bytes += message.body.size();
  if (endpoint* near = host_.local(message.source)) {
    outgoing& o = near->out(self_, stream);
    o.consumed_messages = std::min(i.consumed_messages, o.used_messages);
    o.consumed_bytes = std::min(i.consumed_bytes, o.used_bytes);
    if (o.blocked_told) mark(message.source, stream);
    return;
  }
  // Credit travels with acknowledgements; one is due when a quarter of it was read.
  if (i.blocked || i.consumed_messages % (limits::credit_messages_per_pair / 4) == 0 ||
      bytes_before / quarter != i.consumed_bytes / quarter)
    mark(message.source, stream);
}

P2PDVM_DECL void endpoint::mark(rank_number source, numbering stream) {
  incoming& i = in(source, stream);
  if (std::exchange(i.dirty, true)) return;
  dirty_.emplace_back(source, stream);
  if (dirty_.size() == 1) host_.acknowledgements_due(*this);
}

P2PDVM_DECL std::vector<rank_acknowledgement> endpoint::take_acknowledgements() {
  std::vector<rank_acknowledgement> acks;
  acks.reserve(dirty_.size());
  for (const auto& [source, stream] : std::exchange(dirty_, {})) {
    incoming& i = in(source, stream);
    i.dirty = false;
    rank_acknowledgement ack;
    ack.source = source;
    ack.destination = self_;
    ack.stream = stream;
    ack.received = i.received;
    ack.consumed_messages = i.consumed_messages;
    ack.consumed_bytes = i.consumed_bytes;
    ack.gap = std::exchange(i.gap, false);
    ack.lift = std::exchange(i.lift, false);
    if (ack.lift) i.blocked = false;
    acks.push_back(ack);
  }
  return acks;
}

P2PDVM_DECL void endpoint::on_acknowledgement(const rank_acknowledgement& ack) {
  outgoing& o = out(ack.destination, ack.stream);
  if (ack.received > o.next_sequence) return;  // nonsense from a peer of an older life
  while (!o.window.empty() && o.window.front().message.sequence < ack.received) {
    if (o.transmitted > 0) {
      --o.transmitted;
    } else {
      o.waiting_bytes -= o.window.front().message.body.size();
    }
    o.window.pop_front();
  }
  o.consumed_messages = std::min(ack.consumed_messages, o.used_messages);
  o.consumed_bytes = std::min(ack.consumed_bytes, o.used_bytes);
  if (ack.lift) o.lifted = true;
  if (ack.gap) {
    send_again(ack.destination, ack.stream);
  } else {
    pump(ack.destination, ack.stream);
  }
  wake_senders();
}

P2PDVM_DECL void endpoint::on_blocked(rank_number source, numbering stream) {
  in(source, stream).blocked = true;
  mark(source, stream);
  if (stream != stream_) return;
  for (const receiver* r : posted_) {
    if (!r->pattern.source || *r->pattern.source == source) return ask_for_lift(r->pattern);
  }
}

P2PDVM_DECL void endpoint::ask_for_lift(const pattern& p) {
  const auto lift = [this](rank_number source) {
    incoming& i = in(source, stream_);
    if (!i.blocked) return;
    i.lift = true;
    if (endpoint* near = host_.local(source)) near->out(self_, stream_).lifted = true;
    mark(source, stream_);
  };
  if (p.source) return lift(*p.source);
  for (std::uint32_t r = 0; r < pairs_.size(); ++r) lift(rank_number(r));
}

/// The call may cut this rank, which delivers what is held: nothing here is valid after it.
P2PDVM_DECL void endpoint::waits_for(const held_message& held) {
  host_.waits_for_held(self_, held.epoch,
                       "rank " + std::to_string(self_.value()) + " waits for a message that rank " +
                           std::to_string(held.message.source.value()) +
                           " sent after its safe point, but has not come to that safe point itself");
}

P2PDVM_DECL void endpoint::check_held(const pattern& p) {
  const auto held = std::find_if(held_.begin(), held_.end(),
                                 [&](const held_message& h) { return p.matches(h.message); });
  if (held != held_.end()) waits_for(*held);
}

P2PDVM_DECL void endpoint::check_held() {
  const auto awaited = [&](const held_message& h) {
    return std::any_of(posted_.begin(), posted_.end(),
                       [&](const receiver* r) { return r->pattern.matches(h.message); });
  };
  const auto held = std::find_if(held_.begin(), held_.end(), awaited);
  if (held != held_.end()) waits_for(*held);
}

P2PDVM_DECL void endpoint::on_ready(rank_number rank) {
  for (const numbering stream : {numbering::main, numbering::prelude}) {
    outgoing& o = out(rank, stream);
    incoming& i = in(rank, stream);
    i.consumed_messages = i.consumed_bytes = 0;
    o.consumed_messages = o.consumed_bytes = 0;
    for (std::size_t n = 0; n < o.transmitted; ++n) {
      o.waiting_bytes += o.window[n].message.body.size();
    }
    o.used_messages = o.used_bytes = o.transmitted = 0;
    o.blocked_told = false;
    pump(rank, stream);
  }
}

P2PDVM_DECL void endpoint::send_waiting() {
  for (std::uint32_t r = 0; r < pairs_.size(); ++r) {
    for (const numbering stream : {numbering::main, numbering::prelude})
      pump(rank_number(r), stream);
  }
}

P2PDVM_DECL void endpoint::ask_again() {
  for (std::uint32_t r = 0; r < pairs_.size(); ++r) {
    for (const numbering stream : {numbering::main, numbering::prelude}) {
      if (endpoint* const near = host_.local(rank_number(r))) {
        near->send_again(self_, stream);
      } else {
        in(rank_number(r), stream).gap = true;
        mark(rank_number(r), stream);
      }
    }
  }
}

P2PDVM_DECL void endpoint::send_again(rank_number destination, numbering stream) {
  outgoing& o = out(destination, stream);
  for (; o.transmitted > 0; --o.transmitted) {
    const std::size_t bytes = o.window[o.transmitted - 1].message.body.size();
    o.waiting_bytes += bytes;
    o.used_messages -= std::min<std::uint64_t>(o.used_messages, 1);
    o.used_bytes -= std::min<std::uint64_t>(o.used_bytes, bytes);
  }
  o.blocked_told = false;
  pump(destination, stream);
}

P2PDVM_DECL endpoint_state endpoint::cut(epoch_number epoch,
                                         const std::vector<const rank_message*>& taken) {
  P2PDVM_ASSERT(epoch > epoch_);
  P2PDVM_ASSERT(stream_ == numbering::main);
  endpoint_state state;
  state.pairs.resize(pairs_.size());
  std::vector<std::uint64_t> held_from(pairs_.size(), 0);
  for (const held_message& h : held_) ++held_from[h.message.source.value()];
  for (std::uint32_t r = 0; r < pairs_.size(); ++r) {
    const outgoing& o = out(rank_number(r), numbering::main);
    state.pairs[r].next_sequence = o.next_sequence;
    state.pairs[r].received = in(rank_number(r), numbering::main).received - held_from[r];
    for (const sent& s : o.window) state.window.push_back(s.message);
  }
  for (const kept& k : mailbox_) {
    if (k.stream == numbering::main) state.mailbox.push_back(k.message);
  }
  for (const rank_message* m : taken) {
    // Before all that the same source sent later, so that nothing overtakes.
    const auto later = [m](const rank_message& other) {
      return other.source == m->source && other.sequence > m->sequence;
    };
    state.mailbox.insert(std::find_if(state.mailbox.begin(), state.mailbox.end(), later), *m);
  }
  epoch_ = epoch;
  drop_late_log();
  late_open_ = true;
  for (auto& h : std::exchange(held_, {})) deliver(h.message, numbering::main, true);
  return state;
}

P2PDVM_DECL void endpoint::keep_late(const rank_message& message) {
  late_bytes_ += message.body.size() + sizeof(rank_message);
  late_.push_back(message);
  if (late_bytes_ > limits::late_log_bytes_max) {
    host_.must_abandon(self_, epoch_,
                       "rank " + std::to_string(self_.value()) + " received over " +
                           std::to_string(limits::late_log_bytes_max >> 20) +
                           " MiB from ranks that had not come to their safe point");
    drop_late_log();
  }
}

P2PDVM_DECL void endpoint::drop_late_log() {
  late_.clear();
  late_bytes_ = 0;
  late_open_ = false;
}

P2PDVM_DECL void endpoint::on_floor(epoch_number floor) {
  floor_ = std::max(floor_, floor);
  if (epoch_ <= floor_) drop_late_log();
  auto waiting = std::exchange(held_, {});
  for (auto& h : waiting) {
    if (early(h.epoch)) {
      held_.push_back(std::move(h));
    } else {
      deliver(h.message, numbering::main, true);
    }
  }
}

P2PDVM_DECL std::size_t endpoint::unacknowledged() const noexcept {
  std::size_t count = 0;
  for (const pair_of& p : pairs_) count += p.out[0].window.size() + p.out[1].window.size();
  return count;
}

}  // namespace p2pdvm::messaging

#pragma once

#include <p2pdvm/messaging/endpoint.hpp>

#include <algorithm>
#include <cstring>

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
    o.window.push_back({m, epoch, nullptr});
    o.waiting_bytes += m.body.size();
  }
  for (const rank_message& m : state->mailbox) {
    put_into_mailbox(m, numbering::main, false);
  }
}

P2PDVM_DECL endpoint::~endpoint() {
  while (!mailbox_.empty()) {
    kept& k = mailbox_.front();
    mailbox_.erase(k);
    delete &k;
  }
}

P2PDVM_DECL bool endpoint::send(rank_number destination, space_number space, tag_number tag,
                                payload body) {
  P2PDVM_ASSERT(destination.value() < pairs_.size());
  outgoing& o = out(destination, stream_);
  arrival a{self_, o.next_sequence, space, tag, nullptr, body.size(), &body, nullptr};
  if (o.window.empty()) {
    endpoint* const near = host_.reached(destination);
    if (near != nullptr && hand_over(o, *near, a)) return true;
  }
  return send_later(o, destination, a);
}

P2PDVM_DECL bool endpoint::send(rank_number destination, space_number space, tag_number tag,
                                const two_parts& body) {
  P2PDVM_ASSERT(destination.value() < pairs_.size());
  outgoing& o = out(destination, stream_);
  arrival a{self_, o.next_sequence, space, tag, &body, body.size(), nullptr, nullptr};
  if (o.window.empty()) {
    endpoint* const near = host_.reached(destination);
    if (near != nullptr && hand_over(o, *near, a)) return true;
  }
  // A small one may be on its way before it is copied for the window.
  if (a.size <= host::lane_copied_bytes_max && goes_now(o, destination, a.size)) {
    const bool gone = host_.lend({self_, destination, o.next_sequence, space, tag, {}}, body, stream_, epoch_) != 0;
    rank_message& m = sent_now(o, destination, a);
    m.body = payload::copy_of(body.first, body.second);
    if (!gone) host_.transmit(m, stream_, epoch_);
    return true;
  }
  if (a.size > host::lane_copied_bytes_max && goes_now(o, destination, a.size)) {
    host_.transmit_and_copy(sent_now(o, destination, a), body, stream_, epoch_);
    return true;
  }
  return send_later(o, destination, a);
}

P2PDVM_DECL bool endpoint::goes_now(const outgoing& o, rank_number destination, std::size_t bytes) {
  return o.transmitted == o.window.size() && host_.ready(destination) && has_credit(o, bytes) &&
         host_.local(destination) == nullptr;
}

P2PDVM_DECL bool endpoint::hand_over(outgoing& o, endpoint& near, arrival& a) {
  if (!has_credit(o, a.size)) return false;
  ++o.next_sequence;
  o.used_messages += 1;
  o.used_bytes += a.size;
  o.lifted = false;
  near.take(a, stream_, epoch_, this);
  return true;
}

P2PDVM_DECL rank_message& endpoint::into_window(outgoing& o, rank_number destination, const arrival& a) {
  sent& last = o.window.append();
  rank_message& m = last.message;
  m.source = self_;
  m.destination = destination;
  m.sequence = o.next_sequence++;
  m.space = a.space;
  m.tag = a.tag;
  last.epoch = epoch_;
  return m;
}

P2PDVM_DECL rank_message& endpoint::sent_now(outgoing& o, rank_number destination, const arrival& a) {
  ++o.transmitted;
  o.used_messages += 1;
  o.used_bytes += a.size;
  o.lifted = false;
  return into_window(o, destination, a);
}

P2PDVM_DECL bool endpoint::send_later(outgoing& o, rank_number destination, const arrival& a) {
  // The common case of `pump`.
  if (goes_now(o, destination, a.size)) {
    rank_message& m = sent_now(o, destination, a);
    m.body = body_here(a);
    host_.transmit(m, stream_, epoch_);
    return true;
  }
  into_window(o, destination, a).body = body_here(a);
  o.waiting_bytes += a.size;
  pump(destination, stream_);
  return has_room(o) && (o.window.size() - o.transmitted + 1) % limits::waiting_messages_per_turn != 0;
}

P2PDVM_DECL std::optional<std::uint64_t> endpoint::lend(rank_number destination, space_number space,
                                                        tag_number tag, const two_parts& body) {
  P2PDVM_ASSERT(destination.value() < pairs_.size());
  outgoing& o = out(destination, stream_);
  const std::size_t size = body.size();
  if (o.transmitted != o.window.size() || !host_.ready(destination) ||
      !has_credit(o, size) || host_.local(destination) != nullptr)
    return std::nullopt;
  const std::uint64_t number =
      host_.lend({self_, destination, o.next_sequence, space, tag, {}}, body, stream_, epoch_);
  if (number == 0) return std::nullopt;
  const rank_message& m =
      sent_now(o, destination, {self_, o.next_sequence, space, tag, &body, size, nullptr, nullptr});
  sent& last = o.window.back();
  last.lent = std::make_unique<lent_body>();
  last.lent->first = to_vector(body.first);
  last.lent->second = body.second;
  last.lent->number = number;
  ++lent_;
  return m.sequence << 1 | static_cast<std::uint64_t>(stream_);
}

P2PDVM_DECL endpoint::sent* endpoint::lent_of(rank_number destination, std::uint64_t loan) {
  outgoing& o = out(destination, static_cast<numbering>(loan & 1));
  const std::uint64_t sequence = loan >> 1;
  if (lent_ == 0 || o.window.empty() || sequence < o.window.front().message.sequence) return nullptr;
  const std::size_t n = sequence - o.window.front().message.sequence;
  return n < o.window.size() && o.window[n].lent ? &o.window[n] : nullptr;
}

P2PDVM_DECL void endpoint::given_back(lent_body& lent, bool unreturned) {
  --lent_;
  host_.take_back(lent.number, unreturned);
  if (room_waiter* const waiter = std::exchange(lent.waiter, nullptr)) waiter->on_room();
}

P2PDVM_DECL void endpoint::own(sent& s, bool unreturned) {
  if (!s.lent) return;
  const std::unique_ptr<lent_body> lent = std::move(s.lent);
  s.message.body = payload::copy_of(lent->first, lent->second);
  given_back(*lent, unreturned);
}

P2PDVM_DECL bool endpoint::wait_for_return(rank_number destination, std::uint64_t loan,
                                           room_waiter& waiter) {
  sent* const s = lent_of(destination, loan);
  if (s == nullptr) return false;
  s->lent->waiter = &waiter;
  return true;
}

P2PDVM_DECL void endpoint::take_back(rank_number destination, std::uint64_t loan) {
  sent* const s = lent_of(destination, loan);
  if (s == nullptr) return;
  s->lent->waiter = nullptr;
  own(*s, true);
}

P2PDVM_DECL bool endpoint::settle_lent() {
  if (lent_ == 0) return false;
  for (pair_of& p : pairs_) {
    for (outgoing& o : p.out) {
      for (std::size_t n = 0; n < o.window.size(); ++n) {
        if (o.window[n].lent && std::exchange(o.window[n].lent->old, true)) own(o.window[n]);
      }
    }
  }
  return lent_ != 0;
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
        ++blocked_destinations_;
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
      sent handed = o.window.pop_front();
      arrival a = arrival_of(handed.message);
      near->take(a, stream, handed.epoch, this);
    } else {
      ++o.transmitted;
      host_.transmit(next.message, stream, next.epoch);
    }
  }
  unblock(o);
  o.lifted = false;
}

P2PDVM_DECL bool endpoint::wait_for_room(rank_number destination, room_waiter& waiter) {
  if (has_room(out(destination, stream_)) && !host_.gives_way(*this)) return false;
  waiting_for_room_.push_back({destination, &waiter});
  return true;
}

P2PDVM_DECL void endpoint::stop_waiting(room_waiter& waiter) {
  std::erase_if(waiting_for_room_, [&](const room& r) { return r.waiter == &waiter; });
}

P2PDVM_DECL void endpoint::wake_senders() {
  for (auto it = waiting_for_room_.begin(); it != waiting_for_room_.end();) {
    if (!has_room(out(it->destination, stream_))) {
      ++it;
      continue;
    }
    room_waiter* const waiter = it->waiter;
    it = waiting_for_room_.erase(it);
    waiter->on_room();
  }
}

P2PDVM_DECL endpoint::kept* endpoint::find(const pattern& p) {
  for (kept& k : mailbox_) {
    if (k.stream == stream_ && p.matches(k.message)) return &k;
  }
  return nullptr;
}

P2PDVM_DECL bool endpoint::post(receiver& r) {
  kept* const match = find(r.pattern);
  if (match == nullptr) {
    posted_.push_back(r);
    check_held(r.pattern);
    ask_for_lift(r.pattern);
    return false;
  }
  rank_message& m = match->message;
  if (r.probe) {
    r.message = m;
    return true;
  }
  if (match->counted) consumed(m.source, m.body.size(), match->stream, host_.local(m.source));
  r.message.source = m.source;
  r.message.sequence = m.sequence;
  r.message.space = m.space;
  r.message.tag = m.tag;
  r.message.body = std::move(m.body);
  mailbox_.erase(*match);
  --unread_;
  delete match;
  if (!mailbox_.empty()) fetch_after(mailbox_.front());
  return true;
}

/// Of many messages the first ones have left the cache when they are read: the body of the next one and the message behind it
/// are asked for while this one is made use of.
P2PDVM_DECL void endpoint::fetch_after(const kept& next) {
  next.message.body.fetch();
  if (const kept* const second = mailbox_.after(next)) prefetch(second, sizeof *second);
}

P2PDVM_DECL void endpoint::withdraw(receiver& r) {
  r.ground.clear();
  posted_.erase(r);
}

P2PDVM_DECL const rank_message* endpoint::peek(const pattern& p) {
  if (const kept* const match = find(p)) return &match->message;
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

P2PDVM_DECL void endpoint::accept(rank_message message, numbering stream, epoch_number epoch) {
  arrival a = arrival_of(message);
  take(a, stream, epoch, host_.local(message.source));
}

P2PDVM_DECL void endpoint::accept(const rank_message& m, host::lane_body& body, numbering stream,
                                  epoch_number epoch) {
  arrival a{m.source, m.sequence, m.space, m.tag, nullptr, body.size(), nullptr, &body};
  take(a, stream, epoch, host_.local(m.source));
}

P2PDVM_DECL landing endpoint::land(const rank_message& m, std::size_t size, numbering stream, epoch_number epoch,
                                   landing_guest& guest) {
  const incoming& i = in(m.source, stream);
  if (m.sequence != i.received || stream != stream_ || epoch != epoch_ || epoch < i.epoch) return {};
  const auto first =
      std::find_if(posted_.begin(), posted_.end(), [&](const receiver& r) { return r.pattern.matches(m); });
  if (first == posted_.end()) return {};
  receiver& r = *first;
  if (r.probe || !r.pattern.source || !r.pattern.tag || r.ground.guest != nullptr || !r.place.takes(size)) return {};
  return landing(r.ground, guest, r.place.body.first(size - r.place.head.size()));
}

P2PDVM_DECL bool endpoint::body_of(const arrival& a, payload& body) {
  if (a.elsewhere == nullptr) {
    body = body_here(a);
    return true;
  }
  if (auto owned = a.elsewhere->own()) {
    body = std::move(*owned);
    return true;
  }
  byte_span write;
  body = payload::unwritten(a.size, write);
  return a.elsewhere->copy(write, {});
}

template <class Message>
bool endpoint::awaited(const Message& message) {
  for (const receiver& r : posted_) {
    if (r.pattern.matches(message)) return true;
  }
  return false;
}

P2PDVM_DECL void endpoint::take(arrival& a, numbering stream, epoch_number epoch, endpoint* from) {
  incoming& i = in(a.source, stream);
  if (a.sequence != i.received || stream != stream_ || epoch != epoch_ || epoch < i.epoch) [[unlikely]]
    return take_otherwise(a, stream, epoch, from);
  receiver* first = nullptr;
  for (receiver& r : posted_) {
    if (!r.pattern.matches(a)) continue;
    first = &r;
    break;
  }
  payload body;
  if (first != nullptr && first->probe) [[unlikely]]
    return take_otherwise(a, stream, epoch, from);
  if (first != nullptr ? !complete(*first, a) : !body_of(a, body)) [[unlikely]] {
    i.gap = true;
    return mark(a.source, stream, true);
  }
  i.epoch = epoch;
  ++i.received;
  if (from == nullptr) mark(a.source, stream);
  if (first == nullptr) return put_into_mailbox(*new kept(a, self_, std::move(body), stream));
  posted_.erase(*first);
  consumed(a.source, a.size, stream, from);
  first->on_message();
}

P2PDVM_DECL void endpoint::take_otherwise(arrival& a, numbering stream, epoch_number epoch,
                                          endpoint* from) {
  incoming& i = in(a.source, stream);
  if (a.sequence != i.received) {
    if (a.sequence > i.received) {
      i.gap = true;
    } else {
      // a duplicate took credit and will not be read
      consumed(a.source, a.size, stream, from);
    }
    return mark(a.source, stream, i.gap);
  }
  if (stream == numbering::main && epoch < i.epoch) {
    // Neither before nor after a cut of ours: no snapshot could hold it.
    return host_.must_abandon(self_, i.epoch,
                              "rank " + std::to_string(a.source.value()) +
                                  " sent a message of epoch " + std::to_string(epoch.value()) +
                                  " after one of epoch " + std::to_string(i.epoch.value()) +
                                  "; its peer is faulty, and the message was dropped");
  }
  payload storage;
  if (a.elsewhere != nullptr) {
    if (!body_of(a, storage)) {
      i.gap = true;
      return mark(a.source, stream, true);
    }
    a.elsewhere = nullptr;
    a.owned = &storage;
  }
  i.epoch = epoch;
  ++i.received;
  if (from == nullptr) mark(a.source, stream);
  if (stream == numbering::main && early(epoch)) {
    held_.push_back({message_of(a), epoch});
    if (awaited(held_.back().message)) waits_for(held_.back());
    return;
  }
  if (stream == numbering::main && late_open_ && epoch < epoch_) {
    rank_message message = message_of(a);
    keep_late(message);
    arrival again = arrival_of(message);
    return deliver(again, stream, true, from);
  }
  deliver(a, stream, true, from);
}

P2PDVM_DECL bool endpoint::complete(receiver& r, const arrival& a) {
  r.ground.clear();
  r.message.source = a.source;
  r.message.sequence = a.sequence;
  r.message.space = a.space;
  r.message.tag = a.tag;
  receiver::placement& p = r.place;
  const std::size_t head = p.head.size();
  const bool fits = a.owned == nullptr && p.takes(a.size) &&
                    (a.elsewhere != nullptr || a.parts->first.size() == head);
  if (!fits) return body_of(a, r.message.body);
  p.bytes = a.size - head;
  if (a.elsewhere != nullptr) {
    p.done = a.elsewhere->copy(p.head, p.body.first(p.bytes));
  } else {
    copy_few(p.head.data(), a.parts->first.data(), head);
    copy_few(p.body.data(), a.parts->second.data(), p.bytes);
    p.done = true;
  }
  return p.done;
}

P2PDVM_DECL void endpoint::deliver(arrival& a, numbering stream, bool counted, endpoint* from) {
  if (stream == stream_) {
    for (auto it = posted_.begin(); it != posted_.end();) {
      receiver& r = *it;
      ++it;
      if (!r.pattern.matches(a)) continue;
      posted_.erase(r);
      if (r.probe) {
        r.message = {a.source, self_, a.sequence, a.space, a.tag, a.owned != nullptr ? *a.owned : body_here(a)};
        r.on_message();
        continue;
      }
      if (counted) consumed(a.source, a.size, stream, from);
      static_cast<void>(complete(r, a));
      return r.on_message();
    }
  }
  put_into_mailbox(message_of(a), stream, counted);
}

P2PDVM_DECL void endpoint::consumed(rank_number source, std::size_t bytes, numbering stream,
                                    endpoint* near) {
  incoming& i = in(source, stream);
  const std::uint64_t quarter = limits::credit_bytes_per_pair / 4;
  const std::uint64_t bytes_before = i.consumed_bytes;
  i.consumed_messages += 1;
  i.consumed_bytes += bytes;
  if (near != nullptr) {
    outgoing& o = near->out(self_, stream);
    o.consumed_messages = std::min(i.consumed_messages, o.used_messages);
    o.consumed_bytes = std::min(i.consumed_bytes, o.used_bytes);
    if (o.blocked_told) mark(source, stream, true);
    return;
  }
  // Credit travels with acknowledgements; one is due when a quarter of it was read.
  if (i.blocked || i.consumed_messages % (limits::credit_messages_per_pair / 4) == 0 ||
      bytes_before / quarter != i.consumed_bytes / quarter)
    mark(source, stream, true);
}

P2PDVM_DECL void endpoint::mark(rank_number source, numbering stream, bool urgent) {
  const bool fresh = !std::exchange(in(source, stream).dirty, true);
  if (fresh) dirty_.emplace_back(source, stream);
  const bool first = fresh && dirty_.size() == 1;
  if (!first && (!urgent || urgent_)) return;
  urgent_ = urgent_ || urgent;
  host_.acknowledgements_due(*this, urgent_);
}

P2PDVM_DECL std::vector<rank_acknowledgement> endpoint::take_acknowledgements() {
  std::vector<rank_acknowledgement> acks;
  acks.reserve(dirty_.size());
  urgent_ = false;
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
    if (ack.lift && std::exchange(i.blocked, false)) --blocked_sources_;
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
    if (o.window.front().lent) given_back(*o.window.front().lent);
    constexpr std::size_t ahead = 8;
    if (o.window.size() > ahead) o.window[ahead].message.body.fetch();
    o.window.drop_front();
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
  if (!std::exchange(in(source, stream).blocked, true)) ++blocked_sources_;
  mark(source, stream, true);
  if (stream != stream_) return;
  for (const receiver& r : posted_) {
    if (!r.pattern.source || *r.pattern.source == source) return ask_for_lift(r.pattern);
  }
}

P2PDVM_DECL void endpoint::lift_sources(const pattern& p) {
  const auto lift = [this](rank_number source) {
    incoming& i = in(source, stream_);
    if (!i.blocked) return;
    i.lift = true;
    if (endpoint* near = host_.local(source)) near->out(self_, stream_).lifted = true;
    mark(source, stream_, true);
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

P2PDVM_DECL void endpoint::look_for_held(const pattern& p) {
  const auto held = std::find_if(held_.begin(), held_.end(),
                                 [&](const held_message& h) { return p.matches(h.message); });
  if (held != held_.end()) waits_for(*held);
}

P2PDVM_DECL void endpoint::check_held() {
  const auto held = std::find_if(held_.begin(), held_.end(),
                                 [&](const held_message& h) { return awaited(h.message); });
  if (held != held_.end()) waits_for(*held);
}

P2PDVM_DECL void endpoint::on_ready(rank_number rank) {
  for (const numbering stream : {numbering::main, numbering::prelude}) {
    outgoing& o = out(rank, stream);
    incoming& i = in(rank, stream);
    i.consumed_messages = i.consumed_bytes = 0;
    o.consumed_messages = o.consumed_bytes = 0;
    for (std::size_t n = 0; n < o.transmitted; ++n) {
      own(o.window[n]);
      o.waiting_bytes += o.window[n].message.body.size();
    }
    o.used_messages = o.used_bytes = o.transmitted = 0;
    unblock(o);
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
        mark(rank_number(r), stream, true);
      }
    }
  }
}

P2PDVM_DECL void endpoint::repeat(rank_number other) {
  for (const numbering stream : {numbering::main, numbering::prelude}) {
    incoming& i = in(other, stream);
    if (i.received > 0) mark(other, stream, true);
    send_again(other, stream);
  }
}

P2PDVM_DECL void endpoint::send_again(rank_number destination) {
  for (const numbering stream : {numbering::main, numbering::prelude})
    send_again(destination, stream);
}

P2PDVM_DECL void endpoint::send_again(rank_number destination, numbering stream) {
  outgoing& o = out(destination, stream);
  for (; o.transmitted > 0; --o.transmitted) {
    own(o.window[o.transmitted - 1]);
    const std::size_t bytes = o.window[o.transmitted - 1].message.body.size();
    o.waiting_bytes += bytes;
    o.used_messages -= std::min<std::uint64_t>(o.used_messages, 1);
    o.used_bytes -= std::min<std::uint64_t>(o.used_bytes, bytes);
  }
  unblock(o);
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
    outgoing& o = out(rank_number(r), numbering::main);
    state.pairs[r].next_sequence = o.next_sequence;
    state.pairs[r].received = in(rank_number(r), numbering::main).received - held_from[r];
    for (std::size_t n = 0; n < o.window.size(); ++n) {
      own(o.window[n]);
      state.window.push_back(o.window[n].message);
    }
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
  for (held_message& h : std::exchange(held_, {})) {
    arrival a = arrival_of(h.message);
    deliver(a, numbering::main, true, host_.local(a.source));
  }
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
      arrival a = arrival_of(h.message);
      deliver(a, numbering::main, true, host_.local(a.source));
    }
  }
}

P2PDVM_DECL std::uint64_t endpoint::unread_bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const kept& k : mailbox_) bytes += k.message.body.size();
  return bytes;
}

P2PDVM_DECL std::uint64_t endpoint::waiting_bytes(rank_number destination) const noexcept {
  const pair_of& p = pairs_[destination.value()];
  return p.out[0].waiting_bytes + p.out[1].waiting_bytes;
}

P2PDVM_DECL std::vector<stall> endpoint::stalls(std::size_t most) const {
  std::vector<stall> all;
  if (blocked_destinations_ == 0) return all;
  for (std::uint32_t r = 0; r < pairs_.size() && all.size() < most; ++r) {
    for (const outgoing& o : pairs_[r].out) {
      if (o.blocked_told)
        all.push_back({self_, rank_number(r), o.used_bytes - o.consumed_bytes, o.waiting_bytes});
    }
  }
  return all;
}

P2PDVM_DECL std::size_t endpoint::unacknowledged() const noexcept {
  std::size_t count = 0;
  for (const pair_of& p : pairs_) count += p.out[0].window.size() + p.out[1].window.size();
  return count;
}

}  // namespace p2pdvm::messaging

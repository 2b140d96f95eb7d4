#pragma once

#include <p2pdvm/runtime/rank_traffic.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::runtime {

namespace detail {

/// The body of a message that came over a session: its last bytes.
class record_body final : public host::lane_body {
 public:
  /// `bytes` of it are in the message's view.
  record_body(messaging::arrived_message message, std::size_t bytes)
      : message_(message), bytes_(message.view.last(bytes)) {}
  [[nodiscard]] std::size_t size() const noexcept override { return bytes_.size() + message_.landed.size(); }
  [[nodiscard]] bool copy(byte_span first, byte_span second) override {
    if (message_.landed.empty()) {
      host::copy_in_two(bytes_, first, second);
    } else if (first.size() == bytes_.size() && second.data() == message_.landed.data()) {
      host::copy_in_two(bytes_, first, {});
    } else {
      host::copy_in_two(payload::copy_of(bytes_, message_.landed).view(), first, second);
    }
    return true;
  }
  [[nodiscard]] std::optional<payload> own() override {
    if (!message_.landed.empty()) return payload::copy_of(bytes_, message_.landed);
    if (message_.assembled == nullptr) return std::nullopt;
    const payload whole = std::move(*message_.assembled);
    return whole.slice(whole.size() - bytes_.size(), bytes_.size());
  }

 private:
  messaging::arrived_message message_;
  byte_view bytes_;
};

}  // namespace detail

P2PDVM_DECL rank_traffic::rank_traffic(rank_traffic_owner& owner, messaging::exchange* exchange,
                                       host::clock& clock, const node_id& self,
                                       std::uint32_t ranks)
    : owner_(owner),
      exchange_(exchange),
      clock_(clock),
      self_(self),
      places_(ranks),
      flush_timer_(clock),
      lent_timer_(clock),
      turn_timer_(clock) {}

P2PDVM_DECL void rank_traffic::on_record(const checkpoint::job_record& record) {
  if (incarnation_ != record.incarnation) {
    P2PDVM_ASSERT(std::all_of(places_.begin(), places_.end(), [](const place& p) { return p.endpoint == nullptr; }));
    asked_.clear();
  }
  incarnation_ = record.incarnation;
  for (std::uint32_t r = 0; r < places_.size(); ++r) {
    const checkpoint::member* host = record.host(rank_number(r));
    places_[r].host = host == nullptr ? node_id() : host->node;
    const auto way = ways_.find(places_[r].host);
    places_[r].without_lane = 0;
    places_[r].way = way == ways_.end() || way->second.lane == nullptr ? nullptr : &way->second;
    conclude(places_[r]);
  }
  for (place& p : places_) {
    if (p.endpoint != nullptr) p.endpoint->send_waiting();  // asks new hosts
  }
}

P2PDVM_DECL void rank_traffic::add(messaging::endpoint& local) {
  place& p = places_[local.self().value()];
  P2PDVM_ASSERT(p.endpoint == nullptr);
  p.endpoint = &local;
  p.frozen = false;
  conclude(p);
}

P2PDVM_DECL void rank_traffic::remove(rank_number rank) {
  place& p = places_[rank.value()];
  std::erase(due_, p.endpoint);
  p.endpoint = nullptr;
  conclude(p);
}

P2PDVM_DECL void rank_traffic::freeze(rank_number rank, bool frozen) {
  places_[rank.value()].frozen = frozen;
  conclude(places_[rank.value()]);
}

P2PDVM_DECL void rank_traffic::on_ready(const node_id& from, const ready_notice& notice) {
  for (const rank_number rank : notice.ranks) {
    if (rank.value() >= places_.size()) continue;
    place& p = places_[rank.value()];
    if (notice.incarnation < p.incarnation) continue;
    const bool placed = notice.incarnation == incarnation_ && !p.host.is_zero();
    if (placed && from != p.host) continue;
    const bool again = p.announced_by == from && p.incarnation == notice.incarnation;
    p.announced_by = from;
    p.incarnation = notice.incarnation;
    conclude(p);
    if (again || !ready(rank)) continue;
    for (place& mine : places_) {
      if (mine.endpoint != nullptr) mine.endpoint->on_ready(rank);
    }
  }
}

P2PDVM_DECL void rank_traffic::conclude(place& p) {
  ++changes_;
  p.ready = p.incarnation == incarnation_ && p.announced_by == p.host && !p.host.is_zero();
  p.local = p.frozen || p.host != self_ ? nullptr : p.endpoint;
}

P2PDVM_DECL void rank_traffic::awaits(rank_number rank) {
  const node_id& host = places_[rank.value()].host;
  if (host.is_zero() || host == self_ || !asked_.insert(host).second) return;
  owner_.ask_ready(host);
}

/// A process that lives on, but whose session was dropped, has its ranks: these miss what was under way, and so do those here. Ranks
/// of one that died take nothing any more.
P2PDVM_DECL void rank_traffic::on_peer_reset(const node_id& host) {
  if (asked_.contains(host)) owner_.ask_ready(host);
  for (std::uint32_t r = 0; r < places_.size(); ++r) {
    if (places_[r].host != host) continue;
    for (place& mine : places_) {
      if (mine.endpoint != nullptr) mine.endpoint->repeat(rank_number(r));
    }
  }
}

P2PDVM_DECL std::size_t rank_traffic::ready_count() const {
  std::size_t count = 0;
  for (std::uint32_t r = 0; r < places_.size(); ++r) count += ready(rank_number(r)) ? 1 : 0;
  return count;
}

P2PDVM_DECL void rank_traffic::transmit(const messaging::rank_message& message,
                                        messaging::numbering stream, epoch_number epoch) {
  place& p = places_[message.destination.value()];
  if (p.way != nullptr) return p.way->lane->send(head_of(*p.way, message, stream, epoch, false), message.body);
  const node_id& to = p.host;
  if (to == self_) return;  // a frozen rank: it will be sent again
  if (p.without_lane++ % messages_between_wishes == 0) owner_.want_lane(to);
  if (exchange_ == nullptr) return;
  if (p.sent == nullptr) p.sent = std::make_unique<sent_header>();
  sent_header& sent = *p.sent;
  if (sent.next.size() > 0 && sent.is_next(message, stream, epoch, incarnation_)) {
    send_far(to, sent.next.view(), message.body);
    sent.last.sequence += 1;
    return sent.next.count();
  }
  sent.last = header_of(message, stream, epoch);
  const wire::encoded_front front(sent.last);
  sent.next.follow(front.view(), sent.last);
  send_far(to, front.view(), message.body);
}

P2PDVM_DECL bool rank_traffic::sent_header::is_next(const messaging::rank_message& m, messaging::numbering stream,
                                                    epoch_number epoch, incarnation_number incarnation) const noexcept {
  return m.sequence == last.sequence + 1 && m.tag == last.tag && m.space == last.space && m.source == last.source &&
         m.destination == last.destination && epoch == last.epoch && incarnation == last.incarnation &&
         stream == last.stream;
}

P2PDVM_DECL void rank_traffic::send_far(const node_id& to, byte_view head, const payload& body) {
  if (head.size() + body.size() <= messaging::bundled_message_bytes_max)
    return exchange_->send_small(to, channel::rank, head, body.view());
  exchange_->send(to, channel::rank, head, body);
}

P2PDVM_DECL messaging::rank_message_header rank_traffic::header_of(const messaging::rank_message& message,
                                                                   messaging::numbering stream,
                                                                   epoch_number epoch) const {
  messaging::rank_message_header header;
  header.incarnation = incarnation_;
  header.epoch = epoch;
  header.source = message.source;
  header.destination = message.destination;
  header.sequence = message.sequence;
  header.space = message.space;
  header.tag = message.tag;
  header.stream = stream;
  return header;
}

P2PDVM_DECL byte_view rank_traffic::head_of(lane_way& way, const messaging::rank_message& message,
                                            messaging::numbering stream, epoch_number epoch, bool lent) {
  static_assert(sizeof(lane_head) <= host::lane_head_bytes_max);
  lane_head& head = way.sent;
  ++head.sequence;
  const bool next = message.sequence == head.sequence && message.space == head.space && epoch.value() == head.epoch &&
                    message.destination.value() == head.destination && message.source.value() == head.source &&
                    incarnation_.value() == head.incarnation && static_cast<std::uint8_t>(stream) == head.stream &&
                    head.kind == lane_data;
  if (next) {
    way.next.kind = lane_next | std::uint64_t{lent ? 1u : 0u} << next_lent_shift;
    way.next.tag = message.tag;
    return bytes_of(way.next);
  }
  head.kind = lane_data;
  head.stream = static_cast<std::uint8_t>(stream);
  head.lent = lent ? 1 : 0;
  head.source = message.source.value();
  head.destination = message.destination.value();
  head.incarnation = incarnation_.value();
  head.epoch = epoch.value();
  head.sequence = message.sequence;
  head.space = message.space;
  head.tag = message.tag;
  return bytes_of(head);
}

P2PDVM_DECL std::uint64_t rank_traffic::lend(const messaging::rank_message& message, const two_parts& body,
                                             messaging::numbering stream, epoch_number epoch) {
  place& p = places_[message.destination.value()];
  lane_way* const way = p.way;
  if (way == nullptr) return body.second.size() < loan_bytes_min ? 0 : lend_far(p, message, body, stream, epoch);
  const bool large = body.size() > host::lane_copied_bytes_max;
  const std::uint64_t lent = way->lane->lend(head_of(*way, message, stream, epoch, large), body);
  if (lent == 0) {
    way->sent.kind = 0;  // the next head has to say everything
    return 0;
  }
  if (large && !lent_timer_.armed()) lent_timer_.after(lent_max, [this] { settle_lent(); });
  return lent;
}

/// Lending saves a copy, and holds the sender up until the message has arrived, which a far or slow network makes much
/// longer than the copy.
P2PDVM_DECL std::uint64_t rank_traffic::lend_far(place& p, const messaging::rank_message& message,
                                                 const two_parts& body, messaging::numbering stream,
                                                 epoch_number epoch) {
  if (exchange_ == nullptr || p.host == self_) return 0;
  lending& l = lendings_[p.host];
  if (l.to_copy > 0) {
    --l.to_copy;
    return 0;
  }
  const std::optional<duration> round_trip = exchange_->round_trip(p.host);
  if (!round_trip || *round_trip > copy_time(body.size())) return 0;
  messaging::rank_message_header header = header_of(message, stream, epoch);
  header.waited_for = true;
  const std::uint64_t number = send_lent(p, header, body);
  loans_.push_back({number, p.host, body.size(), clock_.now()});
  if (!lent_timer_.armed()) lent_timer_.after(lent_max, [this] { settle_lent(); });
  return number;
}

P2PDVM_DECL std::uint64_t rank_traffic::send_lent(place& p, const messaging::rank_message_header& header,
                                                  const two_parts& body) {
  if (p.without_lane++ % messages_between_wishes == 0) owner_.want_lane(p.host);
  const wire::encoded_front front(header);
  byte_vector head = to_vector(front.view());
  append(head, body.first);
  const std::uint64_t number = ++last_loan_ | loan_bit;
  exchange_->lend(p.host, channel::rank, head, body.second, number);
  return number;
}

P2PDVM_DECL void rank_traffic::transmit_and_copy(messaging::rank_message& message, const two_parts& body,
                                                 messaging::numbering stream, epoch_number epoch) {
  place& p = places_[message.destination.value()];
  if (p.way != nullptr || exchange_ == nullptr || p.host == self_)
    return endpoint_host::transmit_and_copy(message, body, stream, epoch);
  const node_id host = p.host;
  const std::uint64_t number = send_lent(p, header_of(message, stream, epoch), body);
  message.body = payload::copy_of(body.first, body.second);
  exchange_->take_back(host, number, body.second, message.body.slice(body.first.size(), body.second.size()));
}

P2PDVM_DECL void rank_traffic::take_back(std::uint64_t lent, bool unreturned) {
  if ((lent & loan_bit) != 0) {
    const auto found = std::find_if(loans_.begin(), loans_.end(), [&](const loan& l) { return l.number == lent; });
    if (found == loans_.end()) return;
    const loan done = *found;
    loans_.erase(found);
    lending& l = lendings_[done.host];
    const bool slow = clock_.now() - done.since > loan_time_max(done.bytes);
    if (slow) l.caution = std::clamp(2 * l.caution, 1u, caution_max);
    if (!slow && !unreturned) l.caution = 0;
    if (slow || !unreturned) l.to_copy = l.caution;
    return exchange_->take_back(done.host, lent);
  }
  for (auto& [host, way] : ways_) {
    if (way.lane != nullptr) way.lane->take_back(lent);
  }
}

P2PDVM_DECL void rank_traffic::settle_lent() {
  bool some = false;
  for (const place& p : places_) some = (p.endpoint != nullptr && p.endpoint->settle_lent()) || some;
  if (some) lent_timer_.after(lent_max, [this] { settle_lent(); });
}

P2PDVM_DECL void rank_traffic::on_message(const node_id& from,
                                          messaging::arrived_message message) {
  messaging::rank_message_header header;
  wire::reader in(message.view);
  in(header);
  messaging::endpoint* const to = in.ok() ? destination_of(from, header) : nullptr;
  if (to == nullptr) return;
  ++delivered_;
  detail::record_body body(message, in.remaining());
  to->accept({header.source, header.destination, header.sequence, header.space, header.tag, {}}, body,
             header.stream, header.epoch);
  if (header.waited_for) flush();
}

P2PDVM_DECL messaging::endpoint* rank_traffic::destination_of(const node_id& from,
                                                              const messaging::rank_message_header& header) {
  if (header.source.value() >= places_.size() || header.destination.value() >= places_.size() ||
      header.stream > messaging::numbering::prelude)
    return nullptr;
  if (header.incarnation > incarnation_) {
    owner_.record_is_old(from);
    return nullptr;
  }
  if (header.incarnation < incarnation_ || places_[header.source.value()].host != from) return nullptr;
  return local(header.destination);  // none: it moves, and its sender will hear where to
}

/// Most of them differ from the one before in nothing but their number: then nothing is decoded and looked up.
P2PDVM_DECL void rank_traffic::on_messages(const node_id& from, std::span<const byte_view> run) {
  messaging::rank_message_header header;
  messaging::next_header next;
  messaging::endpoint* to = nullptr;
  std::uint64_t seen = 0;
  for (const byte_view view : run) {
    std::size_t head_bytes = next.size();
    if (to != nullptr && seen == changes_ && next.begins(view)) {
      header.sequence += 1;
      next.count();
    } else {
      wire::reader in(view);
      in(header);
      to = in.ok() ? destination_of(from, header) : nullptr;
      if (to == nullptr) continue;
      head_bytes = view.size() - in.remaining();
      next.follow(view.first(head_bytes), header);
      seen = changes_;
    }
    ++delivered_;
    detail::record_body body({view}, view.size() - head_bytes);
    to->accept({header.source, header.destination, header.sequence, header.space, header.tag, {}}, body,
               header.stream, header.epoch);
    if (header.waited_for) flush();
  }
}

P2PDVM_DECL messaging::landing rank_traffic::land(const node_id& from, byte_view begin, std::size_t total,
                                                  messaging::landing_guest& guest) {
  messaging::rank_message_header header;
  wire::reader in(begin);
  in(header);
  messaging::endpoint* const to =
      in.ok() && header.incarnation == incarnation_ ? destination_of(from, header) : nullptr;
  if (to == nullptr) return {};
  return to->land({header.source, header.destination, header.sequence, header.space, header.tag, {}},
                  total - (begin.size() - in.remaining()), header.stream, header.epoch, guest);
}

P2PDVM_DECL void rank_traffic::use_lane(const node_id& host, host::lane* lane) {
  heard_ = nullptr;
  ways_.erase(host);
  lane_way* const way = lane != nullptr ? &ways_[host] : nullptr;
  if (way != nullptr) way->lane = lane;
  for (place& p : places_) {
    if (p.host != host) continue;
    p.way = way;
    p.without_lane = 0;
  }
  if (lane != nullptr) return;
  for (std::uint32_t r = 0; r < places_.size(); ++r) {
    if (places_[r].host != host) continue;
    for (place& mine : places_) {
      if (mine.endpoint != nullptr) mine.endpoint->send_again(rank_number(r));
    }
  }
}

P2PDVM_DECL void rank_traffic::on_lane_message(const node_id& from, byte_view bytes,
                                               host::lane_body& body) {
  if (heard_ == nullptr || heard_->first != from) heard_ = &*ways_.try_emplace(from).first;
  lane_head& last = heard_->second.received;
  if (bytes.size() == sizeof(next_head)) {
    next_head next;
    std::memcpy(&next, bytes.data(), sizeof next);
    if ((next.kind & 0xff) != lane_next || last.kind != lane_data) return;
    ++last.sequence;
    last.tag = next.tag;
    last.lent = (next.kind >> next_lent_shift & 1) != 0 ? 1 : 0;
    return on_lane_head(from, last, body);
  }
  lane_head head;
  if (bytes.size() != sizeof head) return;
  std::memcpy(&head, bytes.data(), sizeof head);
  if (head.kind == lane_data) last = head;
  on_lane_head(from, head, body);
}

P2PDVM_DECL void rank_traffic::on_lane_head(const node_id& from, const lane_head& head, host::lane_body& body) {
  if (body.size() > limits::session_message_bytes_max) return;
  if (head.source >= places_.size() || head.destination >= places_.size() ||
      head.stream > static_cast<std::uint8_t>(messaging::numbering::prelude))
    return;
  const incarnation_number incarnation(head.incarnation);
  const auto stream = static_cast<messaging::numbering>(head.stream);
  const rank_number source(head.source), destination(head.destination);
  if (incarnation > incarnation_) return owner_.record_is_old(from);
  if (incarnation < incarnation_) return;
  if (head.kind == lane_acknowledgement) {
    if (places_[head.destination].host != from) return;
    messaging::rank_acknowledgement ack;
    ack.incarnation = incarnation;
    ack.source = source;
    ack.destination = destination;
    ack.stream = stream;
    ack.received = head.sequence;
    ack.consumed_messages = head.epoch;
    ack.consumed_bytes = head.space;
    ack.gap = head.gap != 0;
    ack.lift = head.lift != 0;
    if (messaging::endpoint* to = places_[head.source].endpoint) to->on_acknowledgement(ack);
    return;
  }
  messaging::endpoint* const to = places_[head.destination].local;
  if (head.kind != lane_data || to == nullptr || places_[head.source].host != from) return;
  ++delivered_;
  const messaging::rank_message message{source, destination, head.sequence, head.space, head.tag, {}};
  const bool waited_for = head.lent != 0;
  to->accept(message, body, stream, epoch_number(head.epoch));
  if (waited_for) flush();
}

P2PDVM_DECL void rank_traffic::tell_blocked(rank_number source, rank_number destination,
                                            messaging::numbering stream) {
  const node_id& to = places_[destination.value()].host;
  if (to != self_) owner_.send(to, messaging::rank_blocked{incarnation_, source, destination, stream});
}

P2PDVM_DECL void rank_traffic::on_blocked(const messaging::rank_blocked& blocked) {
  if (blocked.incarnation != incarnation_ || blocked.source.value() >= places_.size() ||
      blocked.destination.value() >= places_.size() ||
      blocked.stream > messaging::numbering::prelude)
    return;
  if (messaging::endpoint* to = local(blocked.destination))
    to->on_blocked(blocked.source, blocked.stream);
}

P2PDVM_DECL bool rank_traffic::gives_way(messaging::endpoint&) {
  if (turn_timer_.armed()) return true;
  turn_timer_.at(clock_.now(), [this] {
    for (const place& p : places_) {
      if (p.endpoint != nullptr) p.endpoint->wake_senders();
    }
  });
  return true;
}

P2PDVM_DECL void rank_traffic::acknowledgements_due(messaging::endpoint& from, bool urgent) {
  if (std::find(due_.begin(), due_.end(), &from) == due_.end()) due_.push_back(&from);
  if (flush_timer_.armed() && (flush_now_ || !urgent)) return;
  flush_now_ = urgent;
  flush_timer_.at(clock_.now() + (urgent ? duration::zero() : acknowledgement_delay), [this] { flush(); });
}

P2PDVM_DECL void rank_traffic::flush() {
  std::map<node_id, acknowledgement_batch> batches;
  flush_now_ = false;
  while (!due_.empty()) {
    messaging::endpoint* const from = due_.back();
    due_.pop_back();
    for (auto& ack : from->take_acknowledgements()) {
      ack.incarnation = incarnation_;
      if (messaging::endpoint* near = local(ack.source)) {
        near->on_acknowledgement(ack);
      } else if (const lane_way* const way = places_[ack.source.value()].way) {
        lane_head head;
        head.kind = lane_acknowledgement;
        head.stream = static_cast<std::uint8_t>(ack.stream);
        head.gap = ack.gap ? 1 : 0;
        head.lift = ack.lift ? 1 : 0;
        head.source = ack.source.value();
        head.destination = ack.destination.value();
        head.incarnation = incarnation_.value();
        head.epoch = ack.consumed_messages;
        head.sequence = ack.received;
        head.space = ack.consumed_bytes;
        way->lane->send(bytes_of(head), payload());
      } else {
        batches[places_[ack.source.value()].host].acknowledgements.push_back(ack);
      }
    }
  }
  for (auto& [to, batch] : batches) {
    if (to != self_ && !to.is_zero()) owner_.send(to, std::move(batch));
  }
}

P2PDVM_DECL void rank_traffic::on_acknowledgements(const acknowledgement_batch& batch) {
  for (const auto& ack : batch.acknowledgements) {
    if (ack.incarnation != incarnation_ || ack.source.value() >= places_.size() ||
        ack.destination.value() >= places_.size() || ack.stream > messaging::numbering::prelude)
      continue;
    // A frozen rank's window is part of its snapshot already; what changes now does no harm.
    if (messaging::endpoint* to = places_[ack.source.value()].endpoint) to->on_acknowledgement(ack);
  }
}

P2PDVM_DECL void rank_traffic::must_abandon(rank_number, epoch_number epoch, std::string why) {
  owner_.must_abandon(epoch, std::move(why));
}

}  // namespace p2pdvm::runtime

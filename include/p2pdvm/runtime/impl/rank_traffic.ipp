#pragma once

#include <p2pdvm/runtime/rank_traffic.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::runtime {

namespace detail {

/// The body of a message that came over a session: its last bytes.
class record_body final : public host::lane_body {
 public:
  record_body(messaging::arrived_message message, std::size_t bytes)
      : message_(message), bytes_(message.view.last(bytes)) {}
  [[nodiscard]] std::size_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] bool copy(byte_span first, byte_span second) override {
    host::copy_in_two(bytes_, first, second);
    return true;
  }
  [[nodiscard]] std::optional<payload> own() override {
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
      lent_timer_(clock) {}

P2PDVM_DECL void rank_traffic::on_record(const checkpoint::job_record& record) {
  if (incarnation_ != record.incarnation) asked_.clear();
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

P2PDVM_DECL void rank_traffic::conclude(place& p) const {
  p.ready = p.incarnation == incarnation_ && p.announced_by == p.host && !p.host.is_zero();
  p.local = p.frozen || p.host != self_ ? nullptr : p.endpoint;
}

P2PDVM_DECL void rank_traffic::awaits(rank_number rank) {
  const node_id& host = places_[rank.value()].host;
  if (host.is_zero() || host == self_ || !asked_.insert(host).second) return;
  owner_.ask_ready(host);
}

P2PDVM_DECL void rank_traffic::on_peer_reset(const node_id& host) {
  if (asked_.contains(host)) owner_.ask_ready(host);
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
  messaging::rank_message_header header;
  header.incarnation = incarnation_;
  header.epoch = epoch;
  header.source = message.source;
  header.destination = message.destination;
  header.sequence = message.sequence;
  header.space = message.space;
  header.tag = message.tag;
  header.stream = stream;
  const wire::encoded_front front(header);
  exchange_->send(to, channel::rank, front.view(), message.body);
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
  lane_way* const way = places_[message.destination.value()].way;
  if (way == nullptr) return 0;
  const bool large = body.size() > host::lane_copied_bytes_max;
  const std::uint64_t lent = way->lane->lend(head_of(*way, message, stream, epoch, large), body);
  if (lent == 0) {
    way->sent.kind = 0;  // the next head has to say everything
    return 0;
  }
  if (large && !lent_timer_.armed()) lent_timer_.after(lent_max, [this] { settle_lent(); });
  return lent;
}

P2PDVM_DECL void rank_traffic::take_back(std::uint64_t lent) {
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
  if (!in.ok() || header.source.value() >= places_.size() ||
      header.destination.value() >= places_.size() || header.stream > messaging::numbering::prelude)
    return;
  if (header.incarnation > incarnation_) return owner_.record_is_old(from);
  if (header.incarnation < incarnation_ || places_[header.source.value()].host != from) return;
  messaging::endpoint* const to = local(header.destination);
  if (to == nullptr) return;  // it moves: its sender will hear where to
  ++delivered_;
  detail::record_body body(message, in.remaining());
  to->accept({header.source, header.destination, header.sequence, header.space, header.tag, {}}, body,
             header.stream, header.epoch);
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

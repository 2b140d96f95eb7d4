#pragma once

#include <p2pdvm/runtime/rank_traffic.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

P2PDVM_DECL rank_traffic::rank_traffic(rank_traffic_owner& owner, messaging::exchange* exchange,
                                       host::clock& clock, const node_id& self,
                                       std::uint32_t ranks)
    : owner_(owner),
      exchange_(exchange),
      clock_(clock),
      self_(self),
      places_(ranks),
      flush_timer_(clock) {}

P2PDVM_DECL void rank_traffic::on_record(const checkpoint::job_record& record) {
  if (incarnation_ != record.incarnation) asked_.clear();
  incarnation_ = record.incarnation;
  for (std::uint32_t r = 0; r < places_.size(); ++r) {
    const checkpoint::member* host = record.host(rank_number(r));
    places_[r].host = host == nullptr ? node_id() : host->node;
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
}

P2PDVM_DECL void rank_traffic::remove(rank_number rank) {
  place& p = places_[rank.value()];
  std::erase(due_, p.endpoint);
  p.endpoint = nullptr;
}

P2PDVM_DECL void rank_traffic::freeze(rank_number rank, bool frozen) {
  places_[rank.value()].frozen = frozen;
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
    if (again || !ready(rank)) continue;
    for (place& mine : places_) {
      if (mine.endpoint != nullptr) mine.endpoint->on_ready(rank);
    }
  }
}

P2PDVM_DECL bool rank_traffic::ready(rank_number rank) const {
  const place& p = places_[rank.value()];
  return p.incarnation == incarnation_ && p.announced_by == p.host && !p.host.is_zero();
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

P2PDVM_DECL messaging::endpoint* rank_traffic::local(rank_number rank) {
  const place& p = places_[rank.value()];
  return p.frozen || p.host != self_ ? nullptr : p.endpoint;
}

P2PDVM_DECL void rank_traffic::transmit(const messaging::rank_message& message,
                                        messaging::numbering stream, epoch_number epoch) {
  const node_id& to = places_[message.destination.value()].host;
  if (to == self_ || exchange_ == nullptr) return;  // a frozen rank: it will be sent again
  messaging::rank_message_header header;
  header.incarnation = incarnation_;
  header.epoch = epoch;
  header.source = message.source;
  header.destination = message.destination;
  header.sequence = message.sequence;
  header.space = message.space;
  header.tag = message.tag;
  header.stream = stream;
  exchange_->send(to, channel::rank, wire::encode(header), message.body);
}

P2PDVM_DECL void rank_traffic::on_message(const node_id& from, payload message) {
  messaging::rank_message_header header;
  wire::reader in(message.view());
  in(header);
  if (!in.ok() || header.source.value() >= places_.size() ||
      header.destination.value() >= places_.size() || header.stream > messaging::numbering::prelude)
    return;
  if (header.incarnation > incarnation_) return owner_.record_is_old(from);
  if (header.incarnation < incarnation_ || places_[header.source.value()].host != from) return;
  messaging::endpoint* const to = local(header.destination);
  if (to == nullptr) return;  // it moves: its sender will hear where to
  ++delivered_;
  const std::size_t head = message.size() - in.remaining();
  to->accept({header.source, header.destination, header.sequence, header.space, header.tag,
              message.slice(head, in.remaining())},
             header.stream, header.epoch);
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

P2PDVM_DECL void rank_traffic::acknowledgements_due(messaging::endpoint& from) {
  due_.push_back(&from);
  if (!flush_timer_.armed()) flush_timer_.at(clock_.now(), [this] { flush(); });
}

P2PDVM_DECL void rank_traffic::flush() {
  std::map<node_id, acknowledgement_batch> batches;
  while (!due_.empty()) {
    messaging::endpoint* const from = due_.back();
    due_.pop_back();
    for (auto& ack : from->take_acknowledgements()) {
      ack.incarnation = incarnation_;
      if (messaging::endpoint* near = local(ack.source)) {
        near->on_acknowledgement(ack);
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

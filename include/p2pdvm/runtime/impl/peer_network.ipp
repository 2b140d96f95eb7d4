#pragma once

#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/runtime/peer.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr std::size_t directory_contacts_max = 6;
inline constexpr auto directory_lifetime = std::chrono::hours(24);
/// Members publish the directory in turn: each so often, and soon after every change.
inline constexpr auto directory_interval = std::chrono::hours(1);

}  // namespace detail

// --- between the network and the job ---

P2PDVM_DECL void peer::on_message(const node_id& from, std::uint8_t channel,
                                  messaging::arrived_message message) {
  if (channel == channel::rank) {
    if (job_) job_->on_rank_message(from, message);
    return;
  }
  if (channel == channel::store) {
    auto decoded = store::read_store_message(message.assembled != nullptr ? wire::reader(*message.assembled) : wire::reader(message.view));
    if (decoded.ok() && job_) job_->on_store_message(from, *decoded);
    return;
  }
  if (channel == channel::detector) {
    if (job_) job_->on_detector_message(from, message.view);
    return;
  }
  if (channel != channel::job) return;
  auto decoded = wire::decode<job_message>(message.view);
  if (!decoded.ok()) return;
  if (auto* request = std::get_if<join_request>(&*decoded)) return on_join_request(from, *request);
  if (auto* passed = std::get_if<passed_join>(&*decoded)) return on_passed_join(from, *passed);
  if (std::holds_alternative<join_queued>(*decoded)) {
    if (joining_ && joining_->has_asked(from)) joining_->wait_in_queue();
    return;
  }
  if (auto* refusal = std::get_if<join_refusal>(&*decoded)) {
    if (refusal->whom) {
      if (job_ && job_->record().is_live(from) && !job_->record().is_live(*refusal->whom))
        send(*refusal->whom, join_refusal{std::move(refusal->reason), false, {}});
      return;
    }
    if (!joining_ || !joining_->has_asked(from)) return;
    error why(errc::refused, "the job does not take this peer: " + refusal->reason);
    return refusal->elsewhere ? joining_->ask_another(why) : join_failed(why);
  }
  if (auto* w = std::get_if<welcome>(&*decoded)) return on_welcome(from, std::move(*w));
  if (job_) return job_->on_message(from, std::move(*decoded));
  // Who was told of this peer may be quicker than what this peer waits for itself.
  const auto* wish = std::get_if<follow_request>(&*decoded);
  if (wish != nullptr && joining_ && early_followers_.size() < limits::followers_max)
    early_followers_[from] = wish->job;
}

P2PDVM_DECL bool peer::takes_runs(std::uint8_t channel) const { return channel == channel::rank; }

P2PDVM_DECL void peer::on_messages(const node_id& from, std::uint8_t, std::span<const byte_view> run) {
  if (job_) job_->on_rank_messages(from, run);
}

P2PDVM_DECL messaging::landing peer::land(const node_id& from, std::uint8_t channel, byte_view begin,
                                          std::size_t total, messaging::landing_guest& guest) {
  if (channel != channel::rank || !job_) return {};
  return job_->land(from, begin, total, guest);
}

P2PDVM_DECL void peer::on_peer_up(const node_id&) {}

P2PDVM_DECL void peer::on_peer_reset(const node_id& node) {
  awaited_.erase(node);
  if (job_) job_->on_peer_reset(node);
}

P2PDVM_DECL void peer::on_connection_lost(const node_id& node, const error& why) {
  note_connection_lost(node, why);
  if (job_) job_->on_connection_lost(node);
}

P2PDVM_DECL void peer::on_unreachable(const node_id& node, const error& why) {
  note_connection_lost(node, why);
  if (job_) job_->on_unreachable(node);
}

P2PDVM_DECL void peer::note_connection_lost(const node_id& node, const error& why) {
  if (joining_) joining_->on_connection_lost(node, why);
  if (!job_) return;
  if (guide_ == node && job_->record().state == checkpoint::job_state::forming) {
    if (job_->is_member()) {
      follow(admitter());
    } else if (joining_ && joining_->asked() && joining_->asked() != node) {
      follow(*joining_->asked());
    }
  }
}

P2PDVM_DECL std::vector<node_id> peer::relays_to(const node_id& node) {
  return job_ ? job_->relays_to(node) : std::vector<node_id>();
}

P2PDVM_DECL void peer::on_path(const node_id& node, const std::optional<node_id>& relay) {
  event e;
  e.kind = relay ? event_kind::relayed : event_kind::direct;
  e.node = node;
  if (relay) e.text = relay->brief();
  context_->tell(std::move(e));
}

P2PDVM_DECL void peer::on_datagram(const link::opened_datagram& datagram, const address& from) {
  const byte_view plain = datagram.plain;
  if (plain.empty()) return;
  if (plain[0] == datagram_kind::detector) {
    // What a member's earlier process said is no sign that it lives.
    if (job_ && datagram.current) job_->on_detector_datagram(crypto::node_id_of(datagram.from), from, plain.subspan(1));
  } else if (plain[0] == datagram_kind::joining) {
    on_join_datagram(datagram.from, from, plain.subspan(1));
  } else if (plain[0] == datagram_kind::overlay) {
    node_->on_datagram(machine_.clock().now(), {datagram.from, from}, plain.subspan(1));
    arm_node();
  }
}

P2PDVM_DECL void peer::expect(unsigned stage) const noexcept {
  if (stage == 2) {
    prefetch(&machine_);
    prefetch(&node_);
    prefetch(&node_armed_for_);
    prefetch(&node_timer_, sizeof node_timer_);
  } else if (node_) {
    node_->expect(stage - 3);
  }
}

P2PDVM_DECL void peer::send(const overlay::contact& to, byte_view datagram) {
  byte_vector bytes(1 + datagram.size());
  bytes[0] = datagram_kind::overlay;
  std::copy(datagram.begin(), datagram.end(), bytes.begin() + 1);
  exchange_->send_datagram(to.key, to.where, bytes);
}

P2PDVM_DECL void peer::send(const node_id& to, job_message message) {
  if (!exchange_ || to == identity_->id()) return;
  // Who is about to connect gets the newest record then; to dial it as well would only be in the way.
  const bool news = std::holds_alternative<record_update>(message) ||
                    std::holds_alternative<record_difference>(message);
  if (news && is_awaited(to)) return;
  exchange_->send(to, channel::job, wire::encode(message), {}, messaging::priority::control);
}

P2PDVM_DECL void peer::send_store(const node_id& to, const store::store_message& message) {
  if (!exchange_) return;
  exchange_->send(to, channel::store, {}, wire::encode_shared(message), messaging::priority::bulk);
}

P2PDVM_DECL overlay::packed_coordinate peer::place() {
  return node_ ? overlay::pack(node_->place()) : overlay::packed_coordinate();
}

P2PDVM_DECL void peer::measured(const node_id& member, const overlay::packed_coordinate& place,
                                duration round_trip) {
  node_->note_place(member, place, round_trip);
}

P2PDVM_DECL void peer::enter(const std::vector<overlay::contact>& through) {
  P2PDVM_ASSERT(node_ != nullptr);
  node_->join(machine_.clock().now(), through);
  arm_node();
}

P2PDVM_DECL void peer::lookup(const node_id& target, overlay::node::lookup_callback done) {
  node_->lookup(machine_.clock().now(), target, std::move(done));
  arm_node();
}

P2PDVM_DECL void peer::find(const node_id& target, const std::optional<public_key>& publisher,
                            overlay::node::find_callback done) {
  node_->find(machine_.clock().now(), target, publisher, std::move(done));
  arm_node();
}

P2PDVM_DECL void peer::publish(overlay::record r, overlay::node::publish_callback done) {
  node_->publish(machine_.clock().now(), std::move(r), std::move(done));
  arm_node();
}

P2PDVM_DECL void peer::nearest(std::size_t wanted, overlay::node::nearest_callback done) {
  node_->nearest(machine_.clock().now(), wanted, std::move(done));
  arm_node();
}

/// Gives the space of collected chunks back, little by little, and sooner where there is not much of it left: what is dead must not be why chunks are
/// refused.
P2PDVM_DECL void peer::compact_later() {
  constexpr duration pause = std::chrono::seconds(2), pause_crowded = std::chrono::milliseconds(100);
  constexpr std::size_t bytes_per_turn = 4 * 1024 * 1024;
  compact_timer_.after(disk_log_->is_crowded() ? pause_crowded : pause, [this] {
    if (disk_log_->compact(bytes_per_turn) > 0) disk_log_->sync([](const result<>&) {});
    compact_later();
  });
}

P2PDVM_DECL void peer::arm_node() {
  if (!node_) return;
  // One that fires too early looks again: cheaper than to set it anew after every datagram.
  const time_point next = node_->next_timer();
  if (node_timer_.armed() && node_armed_for_ <= next) return;
  node_armed_for_ = next;
  node_timer_.at(next, [this] {
    const time_point now = machine_.clock().now();
    if (node_->next_timer() <= now) node_->on_timer(now);
    arm_node();
  });
}

P2PDVM_DECL void peer::on_members(const checkpoint::job_record& previous,
                                  const checkpoint::job_record& now) {
  if (now.is_live(identity_->id())) joining_.reset();
  if (stop_at_ && now.committed.epoch > *stop_at_) on_left();
  if (!exchange_) return;
  bool changed = false;
  for (std::uint32_t i = 0; i < now.members.size(); ++i) {
    const checkpoint::member& m = now.members[i];
    if (m.node == identity_->id()) continue;
    const bool was_live = previous.is_live(m.node, i);
    changed |= m.live() != was_live;
    // A keeper that was evicted is asked until the change of keepers has ended.
    const bool needed = m.live() || now.is_kept_by(m.node);
    if (needed == (was_live || previous.is_kept_by(m.node))) continue;
    if (!needed) {
      exchange_->forget(m.node);
      continue;
    }
    (void)exchange_->learn({m.key(), m.addresses});
    exchange_->trust(m.node);
  }
  if (!changed && previous.is_live(identity_->id()) == now.is_live(identity_->id())) {
    if (now.keeper_version != previous.keeper_version && now.host_count() >= job_->spec().peers) maybe_start();
    return;
  }
  for (const node_id& link : job_->links()) {
    if (!is_awaited(link) || exchange_->connected(link)) exchange_->keep(link);
  }
  for (const node_id& relay : job_->own_relays()) exchange_->keep(relay);
  remember_contacts();
  publish_later(std::chrono::seconds(1));
  maybe_start();
}

P2PDVM_DECL void peer::remember_contacts() {
  std::vector<messaging::contact> list;
  for (const auto& m : job_->record().members) {
    if (m.live() && m.node != identity_->id() && list.size() < 64)
      list.push_back({m.key(), m.addresses});
  }
  folder_->keep_contacts(list);
}

P2PDVM_DECL void peer::publish_later(duration pause) {
  publish_timer_.after(pause, [this] { publish_job(); });
}

P2PDVM_DECL void peer::publish_job() {
  if (!job_ || ended_ || !job_->is_member()) return;
  std::vector<messaging::contact> list;
  for (const auto& m : job_->record().members) {
    if (!m.live() || list.size() == detail::directory_contacts_max) continue;
    auto& c = list.emplace_back(messaging::contact{m.key(), m.addresses});
    if (c.addresses.size() > told_addresses_max)
      c.addresses.resize(told_addresses_max);
  }
  const time_point now = machine_.clock().now();
  std::vector<overlay::contact> swarm;
  for (const auto& c : list) {
    for (const address& a : c.addresses) {
      if (c.key != identity_->key()) swarm.push_back({c.key, a});
    }
  }
  if (!swarm.empty()) node_->join(now, swarm);
  const job_directory directory(job_->spec().id, job_->secret());
  const unix_seconds wall = machine_.clock().wall();
  published_ = std::max<std::uint64_t>(published_ + 1, static_cast<std::uint64_t>(wall));
  node_->publish(now,
                 overlay::make_record(
                     directory.signer, directory.where, published_,
                     wall + std::chrono::seconds(detail::directory_lifetime).count(), wire::encode(list)),
                 [](const result<std::size_t>&) {});
  publish_later(detail::directory_interval);
  arm_node();
}

}  // namespace p2pdvm::runtime

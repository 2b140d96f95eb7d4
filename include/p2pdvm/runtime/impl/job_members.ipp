#pragma once

#include <p2pdvm/runtime/home_relays.hpp>
#include <p2pdvm/runtime/job.hpp>
#include <p2pdvm/runtime/member_square.hpp>

#include <algorithm>
#include <tuple>

namespace p2pdvm::runtime {

// --- who lives ---

P2PDVM_DECL void job::arm_detector() {
  detector_timer_.at(detector_.next_timer(), [this] {
    detector_.on_timer(clock_now());
    arm_detector();
  });
}

/// By datagram; where that may not get there, by the session too, or through another member.
P2PDVM_DECL void job::send_detector(const node_id& to, byte_view bytes, bool again) {
  messaging::exchange* const net = context_.exchange;
  const messaging::contact* const who = net == nullptr ? nullptr : net->find(to);
  if (who == nullptr) return;
  const auto source = ways_.source(to, clock_now());
  byte_vector datagram{datagram_kind::detector};
  append(datagram, bytes);
  if (source || !who->addresses.empty())
    net->send_datagram(who->key, source ? *source : who->addresses.front(), datagram);
  if (source && !again) return;
  if (net->connected(to)) return net->send(to, channel::detector, bytes, {}, messaging::priority::control);
  if (!again && !ways_.is_passed_on(to, clock_now())) return;
  // The first may not be connected with it.
  std::size_t left = again ? 2 : 1;
  for (const node_id& relay : relays_to(to)) {
    owner_.send(relay, passed_probe{to, true, to_vector(bytes)});
    if (--left == 0) return;
  }
}

P2PDVM_DECL void job::on(const node_id& from, passed_probe& probe) {
  if (!record().is_live(probe.peer)) return;
  if (!probe.further) {
    ways_.passed_on(probe.peer, clock_now());
    return on_detector_message(probe.peer, probe.bytes, true);
  }
  if (context_.exchange == nullptr || !context_.exchange->connected(probe.peer)) return;
  owner_.send(probe.peer, passed_probe{from, false, std::move(probe.bytes)});
}

P2PDVM_DECL void job::on_detector_datagram(const node_id& from, const address& source, byte_view bytes) {
  const messaging::contact* const who = context_.exchange->find(from);
  if (record().is_live(from) && who != nullptr) {
    const bool listed = std::find(who->addresses.begin(), who->addresses.end(), source) != who->addresses.end();
    ways_.by_datagram(from, source, listed, clock_now());
  }
  on_detector_message(from, bytes);
}

P2PDVM_DECL void job::on_detector_message(const node_id& from, byte_view bytes, bool passed_on) {
  hear_member(from);
  detector_.on_message(clock_now(), from, bytes, passed_on);
  arm_detector();
}

P2PDVM_DECL void job::on_connection_lost(const node_id& node) {
  if (ended_ || !record().is_live(node) || clock_now() < patient_until_) return;
  detector_.hint(clock_now(), node);
  arm_detector();
}

P2PDVM_DECL void job::on_unreachable(const node_id& node) {
  // With one that was never met, it is perhaps only that nobody passes anything on yet.
  if (ended_ && context_.exchange->has_met(node)) return note_end_seen(node, true);
  if (context_.exchange->has_reached(node)) on_connection_lost(node);
}

P2PDVM_DECL void job::on_peer_reset(const node_id& node) {
  // A process that restarted has lost its ranks, whoever says so first.
  store_.on_member_reset(node);
  restorer_.on_member_lost(node);
  outputs_.on_member_lost(node);
  told_old_.erase(node);
  followers_.remove(node);
  if (!record().is_live(node)) return;
  // What it was told and has not acknowledged is lost, and most of it is told only once.
  owner_.send(node, keeper_.update());
  if (links_.contains(node) || ready_askers_.contains(node)) announce_ready(ranks_here(), node);
  lanes_.forget(node);
  traffic_.on_peer_reset(node);
  if (barrier_) barrier_->repeat_to(node);
  pump_barrier();
  if (ended_) owner_.send(node, end_seen{told_end_by_links_});
}

P2PDVM_DECL void job::suspected(const node_id& who, const std::vector<node_id>&) {
  event e;
  e.node = who;
  tell(event_kind::suspected, std::move(e));
}

P2PDVM_DECL void job::refuted(const node_id& who) {
  lost_.erase(who);
  event e;
  e.node = who;
  tell(event_kind::refuted, std::move(e));
}

P2PDVM_DECL void job::agreed_dead(const node_id& who, const std::vector<node_id>&) {
  if (!record().is_live(who) || record().state == checkpoint::job_state::done) return;
  lost_.insert(who);
  event e;
  e.node = who;
  tell(event_kind::lost, std::move(e));
  // One proposal is enough; the others stand by in case its author dies too.
  duration delay = duration::zero();
  for (const checkpoint::member& m : record().members) {
    if (m.node == self()) break;
    if (m.live() && !lost_.contains(m.node)) delay += std::chrono::milliseconds(150);
  }
  if (eviction_timer_.armed()) return;
  eviction_timer_.at(std::max(clock_now() + delay, patient_until_), [this] { evict_lost(); });
}

/// News of a record takes a moment; afterwards, who probes somebody that has gone was not reached by it. So it is where who left was
/// the only one to tell it, and the way there led through others, who forgot him first.
P2PDVM_DECL void job::spoken_of(overlay::detector_name stranger, const node_id& by) {
  if (clock_now() - record_at_ < behind_pause || !record().is_live(by)) return;
  const bool gone = std::any_of(record().members.begin(), record().members.end(), [&](const checkpoint::member& m) {
    return !m.live() && overlay::detector_name_of(m.node) == stranger;
  });
  if (!gone) return record_is_old(by);
  if (told_behind_.insert(by).second) owner_.send(by, keeper_.update());
}

P2PDVM_DECL void job::evict_lost() {
  std::erase_if(lost_, [this](const node_id& n) { return !record().is_live(n); });
  if (lost_.empty() || !is_member() || std::exchange(evicting_, true)) return;
  keeper_.propose(
      [this, alive = alive_](const checkpoint::job_record& r) -> result<checkpoint::job_record> {
        // A peer that was cut off may write this only after it is back, and they with it.
        if (!*alive || lost_.empty()) return error(errc::conflict, "the lost peers are back");
        return checkpoint::evict(r, lost_, checkpoint::placement_without(r, lost_, distances(r)));
      },
      [this](const result<>& written) {
        evicting_ = false;
        if (written.ok() || written.error().code() == errc::conflict) return;
        event e;
        e.text = written.error().message();
        tell(event_kind::warning, std::move(e));
      });
}

P2PDVM_DECL checkpoint::member_distances job::distances(const checkpoint::job_record& r) const {
  checkpoint::member_distances known(r);
  const auto self_index = r.index_of(self());
  if (self_index) known.place(*self_index, owner_.place());
  for (std::uint32_t i = 0; i < r.members.size(); ++i) {
    const node_id& who = r.members[i].node;
    if (const auto place = detector_.place_of(who)) known.place(i, *place);
    const auto took = detector_.round_trip_to(who);
    if (took && self_index) known.measured(*self_index, i, *took);
  }
  return known;
}

P2PDVM_DECL std::vector<node_id> job::own_relays() const {
  const checkpoint::member* const me = record().find(self());
  const bool needed = me != nullptr && me->is_hidden() && record().members.size() > member_square::width;
  return needed ? home_relays(record(), self()) : std::vector<node_id>();
}

P2PDVM_DECL std::vector<node_id> job::relays_to(const node_id& node) const {
  const checkpoint::job_record& r = record();
  const auto here = r.index_of(self());
  const auto there = r.index_of(node);
  if (!here || !there) return {};
  const member_square theirs(r, node);
  const std::vector<node_id> home = home_relays(r, node);
  const checkpoint::member_distances known = distances(r);
  struct way {
    bool unlikely;
    double length;  // [s]
    std::uint32_t relay;
  };
  std::vector<way> ways;
  for (std::uint32_t i = 0; i < r.members.size(); ++i) {
    const checkpoint::member& relay = r.members[i];
    if (!relay.live() || i == *here || i == *there) continue;
    const bool common = links_.contains(relay.node) && theirs.is_link(relay.node);
    const bool at_home = std::find(home.begin(), home.end(), relay.node) != home.end();
    if (!common && !at_home) continue;
    if (context_.exchange == nullptr || !context_.exchange->can_relay(relay.node)) continue;
    ways.push_back({relay.is_hidden(), known.between(*here, i) + known.between(i, *there), i});
  }
  std::sort(ways.begin(), ways.end(), [](const way& a, const way& b) {
    return std::tie(a.unlikely, a.length, a.relay) < std::tie(b.unlikely, b.length, b.relay);
  });
  if (ways.size() > relays_asked_max) ways.resize(relays_asked_max);
  std::vector<node_id> relays;
  for (const way& w : ways) relays.push_back(r.members[w.relay].node);
  return relays;
}

P2PDVM_DECL std::optional<duration> job::round_trip_to(rank_number rank) const {
  const checkpoint::job_record& r = record();
  if (rank.value() >= r.host_of_rank.size()) return std::nullopt;
  const node_id& host = r.members[r.host_of_rank[rank.value()]].node;
  if (host == self()) return duration::zero();
  if (lanes_.likely(host)) return lanes::round_trip;
  const auto measured = detector_.round_trip_to(host);
  if (!measured) return std::nullopt;
  return std::max(*measured, duration(1));  // zero says that it is here
}

/// The lowest rank there: members may get other numbers in the record, ranks do not move within an incarnation.
P2PDVM_DECL std::uint32_t job::peer_of(rank_number rank) const {
  const std::vector<std::uint32_t>& hosts = record().host_of_rank;
  if (rank.value() >= hosts.size()) return rank.value();
  return static_cast<std::uint32_t>(std::find(hosts.begin(), hosts.end(), hosts[rank.value()]) - hosts.begin());
}

}  // namespace p2pdvm::runtime

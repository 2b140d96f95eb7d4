#pragma once

#include <p2pdvm/runtime/job.hpp>
#include <p2pdvm/runtime/member_square.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

// --- what others say ---

P2PDVM_DECL void job::on_message(const node_id& from, job_message message) {
  // A keeper that was evicted still counts, until the change of keepers has ended.
  if (const auto* reply = std::get_if<checkpoint::register_reply>(&message);
      reply != nullptr && !record().is_live(from) && record().is_kept_by(from))
    return keeper_.on_reply(from, *reply);
  const bool certified = std::holds_alternative<record_update>(message) ||
                         std::holds_alternative<passed_on>(message) ||
                         std::holds_alternative<record_difference>(message);
  if (auto* wish = std::get_if<follow_request>(&message)) return on(from, *wish);
  if (!record().is_live(from) && !certified) {
    // Somebody who was evicted, or whose admission this peer has not heard of yet.
    if (told_old_.size() >= limits::members_max) told_old_.clear();
    if (told_old_.insert(from).second) {
      owner_.send(from, keeper_.update());
      record_is_old(from);
    }
    (void)early_.hold(from, std::move(message));
    return;
  }
  detector_.heard_from(clock_now(), from);
  std::visit([&](auto& m) { on(from, m); }, message);
}

P2PDVM_DECL void job::hear_early() {
  for (early_messages* const held : {&early_, &ahead_}) {
    for (const node_id& from : held->senders()) {
      if (!record().is_live(from)) continue;
      for (job_message& m : held->take(from)) on_message(from, std::move(m));
    }
  }
}

P2PDVM_DECL void job::on(const node_id& from, record_update& update) {
  note_learned(from, keeper_.learn(update));
}

P2PDVM_DECL void job::on(const node_id& from, record_difference& difference) {
  const auto news = keeper_.learn(std::move(difference));
  if (!news.ok() && news.error().code() == errc::not_found) return record_is_old(from);
  note_learned(from, news);
}

P2PDVM_DECL void job::note_learned(const node_id& from, const result<bool>& news) {
  if (news.ok()) return;
  event e;
  e.node = from;
  e.text = "a peer sent a job record that proves nothing: " + news.error().message();
  tell(event_kind::warning, std::move(e));
}

P2PDVM_DECL void job::on(const node_id& from, follow_request& request) {
  if (request.job == who_.spec.id && followers_.add(from)) tell_followers();
}

P2PDVM_DECL void job::on(const node_id& from, passed_on& message) {
  if (auto* update = std::get_if<record_update>(&message.news)) {
    on(message.author, *update);
  } else if (!record().is_live(message.author)) {
    if (auto* facts = std::get_if<checkpoint::cut_facts>(&message.news)) (void)early_.hold(message.author, *facts);
  } else if (auto* facts = std::get_if<checkpoint::cut_facts>(&message.news)) {
    on(message.author, *facts);
  } else {
    on(message.author, std::get<roll_report>(message.news));
  }
  if (!message.further || !record().is_live(from)) return;
  message.further = false;
  for (const node_id& other : member_square(record(), self()).column()) {
    if (other != from && other != message.author) owner_.send(other, message);
  }
}

P2PDVM_DECL void job::on(const node_id& from, ready_request& request) {
  if (request.incarnation < record().incarnation) return owner_.send(from, keeper_.update());
  ready_askers_[from] = request.incarnation;
  if (request.incarnation > record().incarnation) return record_is_old(from);
  announce_ready(ranks_here(), from);
}

P2PDVM_DECL void job::on(const node_id& from, record_request&) {
  owner_.send(from, keeper_.update());
}

P2PDVM_DECL void job::on(const node_id& from, checkpoint::cut_facts& facts) {
  const bool ahead = facts.incarnation > record().incarnation ||
                     (facts.incarnation == record().incarnation && facts.epoch > record().next_epoch());
  if (!barrier_ || ahead) {
    record_is_old(from);
    if (ahead_.hold(from, facts) || !barrier_) return;
  }
  const auto accepted = barrier_->on_facts(from, facts);
  if (!accepted.ok()) {
    event e;
    e.node = from;
    e.text = "a peer broke the checkpoint protocol: " + accepted.error().message();
    tell(event_kind::warning, std::move(e));
  }
  pump_barrier();
}

P2PDVM_DECL void job::on(const node_id&, acknowledgement_batch& batch) {
  traffic_.on_acknowledgements(batch);
}

P2PDVM_DECL void job::on(const node_id&, messaging::rank_blocked& blocked) {
  traffic_.on_blocked(blocked);
}

P2PDVM_DECL void job::on(const node_id& from, ready_notice& notice) { on_ready(from, notice); }

P2PDVM_DECL void job::on(const node_id& from, checkpoint::register_request& request) {
  keeper_.on_request(from, request);
}

P2PDVM_DECL void job::on(const node_id& from, checkpoint::register_reply& reply) {
  keeper_.on_reply(from, reply);
}

P2PDVM_DECL void job::on(const node_id& from, lane_offer& offer) { lanes_.on_offer(from, offer); }

P2PDVM_DECL bool job::on_this_machine(const node_id& host) const {
  if (context_.exchange == nullptr) return false;
  const messaging::contact* const who = context_.exchange->find(host);
  if (who == nullptr) return false;
  const address own = context_.exchange->local();
  return std::any_of(who->addresses.begin(), who->addresses.end(), [&](const address& a) {
    return a.is_loopback() || a.with_port(0) == own.with_port(0);
  });
}

P2PDVM_DECL void job::on_lane_message(const node_id& from, byte_view head, host::lane_body& body) {
  if (hears(from)) traffic_.on_lane_message(from, head, body);
}

P2PDVM_DECL void job::on(const node_id& from, end_seen& seen) { note_end_seen(from, seen.by_links); }

P2PDVM_DECL void job::note_end_seen(const node_id& by, bool by_links) {
  end_seen_.insert(by);
  if (by_links) end_seen_by_links_.insert(by);
  tell_end_by_links();
  owner_.on_end_seen(by);
}

P2PDVM_DECL bool job::end_seen_by_circle(const std::set<node_id>& seen) const {
  const auto saw = [&](const node_id& member) { return seen.contains(member); };
  return std::all_of(links_.begin(), links_.end(), saw) && std::all_of(cut_off_.begin(), cut_off_.end(), saw);
}

P2PDVM_DECL void job::tell_end_by_links() {
  if (!ended_ || told_end_by_links_ || !end_seen_by_circle(end_seen_)) return;
  told_end_by_links_ = true;
  tell_end(true);
}

P2PDVM_DECL void job::tell_end(bool by_links) {
  for (const node_id& link : links_) owner_.send(link, end_seen{by_links});
  for (const node_id& member : cut_off_) owner_.send(member, end_seen{by_links});
}

P2PDVM_DECL bool job::end_seen_by_all() const {
  const bool all_are_links = record().members.size() <= member_square::width;
  return end_seen_by_circle(all_are_links ? end_seen_ : end_seen_by_links_);
}

P2PDVM_DECL bool job::hears(const node_id& from) {
  if (heard_last_ == from) return true;
  if (!record().is_live(from)) return false;
  heard_last_ = from;
  return true;
}

P2PDVM_DECL void job::on_rank_message(const node_id& from, messaging::arrived_message message) {
  if (!hears(from)) return;
  traffic_.on_message(from, message);
}

P2PDVM_DECL void job::on_rank_messages(const node_id& from, std::span<const byte_view> run) {
  if (hears(from)) traffic_.on_messages(from, run);
}

P2PDVM_DECL void job::on_store_message(const node_id& from, const store::store_message& message) {
  const bool reader = readers_.contains(from) && std::holds_alternative<store::get_chunks>(message);
  const bool answers = awaiting_inputs_ == from;
  if (!record().is_live(from) && !reader && !answers) return;
  if (store_.on_message(from, message)) return;
  restorer_.on_message(from, message);
  outputs_.on_message(from, message);
}

P2PDVM_DECL void job::fetch_inputs(const node_id& from, std::function<void(result<>)> done) {
  awaiting_inputs_ = from;
  const messaging::contact* who = context_.exchange == nullptr ? nullptr : context_.exchange->find(from);
  if (who == nullptr) return done(error(errc::unreachable));
  restorer_.fetch_inputs({{from, who->key, "the peer that answered", 1}}, who_.spec.inputs,
                         std::move(done));
}

}  // namespace p2pdvm::runtime

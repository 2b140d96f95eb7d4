#pragma once

#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <bit>
#include <utility>

namespace p2pdvm::overlay {

namespace detail {

template <class Item>
void shuffle(std::vector<Item>& items, random_generator& random) {
  for (std::size_t i = items.size(); i > 1; --i) {
    const std::size_t j = random.below(i);
    std::swap(items[i - 1], items[j]);
  }
}

/// Groups up to this size are shuffled as a whole to pick some; larger ones are sampled.
inline constexpr std::size_t small_group = 32;

}  // namespace detail

P2PDVM_DECL failure_detector::failure_detector(const node_id& self,
                                               const detector_options& options,
                                               random_generator random, detector_owner& owner)
    : self_(self),
      options_(options),
      random_(random),
      owner_(&owner),
      // Answers to an earlier process of ours must not answer what this one asks.
      sequence_(static_cast<std::uint32_t>(random_())) {
  P2PDVM_ASSERT(options.probe_interval > duration::zero());
  P2PDVM_ASSERT(options.probe_timeout > duration::zero());
  P2PDVM_ASSERT(options.observers > 0);
}

P2PDVM_DECL failure_detector::member* failure_detector::find(const node_id& id) {
  const auto at = std::lower_bound(members_.begin(), members_.end(), id,
                                   [](const member& m, const node_id& x) { return m.id < x; });
  return at != members_.end() && at->id == id ? &*at : nullptr;
}

P2PDVM_DECL void failure_detector::set_members(time_point now,
                                               const std::vector<node_id>& members) {
  P2PDVM_ASSERT(members.size() <= limits::members_max);
  std::vector<member> next;
  for (const node_id& id : members) {
    if (id == self_) continue;
    const member* known = find(id);
    next.push_back(known != nullptr ? *known : member{id, 0, {}});
  }
  std::sort(next.begin(), next.end(), [](const member& a, const member& b) { return a.id < b.id; });
  next.erase(std::unique(next.begin(), next.end(),
                         [](const member& a, const member& b) { return a.id == b.id; }),
             next.end());
  members_ = std::move(next);
  const auto gone = [this](const node_id& id) { return id != self_ && find(id) == nullptr; };
  std::erase_if(suspicions_, [&](const auto& s) { return gone(s.first); });
  for (auto& [id, s] : suspicions_) std::erase_if(s.observers, gone);
  std::erase_if(probes_, [&](const probe& p) { return gone(p.target); });
  std::erase_if(relays_, [&](const relay& r) { return gone(r.target) || gone(r.requester); });
  std::erase_if(news_, [&](const news& n) { return gone(n.claim.node); });
  order_.clear();
  if (members_.empty()) {
    next_probe_ = time_point_never;
  } else if (next_probe_ == time_point_never) {
    const auto spread = static_cast<std::uint64_t>(options_.probe_interval.count());
    next_probe_ = now + duration(static_cast<std::int64_t>(random_.below(spread)));
  }
  settle(now);
}

P2PDVM_DECL unsigned failure_detector::group_log2() const noexcept {
  return static_cast<unsigned>(std::bit_width(group_size() - 1));
}

P2PDVM_DECL duration failure_detector::timeout_for(const member& m) const {
  duration patience = options_.probe_timeout;
  if (m.rtt.known()) patience = std::clamp(m.rtt.timeout(), patience, 4 * patience);
  return patience * (1 + health_);
}

P2PDVM_DECL void failure_detector::healthier() noexcept {
  if (health_ > 0) --health_;
}

P2PDVM_DECL void failure_detector::sicker(std::size_t by) noexcept {
  const std::size_t health = std::min<std::size_t>(health_ + by, options_.health_max);
  health_ = static_cast<unsigned>(health);
}

/// Up to `count` different members, at random.
P2PDVM_DECL std::vector<node_id> failure_detector::pick(std::size_t count, const node_id& except,
                                                        bool unsuspected_only) {
  std::vector<node_id> picked;
  const auto take = [&](const node_id& id) {
    if (id == except || (unsuspected_only && is_suspected(id))) return;
    if (picked.size() < count && !detail::contains(picked, id)) picked.push_back(id);
  };
  if (members_.size() <= detail::small_group) {
    std::vector<node_id> all;
    for (const member& m : members_) all.push_back(m.id);
    detail::shuffle(all, random_);
    for (const node_id& id : all) take(id);
    return picked;
  }
  for (std::size_t tries = 0; tries < 8 * count && picked.size() < count; ++tries) {
    take(members_[random_.below(members_.size())].id);
  }
  return picked;
}

P2PDVM_DECL void failure_detector::ping(const node_id& target, std::uint32_t sequence) {
  detector_message m;
  m.sequence = sequence;
  send(target, std::move(m));
}

/// When our own timers ran late, the time that passed is no evidence against others: they may
/// have answered while we were not looking. All deadlines move by the delay.
P2PDVM_DECL void failure_detector::forgive_own_stall(time_point now) {
  const time_point due = next_timer();
  if (due == time_point_never || now - due <= options_.probe_timeout) return;
  const duration late = now - due;
  for (probe& p : probes_) {
    p.deadline += late;
    p.repeated = true;
  }
  for (relay& r : relays_) {
    r.nack_at += late;
    r.deadline += late;
  }
  for (auto& [id, s] : suspicions_) s.since += late;
  next_probe_ = std::max(next_probe_, now);
  next_gossip_ = std::max(next_gossip_, now);
  for (auto& [id, s] : suspicions_) s.next_check = std::max(s.next_check, now);
  sicker(1);
  ++statistics_.stalls;
}

P2PDVM_DECL void failure_detector::start_probe(time_point now, const node_id& target, bool hinted,
                                               bool with_helpers) {
  const member* m = find(target);
  if (m == nullptr) return;
  const auto running = std::find_if(probes_.begin(), probes_.end(),
                                    [&](const probe& p) { return p.target == target; });
  if (running != probes_.end()) {
    if (running->hinted || !hinted) return;
    probes_.erase(running);
  }
  if (probes_.size() >= detector_probes_max) return;
  ++statistics_.probes;
  probe p;
  p.sequence = ++sequence_;
  p.target = target;
  p.sent = now;
  p.deadline = now + timeout_for(*m);
  p.hinted = hinted;
  ping(target, p.sequence);
  if (hinted) {
    p.stage = 2;  // everything at once
    if (with_helpers) ask_helpers(p);
  }
  probes_.push_back(p);
}

P2PDVM_DECL void failure_detector::ask_helpers(probe& p) {
  const std::vector<node_id> helpers = pick(options_.indirect_probes, p.target, true);
  p.helpers = helpers.size();
  for (const node_id& helper : helpers) {
    detector_message m;
    m.what = detector_message::kind::ping_request;
    m.hinted = p.hinted;
    m.sequence = p.sequence;
    m.target = p.target;
    send(helper, std::move(m));
  }
}

P2PDVM_DECL void failure_detector::advance(time_point now, probe& p) {
  const member* m = find(p.target);
  P2PDVM_ASSERT(m != nullptr);
  ++p.stage;
  p.repeated = true;
  p.deadline = now + timeout_for(*m);
  ping(p.target, p.sequence);
  if (p.stage == 1) ask_helpers(p);
}

P2PDVM_DECL void failure_detector::fail_probe(time_point now, const probe& p) {
  ++statistics_.probes_failed;
  const auto s = suspicions_.find(p.target);
  const bool confirmed = s != suspicions_.end() && !s->second.observers.empty();
  // Lifeguard: who misses even the nacks of healthy helpers should doubt itself first.
  if (p.helpers > 0) {
    sicker(p.helpers - std::min(p.helpers, p.nacks));
  } else if (!confirmed && !p.hinted) {
    sicker(1);
  }
  observe(now, p.target, p.hinted);
}

P2PDVM_DECL void failure_detector::on_ack(time_point now, member& by, std::uint32_t sequence) {
  for (const probe& p : probes_) {
    if (p.sequence == sequence && p.target == by.id && !p.repeated) by.rtt.sample(now - p.sent);
  }
  std::erase_if(probes_, [&](const probe& p) {
    return p.hinted && p.sequence == sequence && p.target == by.id;
  });
  const auto r = std::find_if(relays_.begin(), relays_.end(), [&](const relay& x) {
    return x.sequence == sequence && x.target == by.id;
  });
  if (r == relays_.end()) return;
  detector_message m;
  m.what = detector_message::kind::relayed_ack;
  m.sequence = r->requester_sequence;
  m.target = by.id;
  const node_id requester = r->requester;
  relays_.erase(r);
  send(requester, std::move(m));
}

P2PDVM_DECL void failure_detector::on_relayed_ack(const detector_message& m) {
  const std::size_t before = probes_.size();
  std::erase_if(probes_, [&](const probe& p) {
    return p.sequence == m.sequence && p.target == *m.target;
  });
  if (probes_.size() < before) healthier();
}

P2PDVM_DECL void failure_detector::on_nack(std::uint32_t sequence) {
  for (probe& p : probes_) {
    if (p.sequence == sequence) ++p.nacks;
  }
}

P2PDVM_DECL void failure_detector::on_ping_request(time_point now, const node_id& from,
                                                   const detector_message& m) {
  const member* target = find(*m.target);
  if (target == nullptr || target->id == from || relays_.size() >= detector_relays_max) return;
  const duration patience = timeout_for(*target);
  relay r;
  r.sequence = ++sequence_;
  r.target = target->id;
  r.requester = from;
  r.requester_sequence = m.sequence;
  r.nack_at = now + patience * 4 / 5;
  r.deadline = now + 4 * patience;
  relays_.push_back(r);
  ping(r.target, r.sequence);
  if (m.hinted) start_probe(now, *m.target, true, false);
}

P2PDVM_DECL void failure_detector::run_relays(time_point now) {
  std::vector<relay> to_nack;
  for (relay& r : relays_) {
    if (r.nacked || r.nack_at > now) continue;
    r.nacked = true;
    to_nack.push_back(r);
  }
  std::erase_if(relays_, [&](const relay& r) { return r.deadline <= now; });
  for (const relay& r : to_nack) {
    detector_message m;
    m.what = detector_message::kind::nack;
    m.sequence = r.requester_sequence;
    send(r.requester, std::move(m));
  }
}

P2PDVM_DECL void failure_detector::probe_next(time_point now) {
  next_probe_ = now + options_.probe_interval * (1 + health_);
  if (order_.empty()) {
    for (const member& m : members_) order_.push_back(m.id);
    detail::shuffle(order_, random_);
  }
  const node_id target = order_.back();
  order_.pop_back();
  start_probe(now, target, false, true);
}

P2PDVM_DECL void failure_detector::on_message(time_point now, const node_id& from,
                                              byte_view bytes) {
  using kind = detector_message::kind;
  forgive_own_stall(now);
  member* sender = find(from);
  if (sender == nullptr) {
    ++statistics_.strangers;
    return;
  }
  const auto m = bytes.size() > datagram_payload_max
                     ? result<detector_message>(error(errc::too_large))
                     : wire::decode<detector_message>(bytes);
  if (!m || m->what < kind::ping || m->what > kind::gossip ||
      m->claims.size() > detector_claims_max + 1) {
    ++statistics_.malformed;
    return;
  }
  const bool needs_target = m->what == kind::ping_request || m->what == kind::relayed_ack;
  if (needs_target && !m->target) {
    ++statistics_.malformed;
    return;
  }
  if (m->what == kind::ack) on_ack(now, *sender, m->sequence);
  note_alive(now, *sender, m->incarnation);
  for (const detector_claim& c : m->claims) on_claim(now, c);
  if (m->what == kind::relayed_ack) on_relayed_ack(*m);
  if (m->what == kind::nack) on_nack(m->sequence);
  if (m->what == kind::ping_request) on_ping_request(now, from, *m);
  if (m->what == kind::ping) {
    detector_message ack;
    ack.what = kind::ack;
    ack.sequence = m->sequence;
    send(from, std::move(ack));
  }
  settle(now);
}

P2PDVM_DECL void failure_detector::hint(time_point now, const node_id& who) {
  forgive_own_stall(now);
  start_probe(now, who, true, true);
  settle(now);
}

P2PDVM_DECL void failure_detector::heard_from(time_point now, const node_id& who) {
  if (suspicions_.empty() && probes_.empty()) return;
  member* m = find(who);
  if (m == nullptr) return;
  note_alive(now, *m, m->incarnation);
  settle(now);
}

P2PDVM_DECL void failure_detector::on_timer(time_point now) {
  forgive_own_stall(now);
  std::vector<probe> failed;
  for (probe& p : probes_) {
    if (p.deadline > now) continue;
    if (p.stage >= 2) {
      failed.push_back(p);
    } else {
      advance(now, p);
    }
  }
  std::erase_if(probes_, [&](const probe& p) { return p.deadline <= now; });
  for (const probe& p : failed) fail_probe(now, p);
  run_relays(now);
  check_suspects(now);
  if (next_probe_ <= now) probe_next(now);
  if (!news_.empty() && next_gossip_ <= now) gossip(now);
  settle(now);
}

P2PDVM_DECL time_point failure_detector::next_timer() const {
  time_point next = next_probe_;
  if (members_.empty()) return time_point_never;
  if (!news_.empty()) next = std::min(next, next_gossip_);
  for (const probe& p : probes_) next = std::min(next, p.deadline);
  for (const relay& r : relays_) next = std::min(next, r.nacked ? r.deadline : r.nack_at);
  for (const auto& [id, s] : suspicions_) {
    if (is_observer(s)) next = std::min(next, s.next_check);
    if (!s.agreed && standing(s) >= needed()) next = std::min(next, s.since + suspicion_time(s));
  }
  return next;
}

}  // namespace p2pdvm::overlay

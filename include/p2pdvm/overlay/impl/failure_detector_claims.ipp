#pragma once

#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <array>
#include <utility>

namespace p2pdvm::overlay {

namespace detail {

/// Share of the way from the longest to the shortest suspicion time that is left after C
/// confirmations of K looked for: 1 − log(C+1)/log(K+1) (Lifeguard), in thousandths.
inline constexpr std::array<std::array<unsigned, 4>, 4> suspicion_left = {{
    {0, 0, 0, 0},
    {1000, 0, 0, 0},
    {1000, 369, 0, 0},
    {1000, 500, 208, 0},
}};

}  // namespace detail

P2PDVM_DECL bool failure_detector::is_suspected(const node_id& who) const {
  return suspicions_.contains(who);
}

P2PDVM_DECL bool failure_detector::is_observer(const suspicion& s) const {
  return detail::contains(s.observers, self_);
}

/// Observers that count: those not suspected themselves.
P2PDVM_DECL std::size_t failure_detector::standing(const suspicion& s) const {
  return static_cast<std::size_t>(
      std::count_if(s.observers.begin(), s.observers.end(),
                    [this](const node_id& o) { return !is_suspected(o); }));
}

P2PDVM_DECL std::size_t failure_detector::needed() const {
  const std::size_t unsuspected = group_size() - suspicions_.size();  // we never suspect ourselves
  return std::min(options_.observers, unsuspected);
}

P2PDVM_DECL duration failure_detector::suspicion_time(const suspicion& s) const {
  if (s.hinted) return options_.suspicion_hinted;
  const duration shortest = options_.suspicion_min + options_.gossip_interval * group_log2();
  const std::size_t looked_for = std::min<std::size_t>(3, members_.size() - 1);
  const std::size_t confirmations =
      std::min(looked_for, s.observers.empty() ? 0 : s.observers.size() - 1);
  const duration range = shortest * (options_.suspicion_spread - 1);
  return shortest + range * detail::suspicion_left[looked_for][confirmations] / 1000;
}

P2PDVM_DECL detector_claim failure_detector::claim_about(const node_id& who, const suspicion& s) {
  detector_claim c;
  c.what = detector_claim::kind::suspect;
  c.hinted = s.hinted;
  c.node = who;
  c.observer = is_observer(s) || s.observers.empty() ? self_ : s.observers.front();
  const member* m = find(who);
  c.incarnation = m == nullptr ? 0 : m->incarnation;
  return c;
}

/// The suspect itself hears of it first (Lifeguard's buddy system), then the least told news.
P2PDVM_DECL void failure_detector::attach_news(const node_id& to, detector_message& m) {
  const auto s = suspicions_.find(to);
  if (s != suspicions_.end()) m.claims.push_back(claim_about(to, s->second));
  std::sort(news_.begin(), news_.end(), [](const news& a, const news& b) {
    return std::pair(a.transmissions, a.number) < std::pair(b.transmissions, b.number);
  });
  const std::size_t count = std::min(news_.size(), detector_claims_max);
  for (std::size_t i = 0; i < count; ++i) {
    ++news_[i].transmissions;
    m.claims.push_back(news_[i].claim);
  }
  const unsigned transmissions_max = 4 + 3 * group_log2();
  std::erase_if(news_, [&](const news& n) { return n.transmissions >= transmissions_max; });
}

P2PDVM_DECL void failure_detector::send(const node_id& to, detector_message m) {
  m.incarnation = incarnation_;
  attach_news(to, m);
  const byte_vector bytes = wire::encode(m);
  P2PDVM_ASSERT(bytes.size() <= datagram_payload_max);
  owner_->send(to, bytes);
}

P2PDVM_DECL void failure_detector::note_alive(time_point now, member& m,
                                              std::uint64_t incarnation) {
  const std::size_t before = probes_.size();
  // After a hint only an answer counts: older words may still have been on their way.
  std::erase_if(probes_, [&](const probe& p) { return p.target == m.id && !p.hinted; });
  if (probes_.size() < before) healthier();
  const bool newer = incarnation > m.incarnation &&
                     incarnation - m.incarnation <= detector_incarnation_step_max;
  if (newer) m.incarnation = incarnation;
  const auto at = suspicions_.find(m.id);
  if (at == suspicions_.end()) return;
  if (newer) {
    detector_claim c;
    c.node = m.id;
    c.incarnation = incarnation;
    spread(c);
    return clear_suspicion(m.id);
  }
  // It lives, but only its own word with a new incarnation ends what others think: tell it.
  if (now >= at->second.next_buddy) {
    at->second.next_buddy = now + options_.probe_timeout;
    ping(m.id, 0);
  }
  std::erase(at->second.observers, self_);
  if (at->second.observers.empty()) clear_suspicion(m.id);
}

P2PDVM_DECL void failure_detector::on_claim(time_point now, const detector_claim& c) {
  const bool suspect = c.what == detector_claim::kind::suspect;
  if (!suspect && c.what != detector_claim::kind::alive) return;
  if (c.node == self_) {
    if (suspect) refute(c.incarnation);
    return;
  }
  member* m = find(c.node);
  if (m == nullptr || c.incarnation < m->incarnation) return;
  if (c.incarnation - m->incarnation > detector_incarnation_step_max) return;
  if (suspect) return on_suspect_claim(now, c, *m);
  if (c.incarnation == m->incarnation) return;
  m->incarnation = c.incarnation;
  spread(c);
  clear_suspicion(c.node);
}

P2PDVM_DECL void failure_detector::on_suspect_claim(time_point now, const detector_claim& c,
                                                    member& m) {
  if (c.observer == self_ || c.observer == c.node || find(c.observer) == nullptr) return;
  const auto known = suspicions_.find(c.node);
  if (c.incarnation > m.incarnation) {
    m.incarnation = c.incarnation;
    if (known != suspicions_.end()) known->second.observers.clear();
  }
  const bool first = known == suspicions_.end();
  const bool first_hint = c.hinted && (first || !known->second.hinted);
  const std::size_t before = first ? 0 : known->second.observers.size();
  const suspicion& s = add_observer(now, c.node, c.observer, c.hinted);
  if (s.observers.size() > before) spread(c);
  if ((first || first_hint) && !is_observer(s) &&
      random_.below(members_.size()) < options_.confirmers) {
    start_probe(now, c.node, c.hinted, !c.hinted);
  }
}

/// Somebody suspects us: a higher incarnation says that we live.
P2PDVM_DECL void failure_detector::refute(std::uint64_t suspected_incarnation) {
  if (suspected_incarnation < incarnation_) return;
  if (suspected_incarnation - incarnation_ > detector_incarnation_step_max) return;
  incarnation_ = suspected_incarnation + 1;
  ++statistics_.refutations;
  sicker(1);
  detector_claim c;
  c.node = self_;
  c.incarnation = incarnation_;
  spread(c);
  gossip_to(pick(detector_refutation_fanout, self_, false));
}

P2PDVM_DECL void failure_detector::observe(time_point now, const node_id& who, bool hinted) {
  suspicion& s = add_observer(now, who, self_, hinted);
  if (!is_observer(s)) {
    s.observers.back() = self_;  // the list is full: our own word is worth more to us
  }
  s.next_check = now + options_.probe_interval;
  spread(claim_about(who, s));
}

P2PDVM_DECL failure_detector::suspicion& failure_detector::add_observer(time_point now,
                                                                       const node_id& who,
                                                                       const node_id& observer,
                                                                       bool hinted) {
  const auto [at, fresh] = suspicions_.try_emplace(who);
  suspicion& s = at->second;
  if (fresh) s.since = now;
  s.hinted = s.hinted || hinted;
  if (s.observers.size() < detector_observers_max && !detail::contains(s.observers, observer)) {
    s.observers.push_back(observer);
  }
  if (fresh) events_.push_back({event::kind::suspected, who, s.observers});
  return s;
}

P2PDVM_DECL void failure_detector::clear_suspicion(const node_id& who) {
  if (suspicions_.erase(who) == 0) return;
  std::erase_if(news_, [&](const news& n) {
    return n.claim.node == who && n.claim.what == detector_claim::kind::suspect;
  });
  events_.push_back({event::kind::refuted, who, {}});
}

/// Newer words of the same speaker about the same member replace older ones.
P2PDVM_DECL void failure_detector::spread(const detector_claim& c) {
  std::erase_if(news_, [&](const news& n) {
    return n.claim.node == c.node && n.claim.what == c.what && n.claim.observer == c.observer;
  });
  if (news_.size() >= detector_news_max) {
    const auto most = std::max_element(news_.begin(), news_.end(),
                                       [](const news& a, const news& b) {
                                         return a.transmissions < b.transmissions;
                                       });
    news_.erase(most);
  }
  news_.push_back({c, ++news_number_, 0});
}

P2PDVM_DECL void failure_detector::gossip(time_point now) {
  next_gossip_ = now + options_.gossip_interval;
  gossip_to(pick(options_.gossip_fanout, self_, true));
}

P2PDVM_DECL void failure_detector::gossip_to(const std::vector<node_id>& targets) {
  for (const node_id& to : targets) {
    detector_message m;
    m.what = detector_message::kind::gossip;
    send(to, std::move(m));
  }
}

/// What we observe we keep observing and keep saying, until others agree or it answers.
P2PDVM_DECL void failure_detector::check_suspects(time_point now) {
  std::vector<node_id> due;
  for (auto& [id, s] : suspicions_) {
    if (!is_observer(s) || s.next_check > now) continue;
    s.next_check = now + options_.probe_interval * (s.agreed ? 5 : 1);
    due.push_back(id);
  }
  for (const node_id& id : due) {
    spread(claim_about(id, suspicions_.at(id)));
    ping(id, 0);
  }
}

P2PDVM_DECL void failure_detector::evaluate(time_point now) {
  for (auto& [id, s] : suspicions_) {
    if (s.agreed || standing(s) < needed() || now < s.since + suspicion_time(s)) continue;
    s.agreed = true;
    events_.push_back({event::kind::agreed, id, s.observers});
  }
}

/// The end of every input: whatever became due by it is done, so that a timer in the past always
/// means that we ran late. Events come last, when every list is in order: the owner may call back.
P2PDVM_DECL void failure_detector::settle(time_point now) {
  evaluate(now);
  next_gossip_ = std::max(next_gossip_, now);
  if (flushing_) return;
  flushing_ = true;
  while (!events_.empty()) {
    const std::vector<event> batch = std::exchange(events_, {});
    for (const event& e : batch) {
      if (e.what == event::kind::suspected) owner_->suspected(e.who, e.observers);
      if (e.what == event::kind::refuted) owner_->refuted(e.who);
      if (e.what == event::kind::agreed) owner_->agreed_dead(e.who, e.observers);
    }
  }
  flushing_ = false;
}

}  // namespace p2pdvm::overlay

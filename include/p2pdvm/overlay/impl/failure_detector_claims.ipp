#pragma once

#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <utility>

namespace p2pdvm::overlay {

namespace detail {

/// Share of the way from the longest to the shortest suspicion time that is left after C
/// confirmations of K looked for: 1 − log(C+1)/log(K+1) (Lifeguard), in thousandths.
inline constexpr std::array<std::array<unsigned, 3>, 3> suspicion_left = {{
    {0, 0, 0},
    {1000, 0, 0},
    {1000, 369, 0},
}};

/// News goes so often in datagrams of its own: that reaches all but e^-6 of the members at once.
/// After that it only rides on probes and their answers, until it went log2(n) times more.
inline constexpr unsigned eager_transmissions = 6;
/// A death needs some quick rounds. When news goes on and on, rounds are so many times longer: a
/// datagram then carries many claims instead of each claim having its own.
inline constexpr unsigned quick_rounds_max = 24;
inline constexpr unsigned steady_round = 4;

}  // namespace detail

P2PDVM_DECL bool failure_detector::is_suspected(const node_id& who) const {
  const slot s = find(who);
  return s != no_slot && is_suspected(s);
}

P2PDVM_DECL bool failure_detector::is_suspected(slot who) const {
  return who != own_slot && members_[who].suspected != nullptr;
}

P2PDVM_DECL bool failure_detector::is_observer(const suspicion& s) {
  return detail::contains(s.observers, own_slot);
}

/// Observers that count: those not suspected themselves.
P2PDVM_DECL std::size_t failure_detector::standing(const suspicion& s) const {
  return static_cast<std::size_t>(std::count_if(s.observers.begin(), s.observers.end(),
                                                [this](slot o) { return !is_suspected(o); }));
}

P2PDVM_DECL std::size_t failure_detector::needed() const {
  const std::size_t unsuspected = group_size() - suspects_.size();  // we never suspect ourselves
  return std::min(options_.observers, unsuspected);
}

P2PDVM_DECL duration failure_detector::suspicion_time(const suspicion& s) const {
  if (s.hinted) return options_.suspicion_hinted;
  const auto doublings = static_cast<unsigned>(std::bit_width(options_.gossip_fanout));
  const duration shortest =
      options_.suspicion_min + options_.gossip_interval * group_log2() / std::max(1u, doublings);
  const std::size_t looked_for =
      std::min({options_.observers - 1, members_.size() - 1, detail::suspicion_left.size() - 1});
  const std::size_t confirmations =
      std::min(looked_for, s.observers.empty() ? 0 : s.observers.size() - 1);
  const duration range = shortest * (options_.suspicion_spread - 1);
  return shortest + range * detail::suspicion_left[looked_for][confirmations] / 1000;
}

/// Never, unless somebody or something changes.
P2PDVM_DECL time_point failure_detector::agreement_due(const suspicion& s) const {
  if (s.agreed || standing(s) < needed()) return time_point_never;
  return s.since + suspicion_time(s);
}

P2PDVM_DECL detector_name failure_detector::name_of(slot who) const {
  return who == own_slot ? own_name_ : names_[who];
}

P2PDVM_DECL std::vector<node_id> failure_detector::ids_of(const std::vector<slot>& slots) const {
  std::vector<node_id> ids;
  for (const slot s : slots) ids.push_back(s == own_slot ? self_ : members_[s].id);
  return ids;
}

P2PDVM_DECL detector_claim failure_detector::claim_about(slot who) const {
  detector_claim c;
  c.node = name_of(who);
  c.incarnation = who == own_slot ? incarnation_ : members_[who].incarnation;
  if (!is_suspected(who)) return c;
  const suspicion& s = *members_[who].suspected;
  c.what = detector_claim::kind::suspect;
  c.hinted = s.hinted;
  for (const slot o : s.observers) c.observers.push_back(name_of(o));
  return c;
}

/// The suspect itself hears of it first (Lifeguard's buddy system), then the least told news.
/// With t transmissions each by all, random members miss a fraction e^-t of the news.
P2PDVM_DECL void failure_detector::attach_news(slot to, detector_message& m) {
  if (is_suspected(to)) m.claims.push_back(claim_about(to));
  if (news_.empty()) return;
  const std::size_t count = std::min(news_.size(), detector_claims_max);
  std::partial_sort(news_.begin(), news_.begin() + static_cast<std::ptrdiff_t>(count), news_.end(),
                    [](const news& a, const news& b) {
                      return std::pair(a.transmissions, a.number) <
                             std::pair(b.transmissions, b.number);
                    });
  for (std::size_t i = 0; i < count; ++i) {
    ++news_[i].transmissions;
    m.claims.push_back(claim_about(news_[i].about));
  }
  const unsigned transmissions_max = detail::eager_transmissions + group_log2();
  std::erase_if(news_, [&](const news& n) { return n.transmissions >= transmissions_max; });
}

P2PDVM_DECL void failure_detector::send(slot to, detector_message m, bool again) {
  m.incarnation = incarnation_;
  attach_news(to, m);
  const byte_vector bytes = wire::encode(m);
  P2PDVM_ASSERT(bytes.size() <= datagram_payload_max);
  again ? owner_->send_again(members_[to].id, bytes) : owner_->send(members_[to].id, bytes);
}

P2PDVM_DECL void failure_detector::note_alive(time_point now, slot who,
                                              std::uint64_t incarnation) {
  // After a hint only an answer counts: older words may still have been on their way.
  const std::size_t answered =
      std::erase_if(probes_, [&](const probe& p) { return p.target == who && !p.hinted; });
  if (answered > 0) healthier();
  member& m = members_[who];
  const bool newer = incarnation > m.incarnation &&
                     incarnation - m.incarnation <= detector_incarnation_step_max;
  if (newer) m.incarnation = incarnation;
  if (m.suspected == nullptr) return;
  if (newer) {
    clear_suspicion(who);
    return spread(who);
  }
  // It lives, but only its own word with a new incarnation ends what others think: tell it.
  if (now >= m.suspected->next_buddy) {
    m.suspected->next_buddy = now + options_.probe_timeout;
    ping(who, 0);
  }
  std::erase(m.suspected->observers, own_slot);
  changed_ = true;
  if (m.suspected->observers.empty()) clear_suspicion(who);
}

P2PDVM_DECL void failure_detector::note_stranger(detector_name who, const node_id& by) {
  if (who != own_name_) events_.push_back({event::kind::spoken_of, by, {}, who});
}

P2PDVM_DECL void failure_detector::on_claim(time_point now, const detector_claim& c, const node_id& by) {
  const bool suspect = c.what == detector_claim::kind::suspect;
  if (!suspect && c.what != detector_claim::kind::alive) return;
  if (c.node == own_name_) {
    if (suspect) refute(c.incarnation);
    return;
  }
  const slot who = find(c.node);
  if (who == no_slot) return note_stranger(c.node, by);
  if (c.incarnation < members_[who].incarnation) return;
  if (c.incarnation - members_[who].incarnation > detector_incarnation_step_max) return;
  if (suspect) return on_suspect_claim(now, c, who);
  if (c.incarnation == members_[who].incarnation) return;
  members_[who].incarnation = c.incarnation;
  clear_suspicion(who);
  spread(who);
}

P2PDVM_DECL void failure_detector::on_suspect_claim(time_point now, const detector_claim& c,
                                                    slot who) {
  const suspicion* known = members_[who].suspected.get();
  const bool newer = c.incarnation > members_[who].incarnation;
  if (known != nullptr && known->agreed && !newer) return;
  std::vector<slot> observers;
  for (const detector_name name : c.observers) {
    const slot o = find(name);
    if (o != no_slot && o != who) observers.push_back(o);
  }
  if (observers.empty()) return;
  members_[who].incarnation = c.incarnation;
  if (newer && known != nullptr) members_[who].suspected->observers.clear();
  const bool first = known == nullptr || (c.hinted && !known->hinted);
  suspect(now, who, observers, c.hinted);
  if (first && !is_observer(*members_[who].suspected) &&
      random_.below(members_.size()) < options_.confirmers) {
    start_probe(now, who, c.hinted, !c.hinted);
  }
}

/// Somebody suspects us: a higher incarnation says that we live.
P2PDVM_DECL void failure_detector::refute(std::uint64_t suspected_incarnation) {
  if (suspected_incarnation < incarnation_) return;
  if (suspected_incarnation - incarnation_ > detector_incarnation_step_max) return;
  incarnation_ = suspected_incarnation + 1;
  ++statistics_.refutations;
  sicker(1);
  spread(own_slot);
  gossip_to(pick(detector_refutation_fanout, own_slot, false));
}

P2PDVM_DECL void failure_detector::observe(time_point now, slot who, bool hinted) {
  suspect(now, who, {own_slot}, hinted);
  members_[who].suspected->next_check = now + options_.probe_interval;
  spread(who);
}

/// Others hear of it when it is new, or when it is still to be heard of from enough observers.
P2PDVM_DECL void failure_detector::suspect(time_point now, slot who,
                                           const std::vector<slot>& observers, bool hinted) {
  std::unique_ptr<suspicion>& s = members_[who].suspected;
  const bool first = s == nullptr;
  if (first) {
    s = std::make_unique<suspicion>();
    s->since = now;
    suspects_.push_back(who);
  }
  const bool fresh = first || (hinted && !s->hinted);
  s->hinted = s->hinted || hinted;
  const bool wanted = standing(*s) < options_.observers;
  bool more = false;
  for (const slot o : observers) more |= add_observer(*s, o);
  if (more || fresh) changed_ = true;
  if (changed_ && !detail::contains(open_, who)) open_.push_back(who);
  if (fresh || (more && wanted)) spread(who);
  if (first) events_.push_back({event::kind::suspected, members_[who].id, ids_of(s->observers)});
}

/// When the list is full, those that are suspected themselves make room, and others for ourselves.
P2PDVM_DECL bool failure_detector::add_observer(suspicion& s, slot observer) {
  if (detail::contains(s.observers, observer)) return false;
  if (s.observers.size() < detector_observers_max) {
    s.observers.push_back(observer);
    return true;
  }
  auto at = std::find_if(s.observers.begin(), s.observers.end(),
                         [this](slot o) { return is_suspected(o); });
  if (at == s.observers.end() && observer == own_slot) --at;
  if (at == s.observers.end() || is_suspected(observer)) return false;
  *at = observer;
  return true;
}

P2PDVM_DECL void failure_detector::clear_suspicion(slot who) {
  if (!is_suspected(who)) return;
  members_[who].suspected.reset();
  std::erase(suspects_, who);
  std::erase(open_, who);
  std::erase_if(news_, [&](const news& n) { return n.about == who; });
  events_.push_back({event::kind::refuted, members_[who].id, {}});
  changed_ = true;
}

P2PDVM_DECL void failure_detector::spread(slot about) {
  std::erase_if(news_, [&](const news& n) { return n.about == about; });
  news_.push_back({about, 0, ++news_number_});
  has_eager_news_ = true;
}

P2PDVM_DECL void failure_detector::gossip(time_point now) {
  has_eager_news_ = std::any_of(news_.begin(), news_.end(), [](const news& n) {
    return n.transmissions < detail::eager_transmissions;
  });
  if (!has_eager_news_) return;
  const duration steady = options_.gossip_interval * detail::steady_round;
  gossip_paid_ = std::max(gossip_paid_, now - steady * detail::quick_rounds_max) + steady;
  next_gossip_ = now + (gossip_paid_ <= now ? options_.gossip_interval : steady);
  gossip_to(pick(options_.gossip_fanout, own_slot, true));
}

P2PDVM_DECL void failure_detector::gossip_to(const std::vector<slot>& targets) {
  for (const slot to : targets) {
    detector_message m;
    m.what = detector_message::kind::gossip;
    send(to, std::move(m));
  }
}

/// What we observe we keep observing and keep saying, until others agree or it answers.
P2PDVM_DECL void failure_detector::check_suspects(time_point now) {
  for (const slot who : open_) {
    suspicion& s = *members_[who].suspected;
    if (!is_observer(s) || s.next_check > now) continue;
    s.next_check = now + options_.probe_interval * (s.agreed ? 5 : 1);
    changed_ = true;
    spread(who);
    ping(who, 0);
  }
}

P2PDVM_DECL void failure_detector::evaluate(time_point now) {
  if (!std::exchange(changed_, false) && now < suspects_due_) return;
  suspects_due_ = time_point_never;
  std::erase_if(open_, [this](slot who) {
    const suspicion& s = *members_[who].suspected;
    return s.agreed && !is_observer(s);
  });
  for (const slot who : open_) {
    suspicion& s = *members_[who].suspected;
    const time_point due = agreement_due(s);
    if (due <= now) {
      s.agreed = true;
      events_.push_back({event::kind::agreed, members_[who].id, ids_of(s.observers)});
    } else {
      suspects_due_ = std::min(suspects_due_, due);
    }
    if (is_observer(s)) suspects_due_ = std::min(suspects_due_, s.next_check);
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
      if (e.what == event::kind::spoken_of) owner_->spoken_of(e.stranger, e.who);
    }
  }
  flushing_ = false;
}

}  // namespace p2pdvm::overlay

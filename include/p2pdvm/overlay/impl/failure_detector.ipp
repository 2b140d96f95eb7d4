#pragma once

#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <bit>
#include <numeric>
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
      own_name_(detector_name_of(self)),
      options_(options),
      random_(random),
      owner_(&owner),
      // Answers to an earlier process of ours must not answer what this one asks.
      sequence_(first_of(static_cast<std::uint32_t>(random_()))) {
  P2PDVM_ASSERT(options.probe_interval > duration::zero());
  P2PDVM_ASSERT(options.probe_timeout > duration::zero());
  P2PDVM_ASSERT(options.observers > 0);
}

P2PDVM_DECL detector_name detector_name_of(const node_id& id) noexcept {
  detector_name name = 0;
  for (const std::byte b : id.bytes().first(sizeof name)) {
    name = name << 8 | std::to_integer<detector_name>(b);
  }
  return name;
}

P2PDVM_DECL failure_detector::slot failure_detector::find(detector_name name) const {
  // Names are hashes, so a guess is never far off: one or two cache lines, where a binary search
  // reads ten.
  __extension__ using wide = unsigned __int128;
  auto at = static_cast<std::size_t>(static_cast<wide>(name) * names_.size() >> 64);
  while (at > 0 && names_[at - 1] >= name) --at;
  while (at < names_.size() && names_[at] < name) ++at;
  return at < names_.size() && names_[at] == name ? static_cast<slot>(at) : no_slot;
}

P2PDVM_DECL failure_detector::slot failure_detector::find(const node_id& id) const {
  const detector_name name = detector_name_of(id);
  slot at = find(name);
  if (at == no_slot) return no_slot;
  for (; at < members_.size() && names_[at] == name; ++at) {
    if (members_[at].id == id) return at;
  }
  return no_slot;
}

P2PDVM_DECL void failure_detector::set_members(time_point now,
                                               const std::vector<node_id>& members) {
  P2PDVM_ASSERT(members.size() <= limits::members_max);
  std::vector<node_id> ids;
  for (const node_id& id : members) {
    if (id != self_) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::vector<member> before = std::exchange(members_, {});
  names_.clear();
  for (const node_id& id : ids) {
    members_.push_back({id, 0, {}, {}, nullptr});
    names_.push_back(detector_name_of(id));
  }
  renumber(std::move(before));
  if (members_.empty()) {
    next_probe_ = time_point_never;
  } else if (next_probe_ == time_point_never) {
    const auto spread = static_cast<std::uint64_t>(options_.probe_interval.count());
    next_probe_ = now + duration(static_cast<std::int64_t>(random_.below(spread)));
  }
  settle(now);
}

/// Whatever refers to a member gets its new slot, or goes with it.
P2PDVM_DECL void failure_detector::renumber(std::vector<member> before) {
  std::vector<slot> now_at;
  for (member& m : before) {
    const slot at = find(m.id);
    now_at.push_back(at);
    if (at != no_slot) members_[at] = std::move(m);
  }
  // True when the member is gone.
  const auto move = [&](slot& s) {
    if (s != own_slot) s = now_at[s];
    return s == no_slot;
  };
  std::erase_if(suspects_, move);
  std::erase_if(open_, move);
  for (const slot s : suspects_) std::erase_if(members_[s].suspected->observers, move);
  std::erase_if(probes_, [&](probe& p) { return move(p.target); });
  std::erase_if(relays_, [&](relay& r) { return move(r.target) || move(r.requester); });
  std::erase_if(news_, [&](news& n) { return move(n.about); });
  order_.clear();
  changed_ = true;
}

P2PDVM_DECL unsigned failure_detector::group_log2() const noexcept {
  return static_cast<unsigned>(std::bit_width(group_size() - 1));
}

P2PDVM_DECL std::optional<duration> failure_detector::round_trip_to(const node_id& who) const {
  const slot s = find(who);
  if (s == no_slot || !members_[s].rtt.known()) return std::nullopt;
  return members_[s].rtt.mean();
}

P2PDVM_DECL std::optional<packed_coordinate> failure_detector::place_of(const node_id& who) const {
  const slot s = find(who);
  return s == no_slot ? std::nullopt : members_[s].place;
}

P2PDVM_DECL duration failure_detector::timeout_for(slot who) const {
  const round_trip& rtt = members_[who].rtt;
  duration patience = options_.probe_timeout;
  if (rtt.known()) patience = std::clamp(rtt.timeout(), patience, 4 * patience);
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
P2PDVM_DECL std::vector<failure_detector::slot> failure_detector::pick(std::size_t count,
                                                                       slot except,
                                                                       bool unsuspected_only) {
  std::vector<slot> picked;
  const auto take = [&](slot s) {
    if (s == except || (unsuspected_only && is_suspected(s))) return;
    if (picked.size() < count && !detail::contains(picked, s)) picked.push_back(s);
  };
  if (members_.size() <= detail::small_group) {
    std::vector<slot> all(members_.size());
    std::iota(all.begin(), all.end(), slot{0});
    detail::shuffle(all, random_);
    for (const slot s : all) take(s);
    return picked;
  }
  for (std::size_t tries = 0; tries < 8 * count && picked.size() < count; ++tries) {
    take(static_cast<slot>(random_.below(members_.size())));
  }
  return picked;
}

P2PDVM_DECL void failure_detector::ping(slot target, std::uint32_t sequence, bool again) {
  detector_message m;
  m.sequence = sequence;
  send(target, std::move(m), again);
}

/// When our own timers ran late, the time that passed is no evidence against others: they may
/// have answered while we were not looking. All deadlines move by the delay.
P2PDVM_DECL void failure_detector::forgive_own_stall(time_point now) {
  const time_point due = next_timer();
  if (due == time_point_never || now - due <= options_.probe_timeout) return;
  const duration late = now - due;
  for (probe& p : probes_) {
    p.deadline += late;
    p.stalled = true;
  }
  for (relay& r : relays_) {
    r.nack_at += late;
    r.deadline += late;
  }
  for (const slot s : suspects_) {
    suspicion& suspected = *members_[s].suspected;
    suspected.since += late;
    suspected.next_check = std::max(suspected.next_check, now);
  }
  changed_ = true;
  next_probe_ = std::max(next_probe_, now);
  next_gossip_ = std::max(next_gossip_, now);
  sicker(1);
  ++statistics_.stalls;
}

P2PDVM_DECL void failure_detector::start_probe(time_point now, slot target, bool hinted,
                                               bool with_helpers) {
  const auto running = std::find_if(probes_.begin(), probes_.end(),
                                    [&](const probe& p) { return p.target == target; });
  if (running != probes_.end()) {
    if (running->hinted || !hinted) return;
    probes_.erase(running);
  }
  if (probes_.size() >= detector_probes_max) return;
  ++statistics_.probes;
  probe p;
  p.sequence = next_sequence();
  p.target = target;
  p.sent = now;
  p.deadline = now + timeout_for(target);
  p.hinted = hinted;
  ping(target, p.sequence, hinted);
  if (hinted) {
    p.stage = 2;  // everything at once
    if (with_helpers) ask_helpers(p);
  }
  probes_.push_back(p);
}

P2PDVM_DECL void failure_detector::ask_helpers(probe& p) {
  const std::vector<slot> helpers = pick(options_.indirect_probes, p.target, true);
  p.helpers = helpers.size();
  for (const slot helper : helpers) {
    detector_message m;
    m.what = detector_message::kind::ping_request;
    m.hinted = p.hinted;
    m.sequence = p.sequence;
    m.target = name_of(p.target);
    send(helper, std::move(m));
  }
}

P2PDVM_DECL void failure_detector::advance(time_point now, probe& p) {
  ++p.stage;
  p.deadline = now + timeout_for(p.target);
  ping(p.target, p.sequence + p.stage, true);
  if (p.stage == 1) ask_helpers(p);
}

P2PDVM_DECL void failure_detector::fail_probe(time_point now, const probe& p) {
  ++statistics_.probes_failed;
  const suspicion* s = members_[p.target].suspected.get();
  const bool confirmed = s != nullptr && !s->observers.empty();
  // Lifeguard: who misses even the nacks of healthy helpers should doubt itself first.
  if (p.helpers > 0) {
    sicker(p.helpers - std::min(p.helpers, p.nacks));
  } else if (!confirmed && !p.hinted) {
    sicker(1);
  }
  observe(now, p.target, p.hinted);
}

P2PDVM_DECL void failure_detector::on_ack(time_point now, slot by, const detector_message& m, bool passed_on) {
  const std::uint32_t sequence = first_of(m.sequence);
  const bool measures = m.sequence == sequence && !passed_on;
  const auto place = m.place && unpack(*m.place).ok() ? m.place : std::nullopt;
  if (m.place && !place) ++statistics_.malformed;
  if (place) members_[by].place = place;
  for (const probe& p : probes_) {
    if (!measures || p.sequence != sequence || p.target != by || p.stalled) continue;
    members_[by].rtt.sample(now - p.sent);
    if (place) owner_->measured(members_[by].id, *place, now - p.sent);
  }
  std::erase_if(probes_, [&](const probe& p) {
    return p.hinted && p.sequence == sequence && p.target == by;
  });
  const auto r = std::find_if(relays_.begin(), relays_.end(), [&](const relay& x) {
    return x.sequence == sequence && x.target == by;
  });
  if (r == relays_.end()) return;
  detector_message relayed;
  relayed.what = detector_message::kind::relayed_ack;
  relayed.sequence = r->requester_sequence;
  relayed.target = name_of(by);
  const slot requester = r->requester;
  relays_.erase(r);
  send(requester, std::move(relayed));
}

P2PDVM_DECL void failure_detector::on_relayed_ack(const detector_message& m) {
  const slot target = find(*m.target);
  const std::size_t answered = std::erase_if(probes_, [&](const probe& p) {
    return p.sequence == m.sequence && p.target == target;
  });
  if (answered > 0) healthier();
}

P2PDVM_DECL void failure_detector::on_nack(std::uint32_t sequence) {
  for (probe& p : probes_) {
    if (p.sequence == sequence) ++p.nacks;
  }
}

P2PDVM_DECL void failure_detector::on_ping_request(time_point now, slot from,
                                                   const detector_message& m) {
  const slot target = find(*m.target);
  if (target == no_slot) return note_stranger(*m.target, members_[from].id);
  if (target == from || relays_.size() >= detector_relays_max) return;
  const duration patience = timeout_for(target);
  relay r;
  r.sequence = next_sequence();
  r.target = target;
  r.requester = from;
  r.requester_sequence = m.sequence;
  r.nack_at = now + patience * 4 / 5;
  r.deadline = now + 4 * patience;
  relays_.push_back(r);
  ping(r.target, r.sequence);
  if (m.hinted) start_probe(now, target, true, false);
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
    order_.resize(members_.size());
    std::iota(order_.begin(), order_.end(), slot{0});
    detail::shuffle(order_, random_);
  }
  const slot target = order_.back();
  order_.pop_back();
  start_probe(now, target, false, true);
}

P2PDVM_DECL void failure_detector::on_message(time_point now, const node_id& from,
                                              byte_view bytes, bool passed_on) {
  using kind = detector_message::kind;
  forgive_own_stall(now);
  const slot sender = find(from);
  if (sender == no_slot) {
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
  if (m->what == kind::ack) on_ack(now, sender, *m, passed_on);
  note_alive(now, sender, m->incarnation);
  for (const detector_claim& c : m->claims) on_claim(now, c, from);
  if (m->what == kind::relayed_ack) on_relayed_ack(*m);
  if (m->what == kind::nack) on_nack(m->sequence);
  if (m->what == kind::ping_request) on_ping_request(now, sender, *m);
  if (m->what == kind::ping) {
    detector_message ack;
    ack.what = kind::ack;
    ack.sequence = m->sequence;
    ack.place = owner_->place();
    send(sender, std::move(ack));
  }
  settle(now);
}

P2PDVM_DECL void failure_detector::hint(time_point now, const node_id& who) {
  forgive_own_stall(now);
  if (const slot s = find(who); s != no_slot) start_probe(now, s, true, true);
  settle(now);
}

P2PDVM_DECL void failure_detector::heard_from(time_point now, const node_id& who) {
  if (suspects_.empty() && probes_.empty()) return;
  const slot s = find(who);
  if (s == no_slot) return;
  note_alive(now, s, members_[s].incarnation);
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
  if (suspects_due_ <= now) check_suspects(now);
  if (next_probe_ <= now) probe_next(now);
  if (has_eager_news_ && next_gossip_ <= now) gossip(now);
  settle(now);
}

P2PDVM_DECL time_point failure_detector::next_timer() const {
  time_point next = next_probe_;
  if (members_.empty()) return time_point_never;
  if (has_eager_news_) next = std::min(next, next_gossip_);
  for (const probe& p : probes_) next = std::min(next, p.deadline);
  for (const relay& r : relays_) next = std::min(next, r.nacked ? r.deadline : r.nack_at);
  return std::min(next, suspects_due_);
}

}  // namespace p2pdvm::overlay

#pragma once

#include <p2pdvm/runtime/member_square.hpp>
#include <p2pdvm/runtime/roll_call.hpp>

#include <algorithm>
#include <string_view>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr duration roll_pause_max = std::chrono::minutes(10);

inline rank_place::doing doing_of(peal::wait_state::kind why) {
  switch (why) {
    case peal::wait_state::kind::receive: return rank_place::doing::receives;
    case peal::wait_state::kind::probe: return rank_place::doing::probes;
    case peal::wait_state::kind::room: return rank_place::doing::sends;
    case peal::wait_state::kind::safe_point: return rank_place::doing::at_safe_point;
    case peal::wait_state::kind::sleep: break;
  }
  return rank_place::doing::sleeps;
}

/// As much of a file's name as may be sent, and only what may be printed.
inline std::string file_of(std::string_view path) {
  std::string name(peal::file_part(path).substr(0, rank_place::text_max));
  std::replace_if(name.begin(), name.end(), [](char c) { return c < ' ' || c >= '\x7f'; }, '?');
  return name;
}

inline place_group group_of(rank_number rank, const peal::wait_state& w, std::uint32_t ranks) {
  place_group g;
  g.ranks.add(rank);
  g.place.what = doing_of(w.why);
  g.place.file = file_of(w.where.file_name());
  g.place.line = w.where.line();
  g.bytes = w.bytes;
  if (w.partner) g.partners.add(*w.partner);
  if (w.partner && !w.note.collective) g.pairs.emplace_back(rank.value(), w.partner->value());
  if (g.place.what != rank_place::doing::receives && g.place.what != rank_place::doing::probes) return g;
  g.place.call = w.note.what;
  g.place.number = w.note.number;
  g.place.group = w.note.group;
  g.place.collective = w.note.collective;
  if (!w.note.collective) {
    g.place.tag = w.tag;
    g.anyone = !w.partner;
  } else if (!w.partner && w.note.members.empty()) {
    g.partners.add(0, ranks - 1);
  } else if (!w.partner) {
    for (const int member : w.note.members) g.partners.add(rank_number(static_cast<std::uint32_t>(member)));
  }
  return g;
}

}  // namespace detail

P2PDVM_DECL roll_call::roll_call(roll_call_owner& owner, host::clock& clock, const node_id& self, duration patience)
    : owner_(owner),
      clock_(clock),
      self_(self),
      patience_(patience),
      look_timer_(clock),
      call_timer_(clock),
      pause_(patience),
      told_again_(patience * told_again_after) {}

P2PDVM_DECL void roll_call::begin() {
  if (patience_ > duration::zero() && !look_timer_.armed()) look_later();
}

P2PDVM_DECL void roll_call::reset() {
  ranks_.clear();
  own_.reset();
  relays_.clear();
  call_timer_.cancel();
  told_ = leads_ = false;
  fingerprint_.clear();
  seen_at_ = next_call_ = time_point();
  pause_ = patience_;
}

P2PDVM_DECL void roll_call::stop() {
  reset();
  look_timer_.cancel();
}

P2PDVM_DECL void roll_call::look_later() {
  look_timer_.after(std::max<duration>(patience_ / 4, std::chrono::milliseconds(10)), [this] { look(); });
}

P2PDVM_DECL std::uint32_t roll_call::seconds_since(time_point when) const {
  return static_cast<std::uint32_t>(to_seconds(now() - when));
}

/// Notes of each rank since when it is seen in the waits in which it is.
P2PDVM_DECL void roll_call::watch() {
  // Who stood still itself has seen nothing.
  if (now() - seen_at_ > patience_ / 4 + std::max<duration>(patience_ / 4, std::chrono::seconds(1))) ranks_.clear();
  seen_at_ = now();
  std::map<rank_number, waited> seen;
  for (const rank_glance& g : owner_.glance()) {
    const auto before = ranks_.find(g.rank);
    waited& w = seen[g.rank];
    w.begun = g.begun;
    const bool quiet = before != ranks_.end() && before->second.begun == g.begun;
    w.begun_at = quiet ? before->second.begun_at : now();
    for (const peal::wait_state& state : g.waits) {
      if (state.why == peal::wait_state::kind::sleep) continue;
      time_point since = now();
      if (before != ranks_.end()) {
        const auto same = before->second.suspended.find(state.number);
        if (same != before->second.suspended.end()) since = same->second;
      }
      w.suspended[state.number] = since;
    }
  }
  ranks_ = std::move(seen);
}

P2PDVM_DECL bool roll_call::stuck_here() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [this](const auto& r) {
    return std::any_of(r.second.suspended.begin(), r.second.suspended.end(),
                       [this](const auto& w) { return now() - w.second >= patience_; });
  });
}

/// Ranks are stuck, or were and may have gone on, which whoever told of them finds out first.
P2PDVM_DECL bool roll_call::is_due() const {
  if (own_) return false;
  if (stuck_here()) return now() >= next_call_;
  return told_ && (leads_ || now() - heard_at_ >= patience_ * heard_nothing_after);
}

P2PDVM_DECL void roll_call::look() {
  look_later();
  if (!owner_.may_call_roll()) return reset();
  watch();
  owner_.note_stalls();
  if (!is_due() || call_timer_.armed()) return;
  const auto place = owner_.record().index_of(self_);
  if (!place) return;
  call_timer_.after(std::min<duration>(stagger * *place, patience_), [this] {
    if (owner_.may_call_roll() && is_due()) call();
  });
}

P2PDVM_DECL void roll_call::enter(roll& into, const rank_glance& g, const waited& seen) const {
  bool any = false;
  for (const peal::wait_state& w : g.waits) {
    place_group group = detail::group_of(g.rank, w, owner_.record().ranks);
    group.place.epoch = g.epoch;
    if (const auto since = seen.suspended.find(w.number); since != seen.suspended.end()) {
      group.stuck = now() - since->second >= patience_ / 2;  // peers do not look at the same moment
      group.seconds = seconds_since(since->second);
    }
    any = true;
    into.add(std::move(group));
  }
  if (any) return;
  place_group group;
  group.ranks.add(g.rank);
  group.place.epoch = g.epoch;
  group.place.what = g.starts     ? rank_place::doing::starts
                     : g.returned ? rank_place::doing::returned
                                  : rank_place::doing::computes;
  if (group.place.what == rank_place::doing::computes) group.seconds = seconds_since(seen.begun_at);
  into.add(std::move(group));
}

P2PDVM_DECL roll roll_call::roll_here() {
  watch();
  roll here;
  for (const rank_glance& g : owner_.glance()) enter(here, g, ranks_[g.rank]);
  for (const backlog& b : owner_.backlogs()) here.add(b);
  return here;
}

P2PDVM_DECL void roll_call::call() {
  next_call_ = now() + pause_;
  own_.emplace(clock_, self_, ++calls_, roll_here());
  const auto recipients = member_square(owner_.record(), self_).recipients();
  for (const auto& to : recipients) own_->awaited.insert(to.node);
  own_->end.after(own_->awaited.empty() ? duration::zero() : answer_time, [this] { conclude(); });
  for (const auto& to : recipients)
    owner_.send(to.node, roll_request{owner_.record().incarnation, self_, calls_, to.passes_on});
}

P2PDVM_DECL void roll_call::on(const node_id& from, const roll_request& request) {
  const checkpoint::job_record& record = owner_.record();
  if (request.incarnation != record.incarnation || !record.is_live(request.author) || request.author == self_) return;
  heard_at_ = now();
  next_call_ = std::max(next_call_, now() + std::max(pause_, patience_));
  if (own_ && request.author < self_) own_.reset();  // one is enough
  if (relays_.size() >= relays_max && !relays_.contains(request.author)) return;
  relays_.erase(request.author);
  collection& c = relays_.try_emplace(request.author, clock_, from, request.number, roll_here()).first->second;
  if (request.further) {
    for (const node_id& other : member_square(record, self_).column()) {
      if (other != from && other != request.author) c.awaited.insert(other);
    }
  }
  if (c.awaited.empty()) return answer(request.author);
  c.end.after(relay_time, [this, author = request.author] { answer(author); });
  for (const node_id& other : std::set<node_id>(c.awaited))
    owner_.send(other, roll_request{record.incarnation, request.author, request.number, false});
}

P2PDVM_DECL void roll_call::answer(const node_id& author) {
  auto found = relays_.extract(author);
  if (!found) return;
  collection& c = found.mapped();
  c.all.shorten();
  owner_.send(c.to, roll_answer{owner_.record().incarnation, author, c.number, std::move(c.all)});
}

P2PDVM_DECL void roll_call::on(const node_id& from, const roll_answer& got) {
  if (got.incarnation != owner_.record().incarnation || !got.ranks.valid(owner_.record().ranks)) return;
  collection* c = nullptr;
  if (got.author == self_) {
    c = own_ ? &*own_ : nullptr;
  } else if (const auto found = relays_.find(got.author); found != relays_.end()) {
    c = &found->second;
  }
  if (c == nullptr || c->number != got.number || c->awaited.erase(from) == 0) return;
  c->all.add(got.ranks);
  if (!c->awaited.empty()) return;
  if (c == (own_ ? &*own_ : nullptr)) return conclude();
  answer(got.author);
}

P2PDVM_DECL void roll_call::conclude() {
  roll_report report;
  report.incarnation = owner_.record().incarnation;
  report.ranks = std::move(own_->all);
  own_.reset();
  report.ranks.shorten();
  report.over = report.ranks.stuck().empty() || report.ranks.seconds() < static_cast<std::uint32_t>(to_seconds(patience_));
  report.seconds = report.over ? told_seconds_ + seconds_since(told_at_) : report.ranks.seconds();
  if (report.over && !told_) return;
  owner_.tell_all(report);
  take(report, self_);
  leads_ = !report.over && stuck_here();
}

P2PDVM_DECL void roll_call::on_report(const node_id& author, const roll_report& report) {
  if (report.incarnation != owner_.record().incarnation || !report.ranks.valid(owner_.record().ranks)) return;
  if (!report.over && report.ranks.stuck().empty()) return;
  take(report, author);
}

P2PDVM_DECL void roll_call::take(const roll_report& report, const node_id& author) {
  heard_at_ = now();
  if (report.over) {
    if (told_) owner_.went_on(report.seconds);
    told_ = leads_ = false;
    fingerprint_.clear();
    pause_ = patience_;
    return;
  }
  byte_vector fingerprint = report.ranks.fingerprint();
  const bool fresh = !told_ || fingerprint != fingerprint_;
  pause_ = fresh ? patience_ : std::min<duration>(pause_ * 2, std::max(detail::roll_pause_max, patience_));
  next_call_ = now() + pause_;
  leads_ = leads_ && author == self_;
  if (!fresh && now() - told_at_ < told_again_) return;
  told_again_ = fresh ? patience_ * told_again_after : told_again_ * 2;
  told_ = true;
  fingerprint_ = std::move(fingerprint);
  told_at_ = now();
  told_seconds_ = report.seconds;
  owner_.hung(report.ranks);
}

}  // namespace p2pdvm::runtime

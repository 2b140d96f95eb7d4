#pragma once

#include <p2pdvm/peal/pool/scheduler.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <functional>

namespace p2pdvm::pool::detail {

/// Before any task has ended anywhere nobody knows how long they take.
inline constexpr auto patience_unknown = std::chrono::seconds(30);
/// A rank asks when this many tasks are left, however short they are.
inline constexpr std::int64_t ask_below_max = 1024;
/// Each further claim of a task waits four times as long as the one before.
inline constexpr std::uint32_t claim_attempts_max = 10;
inline constexpr std::size_t disagreements_max = 4096;

struct scheduler::saved_state {
  std::uint64_t bag = 0;
  bool inside = false;
  std::vector<std::uint64_t> begun;
  std::vector<std::optional<std::uint64_t>> left;
  std::vector<incoming> later;
  std::vector<disagreement> disagreements;
  std::int64_t longest = 0;
  // of a bag that was being done
  std::uint32_t tasks = 0;
  std::uint64_t digest = 0;
  std::vector<std::int32_t> peers;
  std::vector<std::uint32_t> known, sizes;
  std::vector<std::int32_t> by;
  payload data;
  std::vector<std::uint32_t> queue, bound;
  std::map<std::uint32_t, std::vector<vote>> votes;
  template <class F>
  void fields(F&& f) {
    f(bag), f(inside), f(begun), f(left), f(later), f(disagreements), f(longest);
    f(tasks), f(digest), f(peers), f(known), f(sizes), f(by), f(data), f(queue), f(bound), f(votes);
  }
};

P2PDVM_DECL scheduler::scheduler(int self, int ranks)
    : self_(self), ranks_(ranks), random_(static_cast<std::uint64_t>(self) + 1), others_(static_cast<std::size_t>(ranks)) {}

P2PDVM_DECL int scheduler::home_of(std::uint32_t task) const noexcept {
  return static_cast<int>(std::uint64_t{task} * static_cast<std::uint64_t>(ranks_) / plan_.tasks);
}

P2PDVM_DECL void scheduler::find_checkers() {
  checkers_.clear();
  // Where there is one peer only its ranks check each other.
  std::vector<std::int32_t>& peers = setting_.peers;
  if (std::adjacent_find(peers.begin(), peers.end(), std::not_equal_to<>()) == peers.end()) peers.clear();
  for (int home = 0; home < ranks_; ++home) {
    int checker = (home + 1) % ranks_;
    for (int i = 1; i < ranks_ && !setting_.peers.empty(); ++i) {
      const int rank = (home + i) % ranks_;
      if (peer_of(rank) == peer_of(home)) continue;
      checker = rank;
      break;
    }
    checkers_.push_back(checker);
  }
}

P2PDVM_DECL int scheduler::peer_of(int rank) const noexcept {
  return setting_.peers.empty() ? rank : setting_.peers[static_cast<std::size_t>(rank)];
}

P2PDVM_DECL bool scheduler::is_checked(std::uint32_t task) const noexcept {
  if (ranks_ == 1 || setting_.checked_share <= 0) return false;
  return random_generator(bag_ << 32 ^ task).unit() < setting_.checked_share;
}

P2PDVM_DECL message scheduler::made(message::kind what) const {
  message m;
  m.what = what;
  m.bag = bag_;
  m.spare = spare();
  m.typical = measured_ == 0 ? 0 : static_cast<std::uint64_t>(typical().count());
  m.longest = static_cast<std::uint64_t>(longest_.count());
  return m;
}

P2PDVM_DECL void scheduler::stop(trouble::kind what, int rank, int other, std::uint32_t task, message theirs) {
  if (trouble_) return;
  trouble_.emplace(trouble{what, rank, other, task, std::move(theirs)});
}

// --- a bag begins and ends ---

P2PDVM_DECL void scheduler::build_followers() {
  waits_.assign(plan_.tasks, 0);
  follower_begin_.clear();
  if (plan_.needs.empty()) return;
  follower_begin_.assign(plan_.tasks + 1, 0);
  for (const auto& [needed, task] : plan_.needs) {
    ++waits_[task];
    ++follower_begin_[needed + 1];
  }
  for (std::size_t i = 1; i < follower_begin_.size(); ++i) follower_begin_[i] += follower_begin_[i - 1];
}

P2PDVM_DECL void scheduler::begin(plan p, std::shared_ptr<results> into, const setting& how, time_point now) {
  P2PDVM_ASSERT(!inside_);
  now_ = now;
  plan_ = std::move(p);
  results_ = std::move(into);
  setting_ = how;
  results_->bytes.assign(plan_.tasks, payload());
  results_->known.assign(plan_.tasks, 0);
  places_.assign(plan_.tasks, place::elsewhere);
  by_.assign(plan_.tasks, -1);
  queue_.clear(), bound_.clear(), votes_.clear(), claims_.clear(), unsent_.clear(), owed_.clear();
  mine_ = bound_mine_ = done_ = 0;
  next_look_ = now;
  // A task that was checked by some rank at the cut is checked by that one still, wherever it is now.
  if (restored_ && restored_->inside) setting_.peers = restored_->peers;
  find_checkers();
  build_followers();
  inside_ = true;
  for (other_rank& o : others_) {
    o.spare = 0;
    o.heard = now;
    o.asked.reset();
  }
  if (restored_ && restored_->inside) {
    go_on(now);
  } else {
    begin_afresh(now);
  }
  restored_.reset();
  count_behind();
  const std::vector<incoming> later = std::exchange(later_, {});
  for (const incoming& m : later) receive(m.from, m.what, now);
}

P2PDVM_DECL void scheduler::begin_afresh(time_point) {
  ++bag_;
  others_[static_cast<std::size_t>(self_)].begun = bag_;
  message m = made(message::kind::begin);
  m.tasks = plan_.tasks;
  m.digest = plan_.digest;
  m.file = plan_.file;
  m.line = plan_.line;
  if (ranks_ > 1) outgoing_.push_back({std::nullopt, std::move(m)});
  for (int r = 0; r < ranks_; ++r) {
    const auto& left = others_[static_cast<std::size_t>(r)].left;
    if (left && *left < bag_) {
      message theirs;
      theirs.bag = *left;
      stop(trouble::kind::left, r, -1, 0, std::move(theirs));
    }
  }
  for (std::uint32_t task = 0; task < plan_.tasks; ++task) {
    if (waits_[task] == 0) ready(task);
  }
}

P2PDVM_DECL void scheduler::go_on(time_point) {
  const saved_state& saved = *restored_;
  bag_ = saved.bag;
  if (saved.tasks != plan_.tasks || saved.digest != plan_.digest) return stop(trouble::kind::other_restart, self_);
  for (std::uint32_t task = 0; task < plan_.tasks; ++task) {
    if (waits_[task] == 0) ready(task);
  }
  std::size_t at = 0;
  for (std::size_t i = 0; i < saved.known.size(); ++i) {
    accept(saved.known[i], saved.by[i], saved.data.slice(at, saved.sizes[i]));
    at += saved.sizes[i];
  }
  // What was ready at the cut is in some rank's saved queue, or in a message on its way.
  for (const std::uint32_t task : std::exchange(queue_, {})) drop(task);
  for (const std::uint32_t task : std::exchange(bound_, {})) drop(task);
  votes_ = saved.votes;
  for (const auto& [task, votes] : votes_) {
    for (const vote& v : votes) {
      if (v.rank == self_) places_[task] = place::voted;
    }
  }
  for (const std::uint32_t task : saved.queue) enqueue(task);
  for (const std::uint32_t task : saved.bound) enqueue(task);
}

P2PDVM_DECL void scheduler::count_behind() {
  behind_ = static_cast<int>(std::count_if(others_.begin(), others_.end(), [this](const other_rank& o) { return o.begun + 1 < bag_; }));
}

P2PDVM_DECL void scheduler::end() {
  P2PDVM_ASSERT(inside_ && complete());
  inside_ = false;
  results_.reset();
  plan_ = plan();
  done_ = 0;
  places_.clear(), by_.clear(), waits_.clear(), follower_begin_.clear();
  queue_.clear(), bound_.clear(), votes_.clear(), claims_.clear(), unsent_.clear(), owed_.clear();
  mine_ = bound_mine_ = 0;
}

P2PDVM_DECL void scheduler::leave() {
  message m;
  m.what = message::kind::left;
  m.bag = inside_ ? bag_ - 1 : bag_;
  if (ranks_ > 1) outgoing_.push_back({std::nullopt, std::move(m)});
}

// --- messages ---

P2PDVM_DECL void scheduler::receive(int from, message m, time_point now) {
  now_ = now;
  other_rank& other = others_[static_cast<std::size_t>(from)];
  if (m.what == message::kind::left) {
    other.left = m.bag;
    if (inside_ && m.bag < bag_) stop(trouble::kind::left, from, -1, 0, std::move(m));
    return;
  }
  if (m.what == message::kind::begin) {
    other.begun = std::max(other.begun, m.bag);
    count_behind();
  }
  if (m.bag > bag_ || !inside_) {
    if (m.bag > bag_) later_.push_back({from, std::move(m)});
    return;
  }
  if (m.bag < bag_) return;
  const bool fits = std::all_of(m.ids.begin(), m.ids.end(), [this](std::uint32_t id) { return id < plan_.tasks; });
  if (!fits && m.what != message::kind::begin) return stop(trouble::kind::damaged, from);
  if (m.what != message::kind::begin) other.spare = m.spare;
  other.heard = now;
  longest_ = std::max(longest_, duration(static_cast<std::int64_t>(m.longest)));
  if (m.typical != 0) typical_elsewhere_ = duration(static_cast<std::int64_t>(m.typical));
  switch (m.what) {
    case message::kind::begin: return check_begin(from, m);
    case message::kind::results: return on_results(from, m);
    case message::kind::ask: return on_ask(from);
    case message::kind::give: return on_give(from, m, now);
    case message::kind::claim: return on_claim(from, m, now);
    case message::kind::left: return;
  }
  stop(trouble::kind::damaged, from);
}

P2PDVM_DECL void scheduler::check_begin(int from, const message& m) {
  if (m.tasks != plan_.tasks || m.digest != plan_.digest) stop(trouble::kind::other_tasks, from, -1, 0, m);
}

P2PDVM_DECL void scheduler::on_results(int from, const message& m) {
  if (m.ids.size() != m.sizes.size()) return stop(trouble::kind::damaged, from);
  std::size_t at = 0;
  for (std::size_t i = 0; i < m.ids.size(); ++i) {
    if (m.sizes[i] > m.data.size() - at) return stop(trouble::kind::damaged, from);
    // A copy, as the part would keep the whole message in memory.
    count_vote(m.ids[i], from, payload::copy_of(m.data.view().subspan(at, m.sizes[i])));
    at += m.sizes[i];
  }
}

P2PDVM_DECL void scheduler::on_ask(int from) {
  message m = made(message::kind::give);
  std::size_t give = std::min<std::size_t>(spare(), ids_per_message_max);
  while (give > 0) {
    const std::uint32_t task = queue_.back();
    queue_.pop_back();
    if (places_[task] != place::mine) continue;
    drop(task);
    by_[task] = from;
    m.ids.push_back(task);
    --give;
  }
  m.spare = spare();
  outgoing_.push_back({from, std::move(m)});
}

P2PDVM_DECL void scheduler::on_give(int from, const message& m, time_point now) {
  other_rank& other = others_[static_cast<std::size_t>(from)];
  if (other.asked) {
    latency_ = (3 * latency_ + (now - *other.asked)) / 4;
    other.asked.reset();
  }
  for (const std::uint32_t task : m.ids) {
    if (places_[task] != place::elsewhere || is_checked(task)) continue;
    ++counts_.stolen;
    enqueue(task);
  }
}

P2PDVM_DECL void scheduler::on_claim(int from, const message& m, time_point now) {
  for (const std::uint32_t task : m.ids) {
    if (results_->known[task] != 0) continue;
    claim& c = claims_[task];
    if (c.by == self_ && self_ < from) continue;  // of two that claim at once the lower rank does it
    c.by = from;
    c.at = now;
    c.attempts = std::min(c.attempts + 1, claim_attempts_max);
    if (!is_checked(task)) drop(task);
  }
}

// --- queues ---

P2PDVM_DECL void scheduler::ready(std::uint32_t task) {
  const bool checked = is_checked(task);
  const int home = home_of(task);
  if (owed_.erase(task) != 0 || home == self_ || (checked && checker_of(task) == self_)) {
    enqueue(task);
  } else if (!checked) {
    ++others_[static_cast<std::size_t>(home)].spare;
  }
}

P2PDVM_DECL void scheduler::enqueue(std::uint32_t task) {
  if (places_[task] != place::elsewhere) return;
  if (waits_[task] > 0) return void(owed_.insert(task));
  places_[task] = place::mine;
  const bool checked = is_checked(task);
  (checked ? bound_ : queue_).push_back(task);
  ++(checked ? bound_mine_ : mine_);
}

P2PDVM_DECL void scheduler::drop(std::uint32_t task) {
  if (!owed_.empty()) owed_.erase(task);
  if (places_[task] != place::mine) return;
  places_[task] = place::elsewhere;
  --(is_checked(task) ? bound_mine_ : mine_);
}

P2PDVM_DECL std::optional<std::uint32_t> scheduler::next() {
  if (!may_run()) return std::nullopt;
  for (std::deque<std::uint32_t>* from : {&bound_, &queue_}) {
    while (!from->empty()) {
      const std::uint32_t task = from->front();
      from->pop_front();
      if (places_[task] != place::mine) continue;
      drop(task);
      places_[task] = place::running;
      return task;
    }
  }
  return std::nullopt;
}

P2PDVM_DECL void scheduler::finished(std::uint32_t task, payload result, duration took, time_point now) {
  now_ = now;
  ++counts_.computed;
  ++measured_;
  took_ += took;
  longest_ = std::max(longest_, took);
  places_[task] = place::voted;
  if (results_->known[task] != 0) {
    ++counts_.discarded;
    places_[task] = place::done;
  } else if (ranks_ > 1) {
    unsent_.emplace_back(task, result);
  }
  count_vote(task, self_, result);
}

// --- results ---

P2PDVM_DECL void scheduler::count_vote(std::uint32_t task, int rank, const payload& bytes) {
  const auto same = [](const payload& a, const payload& b) { return std::ranges::equal(a.view(), b.view()); };
  if (results_->known[task] != 0) {
    if (same(results_->bytes[task], bytes)) return;
    if (is_checked(task)) return disagree(task, rank);
    return stop(trouble::kind::differing, by_[task], rank, task);
  }
  if (!is_checked(task)) return accept(task, rank, bytes);
  std::vector<vote>& votes = votes_[task];
  const auto earlier = [&](const vote& v) { return v.rank == rank; };
  if (std::any_of(votes.begin(), votes.end(), earlier)) return;
  const auto agrees = [&](const vote& v) { return same(v.bytes, bytes); };
  if (std::any_of(votes.begin(), votes.end(), agrees)) {
    for (const vote& v : votes) {
      if (!agrees(v)) disagree(task, v.rank);
    }
    accept(task, rank, bytes);
    votes_.erase(task);
    return;
  }
  votes.push_back({rank, bytes});
  if (votes.size() >= 2) call_arbiter(task, votes);
}

P2PDVM_DECL void scheduler::call_arbiter(std::uint32_t task, const std::vector<vote>& votes) {
  for (const bool on_another_peer : {true, false}) {
    for (int i = 0; i < ranks_; ++i) {
      const int rank = (home_of(task) + i) % ranks_;
      const auto excluded = [&](const vote& v) {
        return v.rank == rank || (on_another_peer && peer_of(v.rank) == peer_of(rank));
      };
      if (std::any_of(votes.begin(), votes.end(), excluded)) continue;
      if (rank == self_) enqueue(task);
      return;
    }
  }
  stop(trouble::kind::undecided, votes[0].rank, votes[1].rank, task);
}

P2PDVM_DECL void scheduler::accept(std::uint32_t task, int rank, const payload& bytes) {
  if (results_->known[task] != 0) return;
  drop(task);
  if (places_[task] != place::running) places_[task] = place::done;
  results_->bytes[task] = bytes;
  results_->known[task] = 1;
  by_[task] = rank;
  ++done_;
  if (!claims_.empty()) claims_.erase(task);
  if (follower_begin_.empty()) return;
  for (std::uint32_t i = follower_begin_[task]; i < follower_begin_[task + 1]; ++i) {
    const std::uint32_t follower = plan_.needs[i].second;
    if (--waits_[follower] == 0 && results_->known[follower] == 0) ready(follower);
  }
}

P2PDVM_DECL void scheduler::disagree(std::uint32_t task, int rank) {
  disagreement d;
  d.bag = bag_;
  d.task = task;
  d.rank = rank;
  if (disagreements_.size() < disagreements_max) disagreements_.push_back(d);
}

// --- whoever has nothing to do ---

P2PDVM_DECL duration scheduler::typical() const noexcept {
  if (measured_ == 0) return typical_elsewhere_;
  return took_ / static_cast<std::int64_t>(measured_);
}

/// Who is asked answers between two tasks.
P2PDVM_DECL duration scheduler::answer_time() const noexcept {
  return 4 * latency_ + 2 * typical();
}

P2PDVM_DECL duration scheduler::patience() const noexcept {
  if (longest_ == duration::zero() && done_ == 0) return patience_unknown;
  const duration longest = from_seconds(to_seconds(longest_) * setting_.again_after);
  return std::max({longest, setting_.patience_min, 4 * latency_});
}

P2PDVM_DECL void scheduler::tick(time_point now) {
  now_ = now;
  if (ranks_ == 1 || !may_run() || complete()) return;
  ask_for_more(now);
  if (mine_ == 0 && bound_mine_ == 0 && setting_.again_after > 0 && now >= next_look_) claim_overdue(now);
}

P2PDVM_DECL void scheduler::ask_for_more(time_point now) {
  const duration each = std::max(typical(), duration(std::chrono::microseconds(1)));
  if (mine_ > std::min<std::int64_t>(1 + latency_ / each, ask_below_max)) return;
  std::uint64_t spare = 0;
  for (const other_rank& o : others_) {
    if (o.asked && now < *o.asked + answer_time()) return;  // its answer is on its way
    if (!o.asked && &o != &others_[static_cast<std::size_t>(self_)]) spare += o.spare;
  }
  if (spare == 0) return;
  std::uint64_t draw = random_.below(spare);
  for (int r = 0; r < ranks_; ++r) {
    other_rank& o = others_[static_cast<std::size_t>(r)];
    if (r == self_ || o.asked) continue;
    if (draw >= o.spare) {
      draw -= o.spare;
      continue;
    }
    o.asked = now;
    ++counts_.asked;
    outgoing_.push_back({r, made(message::kind::ask)});
    return;
  }
}

/// Nobody on this rank's peer does it, or should.
P2PDVM_DECL bool scheduler::may_check(std::uint32_t task) const {
  const auto here = [this](int rank) { return peer_of(rank) == peer_of(self_); };
  if (here(home_of(task)) || here(checker_of(task))) return false;
  const auto claimed = claims_.find(task);
  if (claimed != claims_.end() && claimed->second.by != self_ && here(claimed->second.by)) return false;
  const auto votes = votes_.find(task);
  return votes == votes_.end() || std::none_of(votes->second.begin(), votes->second.end(), [&](const vote& v) { return here(v.rank); });
}

P2PDVM_DECL bool scheduler::overdue(std::uint32_t task, time_point now) const {
  if (waits_[task] > 0 || places_[task] != place::elsewhere) return false;
  // Rather late by a rank of the same peer than never.
  const duration wait = patience() * (is_checked(task) && !may_check(task) ? 16 : 1);
  const auto claimed = claims_.find(task);
  const int holder = by_[task] >= 0 ? by_[task] : home_of(task);
  if (claimed == claims_.end()) return now >= others_[static_cast<std::size_t>(holder)].heard + wait;
  return now >= claimed->second.at + wait * (std::int64_t{1} << (2 * claimed->second.attempts));
}

/// Somebody who was heard of lately has tasks to spare.
P2PDVM_DECL bool scheduler::others_may_give(time_point now) const {
  for (int r = 0; r < ranks_; ++r) {
    const other_rank& o = others_[static_cast<std::size_t>(r)];
    if (r != self_ && o.spare > 0 && now < o.heard + patience()) return true;
  }
  return false;
}

P2PDVM_DECL void scheduler::claim_overdue(time_point now) {
  if (others_may_give(now)) return void(next_look_ = now + patience() / 4);
  std::vector<std::uint32_t> candidates;
  for (std::uint32_t task = 0; task < plan_.tasks; ++task) {
    if (overdue(task, now)) candidates.push_back(task);
  }
  next_look_ = now + patience() / 4;
  if (candidates.empty()) return;
  // Others look at about the same list: each takes a part of its own, or one where there are few.
  const std::size_t parts = static_cast<std::size_t>(ranks_), part = static_cast<std::size_t>(self_);
  const std::size_t first = candidates.size() * part / parts;
  const std::size_t count = std::clamp<std::size_t>(candidates.size() * (part + 1) / parts - first, 1, ids_per_message_max);
  message m = made(message::kind::claim);
  for (std::size_t i = first; i < first + count; ++i) {
    claim& c = claims_[candidates[i]];
    c.by = self_;
    c.at = now;
    c.attempts = std::min(c.attempts + 1, claim_attempts_max);
    ++counts_.claimed;
    enqueue(candidates[i]);
    m.ids.push_back(candidates[i]);
  }
  outgoing_.push_back({std::nullopt, std::move(m)});
}

P2PDVM_DECL time_point scheduler::due() const noexcept {
  if (ranks_ == 1 || !may_run() || complete()) return time_point_never;
  time_point first = time_point_never;
  if (setting_.again_after > 0) first = std::max(next_look_, now_ + std::chrono::milliseconds(1));
  for (const other_rank& o : others_) {
    if (o.asked && *o.asked + answer_time() > now_) first = std::min(first, *o.asked + answer_time());
  }
  return first;
}

P2PDVM_DECL std::vector<scheduler::outgoing> scheduler::take_outgoing() {
  for (std::size_t i = 0; i < unsent_.size();) {
    message m = made(message::kind::results);
    byte_vector data;
    for (; i < unsent_.size() && (data.empty() || data.size() + unsent_[i].second.size() <= message_bytes_max); ++i) {
      m.ids.push_back(unsent_[i].first);
      m.sizes.push_back(static_cast<std::uint32_t>(unsent_[i].second.size()));
      append(data, unsent_[i].second.view());
    }
    m.data = payload(std::move(data));
    outgoing_.push_back({std::nullopt, std::move(m)});
  }
  unsent_.clear();
  return std::exchange(outgoing_, {});
}

// --- snapshots ---

P2PDVM_DECL byte_vector scheduler::save() const {
  if (restored_ && restored_->inside) return wire::encode(*restored_);  // nothing has happened since
  saved_state s;
  s.bag = bag_;
  s.inside = inside_;
  for (const other_rank& o : others_) {
    s.begun.push_back(o.begun);
    s.left.push_back(o.left);
  }
  s.later = later_;
  s.disagreements = disagreements_;
  s.longest = longest_.count();
  if (inside_) {
    s.tasks = plan_.tasks;
    s.digest = plan_.digest;
    s.peers = setting_.peers;
    byte_vector data;
    for (std::uint32_t task = 0; task < plan_.tasks; ++task) {
      if (results_->known[task] == 0) continue;
      s.known.push_back(task);
      s.sizes.push_back(static_cast<std::uint32_t>(results_->bytes[task].size()));
      s.by.push_back(by_[task]);
      append(data, results_->bytes[task].view());
    }
    s.data = payload(std::move(data));
    const auto mine = [this](std::uint32_t task) { return places_[task] == place::mine; };
    std::copy_if(queue_.begin(), queue_.end(), std::back_inserter(s.queue), mine);
    std::copy_if(bound_.begin(), bound_.end(), std::back_inserter(s.bound), mine);
    s.queue.insert(s.queue.end(), owed_.begin(), owed_.end());
    s.votes = votes_;
  }
  return wire::encode(s);
}

P2PDVM_DECL bool scheduler::load(byte_view saved) {
  auto decoded = wire::decode<saved_state>(saved);
  if (!decoded.ok()) return false;
  saved_state& s = *decoded;
  const auto fits = [&](std::uint32_t task) { return task < s.tasks; };
  std::uint64_t bytes = 0;
  for (const std::uint32_t size : s.sizes) bytes += size;
  bool good = s.begun.size() == others_.size() && s.left.size() == others_.size() && (!s.inside || s.bag > 0) && s.known.size() == s.sizes.size() && s.known.size() == s.by.size() &&
              bytes == s.data.size() && s.longest >= 0;
  good &= std::all_of(s.known.begin(), s.known.end(), fits) && std::all_of(s.queue.begin(), s.queue.end(), fits) &&
          std::all_of(s.bound.begin(), s.bound.end(), fits);
  const auto is_rank = [this](std::int32_t rank) { return rank >= 0 && rank < ranks_; };
  good &= (s.peers.empty() || s.peers.size() == others_.size()) && std::all_of(s.peers.begin(), s.peers.end(), is_rank) &&
          std::all_of(s.by.begin(), s.by.end(), is_rank);
  good &= std::all_of(s.votes.begin(), s.votes.end(), [&](const auto& v) { return fits(v.first); });
  good &= std::all_of(s.later.begin(), s.later.end(), [&](const incoming& m) { return m.from >= 0 && m.from < ranks_; });
  if (!good) return false;
  for (std::size_t i = 0; i < others_.size(); ++i) {
    others_[i].begun = s.begun[i];
    others_[i].left = s.left[i];
  }
  bag_ = s.inside ? s.bag - 1 : s.bag;
  later_ = s.later;
  disagreements_ = s.disagreements;
  longest_ = duration(s.longest);
  restored_ = std::make_shared<const saved_state>(std::move(s));
  return true;
}

}  // namespace p2pdvm::pool::detail

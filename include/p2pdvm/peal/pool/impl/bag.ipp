#pragma once

#include <p2pdvm/peal/pool/bag.hpp>
#include <p2pdvm/peal/waiting.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <chrono>
#include <exception>

namespace p2pdvm::pool {

namespace detail {

/// A rank looks for messages, and for a snapshot to be taken, after tasks of this length together, or so many.
inline constexpr auto turn_time = std::chrono::milliseconds(1);
inline constexpr int turn_tasks = 1024;
/// After so many messages it does tasks again, if it has any.
inline constexpr int turn_messages = 1024;
inline constexpr std::int64_t message_tag = 1;

inline std::string place_of(const std::source_location& where) {
  return std::string(peal::file_part(where.file_name())) + ":" + std::to_string(where.line());
}

[[noreturn]] P2PDVM_DECL void refuse(const std::string& sentence) { peal::detail::throw_misuse(sentence); }

[[noreturn]] P2PDVM_DECL void refuse_reading(const std::source_location& submitted) {
  refuse("the result of a task that was submitted at " + place_of(submitted) + " is read before its bag has run");
}

[[noreturn]] P2PDVM_DECL void refuse_damaged() {
  throw std::system_error(make_error_code(errc::corrupted), "the result of a task cannot be read");
}

P2PDVM_DECL task<payload> nothing() { co_return payload(); }

}  // namespace detail

P2PDVM_DECL bag::bag(peal::rank& rank)
    : rank_(rank),
      scheduler_(rank.id(), rank.size()),
      port_(rank.open("pool", *this)),
      exceptions_(std::uncaught_exceptions()),
      results_(std::make_shared<detail::results>()) {}

P2PDVM_DECL bag::~bag() {
  if (std::uncaught_exceptions() == exceptions_) leave();
}

P2PDVM_DECL void bag::leave() noexcept {
  try {
    scheduler_.leave();
    send_out();
  } catch (const std::exception&) {
    return;  // the rank is being rolled back: nobody will read it
  }
}

P2PDVM_DECL bag& bag::check(double share) {
  if (!(share >= 0 && share <= 1)) detail::refuse("a share of tasks to check is between 0 and 1, not " + std::to_string(share));
  setting_.checked_share = share;
  return *this;
}

P2PDVM_DECL bag& bag::again_after(double factor) {
  if (!(factor >= 0 && factor <= 1e6))
    detail::refuse("tasks are done again after 0 to 1000000 times the longest, not " + std::to_string(factor));
  setting_.again_after = factor;
  return *this;
}

// --- what is submitted ---

P2PDVM_DECL std::uint32_t bag::add(const std::source_location& where, std::unique_ptr<detail::work> what) {
  if (scheduler_.inside()) detail::refuse("a task is submitted while its bag runs (" + detail::place_of(where) + ")");
  if (what->count() > detail::tasks_max - tasks_)
    detail::refuse("more than " + std::to_string(detail::tasks_max) + " tasks are submitted to one bag (" + detail::place_of(where) + ")");
  const std::uint32_t first = tasks_;
  tasks_ += what->count();
  if (tasks_ > first) groups_.push_back({first, std::move(what), where});
  return first;
}

P2PDVM_DECL const bag::group& bag::group_of(std::uint32_t task) const {
  const auto behind = std::upper_bound(groups_.begin(), groups_.end(), task,
                                       [](std::uint32_t t, const group& g) { return t < g.first; });
  return *std::prev(behind);
}

P2PDVM_DECL detail::plan bag::make_plan(const std::source_location& where) {
  detail::plan p;
  p.tasks = tasks_;
  p.file = rank_.file_number(where.file_name());
  p.line = where.line();
  p.digest = 0xcbf29ce484222325ull;  // FNV-1a over words
  const auto mix = [&p](std::uint64_t word) { p.digest = (p.digest ^ word) * 0x100000001b3ull; };
  std::vector<std::uint32_t> needed;
  for (const group& g : groups_) {
    mix(g.what->count());
    mix(std::uint64_t{rank_.file_number(g.where.file_name())} << 32 | g.where.line());
    for (std::uint32_t i = 0; i < g.what->count(); ++i) {
      needed.clear();
      g.what->add_needs(i, *results_, needed);
      for (const std::uint32_t n : needed) p.needs.emplace_back(n, g.first + i);
    }
  }
  std::sort(p.needs.begin(), p.needs.end());
  p.needs.erase(std::unique(p.needs.begin(), p.needs.end()), p.needs.end());
  for (const auto& [n, task] : p.needs) mix(std::uint64_t{n} << 32 | task);
  mix(static_cast<std::uint64_t>(setting_.checked_share * 1e9));
  return p;
}

// --- a run ---

P2PDVM_DECL time_point bag::now() const { return time_point(from_seconds(rank_.now())); }

P2PDVM_DECL void bag::begin(const std::source_location& where) {
  if (scheduler_.inside()) detail::refuse("a bag is run while it runs (" + detail::place_of(where) + ")");
  if (!rank_.restored()) detail::refuse("a bag is run before restore() (" + detail::place_of(where) + ")");
  double far = 0;
  for (int r = 0; r < rank_.size(); ++r) far = std::max(far, rank_.round_trip(r).value_or(0));
  setting_.patience_min = std::max(detail::setting().patience_min, from_seconds(4 * far));
  setting_.peers.clear();
  for (int r = 0; r < rank_.size() && setting_.checked_share > 0; ++r) setting_.peers.push_back(rank_.peer_of(r));
  claimed_before_ = scheduler_.counted().claimed;
  scheduler_.begin(make_plan(where), results_, setting_, now());
}

P2PDVM_DECL task<> bag::run(std::source_location where) {
  begin(where);
  const peal::call_note note{"run of bag", static_cast<std::int64_t>(scheduler_.bag()), 0, true, {}};
  const peal::call_site at(where, &note);
  for (;;) {
    check_trouble(where);
    co_await take_messages(at);
    check_trouble(where);
    if (scheduler_.complete()) break;
    if (scheduler_.has_work()) co_await do_some();
  }
  end(where);
}

P2PDVM_DECL void bag::end(const std::source_location& where) {
  explain(where);
  scheduler_.end();
  results_ = std::make_shared<detail::results>();
  groups_.clear();
  tasks_ = 0;
}

/// Sends what there is to say, which must have left before a snapshot may be taken; waits where there is nothing to do.
P2PDVM_DECL task<> bag::take_messages(peal::call_site at) {
  for (int n = 0; n < detail::turn_messages; ++n) {
    const time_point time = now();
    scheduler_.tick(time);
    send_out();
    if (scheduler_.stopped_by()) co_return;
    duration limit{};
    if (n == 0 && !scheduler_.has_work() && !scheduler_.complete()) {
      const time_point due = scheduler_.due();
      limit = due == time_point_never ? duration(std::chrono::hours(1)) : std::max(due - time, duration(1));
    }
    const std::optional<peal::message> m =
        co_await rank_.safe_wait_for(port_, limit, peal::any_source, detail::message_tag, 0, at);
    if (!m) co_return;
    auto decoded = wire::decode<detail::message>(m->body().view());
    if (!decoded.ok())
      detail::refuse("a message of a bag from rank " + std::to_string(m->source()) + " is damaged");
    scheduler_.receive(m->source(), std::move(*decoded), now());
  }
}

P2PDVM_DECL task<> bag::do_some() {
  busy_ = true;
  const time_point begun = now();
  time_point before = begun;
  for (int n = 0; n < detail::turn_tasks; ++n) {
    const std::optional<std::uint32_t> task = scheduler_.next();
    if (!task) break;
    const group& g = group_of(*task);
    payload result;
    if (g.what->suspends()) {
      result = co_await g.what->run_awaited(*task - g.first);
    } else {
      result = g.what->run(*task - g.first);
    }
    if (result.size() > detail::result_bytes_max)
      detail::refuse(task_text(*task) + " gives " + std::to_string(result.size()) + " bytes, and " +
                     std::to_string(detail::result_bytes_max) + " are allowed");
    const time_point after = now();
    const bool needed = scheduler_.is_needed(*task);
    scheduler_.finished(*task, std::move(result), after - before, after);
    before = after;
    if (after - begun >= detail::turn_time || (needed && rank_.size() > 1)) break;
  }
  busy_ = false;
  send_out();
  // Others on this thread, and the network, have their turn.
  if (!scheduler_.complete()) co_await rank_.sleep(duration::zero());
}

P2PDVM_DECL void bag::send_out() {
  for (const detail::scheduler::outgoing& o : scheduler_.take_outgoing()) {
    const payload whole(wire::encode(o.what));
    for (int r = 0; r < rank_.size(); ++r) {
      if (o.to ? r == *o.to : r != rank_.id()) port_.post_send(r, detail::message_tag, whole);
    }
  }
}

// --- what is said ---

P2PDVM_DECL std::string bag::task_text(std::uint32_t task) const {
  return "task " + std::to_string(task) + " of bag " + std::to_string(scheduler_.bag()) + " (submitted at " +
         detail::place_of(group_of(task).where) + ")";
}

P2PDVM_DECL void bag::check_trouble(const std::source_location& where) {
  if (!scheduler_.stopped_by()) return;
  using kind = detail::trouble::kind;
  const detail::trouble& t = *scheduler_.stopped_by();
  const std::string here = "rank " + std::to_string(rank_.id()) + " runs bag " + std::to_string(scheduler_.bag()) + " of " +
                           std::to_string(tasks_) + " tasks (" + detail::place_of(where) + "), but rank " + std::to_string(t.rank);
  const auto both = [&] {
    return task_text(t.task) + " gave different bytes on rank " + std::to_string(t.rank) + " and rank " + std::to_string(t.other);
  };
  switch (t.what) {
    case kind::other_tasks: {
      const std::string place = rank_.place_text(t.rank, t.theirs.file, t.theirs.line);
      if (t.theirs.tasks != tasks_)
        detail::refuse(here + " runs it with " + std::to_string(t.theirs.tasks) + " (" + place + ")");
      detail::refuse(here + " runs it with others (" + place + "): tasks, what they wait for and the share to check must be the same on all ranks");
    }
    case kind::left: detail::refuse(here + " has left after " + std::to_string(t.theirs.bag) + " bags");
    case kind::differing:
      detail::refuse(both() + ": a result must follow from the task's arguments alone; check(1) finds out which rank is wrong");
    case kind::undecided: detail::refuse(both() + ", and there is no rank left to decide");
    case kind::other_restart:
      detail::refuse("after a restart the program submits other tasks than before (bag " + std::to_string(scheduler_.bag()) + ", " +
                     detail::place_of(where) + "): what it submits must follow from its state");
    case kind::damaged: detail::refuse("a message of a bag from rank " + std::to_string(t.rank) + " is damaged");
  }
}

P2PDVM_DECL void bag::explain(const std::source_location& where) {
  const auto& wrong = scheduler_.disagreements();
  for (; disagreements_before_ < wrong.size(); ++disagreements_before_) {
    const detail::disagreement& d = wrong[disagreements_before_];
    if (d.bag == scheduler_.bag())
      rank_.explain(task_text(d.task) + " gave other bytes on rank " + std::to_string(d.rank) + " than on two other ranks");
  }
  const std::uint64_t claimed = scheduler_.counted().claimed - claimed_before_;
  if (claimed == 0) return;
  rank_.explain("bag " + std::to_string(scheduler_.bag()) + " (" + detail::place_of(where) + "): rank " + std::to_string(rank_.id()) +
                " did " + std::to_string(claimed) + " tasks that another one has had for long");
}

// --- peal::adapter ---

P2PDVM_DECL std::optional<std::string> bag::cannot_cut() const {
  if (busy_) return "rank " + std::to_string(rank_.id()) + " is doing a task";
  if (!scheduler_.inside() && tasks_ > 0)
    return "rank " + std::to_string(rank_.id()) + " has submitted tasks that have not run (" + detail::place_of(groups_.back().where) + ")";
  return std::nullopt;
}

P2PDVM_DECL void bag::load(byte_view saved) {
  if (!scheduler_.load(saved))
    throw std::system_error(make_error_code(errc::corrupted), "the snapshot's bag of tasks cannot be read");
  disagreements_before_ = scheduler_.disagreements().size();
}

}  // namespace p2pdvm::pool

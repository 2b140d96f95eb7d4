#pragma once

#include <p2pdvm/runtime/job.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

P2PDVM_DECL bool job::may_call_roll() const {
  return record().state == checkpoint::job_state::running && !ended_ && !no_majority_ && is_member();
}

P2PDVM_DECL std::vector<rank_glance> job::glance() {
  constexpr std::size_t waits_max = 4;  // of one rank
  std::vector<rank_glance> all;
  all.reserve(runners_.size() + wanted_.size());
  for (const auto& [number, runner] : runners_) {
    rank_glance g;
    g.rank = number;
    g.waits = runner->rank().waits(waits_max);
    g.begun = runner->rank().waits_begun();
    g.returned = runner->rank().finished();
    g.epoch = runner->endpoint().epoch();
    all.push_back(std::move(g));
  }
  for (const rank_number number : wanted_) {
    rank_glance g;
    g.rank = number;
    g.starts = true;
    g.epoch = record().committed.epoch;
    all.push_back(std::move(g));
  }
  return all;
}

P2PDVM_DECL std::vector<backlog> job::backlogs() {
  std::vector<backlog> all;
  for (const auto& [number, runner] : runners_) {
    const std::uint64_t messages = runner->endpoint().unread();
    if (messages > 0) all.push_back({number, runner->endpoint().unread_bytes(), messages});
  }
  return all;
}

// --- who waits for whom to read ---

P2PDVM_DECL std::string text_of(const messaging::stall& s) {
  return "rank " + std::to_string(s.source.value()) + " waits for rank " + std::to_string(s.destination.value()) +
         ", which has " + bytes_text(s.unread) + " unread; " + bytes_text(s.waiting) + " wait here";
}

P2PDVM_DECL std::vector<messaging::stall> job::stalls() const {
  std::vector<messaging::stall> all;
  for (const auto& [number, runner] : runners_) {
    if (all.size() >= stalls_max) break;
    const auto some = runner->endpoint().stalls(stalls_max - all.size());
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

/// Told once, when it is seen a second time.
P2PDVM_DECL void job::note_stalls() {
  std::map<std::pair<rank_number, rank_number>, int> seen;
  for (const messaging::stall& s : stalls()) {
    const auto pair = std::pair(s.source, s.destination);
    const auto before = stalled_.find(pair);
    const int times = 1 + (before == stalled_.end() ? 0 : std::min(before->second, 2));
    if (!seen.emplace(pair, times).second || times != 2) continue;
    event e;
    e.rank = s.source;
    e.count = s.unread + s.waiting;
    e.text = text_of(s);
    tell(event_kind::stalled, std::move(e));
  }
  stalled_ = std::move(seen);
}

// --- who waits where ---

P2PDVM_DECL void job::hung(const roll& all) {
  event e;
  e.count = all.stuck().count();
  e.seconds = all.seconds();
  e.text = all.text(record().ranks);
  tell(event_kind::hung, std::move(e));
}

P2PDVM_DECL void job::went_on(std::uint32_t seconds) {
  event e;
  e.seconds = seconds;
  tell(event_kind::went_on, std::move(e));
}

P2PDVM_DECL void job::on(const node_id& from, roll_request& request) { roll_call_.on(from, request); }

P2PDVM_DECL void job::on(const node_id& from, roll_answer& answer) { roll_call_.on(from, answer); }

P2PDVM_DECL void job::on(const node_id& from, roll_report& report) { roll_call_.on_report(from, report); }

// --- which file ---

P2PDVM_DECL std::optional<std::string> job::file_name(rank_number of, std::uint16_t number) {
  const auto found = runners_.find(of);
  return found == runners_.end() ? std::nullopt : found->second->rank().file_name(number);
}

/// Both sides of the mistake are named by file and line: what is not known here, the other side's peer knows.
P2PDVM_DECL void job::fail_of(rank_runner& r, std::string sentence) {
  const auto& place = r.rank().unnamed();
  const checkpoint::member* const host = place ? record().host(place->rank) : nullptr;
  if (failure_ || host == nullptr || host->node == self() || sentence.find(place->text()) == std::string::npos)
    return fail(std::move(sentence));
  failure_ = unnamed_failure{std::move(sentence), *place, host->node};
  owner_.send(host->node, file_request{place->rank, place->file});
  failure_timer_.after(file_patience, [this] { fail_named(""); });
}

P2PDVM_DECL void job::fail_named(const std::string& name) {
  failure_timer_.cancel();
  unnamed_failure f = std::move(*std::exchange(failure_, std::nullopt));
  const std::string number = f.place.text();
  const std::string line = std::to_string(f.place.line);
  const std::string text = name.empty() ? "line " + line : name + ":" + line;
  for (auto at = f.sentence.find(number); at != std::string::npos; at = f.sentence.find(number, at + text.size()))
    f.sentence.replace(at, number.size(), text);
  fail(std::move(f.sentence));
}

P2PDVM_DECL void job::on(const node_id& from, file_request& request) {
  const auto name = file_name(request.rank, request.file);
  owner_.send(from, file_answer{request.rank, request.file, name.value_or("").substr(0, file_answer::name_max)});
}

/// The number is a digest of the name, which so proves itself.
P2PDVM_DECL void job::on(const node_id& from, file_answer& answer) {
  if (!failure_ || failure_->asked != from || failure_->place.file != answer.file) return;
  const bool good = answer.name.size() <= file_answer::name_max &&
                    peal::file_number_of(answer.name) == answer.file &&
                    std::all_of(answer.name.begin(), answer.name.end(), [](char c) { return c > ' ' && c < '\x7f'; });
  fail_named(good ? answer.name : "");
}

}  // namespace p2pdvm::runtime

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

}  // namespace p2pdvm::runtime

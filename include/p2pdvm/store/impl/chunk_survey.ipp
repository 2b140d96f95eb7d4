#pragma once

#include <p2pdvm/store/chunk_survey.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace p2pdvm::store {

P2PDVM_DECL std::uint64_t short_name(const chunk_id& id) noexcept {
  std::uint64_t name = 0;
  std::memcpy(&name, id.bytes().data() + 1, sizeof name);
  return name;
}

P2PDVM_DECL chunk_survey::chunk_survey(plan what, emit_function emit, learn_function learn)
    : plan_(std::move(what)),
      places_(plan_.snapshot.job, plan_.rank, plan_.members, plan_.replicas),
      emit_(std::move(emit)),
      learn_(std::move(learn)),
      standings_(plan_.chunks.size()) {
  for (holder_index h = 0; h < plan_.members.size(); ++h) by_node_[plan_.members[h].id] = h;
}

P2PDVM_DECL void chunk_survey::start(time_point now) {
  std::map<holder_index, std::vector<chunk_index>> whom;
  for (chunk_index c = 0; c < plan_.chunks.size(); ++c) {
    for (const holder_index h : places_.targets(plan_.chunks[c].stripe)) whom[h].push_back(c);
  }
  ask(now, std::move(whom));
}

P2PDVM_DECL void chunk_survey::ask(time_point now, std::map<holder_index, std::vector<chunk_index>> whom) {
  deadline_ = now + survey_answer_time;
  for (const auto& [h, chunks] : whom) {
    if (lost_.contains(h) || silent_.contains(h)) continue;
    for (std::size_t at = 0; at < chunks.size(); at += names_per_compare_max) {
      const std::size_t count = std::min(names_per_compare_max, chunks.size() - at);
      const auto first = chunks.begin() + static_cast<std::ptrdiff_t>(at);
      std::vector<chunk_index> part(first, first + static_cast<std::ptrdiff_t>(count));
      compare_chunks question{plan_.snapshot, plan_.rank, plan_.manifest, next_sequence_, {}};
      for (const chunk_index c : part) question.names.push_back(short_name(plan_.chunks[c].id));
      asked_.emplace(std::pair(h, next_sequence_++), std::move(part));
      emit_(plan_.members[h].id, std::move(question));
    }
  }
  if (asked_.empty()) round_ended(now);
}

P2PDVM_DECL void chunk_survey::on_message(time_point now, const node_id& from, const store_message& message) {
  const auto* const bits = std::get_if<chunk_bitmap>(&message);
  const auto who = by_node_.find(from);
  if (finished_ || bits == nullptr || who == by_node_.end()) return;
  if (bits->snapshot != plan_.snapshot || bits->rank != plan_.rank || bits->manifest != plan_.manifest) return;
  const auto found = asked_.find({who->second, bits->sequence});
  if (found == asked_.end()) return;
  const std::vector<chunk_index> chunks = std::move(found->second);
  asked_.erase(found);
  const bool says = bits->have.size() == (chunks.size() + 7) / 8;  // nothing: it cannot tell
  if (!says) silent_.insert(who->second);
  for (std::size_t i = 0; says && i < chunks.size(); ++i) {
    const bool has = (bits->have[i / 8] >> (i % 8) & std::byte{1}) != std::byte{0};
    standing& s = standings_[chunks[i]];
    (has ? s.has : s.lacks).insert(who->second);
    if (learn_) learn_(from, plan_.chunks[chunks[i]].id, has);
  }
  if (asked_.empty()) round_ended(now);
}

P2PDVM_DECL void chunk_survey::on_member_lost(time_point now, const node_id& lost) {
  const auto who = by_node_.find(lost);
  if (finished_ || who == by_node_.end()) return;
  lost_.insert(who->second);
  for (standing& s : standings_) {
    s.has.erase(who->second);
    s.lacks.erase(who->second);
  }
  std::erase_if(asked_, [&](const auto& a) { return a.first.first == who->second; });
  if (asked_.empty()) round_ended(now);
}

P2PDVM_DECL void chunk_survey::on_timer(time_point now) {
  if (finished_ || now < deadline_) return;
  for (const auto& [question, chunks] : asked_) silent_.insert(question.first);
  asked_.clear();
  round_ended(now);
}

P2PDVM_DECL void chunk_survey::round_ended(time_point now) {
  if (!std::exchange(second_round_, true)) {
    std::map<holder_index, std::vector<chunk_index>> others;
    for (chunk_index c = 0; c < standings_.size(); ++c) {
      const standing& s = standings_[c];
      if (s.lacks.empty() || !s.has.empty()) continue;
      for (holder_index h = 0; h < plan_.members.size(); ++h) {
        if (!s.lacks.contains(h) && !lost_.contains(h) && !silent_.contains(h)) others[h].push_back(c);
      }
    }
    if (!others.empty()) return ask(now, std::move(others));
  }
  order_copies();
  finished_ = true;
}

P2PDVM_DECL void chunk_survey::order_copies() {
  std::map<std::pair<holder_index, holder_index>, std::vector<chunk_id>> orders;  // from, to
  for (chunk_index c = 0; c < standings_.size(); ++c) {
    const standing& s = standings_[c];
    if (s.has.empty()) {
      // Who said nothing may have it.
      if (!s.lacks.empty() && silent_.empty()) ++found_.nowhere;
      continue;
    }
    const auto order = places_.holders(plan_.chunks[c].stripe);
    const auto best = std::find_if(order.begin(), order.end(), [&](holder_index h) { return s.has.contains(h); });
    const holder_index giver = best == order.end() ? *s.has.begin() : *best;
    for (const holder_index to : places_.targets(plan_.chunks[c].stripe)) {
      if (!s.lacks.contains(to)) continue;
      orders[{giver, to}].push_back(plan_.chunks[c].id);
    }
  }
  for (const standing& s : standings_) found_.lacking += s.lacks.size();
  for (auto& [pair, ids] : orders) {
    for (std::size_t at = 0; at < ids.size(); at += ids_per_get_max) {
      const std::size_t count = std::min(ids_per_get_max, ids.size() - at);
      const auto first = ids.begin() + static_cast<std::ptrdiff_t>(at);
      pass_chunks order{plan_.snapshot, plan_.rank, plan_.members[pair.second].id,
                        std::vector<chunk_id>(first, first + static_cast<std::ptrdiff_t>(count))};
      found_.passed += count;
      emit_(plan_.members[pair.first].id, std::move(order));
    }
  }
}

}  // namespace p2pdvm::store

#pragma once

#include <p2pdvm/overlay/nearest.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::overlay {

P2PDVM_DECL nearest_query::nearest_query(std::span<const coordinate> candidates,
                                         std::span<const coordinate> targets,
                                         const nearest_options& options)
    : options_(options), targets_(std::min(targets.size(), nearest_targets_max)) {
  P2PDVM_ASSERT(!targets.empty());
  std::vector<std::pair<double, std::uint32_t>> order;
  for (std::uint32_t c = 0; c < candidates.size(); ++c) {
    double sum = 0;
    for (std::size_t t = 0; t < targets_; ++t) sum += distance(candidates[c], targets[t]);
    order.emplace_back(sum, c);
  }
  const std::size_t count = std::min({order.size(), options.shortlist, nearest_shortlist_max});
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end());
  for (std::size_t i = 0; i < count; ++i) {
    shortlist_.push_back({order[i].second, 0, 0, false});
    for (std::uint32_t t = 0; t < targets_; ++t) queue_.push_back({{order[i].second, t}, 1});
  }
  std::reverse(queue_.begin(), queue_.end());
}

P2PDVM_DECL std::optional<nearest_query::probe> nearest_query::next() {
  if (queue_.empty()) return std::nullopt;
  outstanding_.push_back(queue_.back());
  queue_.pop_back();
  return outstanding_.back().what;
}

P2PDVM_DECL void nearest_query::measured(const probe& which, std::optional<duration> round_trip) {
  const auto it = std::find_if(outstanding_.begin(), outstanding_.end(),
                                  [&](const attempt& a) { return a.what == which; });
  if (it == outstanding_.end()) return;
  attempt made = *it;
  outstanding_.erase(it);
  entry& e = entry_of(which.candidate);
  if (e.lost) return;
  const double seconds = round_trip ? to_seconds(*round_trip) : 0;
  if (seconds > 0 && seconds <= coordinate_seconds_max) {
    e.seconds += seconds;
    ++e.measured;
  } else if (made.number < options_.attempts) {
    ++made.number;
    queue_.push_back(made);
  } else {
    give_up(e);
  }
}

P2PDVM_DECL nearest_query::entry& nearest_query::entry_of(std::uint32_t candidate) {
  const auto it = std::find_if(shortlist_.begin(), shortlist_.end(),
                                  [&](const entry& e) { return e.candidate == candidate; });
  P2PDVM_ASSERT(it != shortlist_.end());
  return *it;
}

P2PDVM_DECL void nearest_query::give_up(entry& e) {
  e.lost = true;
  std::erase_if(queue_, [&](const attempt& a) { return a.what.candidate == e.candidate; });
}

P2PDVM_DECL std::vector<nearest_query::found> nearest_query::best() const {
  std::vector<std::pair<double, std::uint32_t>> order;
  for (const entry& e : shortlist_) {
    if (!e.lost && e.measured == targets_)
      order.emplace_back(e.seconds / static_cast<double>(targets_), e.candidate);
  }
  std::sort(order.begin(), order.end());
  if (order.size() > options_.wanted) order.resize(options_.wanted);
  std::vector<found> nearest;
  for (const auto& [seconds, candidate] : order)
    nearest.push_back({candidate, from_seconds(seconds)});
  return nearest;
}

}  // namespace p2pdvm::overlay

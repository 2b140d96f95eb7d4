#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/store/fetcher.hpp>

#include <algorithm>
#include <string>
#include <utility>

namespace p2pdvm::store {

namespace detail {

template <class T>
[[nodiscard]] bool is_listed(const std::vector<T>& list, const T& value) {
  return std::find(list.begin(), list.end(), value) != list.end();
}

}  // namespace detail

P2PDVM_DECL fetcher::fetcher(fetch_plan plan, const chunk_codec& codec, sink_function sink,
                             emit_function emit, mend_function mend)
    : plan_(std::move(plan)),
      codec_(codec),
      sink_(std::move(sink)),
      emit_(std::move(emit)),
      mend_(std::move(mend)),
      wanted_(plan_.chunks.size()),
      sources_(plan_.members.size()),
      batches_(plan_.members.size()),
      open_(plan_.chunks.size()) {
  for (holder_index h = 0; h < plan_.members.size(); ++h) by_node_[plan_.members[h].id] = h;
  for (chunk_index c = 0; c < plan_.chunks.size(); ++c) {
    const bool first = index_.emplace(plan_.chunks[c].id, c).second;
    P2PDVM_ASSERT(first);
    fresh_.at(plan_.chunks[c].stripe).push_back(c);
  }
  find_candidates();
}

P2PDVM_DECL void fetcher::find_candidates() {
  const placement places(plan_.job, plan_.rank, plan_.members, plan_.replicas);
  for (unsigned s = 0; s < candidates_.size(); ++s) {
    candidates& to = candidates_.at(s);
    std::vector<bool> listed(plan_.members.size());
    const auto add = [&](holder_index h) {
      if (!listed[h]) to.order.push_back(h);
      listed[h] = true;
    };
    for (const receipt& r : plan_.receipts) {
      const auto found = by_node_.find(r.holder);
      if ((r.stripes >> s & 1) != 0 && found != by_node_.end()) add(found->second);
    }
    const bool informed = !to.order.empty();
    if (informed) to.preferred = to.order.size();
    for (const std::uint32_t h : places.targets(s)) add(h);
    if (!informed) to.preferred = to.order.size();
    for (const std::uint32_t h : places.holders(s)) add(h);
    for (const auto& [id, h] : by_node_) add(h);
  }
}

P2PDVM_DECL void fetcher::start(time_point now) { pump(now); }

P2PDVM_DECL std::size_t fetcher::cost(chunk_index c) const {
  const std::size_t bytes = plan_.chunks[c].bytes;
  return (bytes == 0 ? limits::chunk_bytes : bytes) + chunk_overhead_bytes;
}

P2PDVM_DECL bool fetcher::untried(const wanted& w, holder_index h) const {
  return !sources_[h].lost && !detail::is_listed(w.tried, h);
}

P2PDVM_DECL bool fetcher::has_room(holder_index h, std::size_t bytes) const {
  const std::size_t used = sources_[h].bytes_in_flight;
  return (used == 0 || used + bytes <= fetch_bytes_in_flight_max) &&
         (bytes_in_flight_ == 0 || bytes_in_flight_ + bytes <= fetch_bytes_in_flight_total_max);
}

/// Of the preferred holders the least busy, answering ones first; then the others in order.
P2PDVM_DECL std::optional<fetcher::holder_index> fetcher::choose(const wanted& w,
                                                                 const candidates& from) const {
  const auto busy = [&](holder_index h) {
    return std::pair(sources_[h].stalls, sources_[h].bytes_in_flight);
  };
  std::optional<holder_index> best;
  for (std::size_t i = 0; i < from.order.size(); ++i) {
    const holder_index h = from.order[i];
    if (i >= from.preferred && best) break;
    if (untried(w, h) && (!best || busy(h) < busy(*best))) best = h;
  }
  return best;
}

P2PDVM_DECL bool fetcher::try_ask(time_point now, chunk_index c) {
  wanted& w = wanted_[c];
  const candidates& from = candidates_.at(plan_.chunks[c].stripe);
  std::optional<holder_index> chosen = choose(w, from);
  if (!chosen && !w.silent.empty() && w.rounds < fetch_rounds_max) {
    ++w.rounds;
    std::erase_if(w.tried, [&](holder_index t) { return detail::is_listed(w.silent, t); });
    w.silent.clear();
    chosen = choose(w, from);
  }
  if (!chosen) {
    w.state = phase::missing;
    ++missing_;
    --open_;
    return true;
  }
  const holder_index h = *chosen;
  if (!has_room(h, cost(c))) return false;
  source& s = sources_[h];
  w.state = phase::asked;
  w.asked_of = h;
  w.tried.push_back(h);
  if (s.asked.empty()) s.last_progress = now;
  s.used = true;
  s.asked.insert(c);
  s.bytes_in_flight += cost(c);
  bytes_in_flight_ += cost(c);
  batches_[h].ids.push_back(plan_.chunks[c].id);
  if (batches_[h].ids.size() == ids_per_fetch_max) flush(h);
  return true;
}

P2PDVM_DECL void fetcher::flush(holder_index h) {
  if (batches_[h].ids.empty()) return;
  emit_(plan_.members[h].id, std::exchange(batches_[h], {}));
}

P2PDVM_DECL void fetcher::pump(time_point now) {
  std::erase_if(again_, [&](chunk_index c) {
    return wanted_[c].state != phase::waiting || try_ask(now, c);
  });
  // One of each stripe in turn, so that all holders get work at once.
  for (bool progress = true; progress;) {
    progress = false;
    for (std::deque<chunk_index>& queue : fresh_) {
      if (queue.empty()) continue;
      if (wanted_[queue.front()].state == phase::waiting && !try_ask(now, queue.front())) continue;
      queue.pop_front();
      progress = true;
    }
  }
  for (holder_index h = 0; h < sources_.size(); ++h) flush(h);
  check_finished();
}

/// The chunk is no longer expected from whom it was asked.
P2PDVM_DECL void fetcher::release(chunk_index c) {
  wanted& w = wanted_[c];
  if (w.state != phase::asked) return;
  source& s = sources_[w.asked_of];
  s.asked.erase(c);
  s.bytes_in_flight -= cost(c);
  bytes_in_flight_ -= cost(c);
  w.state = phase::waiting;
}

P2PDVM_DECL void fetcher::on_message(time_point now, const node_id& from,
                                     const store_message& message) {
  const auto found = by_node_.find(from);
  if (finished_ || found == by_node_.end()) return;
  if (const auto* data = std::get_if<chunk_data>(&message)) {
    on_data(now, found->second, data->chunk);
  } else if (const auto* absent = std::get_if<chunks_absent>(&message)) {
    on_absent(now, found->second, *absent);
  } else {
    return;
  }
  pump(now);
}

P2PDVM_DECL std::size_t fetcher::bytes_max(chunk_index c) const {
  const std::size_t bytes = plan_.chunks[c].bytes;
  return bytes == 0 ? manifest_bytes_max : bytes;
}

P2PDVM_DECL std::optional<std::size_t> fetcher::expects(const node_id& from, const chunk_id& id) const {
  const auto holder = by_node_.find(from);
  const auto found = index_.find(id);
  if (finished_ || holder == by_node_.end() || found == index_.end()) return std::nullopt;
  const wanted& w = wanted_[found->second];
  if (w.state != phase::asked || w.asked_of != holder->second) return std::nullopt;
  return bytes_max(found->second);
}

P2PDVM_DECL void fetcher::on_opened(time_point now, const node_id& from, const chunk_id& id, const result<payload>& plain,
                                    const payload& sealed) {
  const auto holder = by_node_.find(from);
  const auto found = index_.find(id);
  if (finished_ || holder == by_node_.end() || found == index_.end()) return;
  take(now, holder->second, found->second, plain, sealed);
  pump(now);
}

P2PDVM_DECL void fetcher::on_data(time_point now, holder_index from, const sealed_chunk& data) {
  const auto found = index_.find(data.id);
  if (found == index_.end() || wanted_[found->second].state == phase::done) return;
  take(now, from, found->second, codec_.open(data.id, data.sealed.view(), bytes_max(found->second)), data.sealed);
}

/// Takes a sound chunk from anybody, be it late; a bad one counts only from whom it was asked.
P2PDVM_DECL void fetcher::take(time_point now, holder_index from, chunk_index c, const result<payload>& plain, const payload& sealed) {
  wanted& w = wanted_[c];
  if (w.state == phase::done) return;
  const bool asked = w.state == phase::asked && w.asked_of == from;
  if (!plain) {
    ++damaged_;
    if (!asked) return;
    note_lacking(from, c);
    release(c);
    again_.push_back(c);
    return;
  }
  sources_[from].stalls = 0;
  sources_[from].last_progress = now;
  if (w.state == phase::missing) {
    --missing_;
  } else {
    --open_;
  }
  release(c);
  w.state = phase::done;
  for (const holder_index h : w.lacking) {
    if (mend_ && h != from && !sources_[h].lost) mend_(plan_.members[h].id, plan_.chunks[c].id, sealed);
  }
  w.lacking.clear();
  sink_(plan_.chunks[c].id, *plain);
}

/// Only of those to whom the placement, or their receipt, gives the chunk: others were asked on the off chance.
P2PDVM_DECL void fetcher::note_lacking(holder_index h, chunk_index c) {
  const candidates& of = candidates_.at(plan_.chunks[c].stripe);
  const auto behind = of.order.begin() + static_cast<std::ptrdiff_t>(of.preferred);
  std::vector<holder_index>& lacking = wanted_[c].lacking;
  if (std::find(of.order.begin(), behind, h) != behind && !detail::is_listed(lacking, h)) lacking.push_back(h);
}

P2PDVM_DECL bool fetcher::all_denied() const noexcept {
  if (missing_ == 0) return false;
  return std::all_of(wanted_.begin(), wanted_.end(),
                     [](const wanted& w) { return w.state != phase::missing || w.silent.empty(); });
}

P2PDVM_DECL void fetcher::on_absent(time_point now, holder_index from,
                                    const chunks_absent& absent) {
  source& s = sources_[from];
  for (const chunk_id& id : absent.ids) {
    const auto found = index_.find(id);
    if (found == index_.end() || s.asked.count(found->second) == 0) continue;
    s.stalls = 0;
    s.last_progress = now;
    note_lacking(from, found->second);
    release(found->second);
    again_.push_back(found->second);
  }
}

P2PDVM_DECL void fetcher::requeue_all(holder_index h, bool silent) {
  const std::set<chunk_index> asked = sources_[h].asked;
  for (const chunk_index c : asked) {
    if (silent) wanted_[c].silent.push_back(h);
    release(c);
    again_.push_back(c);
  }
}

P2PDVM_DECL void fetcher::on_member_lost(time_point now, const node_id& lost) {
  const auto found = by_node_.find(lost);
  if (finished_ || found == by_node_.end()) return;
  sources_[found->second].lost = true;
  requeue_all(found->second, false);
  pump(now);
}

P2PDVM_DECL time_point fetcher::due(const source& s) {
  return s.last_progress + fetch_stall_time * (1 << std::min(s.stalls, 3u));
}

P2PDVM_DECL time_point fetcher::next_timer() const {
  time_point next = time_point_never;
  if (finished_) return next;
  for (const source& s : sources_) {
    if (!s.asked.empty()) next = std::min(next, due(s));
  }
  return next;
}

P2PDVM_DECL void fetcher::on_timer(time_point now) {
  if (finished_) return;
  for (holder_index h = 0; h < sources_.size(); ++h) {
    source& s = sources_[h];
    if (s.asked.empty() || now < due(s)) continue;
    ++s.stalls;
    requeue_all(h, true);
  }
  pump(now);
}

P2PDVM_DECL void fetcher::check_finished() {
  if (open_ != 0) return;
  if (missing_ == 0) {
    finished_ = result<>();
    return;
  }
  const auto asked = std::count_if(sources_.begin(), sources_.end(),
                                   [](const source& s) { return s.used; });
  finished_ = result<>(error(
      errc::lost, std::to_string(missing_) + " of " + std::to_string(wanted_.size()) +
                      " chunks of rank " + std::to_string(plan_.rank.value()) +
                      " are missing after asking " + std::to_string(asked) +
                      " holders; a peer that holds them has to come back"));
}

}  // namespace p2pdvm::store

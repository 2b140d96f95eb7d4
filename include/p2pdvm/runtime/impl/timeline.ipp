#pragma once

#include <p2pdvm/runtime/timeline.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>

namespace p2pdvm::runtime {

P2PDVM_DECL void timeline::keep(span s) {
  cut_short_ |= done_.size() >= timeline_entries_max;
  if (!cut_short_) done_.push_back(std::move(s));
}

P2PDVM_DECL void timeline::open(row where, std::string name, time_point at) {
  last_ = std::max(last_, at);
  open_[where].push_back({where, std::move(name), at, at});
}

P2PDVM_DECL void timeline::close(row where, std::string_view name, time_point at) {
  last_ = std::max(last_, at);
  auto& spans = open_[where];
  if (spans.empty() || !spans.back().name.starts_with(name)) return;
  spans.back().end = at;
  keep(std::move(spans.back()));
  spans.pop_back();
}

P2PDVM_DECL void timeline::close_all(row where, time_point at) {
  while (!open_[where].empty()) close(where, "", at);
}

P2PDVM_DECL void timeline::close_ranks(std::size_t peer, time_point at) {
  for (auto& [where, spans] : open_)
    if (where.peer == peer && where.number >= first_rank_row) close_all(where, at);
}

P2PDVM_DECL void timeline::mark(row where, std::string name, time_point at) {
  last_ = std::max(last_, at);
  keep({where, std::move(name), at, at, true});
}

/// Also for a peer that is told of the job's state when it joins.
P2PDVM_DECL void timeline::begin_incarnation(std::size_t peer, const event& e) {
  const row life{peer, peer_row};
  close(life, "recovering", e.at);
  close(life, "incarnation", e.at);
  close_all({peer, checkpoint_row}, e.at);
  close_ranks(peer, e.at);
  open(life, fmt::format("incarnation {}", e.incarnation.value()), e.at);
  if (e.kind == event_kind::recovering)
    open(life, fmt::format("recovering to epoch {}", e.epoch.value()), e.at);
}

P2PDVM_DECL void timeline::on_event(std::size_t peer, const event& e) {
  const row life{peer, peer_row}, checkpoints{peer, checkpoint_row};
  const row rank{peer, first_rank_row + (e.rank ? e.rank->value() : 0)};
  const auto epoch = [&e] { return fmt::format("epoch {}", e.epoch.value()); };
  switch (e.kind) {
    case event_kind::listening:
      if (open_[life].empty()) open(life, "up", e.at);
      break;
    case event_kind::started:
    case event_kind::recovering:
      if (open_[life].empty()) open(life, "up", e.at);  // a peer without a network
      begin_incarnation(peer, e);
      break;
    case event_kind::recovered: close(life, "recovering", e.at); break;
    case event_kind::wished:
      close_all(checkpoints, e.at);
      open(checkpoints, epoch(), e.at);
      break;
    case event_kind::committed:
      close(checkpoints, epoch(), e.at);
      mark(checkpoints, "committed " + epoch(), e.at);
      break;
    case event_kind::abandoned: close(checkpoints, epoch(), e.at); break;
    case event_kind::rank_started:
      close_all(rank, e.at);
      open(rank, fmt::format("rank {} from epoch {}", e.rank->value(), e.epoch.value()), e.at);
      break;
    case event_kind::cut:
      close(rank, "epoch", e.at);
      open(rank, epoch(), e.at);
      break;
    case event_kind::sealed: close(rank, epoch(), e.at); break;
    case event_kind::rank_returned: close_all(rank, e.at); break;
    case event_kind::moved: close_all(rank, e.at); break;
    case event_kind::drained:
    case event_kind::fetched: mark(rank, std::string(name_of(e.kind)), e.at); break;
    case event_kind::progress:
    case event_kind::ticket: break;
    default:
      mark(life, std::string(name_of(e.kind)) + (e.node ? " " + e.node->brief() : ""), e.at);
  }
}

P2PDVM_DECL void timeline::on_down(std::size_t peer, time_point at) {
  for (auto& [where, spans] : open_)
    if (where.peer == peer && where.number != fault_row) close_all(where, at);
}

P2PDVM_DECL void timeline::on_fault(std::size_t peer, time_point at, const std::string& name,
                                    bool lasts) {
  const row where{peer, fault_row};
  if (lasts) {
    open(where, name, at);
  } else {
    mark(where, name, at);
  }
}

/// Faults may overlap: this one is not always the innermost.
P2PDVM_DECL void timeline::on_fault_over(std::size_t peer, time_point at, const std::string& name) {
  auto& spans = open_[{peer, fault_row}];
  const auto found = std::find_if(spans.begin(), spans.end(),
                                  [&name](const span& s) { return s.name == name; });
  if (found == spans.end()) return;
  std::rotate(found, found + 1, spans.end());
  close({peer, fault_row}, name, at);
}

P2PDVM_DECL std::string timeline::json() const {
  const auto microseconds = [](time_point t) { return to_seconds(t.time_since_epoch()) * 1e6; };
  std::map<row, std::string> rows;
  std::string out = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  const auto add = [&out](const nlohmann::ordered_json& j) {
    out += j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + ",\n";
  };
  const auto add_span = [&](const span& s, time_point end) {
    nlohmann::ordered_json j;
    j["name"] = s.name;
    j["ph"] = s.mark ? "i" : "X";
    j["ts"] = microseconds(s.begin);
    if (s.mark) {
      j["s"] = "t";
    } else {
      j["dur"] = microseconds(end) - microseconds(s.begin);
    }
    j["pid"] = s.where.peer;
    j["tid"] = s.where.number;
    add(j);
    const std::uint32_t n = s.where.number;
    rows[s.where] = n == peer_row         ? "peer"
                    : n == checkpoint_row ? "checkpoints"
                    : n == fault_row      ? "faults"
                                          : fmt::format("rank {}", n - first_rank_row);
  };
  for (const span& s : done_) add_span(s, s.end);
  for (const auto& [where, spans] : open_)
    for (const span& s : spans) add_span(s, last_);
  for (const auto& [where, name] : rows) {
    add({{"name", "thread_name"}, {"ph", "M"}, {"pid", where.peer}, {"tid", where.number},
         {"args", {{"name", name}}}});
    add({{"name", "process_name"}, {"ph", "M"}, {"pid", where.peer},
         {"args", {{"name", fmt::format("peer {}", where.peer)}}}});
  }
  if (cut_short_)
    add({{"name", "the timeline is too long: the rest is left out"}, {"ph", "i"}, {"s", "g"},
         {"ts", microseconds(done_.back().end)}, {"pid", 0}, {"tid", peer_row}});
  out.erase(out.find_last_not_of(",\n") + 1);
  return out + "\n]}\n";
}

P2PDVM_DECL result<> timeline::write(const std::string& path) const {
  const std::string text = json();
  std::FILE* out = std::fopen(path.c_str(), "w");
  if (out == nullptr) return error(errc::io, "cannot write the timeline " + path);
  const bool whole = std::fwrite(text.data(), 1, text.size(), out) == text.size();
  if (std::fclose(out) != 0 || !whole) return error(errc::io, "cannot write the timeline " + path);
  return {};
}

}  // namespace p2pdvm::runtime

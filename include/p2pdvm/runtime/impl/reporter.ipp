#pragma once

#include <p2pdvm/runtime/reporter.hpp>

#include <fmt/core.h>
#include <nlohmann/json.hpp>

#include <unistd.h>

#include <algorithm>

namespace p2pdvm::runtime {

namespace detail {

/// "12 ms", "1.5 s".
inline std::string human_time(double seconds) {
  return seconds < 1 ? fmt::format("{:.0f} ms", seconds * 1e3) : fmt::format("{:.1f} s", seconds);
}

/// What differs in its text alone is something else.
inline bool tells_text(event_kind kind) {
  return kind == event_kind::warning || kind == event_kind::explained || kind == event_kind::hung;
}

}  // namespace detail

P2PDVM_DECL std::string to_json(const event& e, int peer) {
  nlohmann::ordered_json j;
  j["event"] = name_of(e.kind);
  j["time"] = to_seconds(e.at.time_since_epoch());
  j["peer"] = peer;
  if (e.incarnation != incarnation_number()) j["incarnation"] = e.incarnation.value();
  if (e.epoch != epoch_number()) j["epoch"] = e.epoch.value();
  if (e.rank) j["rank"] = e.rank->value();
  if (e.node) j["node"] = e.node->hex();
  if (e.count != 0) j["count"] = e.count;
  if (e.seconds != 0) j["seconds"] = e.seconds;
  if (e.achieved != 0) j["achieved"] = e.achieved;
  if (e.predicted != 0) j["predicted"] = e.predicted;
  if (!e.text.empty()) j[e.kind == event_kind::done ? "digest" : "text"] = e.text;
  return j.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

P2PDVM_DECL reporter::reporter(options how)
    : options_(std::move(how)), terminal_(::isatty(STDOUT_FILENO) == 1) {
  if (options_.trace.empty()) return;
  trace_ = std::fopen(options_.trace.c_str(), "a");
  if (trace_ == nullptr) throw std::system_error(errno, std::generic_category(), options_.trace);
}

P2PDVM_DECL reporter::~reporter() {
  clear_line();
  if (trace_ != nullptr) std::fclose(trace_);
}

P2PDVM_DECL std::string reporter::name(const std::optional<node_id>& node) const {
  if (!node) return "a peer";
  const auto found = numbers_.find(*node);
  if (found != numbers_.end() && options_.number_peers) return "peer " + std::to_string(found->second);
  return "peer " + node->brief();
}

P2PDVM_DECL void reporter::clear_line() {
  if (std::exchange(line_shown_, false)) std::fputs("\r\033[K", stdout);
}

P2PDVM_DECL void reporter::say(const std::string& sentence) {
  if (options_.quiet || options_.json) return;
  clear_line();
  fmt::print("{}\n", sentence);
  std::fflush(stdout);
}

P2PDVM_DECL void reporter::on_event(const event& e, int peer) {
  if (trace_ != nullptr) {
    fmt::print(trace_, "{}\n", to_json(e, peer));
    std::fflush(trace_);
  }
  if (e.kind == event_kind::listening && e.node) numbers_[*e.node] = peer;
  if (e.kind == event_kind::committed) committed_ = std::max(committed_, e.epoch);
  if (e.kind == event_kind::ticket) ticket_ = e.text;
  if (e.kind == event_kind::failed && failure_.empty()) failure_ = e.text;
  if (e.kind == event_kind::done) {
    if (digest_.empty()) digest_ = e.text;
    differ_ |= digest_ != e.text;
  }
  if (options_.json) {
    const bool matters = e.kind == event_kind::done || e.kind == event_kind::failed;
    if (!options_.quiet || matters) fmt::print("{}\n", to_json(e, peer));
    std::fflush(stdout);
    return;
  }
  // What comes and goes is told each time, and each warning.
  if (e.kind == event_kind::no_majority) forget(event_kind::majority_again);
  if (e.kind == event_kind::majority_again) forget(event_kind::no_majority);
  if (e.kind == event_kind::hung) forget(event_kind::went_on);
  const auto key = std::make_tuple(e.kind, e.incarnation, e.epoch,
                                   e.rank ? std::int64_t{e.rank->value()} : e.kind == event_kind::waiting_peers ? static_cast<std::int64_t>(e.count) : -1,
                                   e.kind == event_kind::relayed ? node_id() : e.node.value_or(node_id()),
                                   detail::tells_text(e.kind) ? e.text : std::string());
  auto text = sentence(e, peer);
  if (!text || !told_.insert(key).second) return;
  say(*text);
}

P2PDVM_DECL void reporter::forget(event_kind kind) {
  std::erase_if(told_, [kind](const auto& key) { return std::get<0>(key) == kind; });
}

P2PDVM_DECL std::optional<std::string> reporter::sentence(const event& e, int peer) {
  switch (e.kind) {
    case event_kind::ticket:
      if (options_.number_peers) return std::nullopt;  // these peers have it already
      return fmt::format("ticket: {}", e.text);
    case event_kind::waiting_peers: return fmt::format("waiting for peers: {} of {}", e.count, e.text);
    case event_kind::started: return fmt::format("the job of {} rank{} has started", e.count, e.count == 1 ? "" : "s");
    case event_kind::committed: {
      const double at = to_seconds(e.at.time_since_epoch());
      // In an undisturbed run one line in five seconds is enough.
      if (last_committed_at_ >= 0 && at - last_committed_at_ < 5) return std::nullopt;
      last_committed_at_ = at;
      if (e.count == 0) return fmt::format("checkpoint {} committed", e.epoch.value());
      return fmt::format("checkpoint {} committed {} after it was taken, {} cop{} of each piece",
                         e.epoch.value(), detail::human_time(e.seconds), e.count, e.count == 1 ? "y" : "ies");
    }
    case event_kind::abandoned:
      return fmt::format("checkpoint {} given up: {}", e.epoch.value(), e.text);
    case event_kind::relayed:
      return fmt::format("no address leads to {}: it is reached through another peer, as others may be", name(e.node));
    case event_kind::lost: return fmt::format("{} does not answer any more", name(e.node));
    case event_kind::evicted:
      return fmt::format("{} is lost: its ranks move to the others", name(e.node));
    case event_kind::recovering:
      last_committed_at_ = -1;
      return e.epoch == epoch_number() ? std::string("going back to the beginning: nothing was committed yet")
                                       : fmt::format("going back to checkpoint {}", e.epoch.value());
    case event_kind::rank_started:
      if (e.incarnation.value() < 2) return std::nullopt;
      return fmt::format("  rank {} runs on {} from {}", e.rank->value(),
                         options_.number_peers ? fmt::format("peer {}", peer) : std::string("this peer"),
                         e.epoch == epoch_number() ? std::string("the beginning") : fmt::format("checkpoint {}", e.epoch.value()));
    case event_kind::recovered:
      return fmt::format("recovered: all ranks run again, {} after the decision to go back", detail::human_time(e.seconds));
    case event_kind::moved: return fmt::format("  rank {} moves to {}", e.rank->value(), name(e.node));
    case event_kind::leaving: return std::string("leaving: ranks are handed over at a last checkpoint; Ctrl-C again stops at once");
    case event_kind::left: return fmt::format("{} has left", name(e.node));
    case event_kind::no_majority: return e.text;
    case event_kind::majority_again: return std::string("a majority of keepers answers again");
    case event_kind::hung: return e.text;
    case event_kind::went_on:
      return fmt::format("ranks go on that had been waiting for {}", detail::human_time(e.seconds));
    case event_kind::utilised: {
      // Of what is soon over nobody asks that; a rollback is worth it.
      if (e.seconds < 60 && e.incarnation.value() < 2) return std::nullopt;
      std::string told = fmt::format("{:.1f} % of {} went into work that was kept", 100 * e.achieved, detail::human_time(e.seconds));
      if (e.predicted != 0) told += fmt::format("; from what checkpoints cost and how long peers stay, {:.1f} % were to be expected", 100 * e.predicted);
      return told;
    }
    case event_kind::explained: return options_.explain ? std::optional(e.text) : std::nullopt;
    case event_kind::holds: return e.text;
    case event_kind::damaged: [[fallthrough]];
    case event_kind::warning: return "warning: " + e.text;
    default: return std::nullopt;
  }
}

P2PDVM_DECL void reporter::progress(std::size_t ranks, std::size_t peers, epoch_number committed,
                                    std::uint64_t safe_points, double seconds,
                                    const std::string& held_up) {
  if (!terminal_ || options_.quiet || options_.json) return;
  const double since = seconds - shown_at_;
  if (since < 0.4) return;  // several peers report
  const bool back = safe_points < shown_safe_points_;  // to a checkpoint
  const double rate = back ? 0 : static_cast<double>(safe_points - shown_safe_points_) / since;
  shown_at_ = seconds;
  shown_safe_points_ = safe_points;
  progress(fmt::format("{} ranks on {} peer{} | step {} ({:.1f}/s) | checkpoint {} | {}{}{}", ranks, peers,
                       peers == 1 ? "" : "s", safe_points, rate, committed.value(), detail::human_time(seconds),
                       held_up.empty() ? "" : " | ", held_up));
}

P2PDVM_DECL void reporter::progress(const std::string& text) {
  if (!terminal_ || options_.quiet || options_.json) return;
  fmt::print("\r\033[K{}", text);
  std::fflush(stdout);
  line_shown_ = true;
}

P2PDVM_DECL void reporter::finish() { clear_line(); }

}  // namespace p2pdvm::runtime

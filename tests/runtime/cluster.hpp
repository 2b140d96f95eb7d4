/// Whole jobs in virtual time, and the questions that tests ask about them.
#pragma once

#include "runtime/programs.hpp"
#include "support/test.hpp"

#include <p2pdvm/runtime/scenario_run.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::test {

using runtime::event_kind;
using runtime::simulated_cluster;

[[nodiscard]] inline simulated_cluster::options cluster_of(std::uint32_t peers, std::uint32_t ranks,
                                                           std::uint32_t steps,
                                                           std::uint32_t cells = 64) {
  simulated_cluster::options how;
  how.peers = peers;
  how.job.ranks = ranks;
  how.job.options = {{"steps", std::to_string(steps)}, {"cells", std::to_string(cells)}};
  how.checkpoint_interval = std::chrono::milliseconds(60);
  return how;
}

/// A cluster that remembers its events and whose observer may be several functions.
class observed_cluster {
 public:
  struct seen {
    std::size_t peer;
    runtime::event what;
  };
  observed_cluster(const peal::program& program, simulated_cluster::options how) {
    cluster_ = std::make_unique<simulated_cluster>(
        program, std::move(how), [this](std::size_t peer, const runtime::event& e) {
          events_.push_back({peer, e});
          if (print) fmt::print("{}\n", runtime::trace_line(peer, e));
          if (watch) watch(peer, e);
        });
  }
  simulated_cluster& operator*() { return *cluster_; }
  simulated_cluster* operator->() { return cluster_.get(); }
  [[nodiscard]] const std::vector<seen>& events() const noexcept { return events_; }
  [[nodiscard]] std::size_t count(event_kind kind) const {
    return static_cast<std::size_t>(std::count_if(
        events_.begin(), events_.end(), [kind](const seen& s) { return s.what.kind == kind; }));
  }
  /// How many peers have told of this kind of event for this epoch.
  [[nodiscard]] std::size_t count_of(const runtime::event& e) const {
    return static_cast<std::size_t>(std::count_if(events_.begin(), events_.end(), [&](const seen& s) {
      return s.what.kind == e.kind && s.what.epoch == e.epoch;
    }));
  }
  /// Of peer `peer` alone.
  [[nodiscard]] std::size_t count(event_kind kind, std::size_t peer) const {
    return static_cast<std::size_t>(std::count_if(events_.begin(), events_.end(), [&](const seen& s) {
      return s.what.kind == kind && s.peer == peer;
    }));
  }
  /// Runs until some living peer has told that `kind` of event, counted from now.
  [[nodiscard]] bool run_to(event_kind kind, duration limit = std::chrono::seconds(120),
                            std::size_t times = 1) {
    const std::size_t before = count(kind);
    return cluster_->run_until([&, this] { return count(kind) >= before + times; }, limit);
  }
  /// The newest record that a living peer, other than `except`, has.
  [[nodiscard]] const checkpoint::job_record* record(std::optional<std::size_t> except = {}) {
    return runtime::newest_record(*cluster_, except);
  }
  /// The digest of each living peer that was ever a member, or why it has none. A spare may come
  /// too late.
  [[nodiscard]] std::set<std::string> endings() {
    std::set<std::string> all;
    for (std::size_t i = 0; i < cluster_->size(); ++i) {
      if (crashed.contains(i)) continue;
      const auto& outcome = cluster_->outcome(i);
      if (!outcome) {
        const bool member = std::any_of(events_.begin(), events_.end(), [i](const seen& s) {
          return s.peer == i && s.what.kind == event_kind::started;
        });
        if (member && !left.contains(i)) all.insert(fmt::format("peer {} has no end", i));
      } else if (outcome->ok()) {
        all.insert(runtime::digest_of(**outcome).hex());
      } else if (outcome->error().code() != errc::refused &&
                 outcome->error().code() != errc::unreachable) {
        all.insert("peer " + std::to_string(i) + ": " + outcome->error().message());
      }
    }
    return all;
  }
  void crash(std::size_t peer, sim::crash_mode mode = sim::crash_mode::reset) {
    crashed.insert(peer);
    cluster_->crash(peer, mode);
  }
  void leave(std::size_t peer) {
    left.insert(peer);
    cluster_->leave(peer);
  }
  [[nodiscard]] std::string log() const {
    std::string text;
    for (const seen& s : events_) text += runtime::trace_line(s.peer, s.what) + "\n";
    return text;
  }

  std::function<void(std::size_t, const runtime::event&)> watch;
  bool print = false;
  std::set<std::size_t> crashed;
  std::set<std::size_t> left;

 private:
  std::vector<seen> events_;
  std::unique_ptr<simulated_cluster> cluster_;
};

/// What one undisturbed process computes.
[[nodiscard]] inline std::string undisturbed(const peal::program& program, std::uint32_t ranks,
                                             std::uint32_t steps, std::uint32_t cells = 64) {
  auto how = cluster_of(1, ranks, steps, cells);
  how.checkpoint_interval = duration::zero();
  observed_cluster alone(program, how);
  REQUIRE(alone->run(std::chrono::hours(1)));
  const auto ends = alone.endings();
  REQUIRE(ends.size() == 1);
  return *ends.begin();
}

/// Peers without the crashed and the left ones have all ended with the undisturbed digest.
inline void check_end(observed_cluster& world, const std::string& right) {
  const bool ended = world->run(std::chrono::minutes(20));
  INFO(world.log());
  CHECK(ended);
  CHECK(world.endings() == std::set<std::string>{right});
}

}  // namespace p2pdvm::test

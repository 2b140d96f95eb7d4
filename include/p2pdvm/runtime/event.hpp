/// What a peer tells the outside about itself: one vocabulary for the live line, `--json`,
/// `--trace`, the simulator's statistics and tests.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/time.hpp>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace p2pdvm::runtime {

enum class event_kind : std::uint8_t {
  listening,       ///< node: this peer; text: address
  ticket,          ///< text: the ticket
  joined,          ///< node became a member
  waiting_peers,   ///< count: members so far; text: how many are wanted
  started,         ///< count: ranks; the job runs
  wished,          ///< epoch
  cut,             ///< epoch, rank: captured; seconds: for which that kept it from computing
  drained,         ///< epoch, rank: its chunks are replicated; count: bytes sent
  sealed,          ///< epoch, rank
  committed,       ///< epoch; count: replicas, 0 where unknown; seconds: since the first local cut
  abandoned,       ///< epoch; text: why
  relayed,         ///< node is reached through another peer; text: which
  direct,          ///< node is reached directly again
  suspected,       ///< node
  refuted,         ///< node
  lost,            ///< node: observers agree that it is gone; seconds: since it was last heard
  evicted,         ///< node, incarnation: the record says so
  recovering,      ///< incarnation, epoch: ranks go back to it
  fetched,         ///< rank, epoch: snapshot pulled from holders; count: bytes
  rank_started,    ///< rank, incarnation, epoch
  rank_returned,   ///< rank
  recovered,       ///< incarnation, epoch: every rank runs again; seconds: since the decision
  moved,           ///< rank, node: without rollback
  leaving,         ///< this peer hands its ranks over
  left,            ///< node left politely
  no_majority,     ///< text: too few keepers answer; the job waits
  majority_again,
  damaged,         ///< count: chunks on this peer's disk that cannot be read back; text: which, why
  healed,          ///< count: such chunks that others have sent again
  holds,           ///< epoch: the newest committed one; count: bytes of chunks here; text: a sentence, by a peer without ranks when it goes
  written,         ///< epoch; text: an output's name; count: bytes of its file here, all of that epoch
  progress,        ///< count: safe points of the slowest rank here, text: what holds it up; for the live line only
  stalled,         ///< rank: it sends more than `text` says another reads; count: bytes not read
  hung,            ///< count: ranks that have been waiting for `seconds`; text: sentences, one a line
  went_on,         ///< seconds: so long they had been
  utilised,        ///< the job is done. count: checkpoints; seconds: since it began here; achieved, predicted
  done,            ///< text: the digest, when results were offered
  failed,          ///< text: the sentence
  explained,       ///< rank, text: why it does something as it does, for `--explain`
  warning,         ///< text
};

[[nodiscard]] constexpr std::string_view name_of(event_kind kind) noexcept {
  constexpr std::string_view names[] = {
      "listening", "ticket",     "joined",  "waiting_peers", "started",       "wished",
      "cut",       "drained",    "sealed",  "committed",     "abandoned",     "relayed", "direct", "suspected",
      "refuted",   "lost",       "evicted", "recovering",    "fetched",       "rank_started",
      "rank_returned", "recovered", "moved", "leaving",      "left",          "no_majority",
      "majority_again", "damaged", "healed", "holds", "written", "progress", "stalled", "hung", "went_on", "utilised", "done", "failed", "explained",
      "warning"};
  return names[static_cast<std::size_t>(kind)];
}

inline constexpr std::size_t event_kinds = static_cast<std::size_t>(event_kind::warning) + 1;

struct event {
  event_kind kind{};
  time_point at{};
  incarnation_number incarnation;
  epoch_number epoch;
  std::optional<rank_number> rank;
  std::optional<node_id> node;
  std::uint64_t count = 0;
  double seconds = 0;
  std::string text;
  /// Shares of the time that went into work which was kept; predicted: 0 where nothing says.
  double achieved = 0, predicted = 0;
  template <class F>
  void fields(F&& f) {
    std::int64_t nanoseconds = at.time_since_epoch().count();
    f(kind), f(nanoseconds), f(incarnation), f(epoch), f(rank), f(node), f(count), f(seconds), f(text), f(achieved), f(predicted);
    at = time_point(duration(nanoseconds));
  }
};

/// Called with the driver token held; must not block and must not call the peer back.
using event_sink = std::function<void(const event&)>;

}  // namespace p2pdvm::runtime

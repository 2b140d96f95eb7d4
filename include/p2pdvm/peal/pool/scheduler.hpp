/// One rank's part in doing a bag: which tasks it does next, what it tells the others.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/peal/pool/message.hpp>
#include <p2pdvm/peal/pool/result.hpp>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::pool::detail {

/// What all ranks know of a bag before they begin it.
struct plan {
  std::uint32_t tasks = 0;
  std::uint64_t digest = 0;  ///< of how it was submitted
  std::uint16_t file = 0;    ///< of the call that runs it
  std::uint32_t line = 0;
  /// (needed, task): a task waits for the results of earlier ones. Sorted, each pair once.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> needs;
};

struct setting {
  std::vector<std::int32_t> peers;  ///< `rank::peer_of` each rank; empty: each on its own
  double checked_share = 0;  ///< of the tasks are done by two ranks
  double again_after = 4;    ///< times the longest task that was seen; 0: nothing is done again
  duration patience_min = std::chrono::milliseconds(50);  ///< before a task is done again, however short they are
};

/// Why the program cannot go on.
struct trouble {
  enum class kind : std::uint8_t {
    other_tasks,     ///< `rank` runs the same bag with other tasks
    left,            ///< `rank` has left before this bag
    differing,       ///< a task gave different bytes on `rank` and `other`
    undecided,       ///< the same of a task that is checked, and there is no rank left to decide
    other_restart,   ///< not the tasks that the snapshot knows
    damaged,         ///< a message of `rank`
  };
  kind what;
  int rank = -1, other = -1;
  std::uint32_t task = 0;
  message theirs = {};  ///< of `other_tasks` and `left`
};

/// A rank that gave other bytes than two others.
struct disagreement {
  std::uint64_t bag = 0;
  std::uint32_t task = 0;
  std::int32_t rank = 0;
  template <class F>
  void fields(F&& f) {
    f(bag), f(task), f(rank);
  }
};

/// A synchronous state machine. Every rank knows all tasks of the bag, begins with a block of them, and in the end has
/// all results: what a rank has done it tells all others, so a task may be done more than once, and counts once.
///
/// - A rank that will soon have nothing to do asks another one for half of what that one has. It asks whom it believes to have
///   most, by chance in proportion.
/// - A rank that has nothing to do, and nobody to ask, claims tasks that should long be done: those of a rank that has said
///   nothing for `again_after` times the longest task so far. It tells all others, and those that have them queued
///   drop them. Each further claim of a task waits four times as long.
/// - A checked task belongs to the rank at its place and the next one on another peer; it is never given away, claimed early by
///   ranks of third peers only, and done when two ranks have given the same bytes. When two differ the next rank behind them
///   does it too, on a third peer if there is one.
///
/// A rank may be one bag ahead of the slowest and no more, so what waits for a rank is bounded.
class scheduler {
 public:
  scheduler(int self, int ranks);

  // --- inputs ---

  /// The next bag, or the one that a loaded state was in. Precondition: the one before it was ended.
  void begin(plan p, std::shared_ptr<results> into, const setting& how, time_point now);
  void receive(int from, message m, time_point now);
  /// What `next` gave is done.
  void finished(std::uint32_t task, payload result, duration took, time_point now);
  void tick(time_point now);
  /// Precondition: `complete()`.
  void end();
  void leave();

  // --- outputs ---

  /// The task to do now, if any.
  [[nodiscard]] std::optional<std::uint32_t> next();
  [[nodiscard]] bool has_work() const noexcept { return may_run() && (mine_ > 0 || bound_mine_ > 0); }
  /// All results are here.
  [[nodiscard]] bool complete() const noexcept { return plan_.tasks == done_; }
  /// Others wait for what this task gives.
  [[nodiscard]] bool is_needed(std::uint32_t task) const noexcept {
    return !follower_begin_.empty() && follower_begin_[task] != follower_begin_[task + 1];
  }
  /// When `tick` has something to do if nothing comes before.
  [[nodiscard]] time_point due() const noexcept;
  struct outgoing {
    std::optional<int> to;  ///< none: to all others
    message what;
  };
  /// To be sent in this order.
  [[nodiscard]] std::vector<outgoing> take_outgoing();
  [[nodiscard]] const std::optional<trouble>& stopped_by() const noexcept { return trouble_; }

  [[nodiscard]] std::uint64_t bag() const noexcept { return bag_; }
  [[nodiscard]] bool inside() const noexcept { return inside_; }
  [[nodiscard]] const std::vector<disagreement>& disagreements() const noexcept { return disagreements_; }
  struct counts {
    std::uint64_t computed = 0, asked = 0, stolen = 0, claimed = 0;
    std::uint64_t discarded = 0;  ///< computed, and somebody else had been sooner
  };
  /// Of this rank since it began or was restored.
  [[nodiscard]] const counts& counted() const noexcept { return counts_; }
  [[nodiscard]] bool is_checked(std::uint32_t task) const noexcept;

  /// Everything that must be there after a rollback. Precondition of `save`: nothing is outgoing, no task is being done.
  [[nodiscard]] byte_vector save() const;
  /// False: these are no saved bytes.
  [[nodiscard]] bool load(byte_view saved);

 private:
  enum class place : std::uint8_t { elsewhere, mine, running, voted, done };
  struct vote {
    std::int32_t rank = 0;
    payload bytes;
    template <class F>
    void fields(F&& f) {
      f(rank), f(bytes);
    }
  };
  struct other_rank {
    std::uint64_t begun = 0;              ///< the newest bag that it runs
    std::optional<std::uint64_t> left;    ///< after how many bags
    std::uint64_t spare = 0;              ///< that it could give, as far as is known
    time_point heard{};                   ///< of this bag
    std::optional<time_point> asked;
  };
  struct claim {
    time_point at{};
    std::uint32_t attempts = 0;
    int by = -1;
  };
  struct incoming {
    std::int32_t from = 0;
    message what;
    template <class F>
    void fields(F&& f) {
      f(from), f(what);
    }
  };
  struct saved_state;

  [[nodiscard]] bool may_run() const noexcept { return inside_ && behind_ == 0; }
  [[nodiscard]] int home_of(std::uint32_t task) const noexcept;
  [[nodiscard]] int checker_of(std::uint32_t task) const noexcept { return checkers_[static_cast<std::size_t>(home_of(task))]; }
  void find_checkers();
  [[nodiscard]] int peer_of(int rank) const noexcept;
  /// Tasks that it would give. Whoever says more than it gives is asked again for ever.
  [[nodiscard]] std::uint32_t spare() const noexcept { return may_run() ? mine_ / 2 : 0; }
  [[nodiscard]] message made(message::kind what) const;
  void stop(trouble::kind what, int rank, int other = -1, std::uint32_t task = 0, message theirs = {});
  void build_followers();
  void begin_afresh(time_point now);
  void go_on(time_point now);
  void count_behind();
  void check_begin(int from, const message& m);
  void on_results(int from, const message& m);
  void on_ask(int from);
  void on_give(int from, const message& m, time_point now);
  void on_claim(int from, const message& m, time_point now);
  void ready(std::uint32_t task);
  void enqueue(std::uint32_t task);
  void drop(std::uint32_t task);
  void count_vote(std::uint32_t task, int rank, const payload& bytes);
  void call_arbiter(std::uint32_t task, const std::vector<vote>& votes);
  void accept(std::uint32_t task, int rank, const payload& bytes);
  void disagree(std::uint32_t task, int rank);
  void ask_for_more(time_point now);
  void claim_overdue(time_point now);
  [[nodiscard]] bool others_may_give(time_point now) const;
  [[nodiscard]] bool may_check(std::uint32_t task) const;
  [[nodiscard]] bool overdue(std::uint32_t task, time_point now) const;
  [[nodiscard]] duration typical() const noexcept;
  [[nodiscard]] duration patience() const noexcept;
  [[nodiscard]] duration answer_time() const noexcept;

  int self_, ranks_;
  setting setting_;
  random_generator random_;
  std::uint64_t bag_ = 0;
  bool inside_ = false;
  int behind_ = 0;  ///< other ranks that are two bags behind
  std::vector<other_rank> others_;
  std::vector<int> checkers_;    ///< by home
  std::vector<incoming> later_;  ///< of the next bag
  std::vector<outgoing> outgoing_;
  std::optional<trouble> trouble_;
  std::vector<disagreement> disagreements_;
  counts counts_;
  std::shared_ptr<const saved_state> restored_;

  plan plan_;
  std::shared_ptr<results> results_;
  std::vector<std::uint32_t> waits_, follower_begin_;
  std::vector<place> places_;
  std::vector<std::int32_t> by_;  ///< whose result counts; before that, to whom this rank gave it, or -1
  std::deque<std::uint32_t> queue_, bound_;  ///< may hold what is no longer here; `places_` says
  std::set<std::uint32_t> owed_;  ///< this rank's, once it knows the results that they wait for
  std::uint32_t mine_ = 0, bound_mine_ = 0, done_ = 0;
  std::map<std::uint32_t, std::vector<vote>> votes_;
  std::map<std::uint32_t, claim> claims_;
  std::vector<std::pair<std::uint32_t, payload>> unsent_;

  time_point now_{}, next_look_{};
  duration latency_ = std::chrono::milliseconds(1);  ///< of an answer, as measured
  duration took_{}, longest_{}, typical_elsewhere_{};
  std::uint64_t measured_ = 0;
};

}  // namespace p2pdvm::pool::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/pool/impl/scheduler.ipp>
#endif

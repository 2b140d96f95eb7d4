/// The barrier: turns any number of wishes for a checkpoint into one consistent cut of all ranks.
#pragma once

#include <p2pdvm/base/time.hpp>
#include <p2pdvm/checkpoint/job_record.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace p2pdvm::checkpoint {

/// Signed words of holders that go with a SEALED fact; opaque to the barrier.
inline constexpr std::size_t receipts_bytes_max = 256 * 1024;
/// Members propose a commit one after another, so that they rarely collide.
inline constexpr auto commit_stagger = std::chrono::milliseconds(200);
inline constexpr auto commit_stagger_max = std::chrono::seconds(5);

struct passed_fact {
  rank_number rank;
  std::uint64_t passed = 0;  ///< safe points passed when the rank's peer heard of the wish
  template <class F>
  void fields(F&& f) {
    f(rank);
    f(passed);
  }
};

struct cut_fact {
  rank_number rank;
  std::optional<std::uint64_t> passed;  ///< what it announced, if it did, or its index - 1
  bool returned = false;                ///< the rank had returned from its program
  template <class F>
  void fields(F&& f) {
    f(rank);
    f(passed);
    f(returned);
  }
};

struct sealed_fact {
  rank_number rank;
  chunk_id manifest;
  byte_vector receipts;
  template <class F>
  void fields(F&& f) {
    f(rank);
    f(manifest);
    f(receipts);
  }
};

/// What a peer tells the other members: immutable facts about its own ranks, keyed by
/// incarnation and epoch. Repeating and reordering them does no harm.
struct cut_facts {
  incarnation_number incarnation;
  epoch_number epoch;
  bool want = false;                  ///< the sender knows of a wish for `epoch`
  bool ask = false;                   ///< the sender would like to have the receiver's facts
  std::vector<rank_number> returned;  ///< keyed by the incarnation alone
  std::vector<passed_fact> passed;
  std::vector<cut_fact> cut;
  std::vector<sealed_fact> sealed;

  [[nodiscard]] bool empty() const noexcept {
    return !want && !ask && returned.empty() && passed.empty() && cut.empty() && sealed.empty();
  }
  template <class F>
  void fields(F&& f) {
    f(incarnation);
    f(epoch);
    f(want);
    f(ask);
    f(returned);
    f(passed);
    f(cut);
    f(sealed);
  }
};

/// What a rank does at a safe point.
enum class verdict : std::uint8_t {
  pass,
  wait,  ///< suspend it; a `rank_verdict` action follows
  cut,   ///< capture it now, before it or a message to it moves; then it goes on
};

/// Actions for the driver, to be carried out in order and before the next input.
namespace cut_action {
/// To one member, or to all other live members of the record.
struct send {
  std::optional<node_id> to;
  cut_facts facts;
};
/// For a rank that waits at a safe point (`cut` or `pass`) or stands (`cut` only).
struct rank_verdict {
  rank_number rank;
  checkpoint::verdict verdict;
  epoch_number epoch;
};
/// The cut of every rank is known: nothing older can be missing from this rank's late log.
struct close_late_log {
  rank_number rank;
  epoch_number epoch;
};
/// Every rank is sealed. After `delay`, if the epoch is still outstanding, propose `commit`,
/// or `finish` when `final`. Given again when receipts were replaced.
struct committable {
  epoch_number epoch;
  bool final = false;
  std::vector<chunk_id> manifests;     ///< per rank
  std::vector<byte_vector> receipts;   ///< per rank
  duration delay{};
};
/// Propose `raise_floor` and tell the user why, once.
struct give_up {
  epoch_number epoch;
  std::string reason;
};
/// The epoch will not commit: release held messages and drop its logs and snapshots. Local
/// ranks count as having reached it, whether they cut or not.
struct released {
  epoch_number epoch;
};
struct committed {
  epoch_number epoch;
};
/// This peer's record is too old for what `from` (or a rank's own traffic) says: fetch the
/// newest and give it to `on_record`, which asks for the facts again. May be repeated.
struct need_record {
  std::optional<node_id> from;
};
/// `to` works with an older record: send it the newest with its certificate.
struct inform {
  node_id to;
};
}  // namespace cut_action

using barrier_action =
    std::variant<cut_action::send, cut_action::rank_verdict, cut_action::close_late_log,
                 cut_action::committable, cut_action::give_up, cut_action::released,
                 cut_action::committed, cut_action::need_record, cut_action::inform>;

/// One per peer and job; also on members without ranks, which spread wishes and can commit.
///
/// Only one epoch is outstanding, n = `record.next_epoch()`; committing it, giving it up and
/// rolling back all end it in the record, and numbers are not reused. On first knowledge of a
/// wish for n each peer announces how many safe points its ranks have passed; a rank that
/// stands, or has returned, cuts at once. The cut index is 1 + the maximum announced; it is
/// known when every rank has announced or cut, and until then a rank waits at the safe point
/// after the one it announced. Consistency does not depend on the index: messages that cross
/// a cut are held or logged (DESIGN section 8), so that any combination of cuts is one.
///
/// Calls about a rank need it to be local. The record given must be one known to be chosen.
class cut_barrier {
 public:
  /// `record` is in state running or later. Asks the other members for their facts.
  cut_barrier(const node_id& self, std::shared_ptr<const job_record> record);

  /// A rank begins or goes on here, having passed `passed` safe points.
  void rank_started(rank_number rank, std::uint64_t passed);
  /// A rank went to another host; its facts remain.
  void rank_removed(rank_number rank);
  /// A frozen rank takes no part in epochs that it has not cut yet; its peer is leaving.
  void freeze(rank_number rank, bool frozen);

  /// The rank arrives at its next safe point. `pass` and `cut` mean that it has passed it.
  [[nodiscard]] verdict at_safe_point(rank_number rank);
  /// The rank enters `safe_wait`: `cut` now, or `pass`: nothing to do yet, but a
  /// `rank_verdict` may come at any time before `left_standing`.
  [[nodiscard]] verdict standing(rank_number rank);
  void left_standing(rank_number rank);
  /// The rank's program has returned: a standing safe point without end.
  [[nodiscard]] verdict returned(rank_number rank);

  /// For adapters whose own traffic makes all ranks cut at the same point (BSP): the wish to
  /// carry in it, 0 for none; and the point where all know the maximum carried, 0 for none.
  /// `reached_together` takes the place of `at_safe_point`; it gives `wait` only when this
  /// peer's record is behind.
  [[nodiscard]] epoch_number carried_wish() const noexcept;
  [[nodiscard]] verdict reached_together(rank_number rank, epoch_number carried);

  /// Wishes for the outstanding epoch, or for `at_least` once that is the outstanding one.
  /// Wishing twice is wishing once. Gives the epoch that will be cut.
  epoch_number wish(epoch_number at_least = {});
  /// A wish that only `carried_wish` spreads.
  epoch_number wish_quietly();
  /// The epoch in which a leaving peer can freeze its ranks: the first that none of them has
  /// cut yet. Pass it to `wish`.
  [[nodiscard]] epoch_number leaving_epoch() const;

  /// The rank's snapshot of `epoch`, late log included, is stored. May be repeated with other
  /// receipts. Ignored for an epoch that is no longer outstanding.
  result<> sealed(rank_number rank, epoch_number epoch, const chunk_id& manifest,
                  byte_vector receipts);
  /// Gives up `epoch` if it is the outstanding one: only a held message of it could satisfy a
  /// receive, a late log is over its limit, a rank cannot cut. For a later epoch it asks for
  /// the record; call it again after `committed` or `released` if the reason still holds.
  /// `unless_cut`: the reason is void when the news of the epoch makes this local rank cut.
  void abandon(epoch_number epoch, std::string reason,
               std::optional<rank_number> unless_cut = std::nullopt);

  /// From an authenticated member. An error means that it broke the protocol.
  result<> on_facts(const node_id& from, const cut_facts& facts);
  /// What was said to this member, or by it, may be lost: says all of it again, and asks.
  void repeat_to(const node_id& member);
  /// Tells all members again what this one knows of its ranks: who passes on may have died with it.
  void repeat();
  /// A newer record; older ones are ignored. A new incarnation forgets all local ranks: the
  /// driver cancels them and calls `rank_started` for those that run here again.
  void on_record(std::shared_ptr<const job_record> record);

  [[nodiscard]] std::vector<barrier_action> take_actions() { return std::exchange(actions_, {}); }

  /// The outstanding epoch, wished for or not.
  [[nodiscard]] epoch_number epoch() const noexcept { return state_.epoch; }
  [[nodiscard]] bool wanted() const noexcept { return state_.wanted; }
  [[nodiscard]] bool has_cut(rank_number rank) const;

  /// Everything that decides future behaviour, but for the record; for status displays and
  /// for tests that explore all states.
  struct local_rank {
    enum class place : std::uint8_t { running, waiting, standing, returned };
    std::uint64_t passed = 0;
    place at = place::running;
    bool frozen = false;
    epoch_number together;  ///< waits in `reached_together` for a record in which this is next
    template <class F>
    void fields(F&& f) {
      f(passed);
      f(at);
      f(frozen);
      f(together);
    }
  };
  struct rank_facts {
    std::optional<std::uint64_t> announced;
    bool cut = false;
    bool cut_returned = false;
    bool returned = false;  ///< of the incarnation, not of the epoch
    std::optional<sealed_fact> seal;
    template <class F>
    void fields(F&& f) {
      f(announced);
      f(cut);
      f(cut_returned);
      f(returned);
      f(seal);
    }
  };
  struct state {
    incarnation_number incarnation;
    epoch_number epoch;
    bool wanted = false;
    bool wished_quietly = false;
    bool given_up = false;
    bool logs_closed = false;
    bool commit_proposed = false;
    epoch_number wished_later;
    std::vector<rank_facts> ranks;
    std::map<rank_number, local_rank> local;
    std::set<node_id> ask;       ///< whose facts were refused for want of a newer record
    std::set<node_id> informed;  ///< once per epoch
    template <class F>
    void fields(F&& f) {
      f(incarnation);
      f(epoch);
      f(wanted);
      f(wished_quietly);
      f(given_up);
      f(logs_closed);
      f(commit_proposed);
      f(wished_later);
      f(ranks);
      f(local);
      f(ask);
      f(informed);
    }
  };
  [[nodiscard]] const state& view() const noexcept { return state_; }

 private:
  [[nodiscard]] local_rank& local(rank_number rank);
  [[nodiscard]] rank_facts& facts(rank_number rank) { return state_.ranks[rank.value()]; }
  [[nodiscard]] bool running() const noexcept { return record_->state == job_state::running; }
  [[nodiscard]] bool wants(rank_number rank) const;
  [[nodiscard]] cut_facts keyed() const;
  [[nodiscard]] cut_facts own_facts() const;
  [[nodiscard]] std::optional<std::uint64_t> cut_index() const;
  template <class P>
  [[nodiscard]] bool every_rank(P predicate) const;

  void learn_wish();
  void announce(rank_number rank);
  void cut_now(rank_number rank);
  void give_verdict(rank_number rank, verdict v);
  /// Draws all conclusions from the facts, then sends what is to be said.
  void settle();
  void decide_waiting();
  void decide_logs();
  void propose_commit();
  [[nodiscard]] duration commit_delay() const;
  void flush();

  [[nodiscard]] result<> check(const cut_facts& f) const;
  [[nodiscard]] bool hosts_fit(const node_id& from, const cut_facts& f) const;
  void answer(const node_id& from);
  void refuse_for_now(const node_id& from);
  void inform_once(const node_id& to);
  void absorb(const cut_facts& f);
  void end_epoch(const job_record& old);
  void begin_incarnation();

  node_id self_;
  std::shared_ptr<const job_record> record_;
  state state_;
  cut_facts outbox_;
  std::vector<barrier_action> actions_;
};

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/cut.ipp>
#include <p2pdvm/checkpoint/impl/cut_facts.ipp>
#endif

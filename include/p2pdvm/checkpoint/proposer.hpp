/// The writer's side of the replicated register: changes the job record at a majority of keepers.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/checkpoint/acceptor.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <variant>
#include <vector>

namespace p2pdvm::checkpoint {

inline constexpr std::size_t pending_writes_max = 64;
/// Changes of keepers that a peer may have missed and still verify the record.
inline constexpr std::size_t links_max = 64;

/// A write is chosen; or somebody else's was found and completed (`operation` is 0).
struct chosen_event {
  std::uint64_t operation = 0;
  certified_record chosen;
};
/// The transition refused the newest record; nothing was written.
struct rejected_event {
  std::uint64_t operation = 0;
  error why;
};
/// Too few of the keepers known here answer. The proposer keeps trying; repeated while that
/// lasts. They may have been replaced: ask the members for a newer record and `learn` it.
struct no_majority_event {
  std::uint64_t operation = 0;
  std::vector<node_id> silent;  ///< keepers that did not answer this time
  std::size_t asked = 0;        ///< of so many; while they are being changed, old and new ones
};
using proposer_event = std::variant<chosen_event, rejected_event, no_majority_event>;

struct proposer_settings {
  /// A round without a majority by then is tried again; above the worst round trip.
  duration round_time_max = std::chrono::milliseconds(1500);
  /// After a conflict: a random wait below this, doubled with each further conflict.
  duration backoff = std::chrono::milliseconds(20);
  std::uint32_t backoff_doublings_max = 6;
  std::uint32_t silent_rounds_before_report = 3;
  /// A change of keepers whose author vanished is finished by others after one to two of these.
  duration upkeep_delay = std::chrono::seconds(2);
};

/// CASPaxos (Rystsov 2018) with joint consensus for changes of the keepers. One per peer and
/// job; makes one write at a time and queues others.
///
/// Safety beyond plain CASPaxos rests on three rules. A round prepares at majorities of every
/// set that the newest record known to be chosen names, and of every set that the newest
/// record found names. A transition is applied only to a record known to be chosen: one that
/// was merely found is completed first, as it is. A write is accepted by majorities of all
/// sets named by the record it starts from and by its own. As consecutive chosen records
/// always share a set (check_keeper_step), no two lines of records can arise.
///
/// The driver passes `take_messages()` to the keepers (those to itself to its own acceptor),
/// replies to `on_reply`, and calls `on_timer` at `next_timer()`.
class proposer {
 public:
  using transition = std::function<result<job_record>(const job_record&)>;
  struct envelope {
    node_id to;
    register_request request;
  };

  /// `known`: verified by the caller; a peer that restarts gives what it had kept, with the
  /// links. `random` must outlive the proposer.
  proposer(const node_id& self, random_generator& random, certified_record known,
           std::vector<certificate> links = {}, proposer_settings settings = {});

  /// Queues a write and gives its number, never 0; `too_large` when too many wait.
  result<std::uint64_t> propose(time_point now, transition change);
  void on_reply(time_point now, const node_id& from, const register_reply& reply);
  void on_timer(time_point now);
  [[nodiscard]] time_point next_timer() const noexcept;

  /// A record from another peer. False when it is not news; an error when the proof is void.
  result<bool> learn(time_point now, job_record record, certificate proof,
                     const std::vector<certificate>& links = {});

  /// Members that may not know yet that they are: not to be made keepers for now.
  void set_newcomers(std::set<node_id> newcomers) { newcomers_ = std::move(newcomers); }

  [[nodiscard]] std::vector<envelope> take_messages() { return std::exchange(messages_, {}); }
  [[nodiscard]] std::vector<proposer_event> take_events() { return std::exchange(events_, {}); }
  [[nodiscard]] const certified_record& known() const noexcept { return known_; }
  /// For peers that fell behind: the certificates of the latest changes of keepers.
  [[nodiscard]] const std::vector<certificate>& links() const noexcept { return links_; }
  [[nodiscard]] bool idle() const noexcept { return phase_ == phase::idle; }

 private:
  enum class phase : std::uint8_t { idle, preparing, accepting, waiting };
  struct pending {
    std::uint64_t number;
    operation_id id;
    transition change;
  };
  using keeper_set = std::vector<node_id>;

  [[nodiscard]] operation_id draw_operation();
  void start_next(time_point now);
  void start_round(time_point now);
  void add_sets(const job_record& record);
  void send_prepares();
  [[nodiscard]] bool majorities_answered() const;
  void on_promise(time_point now, const node_id& from, const promise_reply& reply);
  void on_prepared(time_point now);
  void start_accept(time_point now, job_record value);
  void on_accepted(time_point now, const node_id& from, const accepted_reply& reply);
  void on_refused(time_point now, const node_id& from, const refused_reply& reply);
  void on_chosen(time_point now);
  void adopt(time_point now, certified_record chosen);
  void finish_write(time_point now, proposer_event outcome);
  void wait(time_point now);
  void report_silence();

  node_id self_;
  random_generator* random_;
  proposer_settings settings_;
  certified_record known_;
  digest256 known_digest_;
  std::vector<certificate> links_;
  std::set<node_id> newcomers_;

  std::deque<pending> queue_;
  std::uint64_t last_number_ = 0;
  phase phase_ = phase::idle;
  time_point deadline_ = time_point_never;
  time_point upkeep_at_ = time_point_never;
  std::uint64_t session_;
  ballot ballot_;
  std::uint64_t counter_ = 1;         ///< highest seen anywhere
  std::uint64_t keeper_version_ = 0;  ///< highest seen anywhere
  std::uint32_t conflicts_ = 0;
  std::uint32_t silent_rounds_ = 0;

  // One round.
  std::vector<keeper_set> sets_;
  std::set<node_id> asked_;
  std::vector<node_id> answered_;
  std::shared_ptr<const job_record> newest_;
  ballot newest_ballot_;
  digest256 newest_digest_;
  job_record value_;
  certificate proof_;

  std::vector<envelope> messages_;
  std::vector<proposer_event> events_;
};

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/proposer.ipp>
#endif

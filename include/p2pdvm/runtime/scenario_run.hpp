/// Carries a scenario out in the simulator and says whether the job ended as it must.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/runtime/scenario.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>
#include <p2pdvm/runtime/timeline.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

/// Of virtual time, for a job that takes seconds.
inline constexpr duration scenario_patience = std::chrono::minutes(20);

/// What became of a run; the kinds are what shrinking tells failures apart by.
struct scenario_verdict {
  enum class kind : std::uint8_t {
    right,
    no_end,        ///< a peer that must end has not
    wrong_result,  ///< other bytes than those of the undisturbed run
    trouble,       ///< an error where there must be none
  };
  kind what = kind::right;
  std::string reason;        ///< a sentence, empty when right
  std::uint64_t digest = 0;  ///< of all events of the simulation
  std::uint64_t events = 0;

  [[nodiscard]] bool right() const noexcept { return what == kind::right; }
};

/// Called in the order of virtual time.
struct scenario_watch {
  std::function<void(std::size_t peer, const event&)> event;
  /// A fault falls on a peer, or is over.
  std::function<void(std::size_t peer, time_point at, const scenario_fault& fault, bool begins)>
      fault;
  /// As in `simulated_cluster::options`.
  std::function<std::unique_ptr<output_sink>(std::size_t peer)> outputs;
};

/// One run. Crashes fall only where the job can survive them: with a majority of keepers and two
/// other members left; a second one while the job recovers from the first if it says so; any later
/// one after a checkpoint that was stored by the living alone. Whom a fault never hit must end with
/// the undisturbed result, and so must whom no partition made the others take for lost; the rest
/// may come too late, but not end otherwise. Nobody may begin from an older checkpoint than one
/// that was committed before. Where disks have rotted so that every copy of a piece can be lost,
/// the job may wait, or end, if it says what cannot be read.
class scenario_run {
 public:
  /// `program` must outlive the run.
  scenario_run(const scenario& what, const peal::program& program, scenario_watch watch = {});
  scenario_run(const scenario_run&) = delete;
  scenario_run& operator=(const scenario_run&) = delete;

  /// Until everybody has ended who must, or the job waits because no majority was left of it.
  /// False when that takes longer than `limit` of virtual time.
  bool to_end(duration limit = scenario_patience);
  /// What is wrong after `to_end` gave `ended`; `right` is the digest of the undisturbed result.
  [[nodiscard]] scenario_verdict judge(bool ended, const std::string& right);
  /// The digest of each living peer that was ever a member, or why it has none. A spare may come
  /// too late.
  [[nodiscard]] std::set<std::string> endings();

  [[nodiscard]] simulated_cluster& cluster() noexcept { return cluster_; }
  /// Peers that were crashed; some of them may be back.
  [[nodiscard]] std::size_t crashes() const noexcept { return crashes_; }
  /// A peer has said so after a crash.
  [[nodiscard]] bool waits() const noexcept { return waits_; }

 private:
  struct alarm {
    std::size_t fault;
    std::vector<std::size_t> ends_on;  ///< empty: it begins
    std::optional<sim::fault_id> rule = std::nullopt, other_rule = std::nullopt;
  };

  [[nodiscard]] static simulated_cluster::options cluster_of(const scenario& what,
                                                             const peal::program& program,
                                                             const scenario_watch& watch);
  void on_event(std::size_t peer, const event& e);
  void before_step();
  void sound_alarms();
  [[nodiscard]] bool over();
  [[nodiscard]] std::string began_again() const;
  [[nodiscard]] bool may_have_lost_copies() const;
  [[nodiscard]] bool must_end(std::size_t peer) const;

  void begin(std::size_t fault);
  void begin_disturbance(std::size_t fault, const std::vector<std::size_t>& victims);
  void crash_majority(std::size_t fault);
  void crash(std::size_t fault, std::size_t victim);
  void end(const alarm& a);
  void add_rules(const scenario_fault& f, std::size_t victim, alarm& a);
  void break_disk(const scenario_fault& f, std::size_t victim);
  void tell(std::size_t fault, std::size_t peer, bool begins);

  [[nodiscard]] static bool takes_away(const scenario_fault& f);
  [[nodiscard]] std::optional<std::size_t> victim_of(const scenario_fault& f);
  [[nodiscard]] bool may_take(const scenario_fault& f) const;
  [[nodiscard]] bool may_hit(const scenario_fault& f, std::size_t victim);
  [[nodiscard]] bool survivable(std::size_t victim);
  [[nodiscard]] bool reachable_without(std::size_t victim, const checkpoint::job_record& record);
  [[nodiscard]] bool majority_without(std::size_t victim, const checkpoint::job_record& record);
  [[nodiscard]] bool settled();
  [[nodiscard]] bool running();
  void unsettle();

  scenario what_;
  scenario_watch watch_;
  random_generator random_;
  simulated_cluster cluster_;
  std::vector<std::size_t> triggered_;       ///< faults that follow events, in their order
  std::multimap<time_point, alarm> alarms_;
  std::size_t next_ = 0;                     ///< of `triggered_`
  std::uint64_t seen_ = 0;
  std::optional<std::uint64_t> fuse_;        ///< steps until that one falls
  std::size_t teller_ = 0;
  std::set<std::size_t> gone_, left_, admitted_, members_, touched_, crashed_, bad_disks_;
  std::size_t crashes_ = 0, taken_ = 0, disturbances_ = 0, partitions_ = 0;
  bool settled_ = true, recovering_ = false, waits_ = false, to_minority_ = false;
  epoch_number newest_epoch_, epoch_then_;
  /// Of each incarnation: the newest checkpoint that was told committed, and the oldest that a
  /// rank began from.
  std::map<incarnation_number, epoch_number> committed_, begun_from_;
  std::set<std::size_t> rotten_;
  bool says_lost_ = false;
  time_point minority_until_ = time_point_never, late_until_ = time_point_never;
  time_point divided_until_{};
};

/// Draws what `scenario_watch::fault` tells.
void show(timeline& picture, std::size_t peer, time_point at, const scenario_fault& fault,
          bool begins);

/// The digest of the result of one undisturbed process, or why there is none.
[[nodiscard]] result<std::string> undisturbed_digest(const scenario& what,
                                                     const peal::program& program);

/// Runs it, for so long of virtual time at most, and the undisturbed run, once each.
[[nodiscard]] scenario_verdict try_scenario(const scenario& what, const peal::program& program,
                                            scenario_watch watch = {},
                                            duration limit = scenario_patience);

/// An event as a line for people, without its end.
[[nodiscard]] std::string trace_line(std::size_t peer, const event& e);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/scenario_run.ipp>
#endif

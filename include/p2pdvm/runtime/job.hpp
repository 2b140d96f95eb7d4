/// One job on one peer: follows the record, runs this peer's ranks, takes part in cuts,
/// recovery and the end.
///
/// A composition of state machines; it decides nothing that is not in one of them or in the
/// record. Everything runs with the driver token held.
#pragma once

#include <p2pdvm/checkpoint/blocking_meter.hpp>
#include <p2pdvm/checkpoint/cut.hpp>
#include <p2pdvm/checkpoint/host_choice.hpp>
#include <p2pdvm/checkpoint/policy.hpp>
#include <p2pdvm/checkpoint/transitions.hpp>
#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/runtime/early_messages.hpp>
#include <p2pdvm/runtime/job_folder.hpp>
#include <p2pdvm/runtime/job_messages.hpp>
#include <p2pdvm/runtime/peer_context.hpp>
#include <p2pdvm/runtime/rank_runner.hpp>
#include <p2pdvm/runtime/lanes.hpp>
#include <p2pdvm/runtime/member_lifetimes.hpp>
#include <p2pdvm/runtime/member_ways.hpp>
#include <p2pdvm/runtime/output_collector.hpp>
#include <p2pdvm/runtime/rank_traffic.hpp>
#include <p2pdvm/runtime/record_followers.hpp>
#include <p2pdvm/runtime/record_keeper.hpp>
#include <p2pdvm/runtime/restorer.hpp>
#include <p2pdvm/runtime/roll_call.hpp>
#include <p2pdvm/runtime/snapshot_store.hpp>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

/// What the job asks of its peer.
class job_owner {
 public:
  virtual void send(const node_id& to, job_message message) = 0;
  virtual void send_store(const node_id& to, const store::store_message& message) = 0;
  /// This peer's coordinate.
  [[nodiscard]] virtual overlay::packed_coordinate place() = 0;
  /// What it takes to a member that says that it is there.
  virtual void measured(const node_id& member, const overlay::packed_coordinate& place,
                        duration round_trip) = 0;
  /// The members have changed: others may be trusted or forgotten.
  virtual void on_members(const checkpoint::job_record& previous,
                          const checkpoint::job_record& now) = 0;
  /// `results` is by name, ranks' parts joined in order; empty when the job failed.
  virtual void on_end(const result<std::map<std::string, byte_vector>>& results) = 0;
  /// A member has seen the end too, or is gone.
  virtual void on_end_seen(const node_id& member) = 0;
  /// The others have taken this peer for lost and go on without it; it may ask to come back.
  virtual void on_evicted() = 0;
  /// This peer has handed over everything and may go.
  virtual void on_left() = 0;

 protected:
  ~job_owner() = default;
};

/// "rank 2 waits for rank 5, which has 1.0 MiB unread; 3.2 MiB wait here"
[[nodiscard]] std::string text_of(const messaging::stall& s);

class job final : private record_owner,
                  private rank_runner_owner,
                  private rank_traffic_owner,
                  private lanes_owner,
                  private snapshot_store_owner,
                  private restorer_owner,
                  private output_collector_owner,
                  private roll_call_owner,
                  private overlay::detector_owner {
 public:
  /// `newest` is the founder's first record, an admitted member's newest, or one kept on disk.
  job(job_owner& owner, peer_context& context, job_identity who, record_update newest,
      std::optional<checkpoint::acceptor> acceptor);
  ~job();

  [[nodiscard]] const job_spec& spec() const noexcept { return who_.spec; }
  [[nodiscard]] const crypto::secret_key& secret() const noexcept { return who_.secret; }
  [[nodiscard]] const checkpoint::job_record& record() const override { return keeper_.newest(); }
  [[nodiscard]] record_keeper& keeper() noexcept { return keeper_; }
  [[nodiscard]] bool is_member() const { return record().is_live(context_.self.id()); }

  /// Tells this peer every new record until the job has begun, once it is a member.
  void be_followed_by(const node_id& who);

  /// Acts on the record as it stands; once, after construction.
  void begin();
  /// The same in a process that has just read the job from disk.
  void begin_resumed();
  /// This process has lost the ranks that the record says it runs (it is a resumed one).
  void roll_back_own();
  void settle_doubt();
  /// From members, or from those that the record no longer has as such.
  void on_message(const node_id& from, job_message message);
  void on_rank_message(const node_id& from, messaging::arrived_message message);
  void on_rank_messages(const node_id& from, std::span<const byte_view> run);
  /// Where a rank message that is arriving belongs; see `messaging::exchange_handler`.
  [[nodiscard]] messaging::landing land(const node_id& from, byte_view begin, std::size_t total,
                                        messaging::landing_guest& guest) {
    return hears(from) ? traffic_.land(from, begin, total, guest) : messaging::landing();
  }
  void on_store_message(const node_id& from, const store::store_message& message);
  void on_detector_datagram(const node_id& from, const address& source, byte_view bytes);
  void on_detector_message(const node_id& from, byte_view bytes, bool passed_on = false);
  void on_connection_lost(const node_id& node);
  void on_unreachable(const node_id& node);
  void on_peer_reset(const node_id& node);

  /// A joiner that is not a member yet may read chunks of the inputs.
  void allow_reader(const node_id& node) { readers_.insert(node); }
  /// Fetches the job's inputs from a member; `done` is called once.
  void fetch_inputs(const node_id& from, std::function<void(result<>)> done);
  /// The members to whom this one keeps a connection: see member_square.hpp.
  [[nodiscard]] const std::set<node_id>& links() const noexcept { return links_; }
  /// Questions to holders about what they have, so far.
  [[nodiscard]] std::uint64_t survey_messages() const noexcept { return store_.survey_messages(); }
  /// Sealed bytes of chunks that others have got from this peer.
  [[nodiscard]] std::uint64_t bytes_given() const noexcept { return store_.bytes_given(); }
  /// All members have seen the end, or are gone. Each knows it of its links, and hears it of theirs.
  [[nodiscard]] bool end_seen_by_all() const;

  /// What this peer knows of the round trips among the members of `r`: their coordinates, and what
  /// it has measured itself.
  /// The members through which this one wants to be reached, beyond its links.
  [[nodiscard]] std::vector<node_id> own_relays() const;
  /// Members that may be connected with that one, those on the shortest way first.
  [[nodiscard]] std::vector<node_id> relays_to(const node_id& node) const;
  [[nodiscard]] checkpoint::member_distances distances(const checkpoint::job_record& r) const;

  /// Hands this peer's ranks over at a last checkpoint, then `on_left`.
  void leave();
  /// All peers are being stopped: that they go is no loss.
  void hold_still();
  /// Too few keepers answer: nothing can be committed, and nobody can take over anything.
  [[nodiscard]] bool lacks_majority() const noexcept { return no_majority_; }
  /// A checkpoint now.
  void wish();
  /// What decides how often.
  [[nodiscard]] checkpoint::observation observe() const;
  /// Everything that a progress line needs.
  struct status {
    std::size_t ranks_here = 0, ranks_ready = 0, live_peers = 0;
    epoch_number committed;
    std::uint64_t safe_points = 0;  ///< of the slowest local rank
    bool whole = false;  ///< all ranks run, as far as this peer and its links know
    /// Ranks here whose messages wait because others do not read theirs; the first `stalls_max`.
    std::vector<messaging::stall> stalls;
  };
  static constexpr std::size_t stalls_max = 16;
  [[nodiscard]] status now() const;

 private:
  // record_owner, rank_traffic_owner, lanes_owner
  void send(const node_id& to, job_message message) override { owner_.send(to, std::move(message)); }
  void on_record(const checkpoint::job_record& previous) override;
  void on_chosen() override;
  void on_no_majority(const std::vector<node_id>& silent, std::size_t asked) override;
  void on_keeper_failed(const error& why) override;
  void must_abandon(epoch_number epoch, std::string why) override;
  void waits_for_held(rank_number rank, epoch_number epoch, std::string why) override;
  void record_is_old(const node_id& from) override;
  void ask_ready(const node_id& host) override;
  void want_lane(const node_id& host) override { lanes_.want(host); }
  [[nodiscard]] bool on_this_machine(const node_id& host) const override;
  void use_lane(const node_id& host, host::lane* lane) override { traffic_.use_lane(host, lane); }
  void on_lane_message(const node_id& from, byte_view head, host::lane_body& body) override;
  // rank_runner_owner
  peal::verdict rank_arrives(rank_runner& r) override;
  peal::verdict rank_arrives_together(rank_runner& r, epoch_number wished) override;
  epoch_number carried_wish() const override { return barrier_ ? barrier_->carried_wish() : epoch_number(); }
  epoch_number outstanding_epoch() const override { return barrier_->epoch(); }
  epoch_number committed_epoch() const override { return record().committed.epoch; }
  void rank_captured(rank_runner& r, epoch_number epoch, peal::snapshot taken) override;
  void rank_stands(rank_runner& r, bool standing) override;
  void rank_ended(rank_runner& r, std::exception_ptr failure) override;
  result<payload> job_input(std::string_view name) override;
  result<std::string> job_option(std::string_view name) const override;
  result<> declares_output(std::string_view name) const override;
  std::size_t live_peers() const override { return record().live_count(); }
  std::optional<duration> round_trip_to(rank_number rank) const override;
  std::uint32_t peer_of(rank_number rank) const override;
  std::uint32_t cores() const override { return lanes_.cores(); }
  std::optional<std::string> file_name(rank_number of, std::uint16_t number) override;
  void rank_explains(rank_runner& r, std::string sentence) override;
  // snapshot_store_owner, restorer_owner, output_collector_owner
  void send_store(const node_id& to, const store::store_message& message) override;
  void drained(rank_number rank, epoch_number epoch, const drain_outcome& outcome) override;
  void drain_failed(rank_number rank, epoch_number epoch, const error& why) override;
  void disk_noticed(const store::disk_notice& notice) override;
  void restored(rank_number rank, epoch_number epoch,
                std::shared_ptr<const peal::snapshot> snapshot, std::uint64_t fetched) override;
  void restore_failed(rank_number rank, epoch_number epoch, const error& why, const chunks_gone& gone) override;
  void chunks_known(rank_number rank, epoch_number epoch, const chunk_id& manifest,
                    const std::vector<store::placed_chunk>& chunks) override;
  void chunks_nowhere(rank_number rank, epoch_number epoch, std::size_t count) override;
  void mend(const node_id& to, rank_number rank, epoch_number epoch, const store::sealed_chunk& chunk) override {
    store_.mend(to, rank, epoch, chunk);
  }
  std::shared_ptr<const peal::snapshot> snapshot_here(rank_number rank, epoch_number epoch) override;
  void output_written(const std::string& name, epoch_number epoch, std::uint64_t bytes) override;
  void output_held_up(const std::string& sentence) override { warn(sentence); }
  void outputs_complete(const result<>& done) override;
  // roll_call_owner
  bool may_call_roll() const override;
  std::vector<rank_glance> glance() override;
  std::vector<backlog> backlogs() override;
  void tell_all(const common_news& news) override;
  void note_stalls() override;
  void hung(const roll& all) override;
  void went_on(std::uint32_t seconds) override;
  // overlay::detector_owner
  void send(const node_id& to, byte_view bytes) override { send_detector(to, bytes, false); }
  void send_again(const node_id& to, byte_view bytes) override { send_detector(to, bytes, true); }
  void suspected(const node_id& who, const std::vector<node_id>& observers) override;
  void refuted(const node_id& who) override;
  void agreed_dead(const node_id& who, const std::vector<node_id>& observers) override;
  void spoken_of(overlay::detector_name stranger, const node_id& by) override;
  std::optional<overlay::packed_coordinate> place() override { return owner_.place(); }
  void measured(const node_id& who, const overlay::packed_coordinate& place,
                duration round_trip) override {
    owner_.measured(who, place, round_trip);
  }

  void tell(event_kind kind, event e = event());
  [[nodiscard]] time_point clock_now() const { return context_.machine.clock().now(); }
  [[nodiscard]] node_id self() const noexcept { return context_.self.id(); }
  [[nodiscard]] std::vector<store::member> holders() const;

  void on(const node_id& from, record_update& update);
  void on(const node_id& from, record_request& request);
  void on(const node_id& from, passed_on& message);
  void on(const node_id& from, ready_request& request);
  void on(const node_id& from, ready_notice& notice);
  void on(const node_id& from, checkpoint::cut_facts& facts);
  void on(const node_id& from, checkpoint::register_request& request);
  void on(const node_id& from, checkpoint::register_reply& reply);
  void on(const node_id& from, acknowledgement_batch& batch);
  void on(const node_id& from, messaging::rank_blocked& blocked);
  void on(const node_id& from, lane_offer& offer);
  void on(const node_id& from, runtime::end_seen& seen);
  void note_end_seen(const node_id& by, bool by_links);
  void tell_end_by_links();
  void tell_end(bool by_links);
  [[nodiscard]] bool end_seen_by_circle(const std::set<node_id>& seen) const;
  void on(const node_id&, join_request&) {}  // the peer's business
  void on(const node_id&, join_refusal&) {}
  void on(const node_id&, welcome&) {}
  void on(const node_id&, join_queued&) {}
  void on(const node_id&, passed_join&) {}
  void on(const node_id& from, record_difference& difference);
  void on(const node_id& from, follow_request& request);
  void on(const node_id& from, passed_probe& probe);
  void on(const node_id& from, roll_request& request);
  void on(const node_id& from, roll_answer& answer);
  void on(const node_id& from, roll_report& report);
  void on(const node_id& from, file_request& request);
  void on(const node_id& from, file_answer& answer);
  void on(const node_id& from, lifetimes_told& told);
  void on_ready(const node_id& from, const ready_notice& notice);

  void tell_followers();
  void note_learned(const node_id& from, const result<bool>& news);
  void hear_early();
  void note_members(const checkpoint::job_record& previous);
  void greet_newcomers(const checkpoint::job_record& previous);
  void maintain_keepers();
  void note_newcomers(const checkpoint::job_record& previous);
  /// A member said something that only members say.
  void hear_member(const node_id& from);
  void begin_running();
  void begin_incarnation();
  void follow_placement();
  void tell_moved(const checkpoint::job_record& previous);
  void mend_inputs();
  void want_rank(rank_number rank);
  void start_ranks();
  void start_rank(rank_number rank, std::shared_ptr<const peal::snapshot> from);
  void retire(rank_number rank);
  void retire_all();
  [[nodiscard]] std::vector<rank_number> ranks_here() const;
  void announce_ready(const std::vector<rank_number>& ranks);
  void announce_ready(const std::vector<rank_number>& ranks, const node_id& to);
  [[nodiscard]] bool whole() const;
  void sweep_later();
  void before_capture(rank_runner& r);
  void capture(rank_runner& r);
  void capture_if(rank_runner& r, checkpoint::verdict v);
  void fail(std::string sentence);
  void fail_of(rank_runner& r, std::string sentence);
  void fail_named(const std::string& name);
  [[nodiscard]] std::vector<messaging::stall> stalls() const;

  void pump_barrier();
  void act(checkpoint::cut_action::send& a);
  void act(checkpoint::cut_action::rank_verdict& a);
  void act(checkpoint::cut_action::close_late_log& a);
  void act(checkpoint::cut_action::committable& a);
  void act(checkpoint::cut_action::give_up& a);
  void act(checkpoint::cut_action::released& a);
  void act(checkpoint::cut_action::committed& a);
  void act(checkpoint::cut_action::need_record& a);
  void act(checkpoint::cut_action::inform& a);
  void propose_commit(const checkpoint::cut_action::committable& c);
  void arm_policy();
  void spread_ranks();
  void tell_late_ranks(epoch_number epoch);
  void tell_utilisation();
  void send_detector(const node_id& to, byte_view bytes, bool again);
  /// Whether messages of ranks may come from it: a living member, mostly the same one as the last time.
  [[nodiscard]] bool hears(const node_id& from);
  void arm_detector();
  void evict_lost();
  void wish_to_leave();
  void move_away();
  void look_for_missing();
  [[nodiscard]] bool is_anybody_away() const;
  [[nodiscard]] bool given_up_on(rank_number rank, epoch_number epoch, const chunks_gone& gone);
  void fall_back(epoch_number unreadable, const std::string& sentence);
  void finish_job();
  void results_complete();
  [[nodiscard]] bool end_unsaved(epoch_number epoch, const error& why);
  void warn(std::string text);
  [[nodiscard]] bool alone_and_damaged() const {
    return record().live_count() == 1 && damage_seen_;
  }
  void end(result<std::map<std::string, byte_vector>> results);

  job_owner& owner_;
  peer_context& context_;
  job_identity who_;
  record_keeper keeper_;
  rank_traffic traffic_;
  lanes lanes_;
  snapshot_store store_;
  restorer restorer_;
  output_collector outputs_;
  roll_call roll_call_;
  std::optional<checkpoint::cut_barrier> barrier_;
  bool pumping_ = false;
  /// The sentence of a rank's failure that names a source file by its number, while its name is asked for.
  struct unnamed_failure {
    std::string sentence;
    peal::rank::unnamed_place place;
    node_id asked;
  };
  static constexpr duration file_patience = std::chrono::seconds(2);
  std::optional<unnamed_failure> failure_;
  std::map<std::pair<rank_number, rank_number>, int> stalled_;  ///< how often in a row it was seen, source first
  host::timer failure_timer_;
  member_ways ways_;
  std::optional<node_id> heard_last_;  ///< by this record a living member
  overlay::failure_detector detector_;

  std::map<rank_number, std::unique_ptr<rank_runner>> runners_;
  std::vector<std::unique_ptr<rank_runner>> retiring_;  ///< cancelled; their frames still unwind
  std::set<rank_number> wanted_;                        ///< to be started here
  std::map<rank_number, std::shared_ptr<const peal::snapshot>> found_;  ///< for `wanted_`
  std::set<rank_number> missing_;  ///< of `wanted_`: nobody who is here has the whole snapshot
  epoch_number missing_told_;
  epoch_number given_up_;  ///< committed, and cannot be read any more
  static constexpr duration missing_delay_min = std::chrono::seconds(1);
  static constexpr duration missing_delay_max = std::chrono::seconds(30);
  duration missing_delay_ = missing_delay_min;
  /// All members have said of some chunk of a rank that they have it not, and say it again so much later: then it is gone. Where a
  /// former member may come back with it, that is waited for.
  static constexpr duration denial_pause = std::chrono::seconds(20);
  static constexpr duration away_patience = std::chrono::seconds(60);
  struct denial {
    epoch_number epoch;
    time_point first{};
  };
  std::map<rank_number, denial> denials_;
  std::map<std::string, payload> inputs_;
  bool inputs_whole_ = true;  ///< else no rank starts here
  static constexpr int inputs_tries_max = 60;
  int inputs_tries_ = 0;

  std::unique_ptr<checkpoint::policy> policy_;
  member_lifetimes lifetimes_;
  checkpoint::blocking_meter blocking_;
  std::optional<checkpoint::utilisation_meter> utilisation_;  ///< since ranks began here
  std::uint64_t commits_ = 0;
  time_point spread_at_{};  ///< when this peer last proposed that
  duration commit_latency_{}, recovery_{};
  time_point cut_at_{}, rollback_at_{};
  time_point whole_at_{};  ///< since then all ranks compute
  epoch_number wish_told_;
  incarnation_number lost_incarnation_;  ///< whose ranks died with an earlier process, as those before
  bool doubtful_ = false, settling_ = false;  ///< what this peer's disk says of that
  bool recovering_ = false;
  bool may_start_ = false;  ///< this incarnation is on disk
  bool evicting_ = false;  ///< an eviction is being written
  time_point patient_until_{};  ///< nobody is evicted before
  host::timer policy_timer_, commit_timer_, detector_timer_, eviction_timer_, sweep_timer_,
      abandon_timer_, late_timer_, inputs_timer_, missing_timer_, tell_timer_, behind_timer_, newcomers_timer_;
  static constexpr duration abandon_delay_min = std::chrono::seconds(1);
  static constexpr duration abandon_delay_max = std::chrono::seconds(16);
  duration abandon_delay_ = abandon_delay_min;  ///< doubles while nobody can keep a snapshot
  epoch_number abandon_epoch_;                  ///< to be given up after it
  static constexpr unsigned copies_told_none = ~0u;
  unsigned copies_told_ = copies_told_none;     ///< of which the user was told that they are too few
  bool damage_seen_ = false;                    ///< on this peer's disk
  std::set<node_id> lost_;      ///< agreed to be dead, not yet evicted
  time_point record_at_{};           ///< since then this record is known here
  std::set<node_id> told_behind_;    ///< members that were sent this record since they spoke of somebody who is gone
  std::set<node_id> told_old_;  ///< outsiders, `members_max` at most, that were sent the record
  early_messages early_;  ///< of those who are no members by this peer's record
  early_messages ahead_;  ///< of members, about what comes after this peer's record
  static constexpr int record_asks_max = 3;  ///< unanswered
  static constexpr std::size_t relays_asked_max = 32;  ///< for one way to a peer
  static constexpr duration record_ask_pause = std::chrono::milliseconds(500);
  int record_asks_ = 0;
  time_point record_asked_at_{};
  std::set<node_id> links_;
  record_followers followers_;
  /// While a large job is forming, and when it begins, followers pass on what is new; all are told
  /// so much later, in case that one of those died.
  static constexpr duration forming_pause = std::chrono::seconds(2);
  static constexpr duration behind_pause = std::chrono::seconds(1);
  /// Admitted before this peer's eyes and not heard of since: these may not know yet that they are members.
  std::map<node_id, time_point> newcomers_;
  static constexpr duration newcomer_patience = std::chrono::seconds(5);  ///< after it failure detectors have seen to them
  static constexpr int greetings_max = 8;
  bool begins_ = false;  ///< the newest record is the first one that is not forming
  std::map<node_id, incarnation_number> ready_askers_;  ///< live members, no links
  std::set<node_id> readers_;
  std::optional<node_id> awaiting_inputs_;  ///< from this member
  std::vector<node_id> cut_off_;         ///< see `member_square::cut_off`
  std::set<node_id> end_seen_;           ///< who has seen the end,
  std::set<node_id> end_seen_by_links_;  ///< and whose links have
  bool told_end_by_links_ = false;
  bool leaving_ = false, no_majority_ = false, finishing_ = false, ended_ = false;
  bool outputs_complete_ = false;
  epoch_number leaving_epoch_;
  std::map<rank_number, std::shared_ptr<const peal::snapshot>> results_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/job.ipp>
#include <p2pdvm/runtime/impl/job_checkpoint.ipp>
#include <p2pdvm/runtime/impl/job_members.ipp>
#include <p2pdvm/runtime/impl/job_messages.ipp>
#include <p2pdvm/runtime/impl/job_roll_call.ipp>
#endif

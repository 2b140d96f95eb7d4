/// A whole peer: identity, store, network, overlay and at most one job.
///
/// It starts inside any application: on a machine (native or simulated), a queue for its ranks
/// and a driver token that the application gives it. It installs no signal handlers, prints
/// nothing and draws nothing from globals; several live in one process. Every call is made with
/// the token held.
#pragma once

#include <p2pdvm/overlay/node.hpp>
#include <p2pdvm/runtime/job.hpp>
#include <p2pdvm/runtime/job_folder.hpp>
#include <p2pdvm/runtime/joiner.hpp>
#include <p2pdvm/runtime/peer_context.hpp>
#include <p2pdvm/runtime/reception.hpp>
#include <p2pdvm/runtime/ticket.hpp>
#include <p2pdvm/store/segment_log.hpp>
#include <p2pdvm/store/write_behind_log.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace p2pdvm::runtime {

/// By name; the ranks' parts of one name are joined in rank order.
using job_results = std::map<std::string, byte_vector>;

/// BLAKE2b-256 over names and contents, in the order of names.
[[nodiscard]] digest256 digest_of(const job_results& results);

/// Of a member, in what others are told of it.
inline constexpr std::size_t told_addresses_max = 2;

class peer final : private messaging::exchange_handler,
                   private overlay::overlay_transport,
                   private joiner_owner,
                   private job_owner {
 public:
  struct callbacks {
    event_sink event;
    /// The job has ended, or could not begin. Called once.
    std::function<void(const result<job_results>&)> ended;
    /// Nobody needs this peer any more: it may be destroyed (not from inside this call).
    std::function<void()> may_go;
  };
  /// `program` and the references must outlive the peer.
  peer(host::machine& machine, queue_context& ranks, driver_token& token,
       const peal::program& program, peer_setting setting, callbacks call);
  ~peer();
  peer(const peer&) = delete;
  peer& operator=(const peer&) = delete;

  /// Reads or makes the identity, opens the store, listens. Errors are sentences.
  result<> open();

  /// Takes part in the swarm, with or without a job: enters it through any of these.
  void enter(const std::vector<overlay::contact>& through);
  /// As `overlay::node` does.
  void lookup(const node_id& target, overlay::node::lookup_callback done);
  void find(const node_id& target, const std::optional<public_key>& publisher,
            overlay::node::find_callback done);
  void publish(overlay::record r, overlay::node::publish_callback done);
  void nearest(std::size_t wanted, overlay::node::nearest_callback done);

  struct job_request {
    std::uint32_t ranks = 1;
    std::uint32_t peers = 1;
    std::uint32_t replicas = 3;
    receipts_from receipts = receipts_from::disk;
    std::map<std::string, std::string> options;
    std::map<std::string, byte_vector> inputs;
  };
  /// Makes a job with this peer as its first member. Refused when an unfinished one is kept here.
  result<> make_job(job_request request);
  result<> join(const ticket& with);
  /// Goes on with the job kept in this peer's data.
  result<> resume();
  /// Hands over what this peer holds; `may_go` follows.
  void leave();
  /// Stops the whole job on this machine at a last checkpoint, as all its peers are stopped;
  /// `may_go` follows, and `resume` goes on later.
  void stop();
  /// A checkpoint now.
  void wish();

  /// A ticket for the current job with the addresses of its members. Only its maker can sign.
  [[nodiscard]] result<ticket> make_ticket(std::uint32_t uses = 0) const;
  [[nodiscard]] const crypto::identity& identity() const { return *identity_; }
  [[nodiscard]] messaging::contact own_contact() const;
  [[nodiscard]] job* current_job() noexcept { return job_.get(); }
  /// For who looks after it: what is taken out of it is lost. After `open`.
  [[nodiscard]] store::chunk_log& log() { return *log_; }
  struct holdings {
    std::uint64_t chunk_bytes = 0;  ///< sealed
    std::uint64_t disk_bytes = 0;   ///< that the store takes
    std::uint64_t quota_bytes = 0;  ///< and may take
    std::uint64_t given_bytes = 0;  ///< sealed chunks that others have got from here
  };
  [[nodiscard]] holdings held() const;
  /// "holds 1.2 MB of chunks of job 1a2b3c4d (heat) …"
  [[nodiscard]] event holds_event() const;
  [[nodiscard]] const overlay::node* swarm() const noexcept { return node_.get(); }
  [[nodiscard]] bool ended() const noexcept { return ended_; }

 private:
  // messaging::exchange_handler
  [[nodiscard]] bool takes_runs(std::uint8_t channel) const override;
  void on_messages(const node_id& from, std::uint8_t channel, std::span<const byte_view> run) override;
  messaging::landing land(const node_id& from, std::uint8_t channel, byte_view begin, std::size_t total,
                          messaging::landing_guest& guest) override;
  void on_message(const node_id& from, std::uint8_t channel,
                  messaging::arrived_message message) override;
  void on_peer_up(const node_id& node) override;
  void on_peer_reset(const node_id& node) override;
  void on_connection_lost(const node_id& node, const error& why) override;
  void on_unreachable(const node_id& node, const error& why) override;
  void note_connection_lost(const node_id& node, const error& why);
  std::vector<node_id> relays_to(const node_id& node) override;
  void on_path(const node_id& node, const std::optional<node_id>& relay) override;
  void on_datagram(const link::opened_datagram& datagram, const address& from) override;
  void expect(unsigned stage) const noexcept override;
  // overlay::overlay_transport
  void send(const overlay::contact& to, byte_view datagram) override;
  // joiner_owner
  void ask_to_join(const node_id& whom, const std::optional<ticket>& with) override;
  void ask_by_datagram(const node_id& whom, const ticket& with) override;
  void look_for_members(const ticket& with) override;
  void join_failed(const error& why) override;
  // job_owner
  void send(const node_id& to, job_message message) override;
  void send_store(const node_id& to, const store::store_message& message) override;
  overlay::packed_coordinate place() override;
  void measured(const node_id& member, const overlay::packed_coordinate& place,
                duration round_trip) override;
  void on_members(const checkpoint::job_record& previous,
                  const checkpoint::job_record& now) override;
  void on_end(const result<job_results>& results) override;
  void on_end_seen(const node_id& member) override;
  void on_evicted() override;
  void on_left() override;

  result<> open_network();
  result<> listen();
  void tell_listening();
  void tell_ticket();
  void warn_of_another_build(const job_spec& spec);
  void begin(job_identity who, record_update newest,
             std::optional<checkpoint::acceptor> acceptor);
  void on_join_request(const node_id& from, join_request& request);
  void on_join_datagram(const public_key& key, const address& where, byte_view bytes);
  [[nodiscard]] std::string why_not(const node_id& from, const join_request& request) const;
  [[nodiscard]] welcome welcome_for(const node_id& from, const join_request& request);
  [[nodiscard]] join_request join_request_to(const node_id& whom, const std::optional<ticket>& with);
  [[nodiscard]] node_id admitter() const;
  bool note_applicant(const node_id& from, const join_request& request);
  void be_followed_by(const node_id& from, const join_request& request);
  void pass_on(const node_id& from, join_request request, const node_id& admits);
  void on_passed_join(const node_id& from, const passed_join& message);
  void follow(const node_id& whom);
  [[nodiscard]] bool is_awaited(const node_id& node) const;
  void admit_waiting();
  void write_admissions();
  void on_admitted(const std::vector<checkpoint::member>& batch, const result<>& written);
  void on_welcome(const node_id& from, welcome message);
  void maybe_start();
  void publish_job();
  void publish_later(duration pause);
  void remember_contacts();
  void arm_node();
  void compact_later();
  void check_may_go();
  void finish(const result<job_results>& results);

  host::machine& machine_;
  peer_setting setting_;
  callbacks call_;
  const peal::program& program_;
  queue_context& ranks_;
  driver_token& token_;
  std::optional<crypto::identity> identity_;
  store::segment_log* disk_log_ = nullptr;  ///< that `log_` writes to
  std::optional<store::write_behind_log> log_;
  std::optional<job_folder> folder_;
  std::unique_ptr<messaging::exchange> exchange_;
  std::unique_ptr<overlay::node> node_;
  std::optional<peer_context> context_;
  std::unique_ptr<job> job_;

  std::optional<joiner> joining_;
  time_point node_armed_for_ = time_point_never;
  std::map<node_id, checkpoint::member> admissions_;  ///< asked for, and not yet in the record
  /// Admitted by this peer in a forming job, and when, but with no connection yet: they make it.
  std::map<node_id, time_point> awaited_;
  std::optional<reception> reception_;
  std::optional<record_update> first_record_;  ///< of the job that this process has made
  std::map<node_id, job_id> early_followers_;  ///< while this peer waits for its own welcome
  std::optional<node_id> guide_;               ///< whom this peer follows
  bool admitting_ = false;                            ///< a write of some of them is under way
  host::timer node_timer_, linger_timer_, publish_timer_, compact_timer_, admit_timer_;
  std::uint64_t published_ = 0;
  bool ended_ = false, going_ = false;
  std::optional<epoch_number> stop_at_;  ///< the committed epoch when `stop` was called
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/peer.ipp>
#include <p2pdvm/runtime/impl/peer_joining.ipp>
#include <p2pdvm/runtime/impl/peer_network.ipp>
#endif

/// Whole peers of one job in the simulator: the same `peer` as in reality, only `host` differs.
#pragma once

#include <p2pdvm/runtime/peer.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

class simulated_cluster {
 public:
  struct options {
    std::uint32_t peers = 4;
    std::uint32_t spares = 0;  ///< join after the job has started
    peer::job_request job;     ///< its `peers` is set from the above
    std::optional<duration> checkpoint_interval;
    duration hang_after = peer_setting().hang_after;
    sim::options network;
    overlay::detector_options detector = overlay::detector_options::wan();
    /// Of the first peers; every other machine is one of its own.
    std::vector<std::string> failure_domains;
    /// These peers are each behind a NAT of its own, of this kind.
    std::set<std::uint32_t> hidden;
    sim::nat_options nat;
    /// Called with what a peer is about to begin with, and may change it; null: nothing is changed.
    std::function<void(std::size_t peer, peer_setting&)> adjust;
    /// These peers compress nothing.
    std::set<std::uint32_t> uncompressed;
    /// Called when a peer's process begins; null: no outputs. The sink of a process that has ended the job stays, others go
    /// with their processes.
    std::function<std::unique_ptr<output_sink>(std::size_t peer)> outputs;
  };
  /// Called for each event of each peer, in the order of virtual time. It may crash peers.
  using observer = std::function<void(std::size_t peer, const event&)>;

  /// `program` must outlive the cluster.
  simulated_cluster(const peal::program& program, options how, observer watch = nullptr);
  ~simulated_cluster();
  simulated_cluster(const simulated_cluster&) = delete;
  simulated_cluster& operator=(const simulated_cluster&) = delete;

  /// Runs until every living peer has seen the end. False when `limit` of virtual time came first.
  bool run(duration limit);
  bool run_until(const std::function<bool()>& condition, duration limit);

  /// kill -9, at the next event (safe from inside an observer).
  void crash(std::size_t peer, sim::crash_mode mode = sim::crash_mode::reset);
  /// Starts the process again on the same disk, with `--resume`, or with its ticket if it was not
  /// in the job yet.
  void restart(std::size_t peer);
  /// The same, with its ticket in any case.
  void rejoin(std::size_t peer);
  /// All that still run are killed; afterwards nothing may be asked of them.
  void kill_all();
  /// Ctrl-C.
  void leave(std::size_t peer);
  /// A checkpoint now, wished for by this peer alone.
  void wish(std::size_t peer);

  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size(); }
  [[nodiscard]] bool alive(std::size_t peer) const { return nodes_[peer]->process != nullptr; }
  [[nodiscard]] peer& at(std::size_t i) { return *nodes_[i]->process; }
  [[nodiscard]] sim::simulation& network() noexcept { return simulation_; }
  [[nodiscard]] sim::machine& machine(std::size_t i) { return *nodes_[i]->machine; }
  /// What a peer ended with.
  [[nodiscard]] const std::optional<result<job_results>>& outcome(std::size_t peer) const {
    return nodes_[peer]->outcome;
  }
  /// Null where there are none.
  [[nodiscard]] output_sink* outputs(std::size_t peer) { return nodes_[peer]->outputs.get(); }
  /// The index of a peer by its node id; nothing when unknown.
  [[nodiscard]] std::optional<std::size_t> index_of(const node_id& id) const;
  /// Of all events of the simulation.
  [[nodiscard]] std::uint64_t digest() const noexcept { return simulation_.digest(); }

 private:
  struct node {
    std::size_t index = 0;
    sim::machine* machine = nullptr;
    queue_context ranks;
    driver_token token;
    std::unique_ptr<output_sink> outputs;
    std::unique_ptr<peer> process;
    std::optional<node_id> id;
    std::optional<result<job_results>> outcome;
    bool may_go = false, crash_next = false;
    bool has_job = false;  ///< it knows members of the job
    sim::crash_mode how = sim::crash_mode::reset;
  };
  enum class beginning { make, join, resume };

  node& add_node();
  void start(node& n, beginning how);
  void begin(node& n, beginning how);
  void on_event(node& n, const event& e);
  bool step();
  void settle();
  void end_process(node& n);

  const peal::program& program_;
  options options_;
  observer watch_;
  sim::simulation simulation_;
  std::vector<std::unique_ptr<node>> nodes_;
  std::vector<node*> ready_;
  std::optional<ticket> ticket_;
  bool spares_called_ = false, attention_ = false;
};

/// The newest record that a living peer, other than `except`, has; or null.
[[nodiscard]] const checkpoint::job_record* newest_record(simulated_cluster& cluster,
                                                          std::optional<std::size_t> except = {});

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/simulated_cluster.ipp>
#endif

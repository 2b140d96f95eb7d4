/// Small programs on real barriers over a minimal messaging layer: windows, received sets,
/// mailboxes, held messages and late logs. Any step can come next; whole worlds can be copied.
#pragma once

#include "make.hpp"
#include "support/test.hpp"

#include <p2pdvm/checkpoint/cut.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

namespace cut_test {

using namespace p2pdvm;
using namespace p2pdvm::checkpoint;

/// S: send to `other`. R: receive from `other`. A: receive from anybody. P: safe point.
/// W: safe_wait for a message from `other`.
struct op {
  char kind;
  std::uint32_t other = 0;
};
using program = std::vector<op>;
inline op S(std::uint32_t to) { return {'S', to}; }
inline op R(std::uint32_t from) { return {'R', from}; }
inline op W(std::uint32_t from) { return {'W', from}; }
inline const op A{'A'};
inline const op P{'P'};

/// `body` depends on all that the sender had received, so that history matters.
struct rank_message {
  std::uint32_t source = 0;
  std::uint64_t sequence = 0;
  std::uint64_t body = 0;
  friend auto operator<=>(const rank_message&, const rank_message&) = default;
  template <class F>
  void fields(F&& f) {
    f(source);
    f(sequence);
    f(body);
  }
};

/// What a snapshot holds of a rank, and what a rank holds between its operations.
struct rank_state {
  std::uint32_t pc = 0;
  std::uint64_t passed = 0;
  std::uint64_t history = 0;  ///< digest of all it received, in order
  std::vector<std::uint64_t> sent;      ///< per destination
  std::vector<std::uint64_t> consumed;  ///< per source
  std::vector<std::set<rank_message>> window;     ///< per destination; `source` is this rank
  std::vector<std::set<std::uint64_t>> received;  ///< per source
  std::set<rank_message> mailbox;
  friend bool operator==(const rank_state&, const rank_state&) = default;
  template <class F>
  void fields(F&& f) {
    f(pc);
    f(passed);
    f(history);
    f(sent);
    f(consumed);
    f(window);
    f(received);
    f(mailbox);
  }
};

struct snapshot {
  rank_state at_cut;
  std::set<rank_message> late;
  template <class F>
  void fields(F&& f) {
    f(at_cut);
    f(late);
  }
};

struct live_rank {
  rank_state now;
  epoch_number epoch;
  std::set<std::pair<epoch_number, rank_message>> held;
  bool waiting = false;   ///< at a safe point
  bool standing = false;  ///< in safe_wait
  bool returned = false;
  bool log_open = false;
  std::optional<snapshot> shot;  ///< of `epoch`, until it commits or is released
  template <class F>
  void fields(F&& f) {
    f(now);
    f(epoch);
    f(held);
    f(waiting);
    f(standing);
    f(returned);
    f(log_open);
    f(shot);
  }
};

struct rank_packet {
  incarnation_number incarnation;
  epoch_number epoch;
  std::uint32_t to = 0;
  rank_message message;
  friend auto operator<=>(const rank_packet&, const rank_packet&) = default;
  template <class F>
  void fields(F&& f) {
    f(incarnation);
    f(epoch);
    f(to);
    f(message);
  }
};

struct peer_world {
  node_id node;
  std::optional<cut_barrier> barrier;  ///< none: dead
  std::uint64_t record = 0;            ///< index of the record it works with
  std::optional<cut_action::committable> proposal;
};

class world {
 public:
  /// `hosts[r]` is the peer of rank r; peers without ranks are members too.
  world(std::vector<program> programs, const std::vector<std::uint32_t>& hosts,
        std::uint64_t peers);

  [[nodiscard]] std::uint32_t ranks() const {
    return static_cast<std::uint32_t>(programs_->size());
  }
  /// Things that can happen next; the order is fixed.
  struct move {
    enum class kind : std::uint8_t { rank, packet, ack, facts, record, wish, commit, seal } what;
    std::size_t index = 0;
  };
  [[nodiscard]] std::vector<move> moves() const;
  /// Carries out one of `moves()`.
  void make(const move& m);
  [[nodiscard]] byte_vector fingerprint() const;

  /// A peer dies; another member evicts it, and everybody starts again from what is committed.
  void kill(std::uint64_t peer);
  [[nodiscard]] bool finished() const;
  [[nodiscard]] bool alive(std::uint64_t peer) const { return peers_[peer].barrier.has_value(); }
  [[nodiscard]] const job_record& newest() const { return *records_.back(); }
  [[nodiscard]] std::uint64_t history(std::uint32_t rank) const { return ranks_[rank].now.history; }

  /// How often each peer may still wish.
  std::vector<int> wishes;
  /// For the explorer, which looks at snapshots: stop when one is complete, do not seal, and
  /// keep the facts of one peer to another in order, as sessions do.
  bool snapshots_only = false;

  // What happened.
  std::uint64_t complete = 0;   ///< all ranks cut and all late logs closed
  std::uint64_t abandoned = 0;
  std::uint64_t commits = 0;
  std::uint64_t standing_cuts = 0;
  std::uint64_t misaligned = 0;  ///< complete epochs with cuts at different indexes

  /// Restarts the complete snapshot under two delivery orders: no rank may block, no message
  /// be left over, no new message be taken for a duplicate, no retransmission differ.
  [[nodiscard]] bool restart_is_right() const;
  [[nodiscard]] bool snapshot_complete() const;

 private:
  [[nodiscard]] bool rank_can_move(std::uint32_t rank) const;
  [[nodiscard]] const op* next_op(std::uint32_t rank) const;
  void step_rank(std::uint32_t rank);
  void send(std::uint32_t rank, std::uint32_t to);
  [[nodiscard]] std::optional<rank_message> match(const rank_state& r, const op& o,
                                                  std::uint32_t preferred) const;
  void consume(std::uint32_t rank, const rank_message& m);
  [[nodiscard]] std::optional<epoch_number> needs_held(std::uint32_t rank) const;
  void deliver(const rank_packet& p);
  void capture(std::uint32_t rank, epoch_number epoch);
  void pass(std::uint32_t rank);
  void apply(std::uint64_t peer);
  void carry_out(std::uint64_t peer, barrier_action& action);
  void release(std::uint64_t peer, epoch_number epoch);
  void seal(std::uint32_t rank);
  void write(result<job_record> next);
  void learn(std::uint64_t peer);
  void restart_ranks(std::uint64_t peer);
  [[nodiscard]] std::uint64_t host(std::uint32_t rank) const;
  /// 0 while the rank does not run on its host.
  [[nodiscard]] incarnation_number incarnation_of(std::uint32_t rank) const;
  [[nodiscard]] cut_barrier& barrier_of(std::uint32_t rank) { return *peers_[host(rank)].barrier; }

  struct facts_packet {
    std::uint64_t from, to;
    cut_facts facts;
  };

  std::shared_ptr<const std::vector<program>> programs_;
  std::vector<std::shared_ptr<const job_record>> records_;
  std::vector<live_rank> ranks_;
  std::vector<peer_world> peers_;
  std::set<rank_packet> packets_;
  std::set<rank_packet> acks_;  ///< the packets that they acknowledge
  std::vector<facts_packet> facts_;
  std::map<chunk_id, snapshot> stored_;
};

}  // namespace cut_test

/// What the parts of one peer share.
#pragma once

#include <p2pdvm/async/driver_token.hpp>
#include <p2pdvm/async/queue_executor.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/messaging/exchange.hpp>
#include <p2pdvm/overlay/detector_options.hpp>
#include <p2pdvm/overlay/node.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/runtime/event.hpp>
#include <p2pdvm/runtime/output_sink.hpp>
#include <p2pdvm/store/chunk_log.hpp>
#include <p2pdvm/store/compression.hpp>
#include <p2pdvm/store/write_behind_log.hpp>

#include <functional>
#include <optional>
#include <string>

namespace p2pdvm::runtime {

struct peer_setting {
  /// Where to listen for other peers; none: a peer alone, without a network.
  std::optional<address> listen;
  /// Peers that are likely to fail together share it; at most one of them holds a chunk.
  std::string failure_domain;
  /// Between checkpoints: nothing decides adaptively, zero never takes one.
  std::optional<duration> checkpoint_interval;
  overlay::detector_options detector;
  overlay::node_options overlay;
  /// Only in simulations: see `link::clear_datagrams`.
  bool clear_datagrams = false;
  digest256 executable;
  std::uint64_t platform = 0;
  link::swarm_id swarm;
  /// How long a ticket of this peer is good for.
  std::chrono::seconds ticket_lifetime = std::chrono::hours(24 * 7);
  /// After the end, for members that have not fetched the results yet.
  duration linger_max = std::chrono::seconds(30);
  /// What chunks and values may take of the disk: members of a job are believed to be members,
  /// not to be modest. Three epochs of three copies of 28 GB of state per peer.
  std::uint64_t store_bytes_max = std::uint64_t{256} << 30;
  /// Copies of chunks in memory that are not on disk yet (receipts from memory).
  std::size_t memory_bytes_max = store::unwritten_bytes_max;
  /// Of chunks that go to other peers, in bytes per second; 0: as fast as it goes.
  std::uint64_t upload_rate = 0;
  /// A member without the program: keeper, holder and relay, and never a host of ranks.
  bool storage_only = false;
  /// Ranks that wait so long for one thing are told of, with all others; zero: never.
  duration hang_after = std::chrono::seconds(30);
  /// Messages between peers of this computer and user go through memory that they share.
  bool shared_memory = true;
  /// Of what this peer seals; it reads both forms.
  store::compression compression = store::compression::automatic;
  /// Where outputs appear here; null: nowhere. It outlives the peer.
  output_sink* outputs = nullptr;
};

/// All references outlive the parts that hold them.
struct peer_context {
  host::machine& machine;
  queue_context& ranks;
  driver_token& token;
  store::chunk_log& log;
  const crypto::identity& self;
  const peal::program& program;
  const peer_setting& setting;
  /// Null for a peer without a network.
  messaging::exchange* exchange = nullptr;
  event_sink sink;

  void tell(event e) const {
    e.at = machine.clock().now();
    if (sink) sink(e);
  }
};

}  // namespace p2pdvm::runtime

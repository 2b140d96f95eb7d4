/// The rank's side of replication: gets every chunk of one snapshot onto enough holders.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/store/genuine_receipts.hpp>
#include <p2pdvm/store/manifest.hpp>
#include <p2pdvm/store/messages.hpp>
#include <p2pdvm/store/placement.hpp>
#include <p2pdvm/store/upload_budget.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::store {

using namespace std::chrono_literals;

/// Sealed bytes of one put (a single larger chunk goes alone), and of all unanswered puts to one
/// holder: about 3 s of a slow uplink (10 Mbit/s).
inline constexpr std::size_t put_bytes_max = 512 * 1024;
inline constexpr std::size_t put_bytes_in_flight_max = 4 * 1024 * 1024;
/// Sealed chunks remembered until the stripe's other holders get them too.
inline constexpr std::size_t sealed_cache_bytes_max = 8 * 1024 * 1024;
/// A holder that answers nothing for so long is asked what it has; after `put_stalls_max` times
/// in a row another takes its place.
inline constexpr duration put_stall_time = 10s;
inline constexpr unsigned put_stalls_max = 3;
/// How often a holder may say `chunks_missing` in one epoch.
inline constexpr unsigned put_missing_max = 64;

/// What each holder is known to have. Owned by the caller and kept between epochs, so that only
/// dirty chunks travel. Being wrong costs a round trip, never a chunk: holders answer for what
/// they have.
class replica_map {
 public:
  [[nodiscard]] bool has(const node_id& holder, const chunk_id& id) const;
  /// `epoch`: the latest that pins the chunk there.
  void add(const node_id& holder, const chunk_id& id, epoch_number epoch);
  void remove(const node_id& holder, const chunk_id& id);
  /// The holder left.
  void forget(const node_id& holder) { holders_.erase(holder); }
  /// Forgets what only epochs before `oldest` pinned: holders may have collected it.
  void expire(epoch_number oldest);

 private:
  std::map<node_id, std::map<chunk_id, epoch_number>> holders_;
};

/// One rank's snapshot and who is to hold it.
struct replication {
  pin snapshot;
  rank_number rank;
  std::vector<placed_chunk> chunks;  ///< the manifest's own included; each id once
  std::vector<member> members;
  unsigned replicas = 3;
  std::optional<node_id> self = std::nullopt;  ///< the member to whom nothing has to be sent over a network
};

/// The least number of failure domains, over all chunks, whose members gave valid receipts.
[[nodiscard]] unsigned replicas_of(const replication& what, const std::vector<receipt>& receipts);
/// Whether that is as many as wanted, or as there are.
[[nodiscard]] bool covers(const replication& what, const std::vector<receipt>& receipts);

struct replication_outcome {
  /// Each for all chunks of the stripes it names; what `covers` wants to see.
  std::vector<receipt> receipts;
  unsigned replicas = 0;  ///< fewer than wanted if too few domains were willing
  std::vector<std::string> troubles;  ///< a sentence for each holder that was given up
};

/// Sends each holder what it lacks and, with the last of it, the ids of everything else in its
/// stripes, so that one receipt covers all. A holder that refuses, stalls, lies or is lost is
/// replaced by the next in placement order, as long as there is one.
class replicator {
 public:
  /// Must only queue the message: it may not call back into the replicator.
  using emit_function = std::function<void(const node_id& to, store_message message)>;
  /// Sealed bytes of a chunk; called when they are about to be sent, seldom more than once per
  /// chunk. An error ends the replication.
  using sealed_function = std::function<result<payload>(const chunk_id&)>;

  /// `known`, `genuine` and `budget` must outlive the replicator. Chunks go out as the budget, which others may use too, permits;
  /// null: at once.
  replicator(replication what, replica_map& known, genuine_receipts& genuine, sealed_function sealed,
             emit_function emit, upload_budget* budget = nullptr);

  void start(time_point now);
  /// Answers of another rank or epoch have no effect.
  void on_message(time_point now, const node_id& from, const store_message& message);
  void on_member_lost(time_point now, const node_id& lost);
  void on_timer(time_point now);
  /// When `on_timer` is due.
  [[nodiscard]] time_point next_timer() const;

  /// Empty until it is over.
  [[nodiscard]] const std::optional<result<replication_outcome>>& finished() const noexcept {
    return finished_;
  }

 private:
  using chunk_index = std::uint32_t;
  using stripe_mask = std::uint16_t;
  static_assert(limits::stripes_per_rank == 16);

  struct outstanding_put {
    stripe_mask stripes = 0;
    std::vector<chunk_index> named;
    std::size_t bytes = 0;
    digest256 covered;
  };
  /// `given_up`: gets nothing more, though its receipts count; `lost`: they do not.
  enum class standing : std::uint8_t { good, given_up, lost };
  struct target {
    standing state = standing::good;
    stripe_mask assigned = 0;
    stripe_mask due = 0;        ///< a put that names all of these stripes has yet to be sent
    stripe_mask confirmed = 0;  ///< receipts are here
    std::set<chunk_index> queue;
    std::map<std::uint64_t, outstanding_put> puts;
    std::size_t bytes_in_flight = 0;
    unsigned stalls = 0;
    unsigned missing = 0;
    time_point last_progress{};
  };

  void place();
  void assign(std::size_t m, unsigned stripe);
  void pump(time_point now);
  bool send_put(time_point now, std::size_t m);
  result<payload> sealed(chunk_index c);
  void on_receipt(time_point now, std::size_t m, const receipt& r);
  void on_missing(time_point now, std::size_t m, const chunks_missing& answer);
  void give_up(std::size_t m, standing state, const std::string& why);
  void ask_again(std::size_t m);
  void check_finished();
  void proceed(time_point now);

  replication what_;
  replica_map& known_;
  genuine_receipts& genuine_;
  sealed_function sealed_;
  emit_function emit_;
  upload_budget* budget_;
  bool held_back_ = false;  ///< a put waits for the budget
  std::size_t turn_ = 0;    ///< whose put that is
  std::array<std::vector<chunk_index>, limits::stripes_per_rank> by_stripe_;
  std::map<chunk_id, chunk_index> index_;
  std::map<node_id, std::size_t> by_node_;
  std::vector<target> targets_;  ///< as `what_.members`
  std::map<chunk_index, payload> cache_;
  std::deque<chunk_index> cache_order_;
  std::size_t cache_bytes_ = 0;
  std::uint64_t next_sequence_ = 0;
  replication_outcome outcome_;
  std::optional<result<replication_outcome>> finished_;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/replicator.ipp>
#endif

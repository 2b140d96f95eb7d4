/// Pulls chunks from many holders at once and verifies them.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/manifest.hpp>
#include <p2pdvm/store/messages.hpp>
#include <p2pdvm/store/placement.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <vector>

namespace p2pdvm::store {

using namespace std::chrono_literals;

/// Asked of one holder and not yet answered: about 1.5 s of a slow uplink (10 Mbit/s).
inline constexpr std::size_t fetch_bytes_in_flight_max = 2 * 1024 * 1024;
/// Asked of all holders together.
inline constexpr std::size_t fetch_bytes_in_flight_total_max = 32 * 1024 * 1024;
inline constexpr std::size_t ids_per_fetch_max = 16;
static_assert(ids_per_fetch_max <= ids_per_get_max);
/// A holder that answers nothing for so long has its chunks asked elsewhere; doubled each time
/// in a row, up to 8 times as long.
inline constexpr duration fetch_stall_time = 4s;
/// How often silent holders are tried again for a chunk that nobody else has.
inline constexpr unsigned fetch_rounds_max = 3;

struct fetch_plan {
  job_id job;
  rank_number rank;
  std::vector<placed_chunk> chunks;  ///< each id once
  std::vector<member> members;
  unsigned replicas = 3;
  /// Who is known to have which stripes, may be empty: these are asked first. Not verified here:
  /// a wrong one costs time only.
  std::vector<receipt> receipts;
};

/// Asks first the holders that gave receipts, then the stripe's targets by placement (spreading
/// over both), then every other member; each holder once per chunk unless it was merely silent.
class fetcher {
 public:
  /// Must only queue the message: it may not call back into the fetcher.
  using emit_function = std::function<void(const node_id& to, store_message message)>;
  /// Takes a verified chunk, each once; may not call back into the fetcher.
  using sink_function = std::function<void(const chunk_id& id, payload plain)>;
  /// Told of a holder that was to have a chunk and said that it had not, or gave it damaged, once another one has given it: so that it can have it
  /// again. May not call back into the fetcher.
  using mend_function = std::function<void(const node_id& holder, const chunk_id& id, const payload& sealed)>;

  /// `codec` must outlive the fetcher. `mend` may be null.
  fetcher(fetch_plan plan, const chunk_codec& codec, sink_function sink, emit_function emit,
          mend_function mend = nullptr);

  void start(time_point now);
  /// Chunks that are not wanted have no effect, so that several fetchers may see all answers.
  void on_message(time_point now, const node_id& from, const store_message& message);
  /// When it waits for that chunk from that holder, the bytes that this has at most: who opens chunks apart, on another thread, brings
  /// them by `on_opened`.
  [[nodiscard]] std::optional<std::size_t> expects(const node_id& from, const chunk_id& id) const;
  /// What `chunk_codec::open` said of an answer, which was `sealed`.
  void on_opened(time_point now, const node_id& from, const chunk_id& id, const result<payload>& plain,
                 const payload& sealed);
  void on_member_lost(time_point now, const node_id& lost);
  void on_timer(time_point now);
  /// When `on_timer` is due.
  [[nodiscard]] time_point next_timer() const;

  /// Empty until it is over; then success, or `lost` with a sentence that counts what is missing.
  [[nodiscard]] const std::optional<result<>>& finished() const noexcept { return finished_; }
  /// Answers that failed verification.
  [[nodiscard]] std::size_t damaged() const noexcept { return damaged_; }
  /// Once it has failed: chunks that are missing, and whether every member has said of all of them that it has none, or given a damaged one; it may be
  /// that only nobody has answered.
  [[nodiscard]] std::size_t chunks() const noexcept { return wanted_.size(); }
  [[nodiscard]] std::size_t missing() const noexcept { return missing_; }
  [[nodiscard]] bool all_denied() const noexcept;

 private:
  using chunk_index = std::uint32_t;
  using holder_index = std::uint32_t;
  enum class phase : std::uint8_t { waiting, asked, done, missing };

  struct wanted {
    phase state = phase::waiting;
    holder_index asked_of = 0;
    unsigned rounds = 0;
    std::vector<holder_index> tried;   ///< asked in this round
    std::vector<holder_index> silent;  ///< of these, those that did not answer
    std::vector<holder_index> lacking; ///< that were to have it, and have not
  };
  struct source {
    bool lost = false;
    bool used = false;
    std::set<chunk_index> asked;
    std::size_t bytes_in_flight = 0;
    unsigned stalls = 0;
    time_point last_progress{};
  };
  /// The first `preferred` of `order` probably have the stripe.
  struct candidates {
    std::vector<holder_index> order;
    std::size_t preferred = 0;
  };

  void find_candidates();
  void pump(time_point now);
  /// False when the chunk has to wait for room.
  bool try_ask(time_point now, chunk_index c);
  [[nodiscard]] std::optional<holder_index> choose(const wanted& w, const candidates& from) const;
  [[nodiscard]] bool untried(const wanted& w, holder_index h) const;
  [[nodiscard]] bool has_room(holder_index h, std::size_t bytes) const;
  [[nodiscard]] std::size_t cost(chunk_index c) const;
  [[nodiscard]] static time_point due(const source& s);
  void flush(holder_index h);
  void release(chunk_index c);
  [[nodiscard]] std::size_t bytes_max(chunk_index c) const;
  void on_data(time_point now, holder_index from, const sealed_chunk& data);
  void take(time_point now, holder_index from, chunk_index c, const result<payload>& plain, const payload& sealed);
  void note_lacking(holder_index h, chunk_index c);
  void on_absent(time_point now, holder_index from, const chunks_absent& absent);
  void requeue_all(holder_index h, bool silent);
  void check_finished();

  fetch_plan plan_;
  const chunk_codec& codec_;
  sink_function sink_;
  emit_function emit_;
  mend_function mend_;
  std::map<chunk_id, chunk_index> index_;
  std::map<node_id, holder_index> by_node_;
  std::vector<wanted> wanted_;   ///< as `plan_.chunks`
  std::vector<source> sources_;  ///< as `plan_.members`
  std::array<candidates, limits::stripes_per_rank> candidates_;
  std::array<std::deque<chunk_index>, limits::stripes_per_rank> fresh_;
  std::vector<chunk_index> again_;
  std::vector<get_chunks> batches_;  ///< as `plan_.members`
  std::size_t bytes_in_flight_ = 0;
  std::size_t open_ = 0;
  std::size_t missing_ = 0;
  std::size_t damaged_ = 0;
  std::optional<result<>> finished_;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/fetcher.ipp>
#endif

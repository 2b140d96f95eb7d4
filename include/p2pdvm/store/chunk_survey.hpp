/// Anti-entropy of one rank's snapshot: who should hold what of it, lacks it, and can have it from whom.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/store/manifest.hpp>
#include <p2pdvm/store/messages.hpp>
#include <p2pdvm/store/placement.hpp>

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <utility>
#include <vector>

namespace p2pdvm::store {

/// Who has not answered by then is taken for one that says nothing.
inline constexpr duration survey_answer_time = std::chrono::seconds(10);

/// Run by the rank's host, which knows the manifest. First the holders that the placement wants are asked for the chunks of their stripes: 8 bytes for
/// each chunk one way, a bit back. Only for what one of them lacks and none has, all other members are asked, who may have it from before the members
/// changed. Then of those who have a chunk the first in placement order is told to give it to each that lacks it; nothing comes through the host. With nothing
/// amiss it is one `compare_chunks` to each holder and one `chunk_bitmap` back, for each `names_per_compare_max` chunks.
///
/// Nothing of what a holder says is proven here: a wrong bitmap costs what it asks for, and a copy that is not there is found out by whoever reads it.
class chunk_survey {
 public:
  struct plan {
    pin snapshot;
    rank_number rank;
    chunk_id manifest;
    std::vector<placed_chunk> chunks;  ///< the manifest's own included; each id once
    std::vector<member> members;
    unsigned replicas = 3;
  };
  struct outcome {
    std::size_t lacking = 0;  ///< copies that holders should have had
    std::size_t passed = 0;   ///< of these, that somebody was told to give them
    std::size_t nowhere = 0;  ///< chunks that all members say they have not
  };
  /// Must only queue the message: it may not call back into the survey.
  using emit_function = std::function<void(const node_id& to, store_message message)>;
  /// What a holder said of one chunk; may not call back either.
  using learn_function = std::function<void(const node_id& holder, const chunk_id& id, bool has)>;

  chunk_survey(plan what, emit_function emit, learn_function learn);

  void start(time_point now);
  /// Other messages, and bitmaps that nobody was asked for, have no effect.
  void on_message(time_point now, const node_id& from, const store_message& message);
  void on_member_lost(time_point now, const node_id& lost);
  void on_timer(time_point now);
  [[nodiscard]] time_point next_timer() const noexcept { return finished_ ? time_point_never : deadline_; }
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  /// Once it has finished.
  [[nodiscard]] const outcome& found() const noexcept { return found_; }
  [[nodiscard]] const plan& what() const noexcept { return plan_; }

 private:
  using chunk_index = std::uint32_t;
  using holder_index = std::uint32_t;
  struct standing {
    std::set<holder_index> has, lacks;
  };

  void ask(time_point now, std::map<holder_index, std::vector<chunk_index>> whom);
  void round_ended(time_point now);
  void order_copies();

  plan plan_;
  placement places_;
  emit_function emit_;
  learn_function learn_;
  std::map<node_id, holder_index> by_node_;
  std::vector<standing> standings_;  ///< as `plan_.chunks`
  std::map<std::pair<holder_index, std::uint32_t>, std::vector<chunk_index>> asked_;
  std::uint32_t next_sequence_ = 0;
  std::set<holder_index> lost_, silent_;
  bool second_round_ = false, finished_ = false;
  time_point deadline_ = time_point_never;
  outcome found_;
};

/// By which a chunk is called in a comparison: 8 bytes of its id, behind the algorithm.
[[nodiscard]] std::uint64_t short_name(const chunk_id& id) noexcept;

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/chunk_survey.ipp>
#endif

/// Who waits where: what a roll call brings together of all ranks of a job, and the sentences of it.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

/// Ranks as ranges in order. Beyond `ranges_max` it only knows how many they are, once it was shortened.
class rank_set {
 public:
  static constexpr std::size_t ranges_max = 64;

  void add(std::uint32_t first, std::uint32_t last);
  void add(rank_number rank) { add(rank.value(), rank.value()); }
  void add(const rank_set& other);
  /// Those of this set that are not in the other.
  [[nodiscard]] rank_set without(const rank_set& other) const;
  [[nodiscard]] bool contains(rank_number rank) const noexcept;
  [[nodiscard]] bool empty() const noexcept { return ranges_.empty() && omitted_ == 0; }
  [[nodiscard]] std::uint64_t count() const noexcept;
  [[nodiscard]] bool complete() const noexcept { return omitted_ == 0; }
  /// The only one.
  [[nodiscard]] std::optional<rank_number> single() const noexcept;
  void shorten(std::size_t ranges);
  /// "rank 7", "ranks 0-6, 8-15", "ranks 0, 2, 4 and 29 others"
  [[nodiscard]] std::string text() const;
  [[nodiscard]] bool valid(std::uint32_t ranks) const noexcept;
  friend bool operator==(const rank_set&, const rank_set&) = default;
  template <class F>
  void fields(F&& f) {
    f(ranges_), f(omitted_);
  }

 private:
  std::vector<std::pair<std::uint32_t, std::uint32_t>> ranges_;  ///< first and last
  std::uint32_t omitted_ = 0;
};

/// Where a rank is. Ranks at the same place are told together, whatever partners they have.
struct rank_place {
  enum class doing : std::uint8_t { receives, probes, sends, at_safe_point, sleeps, computes, returned, starts };
  static constexpr std::size_t text_max = 64;

  doing what = doing::computes;
  std::string call;          ///< "recv", "barrier"
  std::int64_t number = -1;  ///< of the collective or superstep
  std::uint32_t group = 0;   ///< communicator
  bool collective = false;
  std::optional<std::int64_t> tag;
  std::string file;
  std::uint32_t line = 0;
  epoch_number epoch;
  [[nodiscard]] bool waits() const noexcept { return what <= doing::at_safe_point; }
  /// "allreduce #12", "sync of superstep 5"
  [[nodiscard]] std::string call_text() const;
  friend auto operator<=>(const rank_place&, const rank_place&) = default;
  template <class F>
  void fields(F&& f) {
    f(what), f(call), f(number), f(group), f(collective), f(tag), f(file), f(line), f(epoch);
  }
};

/// All ranks at one place.
struct place_group {
  rank_place place;
  rank_set ranks;
  rank_set partners;     ///< of whom they wait for messages, or for room
  /// Some ranks, each with its partner: those with the smallest numbers.
  std::vector<std::pair<std::uint32_t, std::uint32_t>> pairs;
  static constexpr std::size_t pairs_max = 4;
  bool anyone = false;   ///< and some of them for a message of whoever sends one
  bool stuck = false;    ///< one of them at least has been here for long
  std::uint32_t seconds = 0;  ///< the longest of them has been here
  std::uint64_t bytes = 0;    ///< that wait for room
  template <class F>
  void fields(F&& f) {
    f(place), f(ranks), f(partners), f(pairs), f(anyone), f(stuck), f(seconds), f(bytes);
  }
};

/// What was sent to a rank and it has not received.
struct backlog {
  rank_number rank;
  std::uint64_t bytes = 0, messages = 0;
  template <class F>
  void fields(F&& f) {
    f(rank), f(bytes), f(messages);
  }
};

/// Bounded, however many ranks there are.
class roll {
 public:
  static constexpr std::size_t groups_max = 64;
  static constexpr std::size_t backlogs_max = 16;
  static constexpr std::size_t lines_max = 16;  ///< of `text`

  void add(place_group group);
  void add(const backlog& unread);
  void add(const roll& other);
  /// To what may be sent.
  void shorten();
  /// From another peer.
  [[nodiscard]] bool valid(std::uint32_t ranks) const;

  [[nodiscard]] const std::vector<place_group>& groups() const noexcept { return groups_; }
  [[nodiscard]] const std::vector<backlog>& backlogs() const noexcept { return backlogs_; }
  [[nodiscard]] rank_set stuck() const;
  /// How long those have been waiting.
  [[nodiscard]] std::uint32_t seconds() const;
  /// Changes exactly when other ranks are stuck, or at other places.
  [[nodiscard]] byte_vector fingerprint() const;
  /// Sentences, one a line: a first one that says how long, and where each of `ranks` ranks is.
  [[nodiscard]] std::string text(std::uint32_t ranks) const;
  template <class F>
  void fields(F&& f) {
    f(groups_), f(backlogs_), f(omitted_);
  }

 private:
  [[nodiscard]] std::string line_of(const place_group& g, bool with_epoch) const;
  [[nodiscard]] static std::string partners_of(const place_group& g);
  [[nodiscard]] std::string not_come(const place_group& g) const;
  [[nodiscard]] std::vector<std::string> unread_lines() const;
  std::vector<place_group> groups_;
  std::vector<backlog> backlogs_;
  std::uint32_t omitted_ = 0;  ///< ranks at other places
};

/// "3.1 MiB"
[[nodiscard]] std::string bytes_text(std::uint64_t bytes);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/roll.ipp>
#endif

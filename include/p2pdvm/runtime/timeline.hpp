/// A run as a picture: Chrome trace-event JSON, which ui.perfetto.dev and chrome://tracing open.
///
/// Each peer is a process there. Its rows: `peer` (up; within that, each incarnation of the job;
/// within that, its recovery), `checkpoints` (each epoch from the wish to the commit), `faults`,
/// and one row for each rank that runs there (running; within that, from its cut to its seal).
#pragma once

#include <p2pdvm/base/result.hpp>
#include <p2pdvm/runtime/event.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

/// Spans and marks of a timeline; what comes later is left out, and the file says so.
inline constexpr std::size_t timeline_entries_max = 1'000'000;

class timeline {
 public:
  /// In the order of time, of each peer.
  void on_event(std::size_t peer, const event& e);
  /// The process of a peer has ended.
  void on_down(std::size_t peer, time_point at);
  /// A fault of this name falls on a peer, or is over; one that has no end is a mark.
  void on_fault(std::size_t peer, time_point at, const std::string& name, bool lasts);
  void on_fault_over(std::size_t peer, time_point at, const std::string& name);

  /// Ends what is open at the time of the last event.
  [[nodiscard]] std::string json() const;
  /// Error: `io`, with the file's name.
  [[nodiscard]] result<> write(const std::string& path) const;

 private:
  static constexpr std::uint32_t peer_row = 0, checkpoint_row = 1, fault_row = 2, first_rank_row = 3;
  struct row {
    std::size_t peer;
    std::uint32_t number;
    friend auto operator<=>(const row&, const row&) = default;
  };
  struct span {
    row where;
    std::string name;
    time_point begin;
    time_point end;  ///< equal for a mark
    bool mark = false;
  };

  void open(row where, std::string name, time_point at);
  /// The innermost open one, if its name begins so.
  void close(row where, std::string_view name, time_point at);
  void close_all(row where, time_point at);
  void close_ranks(std::size_t peer, time_point at);
  void mark(row where, std::string name, time_point at);
  void keep(span s);
  void begin_incarnation(std::size_t peer, const event& e);

  std::vector<span> done_;
  std::map<row, std::vector<span>> open_;  ///< innermost last
  time_point last_{};
  bool cut_short_ = false;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/timeline.ipp>
#endif

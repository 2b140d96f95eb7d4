/// Files that a program writes: a rank's part of one, and how the parts of all ranks become the file.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/result.hpp>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::peal {

class rank;

/// Before the name of an output, that of its piece in a snapshot.
inline constexpr std::string_view output_piece = "output/";

/// Everything that one rank has written into one output, as it stands in the rank's snapshots: bytes in *frames*, one for
/// each step between two safe points. It only grows, so a cut copies no more than the end of it.
class output_log {
 public:
  /// Bytes of step `step`, the number of safe points passed. False when they do not fit any more.
  [[nodiscard]] bool append(std::uint64_t step, byte_view bytes);
  /// The whole log, in parts of `limits::chunk_bytes`, at a cut before which `committed` was the last epoch that committed.
  /// `last_step`: the rank has returned in it.
  [[nodiscard]] std::vector<payload> cut(epoch_number committed, std::optional<std::uint64_t> last_step = {});
  /// It is what these parts say. Error: `corrupted`.
  result<> restore(const payload_list& parts);

 private:
  struct step_bytes {
    std::uint64_t step;
    byte_vector bytes;
  };
  void write(byte_view bytes);

  std::vector<payload> full_;  ///< of `limits::chunk_bytes` each
  byte_vector tail_;
  std::vector<step_bytes> open_;  ///< since the last cut
  std::size_t bytes_ = 0;         ///< with what is open
};

/// In place of an epoch: of what ranks write behind their last safe points. Others may be behind theirs in another epoch, so it
/// comes when all have returned.
inline constexpr epoch_number at_the_end{UINT64_MAX};

/// Bytes that one rank wrote in one step. Frames in the order of (`after`, `step`, rank) are the file.
struct output_frame {
  epoch_number after;  ///< the last epoch that had committed before they were written, or `at_the_end`
  std::uint64_t step = 0;
  byte_view bytes;

  [[nodiscard]] std::size_t log_bytes() const noexcept { return head_bytes + bytes.size(); }
  static constexpr std::size_t head_bytes = 8 + 8 + 4;
};
/// Writes a frame as it stands in a log.
void append_output_frame(byte_vector& log, const output_frame& frame);
/// Of a log, or of its end behind a frame. Error: `corrupted`.
[[nodiscard]] result<std::vector<output_frame>> read_output_frames(byte_view log);
/// How the file goes on: `parts` has the new frames of each rank.
///
/// Where all ranks pass the same safe points, a cut has all of a step or nothing. So what is written when an epoch commits
/// goes on where the last one ended, and it is the same file whenever the checkpoints were. Other programs get it epoch by epoch.
[[nodiscard]] byte_vector merge_output(const std::vector<std::vector<output_frame>>& parts);

/// A file of the job, seen by one rank: see `rank::output`. A handle; copies of it write into the same file.
class output {
 public:
  output(rank& of, output_log& log, std::string_view name) : rank_(&of), log_(&log), name_(name) {}

  /// Appends. Throws `errc::too_large` when this rank has written more than `limits::output_bytes_max` bytes into it.
  void write(byte_view bytes);
  void write(std::string_view text) { write(as_bytes(text)); }

 private:
  rank* rank_;
  output_log* log_;
  std::string_view name_;
};

}  // namespace p2pdvm::peal

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/rank.hpp>  // the bodies need it, and are behind it
#endif

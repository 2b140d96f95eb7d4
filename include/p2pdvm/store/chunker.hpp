/// Cuts one rank's state into chunks, epoch after epoch, and hashes only what has changed.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/payload_list.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/compression.hpp>
#include <p2pdvm/store/fingerprint.hpp>
#include <p2pdvm/store/manifest.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

namespace p2pdvm::store {

/// Non-bulk sections up to this size share chunks with one another.
inline constexpr std::size_t tiny_section_bytes = 16 * 1024;
/// Larger non-bulk sections are cut where their content says, so that an insertion near the
/// front leaves the chunks behind it as they were.
inline constexpr std::size_t content_defined_above_bytes = 256 * 1024;
inline constexpr std::size_t content_chunk_bytes_min = 16 * 1024;
inline constexpr std::size_t content_chunk_bytes_average = 64 * 1024;
inline constexpr std::size_t content_chunk_bytes_max = 256 * 1024;

/// A named part of a rank's state at a cut. `bulk`: an array, changed in place; otherwise a
/// serialised blob.
struct section_data {
  std::string name;
  /// One after another they are the section: one of any size, or, of an array, one for each of its chunks.
  payload_list parts;
  bool bulk = false;

  [[nodiscard]] std::size_t size() const { return parts.bytes(); }
};

struct chunk_source {
  placed_chunk chunk;
  payload plain;  ///< shares the section's buffer and keeps it alive
  payload sealed;  ///< empty unless a slice sealed it, too
  packing how = packing::none;  ///< what will pay when it is sealed
};

struct chunked_snapshot {
  store::manifest manifest;
  /// Every chunk once, as `chunks_of(manifest)` lists them.
  std::vector<chunk_source> chunks;
  /// Chunks that the last epoch did not have.
  std::size_t dirty = 0;
};

/// Of the chunks of a section: those looked at when packing did not pay the last time, and when there was no last time.
inline constexpr std::size_t packing_probe_period = 32, packing_first_probe_period = 8;

/// A part that is in the memory of the same part of the last epoch is unchanged, and is not looked at. Else a chunk is
/// unchanged when its XXH3-128 fingerprint, seeded from the job's secret, occurred in
/// the last epoch that was taken; then its id is known and nothing is hashed for it.
///
/// Which chunks to pack is remembered for each place in each section. Where packing did not pay, one chunk in
/// `packing_probe_period` is looked at again in each epoch, another one each time.
///
/// Work comes in small steps, so that a driver thread can do other things in between, or in slices for other threads:
/// `slices`, `measure` each of them anywhere, `add` them in order.
class chunker {
 public:
  chunker(const crypto::secret_key& job_secret, rank_number rank, compression compressing = compression::automatic);

  /// Chunks of one section, one after the other.
  struct slice {
    std::size_t blob = 0;
    std::size_t begin = 0, end = 0;  ///< bytes
    std::size_t work = 0;            ///< bytes of them that have to be looked at
    bool seals = false;              ///< new chunks are sealed, too
  };
  struct measured_chunk {
    payload plain;
    fingerprint print;
    chunk_reference named;
    payload sealed;
    bool computed = false;  ///< else it is in the memory of the last epoch's
    bool fresh = false;     ///< its id had to be computed
    packing how = packing::none;
  };
  using measured_slice = std::vector<measured_chunk>;

  /// Drops an epoch that was begun and not taken. Fails with `invalid_argument` on names that
  /// are empty, too long or not unique, and on state too large for a manifest.
  result<> start(epoch_number epoch, std::vector<section_data> sections);
  /// Works on up to `chunk_budget` chunks; true when the epoch is ready to be taken.
  bool step(std::size_t chunk_budget);
  /// All that has to be done, in slices with about `slice_bytes` to look at. New chunks of the first `sealed_bytes` will be sealed.
  [[nodiscard]] std::vector<slice> slices(std::size_t slice_bytes, std::size_t sealed_bytes) const;
  /// From any thread, also several at once, until `take` or the next `start`.
  [[nodiscard]] measured_slice measure(const slice& s) const;
  /// All slices, in their order; afterwards the epoch is ready to be taken.
  void add(std::vector<measured_slice> measured);
  /// Precondition: `step` returned true, or everything was added.
  [[nodiscard]] chunked_snapshot take();

 private:
  /// Bytes to cut, and the sections that consist of them (several for tiny ones).
  struct blob {
    payload_list parts;
    std::size_t bytes = 0;
    std::size_t piece = 0;  ///< fixed chunk size; 0: content-defined
    std::vector<std::size_t> owners;
  };
  /// What an array was in an epoch, chunk by chunk.
  struct array {
    struct chunk {
      payload plain;
      fingerprint print;
    };
    std::vector<chunk> chunks;
  };
  struct fingerprint_hash {
    std::size_t operator()(const fingerprint& f) const noexcept {
      return static_cast<std::size_t>(f.low);
    }
  };
  struct known_chunk {
    chunk_reference named;
    packing how;
  };
  /// Only looked up, never iterated.
  using memory = std::unordered_map<fingerprint, known_chunk, fingerprint_hash>;

  void plan(std::vector<section_data> sections);
  [[nodiscard]] std::size_t chunk_end(const blob& b, std::size_t begin) const;
  [[nodiscard]] payload chunk_of(const blob& b, std::size_t begin, std::size_t end) const;
  [[nodiscard]] const fingerprint* same_as_before(const blob& b, std::size_t begin, const payload& plain) const;
  [[nodiscard]] std::size_t content_chunk(byte_view rest) const;
  /// `seen`: of this epoch. `before`: how the chunk before is packed, where that is known.
  [[nodiscard]] measured_chunk measure_chunk(const blob& b, std::size_t index, std::size_t begin, std::size_t end,
                                             const memory& seen, const std::optional<packing>& before) const;
  [[nodiscard]] packing packing_of(const blob& b, std::size_t index, byte_view plain, const std::optional<packing>& before) const;
  void add_chunk(const blob& b, measured_chunk chunk);

  chunk_codec codec_;
  rank_number rank_;
  compression compression_;
  std::uint64_t seed_;
  std::array<std::uint64_t, 256> gear_{};
  memory known_, next_;
  std::map<std::string, array> arrays_, next_arrays_;  ///< by section
  std::map<std::string, std::vector<packing>> packings_, next_packings_;  ///< by the first section of a blob
  std::vector<blob> blobs_;
  std::size_t blob_ = 0;
  std::optional<packing> before_;  ///< of this blob
  std::size_t offset_ = 0;
  chunked_snapshot out_;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/chunker.ipp>
#endif

/// Manifests: which chunks, in which order, make up one rank's snapshot.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/result.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace p2pdvm::store {

inline constexpr std::size_t sections_max = 65536;
inline constexpr std::size_t section_name_bytes_max = 256;

struct chunk_reference {
  chunk_id id;
  std::uint32_t bytes = 0;
  friend auto operator<=>(const chunk_reference&, const chunk_reference&) = default;
  template <class F>
  void fields(F&& f) {
    f(id), f(bytes);
  }
};

/// A named part of a snapshot: `bytes` bytes that begin `skip` bytes into its chunks, laid end to
/// end. `skip` is 0 but for tiny sections, several of which share one chunk.
struct section {
  std::string name;
  std::uint64_t bytes = 0;
  bool bulk = false;
  std::uint32_t skip = 0;
  std::vector<chunk_reference> chunks;
  friend bool operator==(const section&, const section&) = default;
  template <class F>
  void fields(F&& f) {
    f(name), f(bytes), f(bulk), f(skip), f(chunks);
  }
};

/// Itself stored as a chunk of its encoded bytes, in stripe `manifest_stripe`.
struct manifest {
  rank_number rank;
  epoch_number epoch;
  std::vector<section> sections;
  friend bool operator==(const manifest&, const manifest&) = default;
  template <class F>
  void fields(F&& f) {
    f(rank), f(epoch), f(sections);
  }
  /// Unique names within limits, and chunks whose sizes add up.
  [[nodiscard]] result<> validate() const;
};

/// Decoded and validated.
[[nodiscard]] result<manifest> read_manifest(byte_view encoded);

inline constexpr unsigned manifest_stripe = 0;

/// The stripe of a chunk, below `limits::stripes_per_rank`: neighbours lie in neighbouring
/// stripes, so that every section spreads evenly, and a chunk stays where it is between epochs.
[[nodiscard]] unsigned stripe_of(rank_number rank, std::size_t section, std::size_t chunk) noexcept;

/// A chunk and the stripe whose holders keep it. `bytes` (plaintext) is 0 where unknown.
struct placed_chunk {
  chunk_id id;
  std::uint32_t bytes = 0;
  unsigned stripe = 0;
};

/// Every chunk of the manifest once, in the stripe of its first use; not the manifest's own.
[[nodiscard]] std::vector<placed_chunk> chunks_of(const manifest& m);

/// Puts a snapshot together again from its chunks, in any order.
class assembler {
 public:
  /// Precondition: `m.validate()`.
  explicit assembler(const manifest& m);
  /// Fails with `corrupted` if the chunk has not the size that the manifest says, and with
  /// `invalid_argument` if it is no part of it; one that came before has no effect.
  result<> add(const chunk_id& id, const payload& plain);
  [[nodiscard]] std::size_t missing() const noexcept { return missing_; }
  /// The sections in the order of the manifest, each in parts that are one after another its bytes: the chunks themselves of a bulk
  /// one, a single part of any other that is not empty. Precondition: nothing is missing.
  [[nodiscard]] std::vector<std::vector<payload>> take();

 private:
  /// A chunk of `chunk_bytes` is a part of the section, or `bytes` bytes of it at `from` go to `to` there.
  struct use {
    std::size_t section;
    std::size_t part;
    std::uint64_t chunk_bytes, from, to, bytes;
  };
  struct assembled {
    std::vector<payload> parts;  ///< as many as chunks, or one,
    byte_span memory;            ///< to be written here
  };
  struct piece {
    std::vector<use> uses;
    bool there = false;
  };
  std::map<chunk_id, piece> pieces_;
  std::size_t missing_ = 0;
  std::vector<assembled> sections_;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/manifest.ipp>
#endif

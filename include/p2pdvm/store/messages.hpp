/// What ranks' peers and holders tell one another about chunks.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/chunk_log.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <cstddef>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace p2pdvm::store {

/// All chunks that the largest manifest can list, so that one receipt can cover them.
inline constexpr std::size_t ids_per_put_max = 512 * 1024;
/// Bounds what a single request makes a holder send.
inline constexpr std::size_t ids_per_get_max = 64;

/// Of one comparison: 32 KiB.
inline constexpr std::size_t names_per_compare_max = 4096;

struct sealed_chunk {
  chunk_id id;
  payload sealed;
  template <class F>
  void fields(F&& f) {
    f(id), f(sealed);
  }
};

/// Asks a holder to keep chunks for a snapshot, and to give a receipt for all of them.
struct put_chunks {
  pin snapshot;
  rank_number rank;
  /// Counted by the sender, per (snapshot, rank); answers repeat it.
  std::uint64_t sequence = 0;
  /// Bit s: this put names every chunk of the rank's stripe s. The receipt repeats it.
  std::uint16_t stripes = 0;
  std::vector<sealed_chunk> chunks;
  std::vector<chunk_id> have;  ///< the sender believes that the holder has these already
  template <class F>
  void fields(F&& f) {
    f(snapshot), f(rank), f(sequence), f(stripes), f(chunks), f(have);
  }
};

/// A holder's signed word that every chunk of a put is durable and pinned for the snapshot.
struct receipt {
  node_id holder;
  pin snapshot;
  rank_number rank;
  std::uint64_t sequence = 0;
  std::uint16_t stripes = 0;
  digest256 covered;  ///< `digest_of` all ids of the put
  signature proof;
  template <class F>
  void fields(F&& f) {
    f(holder), f(snapshot), f(rank), f(sequence), f(stripes), f(covered), f(proof);
  }
  void sign(const crypto::identity& by);
  /// Signed by that key, which is the holder's.
  [[nodiscard]] bool signed_by(const public_key& key) const;
};

/// No receipt, because the holder has no sound copy of these; the put's other chunks are kept.
struct chunks_missing {
  pin snapshot;
  rank_number rank;
  std::uint64_t sequence = 0;
  std::vector<chunk_id> ids;
  template <class F>
  void fields(F&& f) {
    f(snapshot), f(rank), f(sequence), f(ids);
  }
};

struct put_refused {
  pin snapshot;
  rank_number rank;
  std::uint64_t sequence = 0;
  std::string reason;  ///< a sentence
  template <class F>
  void fields(F&& f) {
    f(snapshot), f(rank), f(sequence), f(reason);
  }
};

/// Each id is answered by `chunk_data` or named in `chunks_absent`.
struct get_chunks {
  std::vector<chunk_id> ids;
  template <class F>
  void fields(F&& f) {
    f(ids);
  }
};

struct chunk_data {
  sealed_chunk chunk;
  template <class F>
  void fields(F&& f) {
    f(chunk);
  }
};

struct chunks_absent {
  std::vector<chunk_id> ids;
  template <class F>
  void fields(F&& f) {
    f(ids);
  }
};

/// Asks a holder which chunks of a snapshot it has, by `short_name`. To have one is to have it pinned for that epoch, and readable as far as the holder
/// knows.
struct compare_chunks {
  pin snapshot;
  rank_number rank;
  chunk_id manifest;  ///< whose chunks they are
  std::uint32_t sequence = 0;
  std::vector<std::uint64_t> names;
  template <class F>
  void fields(F&& f) {
    f(snapshot), f(rank), f(manifest), f(sequence), f(names);
  }
};

/// The answer: bit i % 8 of byte i / 8 is the i-th name's. Empty where the holder keeps nothing of such snapshots.
struct chunk_bitmap {
  pin snapshot;
  rank_number rank;
  chunk_id manifest;
  std::uint32_t sequence = 0;
  byte_vector have;
  template <class F>
  void fields(F&& f) {
    f(snapshot), f(rank), f(manifest), f(sequence), f(have);
  }
};

/// Asks a holder to give another member chunks of a snapshot which that one lacks.
struct pass_chunks {
  pin snapshot;
  rank_number rank;
  node_id to;
  std::vector<chunk_id> ids;
  template <class F>
  void fields(F&& f) {
    f(snapshot), f(rank), f(to), f(ids);
  }
};

using store_message = std::variant<put_chunks, receipt, chunks_missing, put_refused, get_chunks,
                                   chunk_data, chunks_absent, compare_chunks, chunk_bitmap, pass_chunks>;

/// `wire::encode` writes one; this reads one from a remote and checks the limits.
[[nodiscard]] result<store_message> read_store_message(wire::reader encoded);
[[nodiscard]] inline result<store_message> read_store_message(byte_view encoded) { return read_store_message(wire::reader(encoded)); }

/// Digest of a set of ids, however often and in whatever order they are listed.
[[nodiscard]] digest256 digest_of(std::vector<chunk_id> ids);

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/messages.ipp>
#endif

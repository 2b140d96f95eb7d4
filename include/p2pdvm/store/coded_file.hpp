/// A file in k + m parts of which any k are enough: systematic Reed–Solomon codes with Cauchy matrices, computed by ISA-L.
///
/// Part i (of k + m) is a head and then, of each stripe of k fragments of the file, fragment i, or for i ≥ k a combination of all k
/// over GF(2^8). Each fragment stands behind a checksum, so what is damaged is known and counts as lost: a stripe can be read as long
/// as any k of its fragments are good, whichever they are in each stripe.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/store/byte_stream.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::store {

struct code_shape {
  unsigned data = 0;    ///< parts that are enough
  unsigned parity = 0;  ///< that may be lost
  [[nodiscard]] unsigned parts() const noexcept { return data + parity; }
  friend bool operator==(const code_shape&, const code_shape&) = default;
};

/// Cauchy matrices exist up to 256 parts; more than these are hard to keep apart.
inline constexpr unsigned coded_parts_max = 32;
inline constexpr std::size_t coded_fragment_bytes = 64 * 1024;
inline constexpr std::uint32_t coded_part_version = 1;

/// "4+2". Nothing for what is no shape with 1 ≤ k, 1 ≤ m and k + m ≤ `coded_parts_max`.
[[nodiscard]] std::optional<code_shape> parse_code_shape(std::string_view text);
/// Whether this build has ISA-L. Without it parts are read only where the first k are there and good, and none are written.
[[nodiscard]] bool codes_available() noexcept;

/// Which parts belong together, drawn at random.
using part_set = std::array<std::byte, 16>;

/// Writes the parts of one file, one after the other from its beginning.
class coded_writer final : public byte_sink {
 public:
  /// `parts`: empty files, one for each part, that outlive it.
  coded_writer(code_shape shape, part_set set, std::vector<host::file*> parts);
  /// Errors: those of the files; `incompatible` in a build without ISA-L.
  [[nodiscard]] result<> add(byte_view bytes) override;
  /// After the last of them. Before, nobody takes the files for parts. Nothing is durable before each was synced.
  [[nodiscard]] result<> finish();
  /// Of all parts together.
  [[nodiscard]] std::uint64_t bytes() const noexcept;

 private:
  [[nodiscard]] result<> write_stripe();

  code_shape shape_;
  part_set set_;
  std::vector<host::file*> parts_;
  std::vector<byte_vector> stripe_;  ///< a fragment for each part
  std::vector<std::uint8_t> tables_;
  std::size_t filled_ = 0;  ///< bytes of the stripe
  std::uint64_t stripes_ = 0, size_ = 0;
};

/// What is in such a file, from at least k parts of it.
class coded_file final : public byte_source {
 public:
  struct part {
    std::string name;
    host::file* file;  ///< outlives the coded file
  };
  /// Whether it begins as a part does.
  [[nodiscard]] static bool is_part(host::file& file);
  /// Errors: `malformed` (no part, or its head is damaged), `unsupported_version`, `conflict` (parts of different files),
  /// `not_found` (too few parts).
  [[nodiscard]] static result<std::unique_ptr<coded_file>> open(std::vector<part> parts);

  [[nodiscard]] code_shape shape() const noexcept { return shape_; }
  [[nodiscard]] std::uint64_t size() const override { return size_; }
  /// Errors: `corrupted` where fewer than k fragments of a stripe are good; `incompatible` where one has to be computed and this
  /// build has no ISA-L.
  [[nodiscard]] result<std::size_t> read(std::uint64_t offset, byte_span into) override;

  /// Reads every fragment of every part that was given.
  void verify();
  /// A sentence for each part that is absent, and each in which damage was found so far.
  [[nodiscard]] std::vector<std::string> losses() const;

 private:
  struct open_part {
    std::string name;
    host::file* file = nullptr;  ///< none: was not given
    std::set<std::uint64_t> damaged;  ///< stripes whose fragment was found so
  };
  coded_file() = default;
  [[nodiscard]] std::uint64_t stripes() const noexcept;
  void turn_to(std::uint64_t stripe);
  /// Has fragment `part` of the stripe in memory; false when it is absent or damaged.
  [[nodiscard]] bool load(unsigned part);
  /// Fragment `index` < k of the stripe, computed where it has to be.
  [[nodiscard]] result<byte_view> fragment(unsigned index);
  [[nodiscard]] result<> rebuild();

  enum class state : std::uint8_t { unread, good, lost };
  code_shape shape_;
  part_set set_{};
  std::uint64_t size_ = 0;
  std::vector<open_part> parts_;
  std::optional<std::uint64_t> at_;  ///< the stripe that is in memory
  std::vector<byte_vector> stripe_;
  std::vector<state> states_;
};

}  // namespace p2pdvm::store

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/store/impl/coded_file.ipp>
#endif

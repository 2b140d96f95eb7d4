/// What another number of ranks can go on from: arrays in blocks, and values that all ranks have alike.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/snapshot.hpp>
#include <p2pdvm/store/manifest.hpp>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace p2pdvm::peal {

/// Elements `first` … `first + count` of an array.
struct block {
  std::uint64_t first = 0;
  std::uint64_t count = 0;
};
/// The part of one rank: blocks follow one another in rank order. They consist of whole units (rows, say) of `unit` elements, and where
/// these do not divide, the first ranks have one more. With more ranks than units the last ones have none.
/// Precondition: `unit` is not 0 and divides `elements`.
[[nodiscard]] block block_of(std::uint64_t elements, int rank, int ranks, std::uint64_t unit = 1);

/// The piece "rank" of a snapshot: what PEAL itself remembers.
struct rank_piece {
  std::uint64_t safe_points = 0;
  bool finished = false;
  random_generator::state_type random{};
  template <class F>
  void fields(F&& f) {
    f(safe_points), f(finished), f(random);
  }
};

/// The piece "shape": what of the other pieces does not belong to this rank alone.
struct shape_piece {
  struct array {
    std::string name;
    std::uint64_t elements = 0, unit = 1;
    std::uint32_t element_bytes = 1;
    friend bool operator==(const array&, const array&) = default;
    template <class F>
    void fields(F&& f) {
      f(name), f(elements), f(unit), f(element_bytes);
    }
    [[nodiscard]] bool valid() const noexcept;
    /// Bytes of one rank's block.
    [[nodiscard]] block bytes_of(std::uint32_t rank, std::uint32_t ranks) const;
  };
  std::vector<array> arrays;
  std::vector<std::string> common;    ///< values that are the same on all ranks
  std::vector<std::string> adapters;  ///< may begin anew, see `adapter::may_begin_anew`
  bool drew = false;                  ///< random numbers
  friend bool operator==(const shape_piece&, const shape_piece&) = default;
  template <class F>
  void fields(F&& f) {
    f(arrays), f(common), f(adapters), f(drew);
  }
};

inline constexpr std::string_view array_piece = "array/";

/// Snapshots of one epoch, of all ranks of a job, as those of another number of ranks.
class reshaping {
 public:
  /// Bytes of a piece, which has chunks in a store.
  using reader = std::function<result<byte_vector>(const store::section&)>;
  /// `old` has one manifest per rank. Reads what is small. `invalid_argument`: a sentence that names what of it belongs to the old ranks;
  /// other errors are of `read`.
  [[nodiscard]] static result<reshaping> plan(std::vector<store::manifest> old, std::uint32_t ranks, reader read);
  /// Of a new rank; in memory are its own parts and one chunk. `seed`: of the new job.
  [[nodiscard]] result<snapshot> make(rank_number rank, std::uint64_t seed) const;

 private:
  reshaping() = default;
  [[nodiscard]] const store::section* find(std::size_t rank, std::string_view piece) const;
  [[nodiscard]] result<byte_vector> read_range(const store::section& s, std::uint64_t first, std::uint64_t count) const;
  [[nodiscard]] error refusal(const std::string& why) const;
  [[nodiscard]] result<> check_rank(std::size_t rank);
  [[nodiscard]] result<> check_piece(std::size_t rank, const store::section& s, const shape_piece& shape);
  [[nodiscard]] result<> check_channels();
  [[nodiscard]] result<> add_outputs(snapshot& to) const;

  std::vector<store::manifest> old_;
  std::uint32_t ranks_ = 0;
  reader read_;
  rank_piece own_;
  shape_piece shape_;
  std::vector<std::pair<std::string, byte_vector>> common_;  ///< with the names of their pieces
};

}  // namespace p2pdvm::peal

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/impl/distributed.ipp>
#endif

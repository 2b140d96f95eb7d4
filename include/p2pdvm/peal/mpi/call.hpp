/// What an MPI call says about itself, here and in front of every message it sends.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <source_location>
#include <string>

namespace p2pdvm::mpi {

inline constexpr int any_source = -1;
/// Sends to it do nothing; receives from it return at once with no data and `source == no_rank`.
inline constexpr int no_rank = -2;
inline constexpr int any_tag = -1;

/// What a receive got.
struct status {
  int source = any_source;
  int tag = any_tag;
  /// Length of the data, serialised if it was.
  std::size_t bytes = 0;
  /// The same from whole words, see `apart`.
  [[nodiscard]] static status of(int source, int tag, std::size_t bytes) noexcept {
    static_assert(sizeof(std::size_t) == 8);
    const std::array<std::uint64_t, 2> words = {
        std::uint64_t{static_cast<std::uint32_t>(tag)} << 32 | static_cast<std::uint32_t>(source), bytes};
    return std::bit_cast<status>(words);
  }
  /// Number of elements of a sent range of T.
  template <class T>
  [[nodiscard]] std::size_t count() const noexcept {
    return bytes / sizeof(T);
  }
};

namespace detail {

enum class operation : std::uint8_t {
  message,
  barrier,
  bcast,
  reduce,
  allreduce,
  scan,
  exscan,
  gather,
  allgather,
  scatter,
  alltoall,
  split,
  dup,
  exchange,
};
[[nodiscard]] const char* name_of(operation op) noexcept;

enum class format : std::uint8_t { elements, serialised };

/// The 16 bytes in front of the data; mistakes are found and explained by them. Copied as it
/// is: all ranks of a job are little-endian.
struct message_head {
  operation op = operation::message;
  format form = format::elements;
  std::uint8_t reduction = 0;  ///< which reduction, 0 for the user's own
  std::uint8_t file_high = 0;
  std::uint32_t element_bytes = 0;
  std::uint32_t line : 24 = 0;
  std::uint32_t file_low : 8 = 0;
  std::int32_t root = -1;
  /// Of a message: made of whole words, see `apart`.
  [[nodiscard]] static message_head of_message(format form, std::uint32_t element_bytes, std::uint32_t line,
                                               std::uint16_t file) noexcept {
    const std::array<std::uint64_t, 2> words = {
        std::uint64_t{element_bytes} << 32 | std::uint64_t{static_cast<std::uint16_t>(file >> 8)} << 24 |
            static_cast<std::uint64_t>(form) << 8 | static_cast<std::uint64_t>(operation::message),
        std::uint64_t{0xffffffff} << 32 | (std::uint64_t{file} & 0xff) << 24 | std::min<std::uint64_t>(line, 0xffffff)};
    return std::bit_cast<message_head>(words);
  }
  /// Number of the source file: see `peal::rank::file_number`.
  [[nodiscard]] std::uint16_t file() const noexcept {
    return static_cast<std::uint16_t>(file_high << 8 | file_low);
  }
  void set_file(std::uint16_t number) noexcept {
    file_high = static_cast<std::uint8_t>(number >> 8);
    file_low = number & 0xff;
  }
};
inline constexpr std::size_t head_bytes = 16;
static_assert(sizeof(message_head) == head_bytes);

/// One call of this rank: what it sends as head, and where it stands in the program.
struct call {
  message_head head;
  std::source_location where;

  call(operation op, const std::source_location& place) : where(place) {
    head.op = op;
    head.line = std::min<std::uint32_t>(place.line(), 0xffffff) & 0xffffff;
  }
  [[nodiscard]] call with_root(int root) const {
    call c(*this);
    c.head.root = root;
    return c;
  }
  [[nodiscard]] call with_data(format form, std::size_t element_bytes) const {
    call c(*this);
    c.head.form = form;
    c.head.element_bytes = static_cast<std::uint32_t>(element_bytes);
    return c;
  }
  /// "bcast (heat.cpp:41)"
  [[nodiscard]] std::string text() const;
};

/// "allreduce with plus (solver.cpp:52)": the same of a remote call at `place`.
[[nodiscard]] std::string text_of(const message_head& head, const std::string& place);
/// "10 elements of 8 bytes"
[[nodiscard]] std::string extent_of(const message_head& head, std::size_t bytes);

[[noreturn]] void refuse(const std::string& sentence);
[[noreturn]] void refuse_length(const std::string& sentence);

}  // namespace detail

}  // namespace p2pdvm::mpi

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/call.ipp>
#endif

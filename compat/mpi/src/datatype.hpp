/// Datatypes: where the bytes of an element lie, as a tree of repeated parts.
///
/// A datatype is a list of parts, each of which repeats another datatype at regular distances. What a program makes of
/// thousands of blocks at one stride so stays one part, and elements can be counted without going through them. Where all
/// bytes follow each other (`solid`) they are moved as one.
#pragma once

#include "attributes.hpp"
#include "object.hpp"

#include <p2pdvm/base/bytes.hpp>

#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

namespace p2pdvm::c_mpi {

/// What reductions tell apart of what elements are.
enum class scalar : std::uint8_t {
  none, character, signed_char, unsigned_char, byte, i8, u8, i16, u16, i32, u32, i64, u64, f32, f64, f80, logical, c32, c64, c80, f32_int, f64_int, i64_int,
  i32_int, i16_int, f80_int, f32_f32, f64_f64, wide,
};

class datatype final : public object {
 public:
  struct part {
    MPI_Aint at;          ///< of its first element
    MPI_Count block;      ///< elements that follow each other by their extent,
    MPI_Count blocks;     ///< so many times,
    MPI_Aint stride;      ///< at this distance [bytes]
    ref<datatype> of;
  };
  /// How it was made: what MPI_Type_get_contents tells.
  struct recipe {
    int combiner = MPI_COMBINER_NAMED;
    std::vector<MPI_Count> numbers;     ///< in the order of the constructor's arguments
    std::vector<MPI_Aint> addresses;
    std::vector<MPI_Count> counts;      ///< of a constructor with large counts
    std::vector<ref<datatype>> types;
    bool large = false;
  };

  /// One scalar.
  datatype(scalar what, std::size_t bytes, std::size_t alignment, std::string name);
  /// The same as another scalar, made by one of Fortran's constructors.
  datatype(const datatype& like, recipe made);
  /// Of parts; extent and bounds as they follow.
  datatype(std::vector<part> parts, recipe made);

  [[nodiscard]] MPI_Count size() const noexcept { return size_; }
  [[nodiscard]] MPI_Aint lower() const noexcept { return lower_; }
  [[nodiscard]] MPI_Aint extent() const noexcept { return upper_ - lower_; }
  [[nodiscard]] MPI_Aint upper() const noexcept { return upper_; }
  [[nodiscard]] MPI_Aint true_lower() const noexcept { return true_lower_; }
  [[nodiscard]] MPI_Aint true_extent() const noexcept { return true_upper_ - true_lower_; }
  [[nodiscard]] MPI_Count scalars() const noexcept { return scalars_; }
  /// Any number of elements are one block of bytes, which begins `true_lower` behind the address.
  [[nodiscard]] bool solid() const noexcept { return dense_ && extent() == size_; }
  /// One element is.
  [[nodiscard]] bool dense() const noexcept { return dense_; }
  [[nodiscard]] scalar what() const noexcept { return what_; }
  /// The one kind of scalars that it is made of, or none.
  [[nodiscard]] scalar element() const noexcept { return element_; }
  [[nodiscard]] std::size_t alignment() const noexcept { return alignment_; }
  [[nodiscard]] const recipe& made() const noexcept { return made_; }
  [[nodiscard]] bool named() const noexcept { return made_.combiner == MPI_COMBINER_NAMED || made_.combiner == MPI_COMBINER_VALUE_INDEX; }

  void set_bounds(MPI_Aint lower, MPI_Aint upper) noexcept { lower_ = lower, upper_ = upper; }

  /// Of so many elements.
  [[nodiscard]] MPI_Count bytes_of(MPI_Count count) const noexcept { return count * size_; }
  void pack(const void* from, MPI_Count count, std::byte* to) const;
  /// As many bytes as there are, at most those of `count` elements.
  void unpack(byte_view from, void* to, MPI_Count count) const;
  /// Calls `f(offset, bytes)` for every block in order until it returns false.
  template <class F>
  bool each_block(MPI_Aint at, MPI_Count count, F& f) const;
  /// How many scalars so many bytes are; −1: they end inside of one.
  [[nodiscard]] MPI_Count scalars_in(MPI_Count bytes) const noexcept;
  /// The bytes that so many scalars, from the first on, take.
  [[nodiscard]] MPI_Count bytes_of_scalars(MPI_Count scalars) const noexcept;
  /// The sizes of its scalars, in order, as long as `f(bytes, times)` returns true.
  template <class F>
  bool each_scalar(F& f) const {
    if (parts_.empty()) return size_ == 0 || f(*this, MPI_Count{1});
    for (const part& p : parts_) {
      if (p.of->parts_.empty()) {
        if (p.of->size_ != 0 && !f(*p.of, p.block * p.blocks)) return false;
        continue;
      }
      for (MPI_Count n = p.block * p.blocks; n > 0; --n) {
        if (!p.of->each_scalar(f)) return false;
      }
    }
    return true;
  }

  bool committed = false;
  std::string name;
  attribute_list attributes;

 private:
  void measure();
  std::vector<part> parts_;  ///< none of a scalar
  recipe made_;
  MPI_Count size_ = 0, scalars_ = 0;
  MPI_Aint lower_ = 0, upper_ = 0, true_lower_ = 0, true_upper_ = 0;
  std::size_t alignment_ = 1;
  bool dense_ = true;
  scalar what_ = scalar::none, element_ = scalar::none;
};

template <class F>
bool datatype::each_block(MPI_Aint at, MPI_Count count, F& f) const {
  if (size_ == 0 || count == 0) return true;
  if (solid()) return f(at + true_lower_, static_cast<std::size_t>(count * size_));
  for (MPI_Count i = 0; i < count; ++i, at += extent()) {
    if (dense_) {
      if (!f(at + true_lower_, static_cast<std::size_t>(size_))) return false;
      continue;
    }
    for (const part& p : parts_) {
      MPI_Aint block = at + p.at;
      for (MPI_Count k = 0; k < p.blocks; ++k, block += p.stride) {
        if (!p.of->each_block(block, p.block, f)) return false;
      }
    }
  }
  return true;
}

/// What a handle stands for. Throws when it stands for nothing.
[[nodiscard]] datatype& datatype_of(MPI_Datatype handle);
/// The same of one that may be used for messages.
[[nodiscard]] datatype& committed_type(MPI_Datatype handle);
[[nodiscard]] MPI_Datatype handle_of(datatype& type);
/// One that stands for this scalar.
[[nodiscard]] datatype& predefined_type(std::uintptr_t number);

/// Elements of a program's memory that are read, as one block of bytes: where they lie, or a copy.
class packed {
 public:
  packed(const void* from, MPI_Count count, const datatype& type) {
    const auto bytes = static_cast<std::size_t>(type.bytes_of(count));
    if (type.solid()) {
      view_ = {static_cast<const std::byte*>(from) + (bytes > 0 ? type.true_lower() : 0), bytes};
      return;
    }
    copy_.resize(bytes);
    type.pack(from, count, copy_.data());
    view_ = copy_;
  }
  packed(const packed&) = delete;
  packed& operator=(const packed&) = delete;
  [[nodiscard]] byte_view view() const noexcept { return view_; }

 private:
  byte_vector copy_;
  byte_view view_;
};

}  // namespace p2pdvm::c_mpi

#include "datatype.hpp"

#include <algorithm>
#include <array>
#include <complex>
#include <cwchar>
#include <map>

namespace p2pdvm::c_mpi {

datatype::datatype(scalar what, std::size_t bytes, std::size_t alignment, std::string text)
    : committed(true), name(std::move(text)), size_(static_cast<MPI_Count>(bytes)), scalars_(bytes == 0 ? 0 : 1),
      upper_(static_cast<MPI_Aint>(bytes)), true_upper_(upper_), alignment_(alignment), what_(what), element_(what) {}

datatype::datatype(const datatype& like, recipe made)
    : datatype(like.what_, static_cast<std::size_t>(like.size_), like.alignment_, {}) {
  made_ = std::move(made);
}

datatype::datatype(std::vector<part> parts, recipe made) : parts_(std::move(parts)), made_(std::move(made)) {
  std::erase_if(parts_, [](const part& p) { return p.block == 0 || p.blocks == 0; });
  measure();
  if (parts_.empty()) parts_.push_back({0, 0, 0, 0, ref<datatype>(predefined_type(number_of(MPI_BYTE)))});
}

namespace {

struct interval {
  MPI_Aint lower = 0, upper = 0;
  bool some = false;
  void include(MPI_Aint low, MPI_Aint high) {
    lower = some ? std::min(lower, low) : low;
    upper = some ? std::max(upper, high) : high;
    some = true;
  }
};

}  // namespace

void datatype::measure() {
  interval bounds, bytes;
  MPI_Aint next = 0;
  bool first = true;
  for (const part& p : parts_) {
    const datatype& of = *p.of;
    size_ += of.size_ * p.block * p.blocks;
    scalars_ += of.scalars_ * p.block * p.blocks;
    alignment_ = std::max(alignment_, of.alignment_);
    // The first and the last block of it may be either end, and so may the first and last element.
    for (const MPI_Aint block : {MPI_Aint{0}, static_cast<MPI_Aint>(p.blocks - 1) * p.stride}) {
      for (const MPI_Aint element : {MPI_Aint{0}, static_cast<MPI_Aint>(p.block - 1) * of.extent()}) {
        const MPI_Aint at = p.at + block + element;
        bounds.include(at + of.lower_, at + of.upper_);
        if (of.size_ > 0) bytes.include(at + of.true_lower_, at + of.true_upper_);
      }
    }
    if (of.size_ == 0) continue;
    const MPI_Aint begin = p.at + of.true_lower_;
    dense_ = dense_ && of.dense_ && (p.block == 1 || of.extent() == of.size_) &&
             (p.blocks == 1 || p.stride == of.size_ * p.block) && (first || begin == next);
    next = begin + of.size_ * p.block * p.blocks;
    element_ = first || element_ == of.element_ ? of.element_ : scalar::none;
    first = false;
  }
  lower_ = bounds.lower, upper_ = bounds.upper;
  true_lower_ = bytes.lower, true_upper_ = bytes.upper;
  if (made_.combiner == MPI_COMBINER_STRUCT || made_.combiner == MPI_COMBINER_VALUE_INDEX) {
    const auto unit = static_cast<MPI_Aint>(alignment_);
    if (const MPI_Aint rest = extent() % unit; rest != 0) upper_ += unit - rest;
  }
}

void datatype::pack(const void* from, MPI_Count count, std::byte* to) const {
  const auto* const base = static_cast<const std::byte*>(from);
  const auto copy = [base, &to](MPI_Aint at, std::size_t bytes) {
    switch (bytes) {
      case 4: std::memcpy(to, base + at, 4); break;
      case 8: std::memcpy(to, base + at, 8); break;
      default: std::memcpy(to, base + at, bytes);
    }
    to += bytes;
    return true;
  };
  each_block(0, count, copy);
}

void datatype::unpack(byte_view from, void* to, MPI_Count count) const {
  auto* const base = static_cast<std::byte*>(to);
  const std::byte* next = from.data();
  std::size_t left = from.size();
  const auto copy = [base, &next, &left](MPI_Aint at, std::size_t bytes) {
    const std::size_t some = std::min(bytes, left);
    if (some > 0) std::memcpy(base + at, next, some);
    next += some;
    left -= some;
    return left > 0;
  };
  if (left > 0) each_block(0, count, copy);
}

MPI_Count datatype::scalars_in(MPI_Count bytes) const noexcept {
  if (size_ == 0 || bytes == 0) return 0;
  MPI_Count count = bytes / size_ * scalars_;
  MPI_Count rest = bytes % size_;
  if (rest == 0) return count;
  if (what_ != scalar::none) return -1;
  for (const part& p : parts_) {
    const MPI_Count all = p.of->size_ * p.block * p.blocks;
    if (rest < all) {
      const MPI_Count some = p.of->scalars_in(rest);
      return some < 0 ? -1 : count + some;
    }
    count += p.of->scalars_ * p.block * p.blocks;
    rest -= all;
    if (rest == 0) break;
  }
  return count;
}

MPI_Count datatype::bytes_of_scalars(MPI_Count scalars) const noexcept {
  if (scalars_ == 0) return 0;
  MPI_Count bytes = scalars / scalars_ * size_;
  MPI_Count rest = scalars % scalars_;
  for (const part& p : parts_) {
    if (rest == 0) break;
    const MPI_Count all = p.of->scalars_ * p.block * p.blocks;
    const MPI_Count some = std::min(rest, all);
    bytes += p.of->bytes_of_scalars(some);
    rest -= some;
  }
  return bytes;
}

namespace {

/// Values and indexes, for MPI_MINLOC and MPI_MAXLOC.
template <class Value, class Index>
ref<datatype> pair_type(std::uintptr_t value, std::uintptr_t index) {
  struct both {
    Value v;
    Index i;
  };
  datatype::recipe made;
  made.combiner = MPI_COMBINER_VALUE_INDEX;
  std::vector<datatype::part> parts;
  parts.push_back({0, 1, 1, 0, ref<datatype>(predefined_type(value))});
  parts.push_back({offsetof(both, i), 1, 1, 0, ref<datatype>(predefined_type(index))});
  return ref<datatype>::adopt(new datatype(std::move(parts), std::move(made)));
}

class predefined_types {
 public:
  predefined_types() : types_(0x400) {}
  datatype* find(std::uintptr_t number) {
    if (number >= types_.size()) return nullptr;
    ref<datatype>& made = types_[number];
    if (!made) {
      made = make(number);
      if (made) handles_[made.get()] = number;
    }
    return made.get();
  }
  [[nodiscard]] std::uintptr_t number(const datatype& type) const {
    const auto found = handles_.find(&type);
    return found == handles_.end() ? 0 : found->second;
  }

 private:
  template <class T>
  static ref<datatype> one(scalar what, const char* name) {
    return ref<datatype>::adopt(new datatype(what, sizeof(T), alignof(T), name));
  }
  template <class Value>
  static ref<datatype> with_int(MPI_Datatype value, const char* name) {
    ref<datatype> made = pair_type<Value, int>(number_of(value), number_of(MPI_INT));
    made->name = name, made->committed = true;
    return made;
  }
  template <class T>
  static ref<datatype> two(MPI_Datatype of, const char* name) {
    ref<datatype> made = pair_type<T, T>(number_of(of), number_of(of));
    made->name = name, made->committed = true;
    return made;
  }

  static ref<datatype> make(std::uintptr_t number) {
    const auto is = [number](MPI_Datatype handle) { return number == number_of(handle); };
#define P2PDVM_SCALAR(handle, type, what) \
  if (is(handle)) return one<type>(scalar::what, #handle);
    P2PDVM_SCALAR(MPI_AINT, MPI_Aint, i64)
    P2PDVM_SCALAR(MPI_COUNT, MPI_Count, i64)
    P2PDVM_SCALAR(MPI_OFFSET, MPI_Offset, i64)
    P2PDVM_SCALAR(MPI_PACKED, char, none)
    P2PDVM_SCALAR(MPI_SHORT, short, i16)
    P2PDVM_SCALAR(MPI_INT, int, i32)
    P2PDVM_SCALAR(MPI_LONG, long, i64)
    P2PDVM_SCALAR(MPI_LONG_LONG, long long, i64)
    P2PDVM_SCALAR(MPI_UNSIGNED_SHORT, unsigned short, u16)
    P2PDVM_SCALAR(MPI_UNSIGNED, unsigned, u32)
    P2PDVM_SCALAR(MPI_UNSIGNED_LONG, unsigned long, u64)
    P2PDVM_SCALAR(MPI_UNSIGNED_LONG_LONG, unsigned long long, u64)
    P2PDVM_SCALAR(MPI_FLOAT, float, f32)
    P2PDVM_SCALAR(MPI_C_FLOAT_COMPLEX, std::complex<float>, c32)
    P2PDVM_SCALAR(MPI_CXX_FLOAT_COMPLEX, std::complex<float>, c32)
    P2PDVM_SCALAR(MPI_DOUBLE, double, f64)
    P2PDVM_SCALAR(MPI_C_DOUBLE_COMPLEX, std::complex<double>, c64)
    P2PDVM_SCALAR(MPI_CXX_DOUBLE_COMPLEX, std::complex<double>, c64)
    P2PDVM_SCALAR(MPI_LOGICAL, std::int32_t, logical)
    P2PDVM_SCALAR(MPI_INTEGER, std::int32_t, i32)
    P2PDVM_SCALAR(MPI_REAL, float, f32)
    P2PDVM_SCALAR(MPI_COMPLEX, std::complex<float>, c32)
    P2PDVM_SCALAR(MPI_DOUBLE_PRECISION, double, f64)
    P2PDVM_SCALAR(MPI_DOUBLE_COMPLEX, std::complex<double>, c64)
    P2PDVM_SCALAR(MPI_CHARACTER, char, character)
    P2PDVM_SCALAR(MPI_LONG_DOUBLE, long double, f80)
    P2PDVM_SCALAR(MPI_C_LONG_DOUBLE_COMPLEX, std::complex<long double>, c80)
    P2PDVM_SCALAR(MPI_CXX_LONG_DOUBLE_COMPLEX, std::complex<long double>, c80)
    P2PDVM_SCALAR(MPI_C_BOOL, bool, logical)
    P2PDVM_SCALAR(MPI_CXX_BOOL, bool, logical)
    P2PDVM_SCALAR(MPI_WCHAR, wchar_t, wide)
    P2PDVM_SCALAR(MPI_INT8_T, std::int8_t, i8)
    P2PDVM_SCALAR(MPI_UINT8_T, std::uint8_t, u8)
    P2PDVM_SCALAR(MPI_CHAR, char, character)
    P2PDVM_SCALAR(MPI_SIGNED_CHAR, signed char, i8)
    P2PDVM_SCALAR(MPI_UNSIGNED_CHAR, unsigned char, u8)
    P2PDVM_SCALAR(MPI_BYTE, unsigned char, byte)
    P2PDVM_SCALAR(MPI_INT16_T, std::int16_t, i16)
    P2PDVM_SCALAR(MPI_UINT16_T, std::uint16_t, u16)
    P2PDVM_SCALAR(MPI_INT32_T, std::int32_t, i32)
    P2PDVM_SCALAR(MPI_UINT32_T, std::uint32_t, u32)
    P2PDVM_SCALAR(MPI_INT64_T, std::int64_t, i64)
    P2PDVM_SCALAR(MPI_UINT64_T, std::uint64_t, u64)
    P2PDVM_SCALAR(MPI_LOGICAL1, std::int8_t, logical)
    P2PDVM_SCALAR(MPI_LOGICAL2, std::int16_t, logical)
    P2PDVM_SCALAR(MPI_LOGICAL4, std::int32_t, logical)
    P2PDVM_SCALAR(MPI_LOGICAL8, std::int64_t, logical)
    P2PDVM_SCALAR(MPI_INTEGER1, std::int8_t, i8)
    P2PDVM_SCALAR(MPI_INTEGER2, std::int16_t, i16)
    P2PDVM_SCALAR(MPI_INTEGER4, std::int32_t, i32)
    P2PDVM_SCALAR(MPI_INTEGER8, std::int64_t, i64)
    P2PDVM_SCALAR(MPI_REAL4, float, f32)
    P2PDVM_SCALAR(MPI_REAL8, double, f64)
    P2PDVM_SCALAR(MPI_REAL16, long double, f80)
    P2PDVM_SCALAR(MPI_COMPLEX8, std::complex<float>, c32)
    P2PDVM_SCALAR(MPI_COMPLEX16, std::complex<double>, c64)
    P2PDVM_SCALAR(MPI_COMPLEX32, std::complex<long double>, c80)
#undef P2PDVM_SCALAR
    if (is(MPI_FLOAT_INT)) return with_int<float>(MPI_FLOAT, "MPI_FLOAT_INT");
    if (is(MPI_DOUBLE_INT)) return with_int<double>(MPI_DOUBLE, "MPI_DOUBLE_INT");
    if (is(MPI_LONG_INT)) return with_int<long>(MPI_LONG, "MPI_LONG_INT");
    if (is(MPI_2INT)) return with_int<int>(MPI_INT, "MPI_2INT");
    if (is(MPI_SHORT_INT)) return with_int<short>(MPI_SHORT, "MPI_SHORT_INT");
    if (is(MPI_LONG_DOUBLE_INT)) return with_int<long double>(MPI_LONG_DOUBLE, "MPI_LONG_DOUBLE_INT");
    if (is(MPI_2REAL)) return two<float>(MPI_REAL, "MPI_2REAL");
    if (is(MPI_2DOUBLE_PRECISION)) return two<double>(MPI_DOUBLE_PRECISION, "MPI_2DOUBLE_PRECISION");
    if (is(MPI_2INTEGER)) return two<std::int32_t>(MPI_INTEGER, "MPI_2INTEGER");
    return {};
  }

  std::vector<ref<datatype>> types_;
  std::map<const datatype*, std::uintptr_t> handles_;
};

predefined_types& predefined() {
  static predefined_types* const all = new predefined_types;  // used until the process ends
  return *all;
}

}  // namespace

datatype& predefined_type(std::uintptr_t number) {
  datatype* const found = predefined().find(number);
  if (found == nullptr) fail(MPI_ERR_TYPE, "it is no datatype");
  return *found;
}

datatype& datatype_of(MPI_Datatype handle) {
  if (!is_predefined(handle)) [[unlikely]]
    return *reinterpret_cast<datatype*>(handle);
  if (handle == MPI_DATATYPE_NULL) fail(MPI_ERR_TYPE, "the datatype is MPI_DATATYPE_NULL");
  return predefined_type(number_of(handle));
}

datatype& committed_type(MPI_Datatype handle) {
  datatype& type = datatype_of(handle);
  if (!type.committed) [[unlikely]]
    fail(MPI_ERR_TYPE, "the datatype was not committed");
  return type;
}

MPI_Datatype handle_of(datatype& type) {
  const std::uintptr_t number = predefined().number(type);
  return number != 0 ? reinterpret_cast<MPI_Datatype>(number) : reinterpret_cast<MPI_Datatype>(&type);
}

}  // namespace p2pdvm::c_mpi

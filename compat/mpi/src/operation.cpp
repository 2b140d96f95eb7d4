#include "operation.hpp"

#include "call.hpp"

#include <fmt/core.h>

#include <array>
#include <complex>
#include <type_traits>

namespace p2pdvm::c_mpi {

namespace {

using code = operation::code;

template <class T>
inline constexpr bool is_complex = false;
template <class T>
inline constexpr bool is_complex<std::complex<T>> = true;

template <code What, class T>
T combined(const T& a, const T& b) {
  if constexpr (What == code::sum) return static_cast<T>(a + b);
  if constexpr (What == code::product) return static_cast<T>(a * b);
  if constexpr (What == code::minimum) return b < a ? b : a;
  if constexpr (What == code::maximum) return a < b ? b : a;
  if constexpr (What == code::logical_and) return static_cast<T>((a != T()) && (b != T()));
  if constexpr (What == code::logical_or) return static_cast<T>((a != T()) || (b != T()));
  if constexpr (What == code::logical_xor) return static_cast<T>((a != T()) != (b != T()));
  if constexpr (What == code::bit_and) return static_cast<T>(a & b);
  if constexpr (What == code::bit_or) return static_cast<T>(a | b);
  if constexpr (What == code::bit_xor) return static_cast<T>(a ^ b);
}

template <code What, class T>
void combine_all(const void* left, void* right, std::size_t count) {
  const T* a = static_cast<const T*>(left);
  T* b = static_cast<T*>(right);
  for (std::size_t i = 0; i < count; ++i) b[i] = combined<What, T>(a[i], b[i]);
}

template <class Value, class Index, bool Least>
void locate_all(const void* left, void* right, std::size_t count) {
  struct both {
    Value v;
    Index i;
  };
  const both* a = static_cast<const both*>(left);
  both* b = static_cast<both*>(right);
  for (std::size_t n = 0; n < count; ++n) {
    const bool better = Least ? a[n].v < b[n].v : b[n].v < a[n].v;
    if (better || (a[n].v == b[n].v && a[n].i < b[n].i)) b[n] = a[n];
  }
}

template <class T>
operation::kernel kernel_of(code what) {
  constexpr bool whole = std::is_integral_v<T>;
  constexpr bool ordered = !is_complex<T>;
  switch (what) {
    case code::sum: return combine_all<code::sum, T>;
    case code::product: return combine_all<code::product, T>;
    default: break;
  }
  if constexpr (ordered) {
    switch (what) {
      case code::minimum: return combine_all<code::minimum, T>;
      case code::maximum: return combine_all<code::maximum, T>;
      case code::logical_and: return combine_all<code::logical_and, T>;
      case code::logical_or: return combine_all<code::logical_or, T>;
      case code::logical_xor: return combine_all<code::logical_xor, T>;
      default: break;
    }
  }
  if constexpr (whole) {
    switch (what) {
      case code::bit_and: return combine_all<code::bit_and, T>;
      case code::bit_or: return combine_all<code::bit_or, T>;
      case code::bit_xor: return combine_all<code::bit_xor, T>;
      default: break;
    }
  }
  return nullptr;
}

/// Of truth values: the logical ones, and of bits.
template <class T>
operation::kernel logical_kernel_of(code what) {
  switch (what) {
    case code::logical_and: return combine_all<code::logical_and, T>;
    case code::logical_or: return combine_all<code::logical_or, T>;
    case code::logical_xor: return combine_all<code::logical_xor, T>;
    default: return nullptr;
  }
}

/// For scalars of that kind; null where the standard has none.
operation::kernel kernel_of(code what, scalar of, MPI_Count bytes) {
  switch (of) {
    case scalar::character:  // of letters the standard knows no sum, but programs have them
    case scalar::i8: return kernel_of<std::int8_t>(what);
    case scalar::u8: return kernel_of<std::uint8_t>(what);
    case scalar::i16: return kernel_of<std::int16_t>(what);
    case scalar::u16: return kernel_of<std::uint16_t>(what);
    case scalar::i32: return kernel_of<std::int32_t>(what);
    case scalar::u32: return kernel_of<std::uint32_t>(what);
    case scalar::i64: return kernel_of<std::int64_t>(what);
    case scalar::u64: return kernel_of<std::uint64_t>(what);
    case scalar::f32: return kernel_of<float>(what);
    case scalar::f64: return kernel_of<double>(what);
    case scalar::f80: return kernel_of<long double>(what);
    case scalar::c32: return kernel_of<std::complex<float>>(what);
    case scalar::c64: return kernel_of<std::complex<double>>(what);
    case scalar::c80: return kernel_of<std::complex<long double>>(what);
    case scalar::byte: {
      const bool bits = what == code::bit_and || what == code::bit_or || what == code::bit_xor;
      return bits ? kernel_of<std::uint8_t>(what) : nullptr;
    }
    case scalar::logical:
      switch (bytes) {
        case 1: return logical_kernel_of<std::uint8_t>(what);
        case 2: return logical_kernel_of<std::int16_t>(what);
        case 4: return logical_kernel_of<std::int32_t>(what);
        default: return logical_kernel_of<std::int64_t>(what);
      }
    default: return nullptr;
  }
}

template <bool Least>
operation::kernel locating_kernel(MPI_Datatype type) {
  if (type == MPI_FLOAT_INT) return locate_all<float, int, Least>;
  if (type == MPI_DOUBLE_INT) return locate_all<double, int, Least>;
  if (type == MPI_LONG_INT) return locate_all<long, int, Least>;
  if (type == MPI_2INT) return locate_all<int, int, Least>;
  if (type == MPI_SHORT_INT) return locate_all<short, int, Least>;
  if (type == MPI_LONG_DOUBLE_INT) return locate_all<long double, int, Least>;
  if (type == MPI_2REAL) return locate_all<float, float, Least>;
  if (type == MPI_2DOUBLE_PRECISION) return locate_all<double, double, Least>;
  if (type == MPI_2INTEGER) return locate_all<std::int32_t, std::int32_t, Least>;
  return nullptr;
}

operation::kernel kernel_of(code what, datatype& type) {
  if (what == code::minimum_location) return locating_kernel<true>(handle_of(type));
  if (what == code::maximum_location) return locating_kernel<false>(handle_of(type));
  if (type.what() == scalar::none) return nullptr;
  return kernel_of(what, type.what(), type.size());
}

struct standard_operation {
  MPI_Op handle;
  code what;
};
const std::array standard_operations{
    standard_operation{MPI_SUM, code::sum},          standard_operation{MPI_MIN, code::minimum},
    standard_operation{MPI_MAX, code::maximum},      standard_operation{MPI_PROD, code::product},
    standard_operation{MPI_BAND, code::bit_and},     standard_operation{MPI_BOR, code::bit_or},
    standard_operation{MPI_BXOR, code::bit_xor},     standard_operation{MPI_LAND, code::logical_and},
    standard_operation{MPI_LOR, code::logical_or},   standard_operation{MPI_LXOR, code::logical_xor},
    standard_operation{MPI_MINLOC, code::minimum_location}, standard_operation{MPI_MAXLOC, code::maximum_location},
    standard_operation{MPI_REPLACE, code::replace},  standard_operation{MPI_NO_OP, code::nothing},
};

}  // namespace

operation& operation_of(MPI_Op handle) {
  if (!is_predefined(handle)) return *reinterpret_cast<operation*>(handle);
  static std::array<operation*, standard_operations.size()> made{};
  for (std::size_t i = 0; i < standard_operations.size(); ++i) {
    if (standard_operations[i].handle != handle) continue;
    if (made[i] == nullptr) made[i] = new operation(standard_operations[i].what);
    return *made[i];
  }
  fail(MPI_ERR_OP, handle == MPI_OP_NULL ? "the operation is MPI_OP_NULL" : "it is no operation");
}

void operation::check(const datatype& type) const {
  if (!standard() || code_ == code::replace || code_ == code::nothing) return;
  if (kernel_of(code_, const_cast<datatype&>(type)) == nullptr)
    fail(MPI_ERR_OP, fmt::format("the operation does not take elements of {}", type.name.empty() ? "a datatype of the program's own" : type.name));
}

void operation::apply(const void* left, void* right, MPI_Count count, datatype& type) const {
  if (count == 0) return;
  if (code_ == code::nothing) return;
  if (code_ == code::replace) {
    const packed all(left, count, type);
    return type.unpack(all.view(), right, count);
  }
  if (standard()) return kernel_of(code_, type)(left, right, static_cast<std::size_t>(count));
  MPI_Datatype handle = handle_of(type);
  if (large_function_ != nullptr) {
    MPI_Count all = count;
    return large_function_(const_cast<void*>(left), right, &all, &handle);
  }
  int all = static_cast<int>(count);
  function_(const_cast<void*>(left), right, &all, &handle);
}

reduced::reduced(operation& op, datatype& type, void* memory, MPI_Count count)
    : op_(op),
      type_(type),
      memory_(memory),
      count_(count),
      each_(static_cast<std::size_t>(type.size())),
      total_(static_cast<std::size_t>(type.bytes_of(count))) {
  if (type.solid()) {
    bytes_ = static_cast<std::byte*>(memory) + (total_ > 0 ? type.true_lower() : 0);
    return;
  }
  copy_.resize(total_);
  type.pack(memory, count, copy_.data());
  bytes_ = copy_.data();
}

void reduced::finish() {
  if (!type_.solid()) type_.unpack(view(), memory_, count_);
}

void reduced::combine(const std::byte* left, std::byte* right, std::size_t count) const {
  const auto n = static_cast<MPI_Count>(count);
  if (type_.solid()) return op_.apply(left - type_.true_lower(), right - type_.true_lower(), n, type_);
  element_memory a(n, type_), b(n, type_);
  type_.unpack({left, count * each_}, a.at(), n);
  type_.unpack({right, count * each_}, b.at(), n);
  op_.apply(a.at(), b.at(), n, type_);
  type_.pack(b.at(), n, right);
}

void reduced::merge_bytes(byte_view theirs, bool on_the_right, std::size_t first, std::size_t count) {
  if (count == 0) return;
  std::byte* const mine = bytes_ + first * each_;
  const bool aligned = reinterpret_cast<std::uintptr_t>(theirs.data()) % type_.alignment() == 0;
  if (!on_the_right && aligned) return combine(theirs.data(), mine, count);
  scratch_.assign(theirs.begin(), theirs.end());
  if (!on_the_right || (op_.standard() && op_.commutes())) return combine(scratch_.data(), mine, count);
  combine(mine, scratch_.data(), count);
  std::memcpy(mine, scratch_.data(), scratch_.size());
}

void reduced::merge(const mpi::detail::call& mine, const mpi::detail::incoming& theirs, bool on_the_right) {
  merge_part(mine, theirs, on_the_right, 0, static_cast<std::size_t>(count_));
}
void reduced::replace(const mpi::detail::call& mine, const mpi::detail::incoming& theirs) {
  replace_part(mine, theirs, 0, static_cast<std::size_t>(count_));
}
void reduced::merge_part(const mpi::detail::call& mine, const mpi::detail::incoming& theirs, bool on_the_right, std::size_t first,
                         std::size_t count) {
  mpi::detail::check_elements(mine, theirs, total_ == 0 ? 0 : count, true);
  merge_bytes(theirs.data, on_the_right, first, total_ == 0 ? 0 : count);
}
void reduced::replace_part(const mpi::detail::call& mine, const mpi::detail::incoming& theirs, std::size_t first, std::size_t count) {
  mpi::detail::check_elements(mine, theirs, total_ == 0 ? 0 : count, true);
  if (!theirs.data.empty()) std::memcpy(bytes_ + first * each_, theirs.data.data(), theirs.data.size());
}

void reduced::fold(const mpi::detail::call& mine, const std::vector<mpi::detail::incoming>& all, std::size_t first, std::size_t count) {
  std::vector<byte_view> views;
  for (const mpi::detail::incoming& part : all) {
    mpi::detail::check_elements(mine, part, total_ == 0 ? 0 : count, true);
    views.push_back(part.data);
  }
  fold_views(views, first, count);
}

void reduced::fold_views(const std::vector<byte_view>& all, std::size_t first, std::size_t count) {
  if (total_ == 0 || count == 0 || all.empty()) return;
  const auto join = [this, count](byte_vector& left, byte_vector& right) {
    combine(left.data(), right.data(), count);
    return std::move(right);
  };
  mpi::detail::bracket<byte_vector, decltype(join)> tree(join);
  for (const byte_view part : all) tree.push(to_vector(part));
  const byte_vector result = tree.take();
  std::memcpy(bytes_ + first * each_, result.data(), result.size());
}

namespace {

template <class Function>
void create(Function* function, int commute, MPI_Op* op) {
  require(function != nullptr, MPI_ERR_ARG, "an address is null");
  *op = reinterpret_cast<MPI_Op>(new operation(function, commute != 0));
}

void reduce_here(const void* inbuf, void* inoutbuf, MPI_Count count, MPI_Datatype datatype_handle, MPI_Op op) {
  datatype& type = committed_type(datatype_handle);
  require(count >= 0, MPI_ERR_COUNT, "the count is negative");
  const operation& what = operation_of(op);
  what.check(type);
  require(count == 0 || inbuf != inoutbuf, MPI_ERR_BUFFER, "both addresses are the same");
  what.apply(inbuf, inoutbuf, count, type);
}

}  // namespace

P2PDVM_FUNCTION(Op_create)(MPI_User_function* user_fn, int commute, MPI_Op* op) {
  return call("MPI_Op_create", [&] { create(user_fn, commute, op); });
}
P2PDVM_FUNCTION(Op_create_c)(MPI_User_function_c* user_fn, int commute, MPI_Op* op) {
  return call("MPI_Op_create_c", [&] { create(user_fn, commute, op); });
}
P2PDVM_FUNCTION(Op_free)(MPI_Op* op) {
  return call("MPI_Op_free", [&] {
    require(op != nullptr && *op != MPI_OP_NULL && !is_predefined(*op), MPI_ERR_OP, "only operations of the program's own are freed");
    operation_of(*op).release();
    *op = MPI_OP_NULL;
  });
}
P2PDVM_FUNCTION(Op_commutative)(MPI_Op op, int* commute) {
  return call("MPI_Op_commutative", [&] { *commute = operation_of(op).commutes() ? 1 : 0; });
}
P2PDVM_FUNCTION(Reduce_local)(const void* inbuf, void* inoutbuf, int count, MPI_Datatype type, MPI_Op op) {
  return call("MPI_Reduce_local", [&] { reduce_here(inbuf, inoutbuf, count, type, op); });
}
P2PDVM_FUNCTION(Reduce_local_c)(const void* inbuf, void* inoutbuf, MPI_Count count, MPI_Datatype type, MPI_Op op) {
  return call("MPI_Reduce_local_c", [&] { reduce_here(inbuf, inoutbuf, count, type, op); });
}

}  // namespace p2pdvm::c_mpi

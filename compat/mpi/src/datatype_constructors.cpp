/// Datatypes that programs make, and what they are told of how one was made.
#include "call.hpp"
#include "datatype.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <climits>
#include <map>
#include <numeric>
#include <span>
#include <tuple>

namespace p2pdvm::c_mpi {

namespace {

using part = datatype::part;
using recipe = datatype::recipe;

MPI_Datatype made_of(std::vector<part> parts, recipe made) {
  return reinterpret_cast<MPI_Datatype>(new datatype(std::move(parts), std::move(made)));
}

void check_count(MPI_Count count) { require(count >= 0, MPI_ERR_COUNT, "the count is negative"); }

recipe of(int combiner, std::vector<MPI_Count> given, bool large) {
  recipe r;
  r.combiner = combiner;
  r.large = large;
  r.numbers = std::move(given);
  return r;
}

/// What every constructor with one old type does with it.
recipe with(recipe r, datatype& old) {
  r.types.emplace_back(old);
  return r;
}

MPI_Datatype contiguous(MPI_Count count, MPI_Datatype oldtype, bool large) {
  check_count(count);
  datatype& old = datatype_of(oldtype);
  std::vector<part> parts{{0, count, 1, 0, ref<datatype>(old)}};
  return made_of(std::move(parts), with(of(MPI_COMBINER_CONTIGUOUS, {count}, large), old));
}

/// `stride` in bytes.
std::vector<part> blocks(MPI_Count count, MPI_Count block, MPI_Aint stride, datatype& old) {
  check_count(count);
  require(block >= 0, MPI_ERR_ARG, "the length of a block is negative");
  return {{0, block, count, stride, ref<datatype>(old)}};
}

MPI_Datatype vector(MPI_Count count, MPI_Count block, MPI_Count stride, MPI_Datatype oldtype, bool large) {
  datatype& old = datatype_of(oldtype);
  return made_of(blocks(count, block, stride * old.extent(), old), with(of(MPI_COMBINER_VECTOR, {count, block, stride}, large), old));
}

MPI_Datatype hvector(MPI_Count count, MPI_Count block, MPI_Aint stride, MPI_Datatype oldtype, bool large) {
  datatype& old = datatype_of(oldtype);
  recipe r = of(MPI_COMBINER_HVECTOR, {count, block}, large);
  r.addresses.push_back(stride);
  return made_of(blocks(count, block, stride, old), with(std::move(r), old));
}

/// Blocks that follow each other at one distance become one part.
void append_block(std::vector<part>& parts, MPI_Aint at, MPI_Count length, datatype& old) {
  if (length == 0) return;
  if (!parts.empty()) {
    part& last = parts.back();
    if (last.of.get() == &old && last.block == length) {
      const MPI_Aint distance = at - (last.at + (last.blocks - 1) * last.stride);
      if (last.blocks == 1 || distance == last.stride) {
        last.stride = distance;
        ++last.blocks;
        return;
      }
    }
  }
  parts.push_back({at, length, 1, 0, ref<datatype>(old)});
}

template <class Lengths, class Places>
std::vector<part> indexed(MPI_Count count, const Lengths* lengths, MPI_Count length, const Places* places, MPI_Aint unit, datatype& old) {
  check_count(count);
  std::vector<part> parts;
  for (MPI_Count i = 0; i < count; ++i) {
    const MPI_Count n = lengths != nullptr ? static_cast<MPI_Count>(lengths[i]) : length;
    require(n >= 0, MPI_ERR_ARG, "the length of a block is negative");
    append_block(parts, static_cast<MPI_Aint>(places[i]) * unit, n, old);
  }
  return parts;
}

template <class T>
void append_all(std::vector<MPI_Count>& to, const T* values, MPI_Count count) {
  to.insert(to.end(), values, values + count);
}

template <class Number, class Place>
MPI_Datatype indexed_by_elements(Number count, const Number* lengths, const Place* places, MPI_Datatype oldtype, bool large) {
  datatype& old = datatype_of(oldtype);
  std::vector<part> parts = indexed(count, lengths, 0, places, old.extent(), old);
  recipe r = of(MPI_COMBINER_INDEXED, {count}, large);
  append_all(r.numbers, lengths, count);
  append_all(r.numbers, places, count);
  return made_of(std::move(parts), with(std::move(r), old));
}

template <class Number, class Place>
MPI_Datatype indexed_by_bytes(Number count, const Number* lengths, const Place* places, MPI_Datatype oldtype, bool large) {
  datatype& old = datatype_of(oldtype);
  std::vector<part> parts = indexed(count, lengths, 0, places, 1, old);
  recipe r = of(MPI_COMBINER_HINDEXED, {count}, large);
  append_all(r.numbers, lengths, count);
  r.addresses.assign(places, places + count);
  return made_of(std::move(parts), with(std::move(r), old));
}

template <class Number, class Place>
MPI_Datatype blocks_by_elements(Number count, Number length, const Place* places, MPI_Datatype oldtype, bool large) {
  datatype& old = datatype_of(oldtype);
  require(length >= 0, MPI_ERR_ARG, "the length of a block is negative");
  std::vector<part> parts = indexed<Number>(count, nullptr, length, places, old.extent(), old);
  recipe r = of(MPI_COMBINER_INDEXED_BLOCK, {count, length}, large);
  append_all(r.numbers, places, count);
  return made_of(std::move(parts), with(std::move(r), old));
}

template <class Number, class Place>
MPI_Datatype blocks_by_bytes(Number count, Number length, const Place* places, MPI_Datatype oldtype, bool large) {
  datatype& old = datatype_of(oldtype);
  require(length >= 0, MPI_ERR_ARG, "the length of a block is negative");
  std::vector<part> parts = indexed<Number>(count, nullptr, length, places, 1, old);
  recipe r = of(MPI_COMBINER_HINDEXED_BLOCK, {count, length}, large);
  r.addresses.assign(places, places + count);
  return made_of(std::move(parts), with(std::move(r), old));
}

template <class Number, class Place>
MPI_Datatype structure(Number count, const Number* lengths, const Place* places, const MPI_Datatype* types, bool large) {
  check_count(count);
  recipe r = of(MPI_COMBINER_STRUCT, {count}, large);
  std::vector<part> parts;
  for (Number i = 0; i < count; ++i) {
    datatype& old = datatype_of(types[i]);
    require(lengths[i] >= 0, MPI_ERR_ARG, "the length of a block is negative");
    parts.push_back({static_cast<MPI_Aint>(places[i]), lengths[i], 1, 0, ref<datatype>(old)});
    r.types.emplace_back(old);
  }
  append_all(r.numbers, lengths, count);
  r.addresses.assign(places, places + count);
  return made_of(std::move(parts), std::move(r));
}

MPI_Datatype resized(MPI_Datatype oldtype, MPI_Aint lower, MPI_Aint extent, bool large) {
  datatype& old = datatype_of(oldtype);
  recipe r = of(MPI_COMBINER_RESIZED, {}, large);
  r.addresses = {lower, extent};
  std::vector<part> parts{{0, 1, 1, 0, ref<datatype>(old)}};
  auto* const made = new datatype(std::move(parts), with(std::move(r), old));
  made->set_bounds(lower, lower + extent);
  return reinterpret_cast<MPI_Datatype>(made);
}

MPI_Datatype duplicate(MPI_Datatype oldtype) {
  datatype& old = datatype_of(oldtype);
  std::vector<part> parts{{0, 1, 1, 0, ref<datatype>(old)}};
  auto made = ref<datatype>::adopt(new datatype(std::move(parts), with(of(MPI_COMBINER_DUP, {}, false), old)));
  made->set_bounds(old.lower(), old.upper());
  made->committed = old.committed;
  copy_attributes(old.attributes, oldtype, made->attributes);
  return reinterpret_cast<MPI_Datatype>(made.detach());
}

/// One dimension more around `inner`: `blocks` of them `stride` bytes apart from `at` on.
ref<datatype> nested(const ref<datatype>& inner, MPI_Aint at, MPI_Count count, MPI_Aint stride) {
  std::vector<part> parts{{at, 1, count, stride, inner}};
  return ref<datatype>::adopt(new datatype(std::move(parts), recipe{}));
}

struct array_shape {
  std::vector<MPI_Count> sizes;
  bool fortran;  ///< the first dimension is the one that varies fastest
  /// Dimensions from the fastest one on.
  [[nodiscard]] std::vector<std::size_t> order() const {
    std::vector<std::size_t> o(sizes.size());
    std::iota(o.begin(), o.end(), std::size_t{0});
    if (!fortran) std::reverse(o.begin(), o.end());
    return o;
  }
};

bool is_fortran(int order) {
  require(order == MPI_ORDER_C || order == MPI_ORDER_FORTRAN, MPI_ERR_ARG, "the order is neither MPI_ORDER_C nor MPI_ORDER_FORTRAN");
  return order == MPI_ORDER_FORTRAN;
}

MPI_Datatype of_array(const ref<datatype>& inner, MPI_Aint whole, recipe made) {
  std::vector<part> parts{{0, 1, 1, 0, inner}};
  auto* const type = new datatype(std::move(parts), std::move(made));
  type->set_bounds(0, whole);
  return reinterpret_cast<MPI_Datatype>(type);
}

template <class Number>
MPI_Datatype subarray(int dims, const Number* sizes, const Number* subsizes, const Number* starts, int order, MPI_Datatype oldtype, bool large) {
  require(dims > 0, MPI_ERR_ARG, "the number of dimensions is not positive");
  datatype& old = datatype_of(oldtype);
  const array_shape shape{{sizes, sizes + dims}, is_fortran(order)};
  for (int d = 0; d < dims; ++d) {
    require(sizes[d] >= 1 && subsizes[d] >= 1 && starts[d] >= 0 && subsizes[d] <= sizes[d] && starts[d] <= sizes[d] - subsizes[d], MPI_ERR_ARG,
            "the part is not inside of the array");
  }
  ref<datatype> inner(old);
  MPI_Aint stride = old.extent();
  for (const std::size_t d : shape.order()) {
    inner = nested(inner, static_cast<MPI_Aint>(starts[d]) * stride, subsizes[d], stride);
    stride *= static_cast<MPI_Aint>(sizes[d]);
  }
  recipe r = of(MPI_COMBINER_SUBARRAY, {dims}, large);
  for (const Number* values : {sizes, subsizes, starts}) append_all(r.numbers, values, dims);
  r.numbers.push_back(order);
  return of_array(inner, stride, with(std::move(r), old));
}

/// The part of one dimension that a process has: blocks of `block` elements, of which every `processes`-th is its own.
ref<datatype> distributed(const ref<datatype>& inner, MPI_Count size, MPI_Count block, int processes, int mine, MPI_Aint stride) {
  std::vector<part> parts;
  const MPI_Count period = block * processes;
  const MPI_Count first = block * mine;
  // Inside of a block elements are `stride` apart, which need not be the extent of one.
  ref<datatype> element = inner;
  if (inner->extent() != stride) {
    std::vector<part> one{{0, 1, 1, 0, inner}};
    element = ref<datatype>::adopt(new datatype(std::move(one), recipe{}));
    element->set_bounds(0, stride);
  }
  if (first < size) {
    const MPI_Count whole = (size - first) / period + ((size - first) % period >= block ? 1 : 0);
    const MPI_Count rest = (size - first) % period >= block ? 0 : (size - first) % period;
    if (whole > 0) parts.push_back({static_cast<MPI_Aint>(first) * stride, block, whole, static_cast<MPI_Aint>(period) * stride, element});
    if (rest > 0) parts.push_back({static_cast<MPI_Aint>(first + whole * period) * stride, rest, 1, 0, element});
  }
  return ref<datatype>::adopt(new datatype(std::move(parts), recipe{}));
}

template <class Number>
MPI_Datatype darray(int size, int rank, int dims, const Number* sizes, const int* distributions, const int* arguments, const int* processes,
                    int order, MPI_Datatype oldtype, bool large) {
  require(dims > 0, MPI_ERR_ARG, "the number of dimensions is not positive");
  require(rank >= 0 && rank < size, MPI_ERR_ARG, "the rank is not among the processes");
  datatype& old = datatype_of(oldtype);
  const array_shape shape{{sizes, sizes + dims}, is_fortran(order)};
  std::vector<int> at(static_cast<std::size_t>(dims));  // of this process, in row-major order
  for (int d = dims - 1, left = rank; d >= 0; --d) {
    require(processes[d] > 0, MPI_ERR_ARG, "a dimension has no processes");
    at[static_cast<std::size_t>(d)] = left % processes[d];
    left /= processes[d];
  }
  ref<datatype> inner(old);
  MPI_Aint stride = old.extent();
  for (const std::size_t d : shape.order()) {
    const auto extent = static_cast<MPI_Count>(sizes[d]);
    MPI_Count block = extent;
    int of_processes = processes[d];
    switch (distributions[d]) {
      case MPI_DISTRIBUTE_NONE: of_processes = 1; break;
      case MPI_DISTRIBUTE_BLOCK:
        block = arguments[d] == MPI_DISTRIBUTE_DFLT_DARG ? (extent + of_processes - 1) / of_processes : arguments[d];
        require(block > 0 && block * of_processes >= extent, MPI_ERR_ARG, "the blocks do not cover the dimension");
        break;
      case MPI_DISTRIBUTE_CYCLIC:
        block = arguments[d] == MPI_DISTRIBUTE_DFLT_DARG ? 1 : arguments[d];
        require(block > 0, MPI_ERR_ARG, "a block is empty");
        break;
      default: fail(MPI_ERR_ARG, "it is no kind of distribution");
    }
    inner = distributed(inner, extent, block, of_processes, of_processes == 1 ? 0 : at[d], stride);
    stride *= static_cast<MPI_Aint>(extent);
  }
  recipe r = of(MPI_COMBINER_DARRAY, {size, rank, dims}, large);
  append_all(r.numbers, sizes, dims);
  for (const int* values : {distributions, arguments, processes}) append_all(r.numbers, values, dims);
  r.numbers.push_back(order);
  return of_array(inner, stride, with(std::move(r), old));
}

}  // namespace

P2PDVM_FUNCTION(Type_contiguous)(int count, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_contiguous", [&] { *made = contiguous(count, old, false); });
}
P2PDVM_FUNCTION(Type_contiguous_c)(MPI_Count count, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_contiguous_c", [&] { *made = contiguous(count, old, true); });
}
P2PDVM_FUNCTION(Type_vector)(int count, int block, int stride, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_vector", [&] { *made = vector(count, block, stride, old, false); });
}
P2PDVM_FUNCTION(Type_vector_c)(MPI_Count count, MPI_Count block, MPI_Count stride, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_vector_c", [&] { *made = vector(count, block, stride, old, true); });
}
P2PDVM_FUNCTION(Type_create_hvector)(int count, int block, MPI_Aint stride, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_hvector", [&] { *made = hvector(count, block, stride, old, false); });
}
P2PDVM_FUNCTION(Type_create_hvector_c)(MPI_Count count, MPI_Count block, MPI_Count stride, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_hvector_c", [&] { *made = hvector(count, block, stride, old, true); });
}
P2PDVM_FUNCTION(Type_indexed)(int count, const int lengths[], const int places[], MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_indexed", [&] { *made = indexed_by_elements(count, lengths, places, old, false); });
}
P2PDVM_FUNCTION(Type_indexed_c)(MPI_Count count, const MPI_Count lengths[], const MPI_Count places[], MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_indexed_c", [&] { *made = indexed_by_elements(count, lengths, places, old, true); });
}
P2PDVM_FUNCTION(Type_create_hindexed)(int count, const int lengths[], const MPI_Aint places[], MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_hindexed", [&] { *made = indexed_by_bytes(count, lengths, places, old, false); });
}
P2PDVM_FUNCTION(Type_create_hindexed_c)(MPI_Count count, const MPI_Count lengths[], const MPI_Count places[], MPI_Datatype old,
                                        MPI_Datatype* made) {
  return call("MPI_Type_create_hindexed_c", [&] { *made = indexed_by_bytes(count, lengths, places, old, true); });
}
P2PDVM_FUNCTION(Type_create_indexed_block)(int count, int length, const int places[], MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_indexed_block", [&] { *made = blocks_by_elements(count, length, places, old, false); });
}
P2PDVM_FUNCTION(Type_create_indexed_block_c)(MPI_Count count, MPI_Count length, const MPI_Count places[], MPI_Datatype old,
                                             MPI_Datatype* made) {
  return call("MPI_Type_create_indexed_block_c", [&] { *made = blocks_by_elements(count, length, places, old, true); });
}
P2PDVM_FUNCTION(Type_create_hindexed_block)(int count, int length, const MPI_Aint places[], MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_hindexed_block", [&] { *made = blocks_by_bytes(count, length, places, old, false); });
}
P2PDVM_FUNCTION(Type_create_hindexed_block_c)(MPI_Count count, MPI_Count length, const MPI_Count places[], MPI_Datatype old,
                                              MPI_Datatype* made) {
  return call("MPI_Type_create_hindexed_block_c", [&] { *made = blocks_by_bytes(count, length, places, old, true); });
}
P2PDVM_FUNCTION(Type_create_struct)(int count, const int lengths[], const MPI_Aint places[], const MPI_Datatype types[], MPI_Datatype* made) {
  return call("MPI_Type_create_struct", [&] { *made = structure(count, lengths, places, types, false); });
}
P2PDVM_FUNCTION(Type_create_struct_c)(MPI_Count count, const MPI_Count lengths[], const MPI_Count places[], const MPI_Datatype types[],
                                      MPI_Datatype* made) {
  return call("MPI_Type_create_struct_c", [&] { *made = structure(count, lengths, places, types, true); });
}
P2PDVM_FUNCTION(Type_create_resized)(MPI_Datatype old, MPI_Aint lower, MPI_Aint extent, MPI_Datatype* made) {
  return call("MPI_Type_create_resized", [&] { *made = resized(old, lower, extent, false); });
}
P2PDVM_FUNCTION(Type_create_resized_c)(MPI_Datatype old, MPI_Count lower, MPI_Count extent, MPI_Datatype* made) {
  return call("MPI_Type_create_resized_c", [&] { *made = resized(old, lower, extent, true); });
}
P2PDVM_FUNCTION(Type_create_subarray)(int dims, const int sizes[], const int subsizes[], const int starts[], int order, MPI_Datatype old,
                                      MPI_Datatype* made) {
  return call("MPI_Type_create_subarray", [&] { *made = subarray(dims, sizes, subsizes, starts, order, old, false); });
}
P2PDVM_FUNCTION(Type_create_subarray_c)(int dims, const MPI_Count sizes[], const MPI_Count subsizes[], const MPI_Count starts[], int order,
                                        MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_subarray_c", [&] { *made = subarray(dims, sizes, subsizes, starts, order, old, true); });
}
P2PDVM_FUNCTION(Type_create_darray)(int size, int rank, int dims, const int sizes[], const int distributions[], const int arguments[],
                                    const int processes[], int order, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_darray",
              [&] { *made = darray(size, rank, dims, sizes, distributions, arguments, processes, order, old, false); });
}
P2PDVM_FUNCTION(Type_create_darray_c)(int size, int rank, int dims, const MPI_Count sizes[], const int distributions[], const int arguments[],
                                      const int processes[], int order, MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_create_darray_c",
              [&] { *made = darray(size, rank, dims, sizes, distributions, arguments, processes, order, old, true); });
}
P2PDVM_FUNCTION(Type_dup)(MPI_Datatype old, MPI_Datatype* made) {
  return call("MPI_Type_dup", [&] {
    *made = MPI_DATATYPE_NULL;
    *made = duplicate(old);
  });
}

// --- those of Fortran's kinds ---

namespace {

/// What one kind of scalars can hold.
struct kind_of_scalars {
  int digits, range;
  MPI_Datatype type;
};

/// The smallest that holds so many digits and such a range. The same for the same numbers; they are never freed.
MPI_Datatype of_kind(int combiner, int digits, int range, std::initializer_list<kind_of_scalars> kinds) {
  static auto* const made = new std::map<std::tuple<int, int, int>, datatype*>;
  datatype*& known = (*made)[{combiner, digits, range}];
  if (known != nullptr) return reinterpret_cast<MPI_Datatype>(known);
  for (const kind_of_scalars& k : kinds) {
    if (digits > k.digits || range > k.range) continue;  // MPI_UNDEFINED is less than any
    recipe r = of(combiner, combiner == MPI_COMBINER_F90_INTEGER ? std::vector<MPI_Count>{range} : std::vector<MPI_Count>{digits, range}, false);
    known = new datatype(datatype_of(k.type), std::move(r));
    return reinterpret_cast<MPI_Datatype>(known);
  }
  fail(MPI_ERR_ARG, "there are no such numbers here");
}

}  // namespace

P2PDVM_FUNCTION(Type_create_f90_real)(int p, int r, MPI_Datatype* made) {
  return call("MPI_Type_create_f90_real",
              [&] { *made = of_kind(MPI_COMBINER_F90_REAL, p, r, {{6, 37, MPI_REAL4}, {15, 307, MPI_REAL8}, {18, 4931, MPI_REAL16}}); });
}
P2PDVM_FUNCTION(Type_create_f90_complex)(int p, int r, MPI_Datatype* made) {
  return call("MPI_Type_create_f90_complex",
              [&] { *made = of_kind(MPI_COMBINER_F90_COMPLEX, p, r, {{6, 37, MPI_COMPLEX8}, {15, 307, MPI_COMPLEX16}, {18, 4931, MPI_COMPLEX32}}); });
}
P2PDVM_FUNCTION(Type_create_f90_integer)(int r, MPI_Datatype* made) {
  return call("MPI_Type_create_f90_integer", [&] {
    *made = of_kind(MPI_COMBINER_F90_INTEGER, MPI_UNDEFINED, r, {{0, 2, MPI_INTEGER1}, {0, 4, MPI_INTEGER2}, {0, 9, MPI_INTEGER4}, {0, 18, MPI_INTEGER8}});
  });
}

// --- and how they were made ---

namespace {

/// Combiners of which an address was given where the large form has a count.
void envelope(const datatype& type, MPI_Count* numbers, MPI_Count* addresses, MPI_Count* counts, MPI_Count* types, int* combiner) {
  const recipe& r = type.made();
  const bool whole = type.named();
  *combiner = whole ? static_cast<int>(MPI_COMBINER_NAMED) : r.combiner;
  *types = whole ? 0 : static_cast<MPI_Count>(r.types.size());
  MPI_Count ints = whole ? 0 : static_cast<MPI_Count>(r.numbers.size());
  *addresses = whole ? 0 : static_cast<MPI_Count>(r.addresses.size());
  *counts = 0;
  if (r.large) {
    // What was given as MPI_Count is told as such; what stays int are dimensions, distributions and orders.
    MPI_Count small = 0;
    const MPI_Count dims = ints > 0 ? r.numbers[0] : 0;
    if (r.combiner == MPI_COMBINER_SUBARRAY) small = 2;
    if (r.combiner == MPI_COMBINER_DARRAY) small = 4 + 3 * r.numbers[2];
    (void)dims;
    *counts = ints - small + *addresses;
    ints = small;
    *addresses = 0;
  }
  *numbers = ints;
}

template <class Number>
void copy_numbers(const std::vector<MPI_Count>& from, Number* to) {
  for (std::size_t i = 0; i < from.size(); ++i) to[i] = static_cast<Number>(from[i]);
}

MPI_Datatype given_out(const ref<datatype>& type) {
  const MPI_Datatype handle = handle_of(*type);
  if (!is_predefined(handle)) type->retain();
  return handle;
}

/// Which of the recipe's numbers of a large constructor stay ints.
bool stays_int(const recipe& r, std::size_t i) {
  const std::size_t n = r.numbers.size();
  if (r.combiner == MPI_COMBINER_SUBARRAY) return i == 0 || i + 1 == n;
  if (r.combiner == MPI_COMBINER_DARRAY) {
    const auto dims = static_cast<std::size_t>(r.numbers[2]);
    return i < 3 || i >= 3 + dims;
  }
  return false;
}

}  // namespace

P2PDVM_FUNCTION(Type_get_envelope)(MPI_Datatype type, int* integers, int* addresses, int* types, int* combiner) {
  return call("MPI_Type_get_envelope", [&] {
    MPI_Count n = 0, a = 0, c = 0, t = 0;
    envelope(datatype_of(type), &n, &a, &c, &t, combiner);
    require(c == 0, MPI_ERR_TYPE, "the datatype was made with large counts: see MPI_Type_get_envelope_c");
    *integers = static_cast<int>(n);
    *addresses = static_cast<int>(a);
    *types = static_cast<int>(t);
  });
}

P2PDVM_FUNCTION(Type_get_envelope_c)(MPI_Datatype type, MPI_Count* integers, MPI_Count* addresses, MPI_Count* counts, MPI_Count* types,
                                     int* combiner) {
  return call("MPI_Type_get_envelope_c", [&] { envelope(datatype_of(type), integers, addresses, counts, types, combiner); });
}

P2PDVM_FUNCTION(Type_get_contents)(MPI_Datatype type, int max_integers, int max_addresses, int max_types, int integers[],
                                   MPI_Aint addresses[], MPI_Datatype types[]) {
  return call("MPI_Type_get_contents", [&] {
    const datatype& of_type = datatype_of(type);
    require(!of_type.named(), MPI_ERR_TYPE, "a predefined datatype has no contents");
    const recipe& r = of_type.made();
    require(!r.large, MPI_ERR_TYPE, "the datatype was made with large counts: see MPI_Type_get_contents_c");
    require(std::cmp_less_equal(r.numbers.size(), max_integers) && std::cmp_less_equal(r.addresses.size(), max_addresses) &&
                std::cmp_less_equal(r.types.size(), max_types),
            MPI_ERR_ARG, "there is not enough room");
    copy_numbers(r.numbers, integers);
    std::copy(r.addresses.begin(), r.addresses.end(), addresses);
    std::transform(r.types.begin(), r.types.end(), types, given_out);
  });
}

P2PDVM_FUNCTION(Type_get_contents_c)(MPI_Datatype type, MPI_Count, MPI_Count, MPI_Count, MPI_Count, int integers[], MPI_Aint addresses[],
                                     MPI_Count counts[], MPI_Datatype types[]) {
  return call("MPI_Type_get_contents_c", [&] {
    const datatype& of_type = datatype_of(type);
    require(!of_type.named(), MPI_ERR_TYPE, "a predefined datatype has no contents");
    const recipe& r = of_type.made();
    std::transform(r.types.begin(), r.types.end(), types, given_out);
    if (!r.large) {
      copy_numbers(r.numbers, integers);
      std::copy(r.addresses.begin(), r.addresses.end(), addresses);
      return;
    }
    for (std::size_t i = 0; i < r.numbers.size(); ++i) {
      if (stays_int(r, i)) {
        *integers++ = static_cast<int>(r.numbers[i]);
      } else {
        *counts++ = r.numbers[i];
      }
    }
    std::copy(r.addresses.begin(), r.addresses.end(), counts);
  });
}

}  // namespace p2pdvm::c_mpi

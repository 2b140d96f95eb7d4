/// Where the elements of a large array lie: in blocks, cyclic, or both in two dimensions.
#pragma once

#include <p2pdvm/peal/bsp/variable.hpp>

#include <algorithm>
#include <cstddef>
#include <source_location>
#include <vector>

namespace p2pdvm::bsp {

/// Blocks of so many of `size` elements are dealt out to ranks in turn. Every index is below `size`, every rank below `ranks`.
class partition {
 public:
  partition(std::size_t size, int ranks, std::size_t block);
  /// As few and as large blocks as there can be: neighbours lie together.
  [[nodiscard]] static partition blocks(std::size_t size, int ranks);
  /// Each element on the next rank: what shrinks from one end stays even.
  [[nodiscard]] static partition cyclic(std::size_t size, int ranks) { return partition(size, ranks, 1); }

  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] int ranks() const noexcept { return static_cast<int>(ranks_); }
  [[nodiscard]] int owner(std::size_t index) const noexcept { return static_cast<int>(index / block_ % ranks_); }
  /// Its place among those of its owner.
  [[nodiscard]] std::size_t local(std::size_t index) const noexcept {
    return index / (block_ * ranks_) * block_ + index % block_;
  }
  [[nodiscard]] std::size_t global(int rank, std::size_t local) const noexcept {
    return (local / block_ * ranks_ + static_cast<std::size_t>(rank)) * block_ + local % block_;
  }
  /// How many a rank has.
  [[nodiscard]] std::size_t size_of(int rank) const noexcept;

 private:
  std::size_t size_, ranks_, block_;
};

/// Rows and columns, each dealt out by itself, on a grid of ranks that is numbered row by row.
struct grid {
  partition rows, columns;
  [[nodiscard]] int ranks() const noexcept { return rows.ranks() * columns.ranks(); }
  [[nodiscard]] int owner(std::size_t row, std::size_t column) const noexcept {
    return rows.owner(row) * columns.ranks() + columns.owner(column);
  }
  /// Its place among those of its owner, which has them row by row.
  [[nodiscard]] std::size_t local(std::size_t row, std::size_t column) const noexcept {
    return rows.local(row) * columns.size_of(columns.owner(column)) + columns.local(column);
  }
  [[nodiscard]] std::size_t size_of(int rank) const noexcept {
    return rows.size_of(rank / columns.ranks()) * columns.size_of(rank % columns.ranks());
  }
};

namespace detail {

[[noreturn]] void refuse_ranks(int partitioned, int there);

/// This rank's part, as long as `how` (a partition or a grid) has it.
template <class How, element T>
std::vector<T>& sized(world& in, const How& how, std::vector<T>& values) {
  if (how.ranks() != in.size()) refuse_ranks(how.ranks(), in.size());
  values.resize(how.size_of(in.rank()));
  return values;
}

}  // namespace detail

/// One vector over all ranks of a world, each of which has the elements that `how` gives it in `values`; these may be state or a
/// region of the rank. Collective, as `array` is.
///
///     std::vector<double> mine;
///     bsp::distributed_array<double> x(world, bsp::partition::cyclic(n, world.size()), mine);
///     x.put(i, 1.5);
template <detail::element T>
class distributed_array {
 public:
  /// Gives `values` the size that it has to have, unless it has it. Throws `errc::misuse` when `how` is for another number of ranks.
  distributed_array(world& in, const partition& how, std::vector<T>& values) : how_(how), values_(detail::sized(in, how, values)), remote_(in, values) {}
  [[nodiscard]] const partition& how() const noexcept { return how_; }
  /// This rank's own elements.
  [[nodiscard]] std::vector<T>& local() noexcept { return values_; }
  void put(std::size_t index, const T& value, std::source_location where = std::source_location::current()) {
    remote_.put(how_.owner(index), how_.local(index), value, where);
  }
  /// Into the program's memory, at the end of the superstep.
  void get(std::size_t index, T& into, std::source_location where = std::source_location::current()) {
    remote_.get(how_.owner(index), how_.local(index), std::span<T>(&into, 1), where);
  }

 private:
  partition how_;
  std::vector<T>& values_;
  array<T> remote_;
};

/// The same in two dimensions.
template <detail::element T>
class distributed_matrix {
 public:
  distributed_matrix(world& in, const grid& how, std::vector<T>& values) : how_(how), values_(detail::sized(in, how, values)), remote_(in, values) {}
  [[nodiscard]] const grid& how() const noexcept { return how_; }
  [[nodiscard]] std::vector<T>& local() noexcept { return values_; }
  void put(std::size_t row, std::size_t column, const T& value, std::source_location where = std::source_location::current()) {
    remote_.put(how_.owner(row, column), how_.local(row, column), value, where);
  }
  void get(std::size_t row, std::size_t column, T& into, std::source_location where = std::source_location::current()) {
    remote_.get(how_.owner(row, column), how_.local(row, column), std::span<T>(&into, 1), where);
  }

 private:
  grid how_;
  std::vector<T>& values_;
  array<T> remote_;
};

}  // namespace p2pdvm::bsp

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/bsp/impl/partition.ipp>
#endif

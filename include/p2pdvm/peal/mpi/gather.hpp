/// Gather, scatter, allgather and all-to-all.
#pragma once

#include <p2pdvm/peal/mpi/reduce.hpp>

#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace p2pdvm::mpi {

namespace detail {

template <class T>
[[nodiscard]] payload packed_part(const T& value) {
  if constexpr (bulk<T> || plain<T>) {
    return payload::copy_of(view_of(value));
  } else {
    byte_vector out;
    append_data(out, value);
    return payload(std::move(out));
  }
}

/// What rank `source` of `in` gave, as seen by the call `mine`.
[[nodiscard]] inline incoming part_from(const group& in, const call& mine, const payload& bytes,
                                        int source) {
  incoming got;
  got.head = mine.head;
  got.data = bytes.view();
  got.source = source;
  got.job_source = in.job_rank(source);
  return got;
}

template <class T>
[[nodiscard]] std::vector<T> values_of(const group& in, const call& mine,
                                       const std::vector<payload>& parts) {
  std::vector<T> values(parts.size());
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const target t = target_of(values[i]);
    t.place(mine, part_from(in, mine, parts[i], static_cast<int>(i)), true);
  }
  return values;
}

/// The parts of all ranks after one another; each must have `count` elements.
template <class T>
[[nodiscard]] std::vector<T> joined(const group& in, const call& mine,
                                    const std::vector<payload>& parts, std::size_t count) {
  std::vector<T> all(parts.size() * count);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const target t = target_range(std::span<T>(all).subspan(i * count, count));
    t.place(mine, part_from(in, mine, parts[i], static_cast<int>(i)), true);
  }
  return all;
}

template <class T>
[[nodiscard]] std::vector<payload> packed_parts(const std::vector<T>& values) {
  std::vector<payload> parts;
  parts.reserve(values.size());
  for (const auto& value : values) parts.push_back(packed_part<T>(value));
  return parts;
}

/// `size` blocks of equal length.
template <class T>
[[nodiscard]] std::vector<payload> packed_blocks(std::span<T> values, int size) {
  const std::size_t count = values.size() / static_cast<std::size_t>(size);
  std::vector<payload> parts;
  for (int i = 0; i < size; ++i) {
    const auto block = values.subspan(static_cast<std::size_t>(i) * count, count);
    parts.push_back(payload::copy_of(std::as_bytes(block)));
  }
  return parts;
}

}  // namespace detail

/// With a value, each rank gives or gets one value of any type, vectors of different lengths
/// included, and a `std::vector` holds one per rank. With a span, each rank gives or gets a
/// block of equal length, and the blocks of all ranks lie after one another.
class gatherings : public reductions {
 public:
  gatherings() = default;

  /// On the root one value per rank, elsewhere nothing.
  template <class T>
  task<std::vector<std::remove_cvref_t<T>>> gather(
      T&& value, int root = 0, std::source_location where = std::source_location::current()) {
    const auto c = rooted<T>(detail::operation::gather, root, where);
    return gathered<std::remove_cvref_t<T>>(detail::packed_part(value), c);
  }
  template <class T, std::size_t Extent>
  task<std::vector<std::remove_const_t<T>>> gather(
      std::span<T, Extent> block, int root = 0,
      std::source_location where = std::source_location::current()) {
    const auto c = rooted<std::span<T>>(detail::operation::gather, root, where);
    return gathered_blocks<std::remove_const_t<T>>(detail::packed_part(block), block.size(), c);
  }
  /// Ranges of any lengths: on the root one vector per rank.
  template <detail::bulk R>
  task<std::vector<std::vector<std::ranges::range_value_t<R>>>> gatherv(
      const R& range, int root = 0,
      std::source_location where = std::source_location::current()) {
    const auto c = rooted<R>(detail::operation::gather, root, where);
    return gathered<std::vector<std::ranges::range_value_t<R>>>(detail::packed_part(range), c);
  }

  /// One value per rank, on every rank.
  template <class T>
  task<std::vector<std::remove_cvref_t<T>>> allgather(
      T&& value, std::source_location where = std::source_location::current()) {
    const auto c = typed<T>(detail::operation::allgather, where);
    return gathered_everywhere<std::remove_cvref_t<T>>(detail::packed_part(value), c);
  }
  template <class T, std::size_t Extent>
  task<std::vector<std::remove_const_t<T>>> allgather(
      std::span<T, Extent> block, std::source_location where = std::source_location::current()) {
    const auto c = typed<std::span<T>>(detail::operation::allgather, where);
    return gathered_blocks<std::remove_const_t<T>>(detail::packed_part(block), block.size(), c);
  }
  template <detail::bulk R>
  task<std::vector<std::vector<std::ranges::range_value_t<R>>>> allgatherv(
      const R& range, std::source_location where = std::source_location::current()) {
    const auto c = typed<R>(detail::operation::allgather, where);
    return gathered_everywhere<std::vector<std::ranges::range_value_t<R>>>(
        detail::packed_part(range), c);
  }

  /// To each rank its own of the root's values, of which there is one per rank; the other
  /// ranks' argument is not looked at.
  template <class T>
  task<T> scatter(const std::vector<T>& values, int root = 0,
                  std::source_location where = std::source_location::current()) {
    const auto c = rooted<T>(detail::operation::scatter, root, where);
    std::vector<payload> parts;
    if (rank() == root) {
      check_one_per_rank(c, values.size());
      parts = detail::packed_parts(values);
    }
    return scattered<T>(std::move(parts), c);
  }
  /// To each rank its block of the root's span, whose length is a multiple of the number of ranks.
  template <class T, std::size_t Extent>
  task<std::vector<std::remove_const_t<T>>> scatter(
      std::span<T, Extent> values, int root = 0,
      std::source_location where = std::source_location::current()) {
    const auto c = rooted<std::span<T>>(detail::operation::scatter, root, where);
    std::vector<payload> parts;
    if (rank() == root) {
      check_blocks(c, values.size());
      parts = detail::packed_blocks(std::span<T>(values), size());
    }
    return scattered<std::vector<std::remove_const_t<T>>>(std::move(parts), c);
  }
  /// Blocks of any lengths.
  template <class T>
  task<std::vector<T>> scatterv(const std::vector<std::vector<T>>& blocks, int root = 0,
                                std::source_location where = std::source_location::current()) {
    return scatter(blocks, root, where);
  }

  /// `values[r]` goes to rank r; the result's element r came from rank r.
  template <class T>
  task<std::vector<T>> alltoall(const std::vector<T>& values,
                                std::source_location where = std::source_location::current()) {
    const auto c = typed<T>(detail::operation::alltoall, where);
    check_one_per_rank(c, values.size());
    return exchanged<T>(detail::packed_parts(values), c);
  }
  template <class T, std::size_t Extent>
  task<std::vector<std::remove_const_t<T>>> alltoall(
      std::span<T, Extent> blocks, std::source_location where = std::source_location::current()) {
    const auto c = typed<std::span<T>>(detail::operation::alltoall, where);
    check_blocks(c, blocks.size());
    return exchanged_blocks<std::remove_const_t<T>>(
        detail::packed_blocks(std::span<T>(blocks), size()),
        blocks.size() / static_cast<std::size_t>(size()), c);
  }
  /// Blocks of any lengths.
  template <class T>
  task<std::vector<std::vector<T>>> alltoallv(
      const std::vector<std::vector<T>>& blocks,
      std::source_location where = std::source_location::current()) {
    return alltoall(blocks, where);
  }

 protected:
  using reductions::reductions;

 private:
  template <class T>
  [[nodiscard]] static detail::call typed(detail::operation which,
                                          const std::source_location& where) {
    detail::check_argument<T>();
    return detail::describe<std::remove_cvref_t<T>>(detail::call(which, where));
  }
  template <class T>
  [[nodiscard]] detail::call rooted(detail::operation which, int root,
                                    const std::source_location& where) const {
    const auto c = typed<T>(which, where).with_root(root);
    in_->check_root(c);
    return c;
  }
  void check_one_per_rank(const detail::call& c, std::size_t count) const {
    if (count == static_cast<std::size_t>(size())) return;
    detail::refuse(c.text() + " needs one value per rank, " + std::to_string(size()) +
                   ", but rank " + std::to_string(rank()) + " gives " + std::to_string(count));
  }
  void check_blocks(const detail::call& c, std::size_t count) const {
    if (count % static_cast<std::size_t>(size()) == 0) return;
    detail::refuse(c.text() + " needs a multiple of the number of ranks, " +
                   std::to_string(size()) + ", but rank " + std::to_string(rank()) + " gives " +
                   std::to_string(count) + " elements");
  }

  template <class T>
  task<std::vector<T>> gathered(payload mine, detail::call c) {
    const auto parts = co_await in_->gather(c, std::move(mine));
    co_return detail::values_of<T>(*in_, c, parts);
  }
  template <class T>
  task<std::vector<T>> gathered_everywhere(payload mine, detail::call c) {
    const auto parts = co_await in_->allgather(c, std::move(mine));
    co_return detail::values_of<T>(*in_, c, parts);
  }
  template <class T>
  task<std::vector<T>> gathered_blocks(payload mine, std::size_t count, detail::call c) {
    std::vector<payload> parts;
    if (c.head.op == detail::operation::gather) {
      parts = co_await in_->gather(c, std::move(mine));
    } else {
      parts = co_await in_->allgather(c, std::move(mine));
    }
    co_return detail::joined<T>(*in_, c, parts, count);
  }
  template <class T>
  task<T> scattered(std::vector<payload> parts, detail::call c) {
    const payload mine = co_await in_->scatter(c, std::move(parts));
    T value{};
    const detail::target t = detail::target_of(value);
    t.place(c, detail::part_from(*in_, c, mine, c.head.root), true);
    co_return value;
  }
  template <class T>
  task<std::vector<T>> exchanged(std::vector<payload> parts, detail::call c) {
    const auto got = co_await in_->alltoall(c, std::move(parts));
    co_return detail::values_of<T>(*in_, c, got);
  }
  template <class T>
  task<std::vector<T>> exchanged_blocks(std::vector<payload> parts, std::size_t count,
                                        detail::call c) {
    const auto got = co_await in_->alltoall(c, std::move(parts));
    co_return detail::joined<T>(*in_, c, got, count);
  }
};

}  // namespace p2pdvm::mpi

/// Reductions and scans.
#pragma once

#include <p2pdvm/peal/mpi/broadcast.hpp>
#include <p2pdvm/peal/mpi/operations.hpp>

#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

namespace p2pdvm::mpi {

namespace detail {

template <class T, class Op>
class range_accumulator final : public accumulator {
 public:
  range_accumulator(std::span<T> values, Op op) : values_(values), op_(op) {}
  void append_to(byte_vector& out) const override { append(out, std::as_bytes(values_)); }
  void merge(const call& mine, const incoming& theirs, bool on_the_right) override {
    check_elements(mine, theirs, values_.size(), true);
    const std::byte* from = theirs.data.data();
    for (T& value : values_) {
      T other{};
      std::memcpy(&other, from, sizeof(T));
      from += sizeof(T);
      value = on_the_right ? op_(value, other) : op_(other, value);
    }
  }
  void replace(const call& mine, const incoming& theirs) override {
    check_elements(mine, theirs, values_.size(), true);
    if (!values_.empty()) std::memcpy(values_.data(), theirs.data.data(), theirs.data.size());
  }

  std::optional<byte_view> elements() const override { return std::as_bytes(values_); }
  void merge_part(const call& mine, const incoming& theirs, bool on_the_right, std::size_t first,
                  std::size_t count) override {
    range_accumulator(values_.subspan(first, count), op_).merge(mine, theirs, on_the_right);
  }
  void replace_part(const call& mine, const incoming& theirs, std::size_t first,
                    std::size_t count) override {
    range_accumulator(values_.subspan(first, count), op_).replace(mine, theirs);
  }
  void fold(const call& mine, const std::vector<incoming>& all, std::size_t first,
            std::size_t count) override {
    for (const incoming& part : all) check_elements(mine, part, count, true);
    bracket<T, Op> tree(op_);
    for (std::size_t i = 0; i < count; ++i) {
      for (const incoming& part : all) {
        T value{};
        std::memcpy(&value, part.data.data() + i * sizeof(T), sizeof(T));
        tree.push(std::move(value));
      }
      values_[first + i] = tree.take();
    }
  }

 private:
  std::span<T> values_;
  [[no_unique_address]] Op op_;
};

template <class T, class Op>
class object_accumulator final : public accumulator {
 public:
  object_accumulator(T& value, Op op) : value_(value), op_(op) {}
  void append_to(byte_vector& out) const override {
    wire::output_archive archive(out);
    archive(value_);
  }
  void merge(const call& mine, const incoming& theirs, bool on_the_right) override {
    T other{};
    load_object(mine, theirs, other);
    value_ = on_the_right ? op_(value_, other) : op_(other, value_);
  }
  void replace(const call& mine, const incoming& theirs) override {
    load_object(mine, theirs, value_);
  }
  std::optional<byte_view> elements() const override { return std::nullopt; }
  void merge_part(const call&, const incoming&, bool, std::size_t, std::size_t) override { undivided(); }
  void replace_part(const call&, const incoming&, std::size_t, std::size_t) override { undivided(); }
  void fold(const call&, const std::vector<incoming>&, std::size_t, std::size_t) override { undivided(); }

 private:
  static void undivided() { P2PDVM_ASSERT(!"an object has no elements"); }
  T& value_;
  [[no_unique_address]] Op op_;
};

/// Whether T is a range whose elements the operation takes.
template <class T, class Op>
[[nodiscard]] constexpr bool by_element() {
  if constexpr (bulk<T>) {
    using element = std::ranges::range_value_t<T>;
    return std::is_invocable_v<Op, element, element>;
  } else {
    return false;
  }
}

template <class T, class Op>
[[nodiscard]] auto accumulator_of(T& value, Op op) {
  if constexpr (by_element<T, Op>()) {
    return range_accumulator(std::span(std::ranges::data(value), std::ranges::size(value)), op);
  } else if constexpr (plain<T> && !bulk<T>) {
    return range_accumulator(std::span<T>(&value, 1), op);
  } else {
    return object_accumulator<T, Op>(value, op);
  }
}

}  // namespace detail

/// Of one value, or element by element of a range if the operation takes its elements. All ranks
/// give as many elements and the same operation (mpi/operations.hpp). The bracketing depends on
/// the number of ranks only, so that `reduce` and `allreduce` give the same bits, on every network
/// and at every attempt.
class reductions : public broadcasts {
 public:
  reductions() = default;

  /// The result on the root, nothing elsewhere.
  template <class T, class Op = plus>
  task<std::optional<std::remove_cvref_t<T>>> reduce(
      T&& value, Op op = Op(), int root = 0,
      std::source_location where = std::source_location::current()) {
    auto c = prepared<T, Op>(detail::operation::reduce, where).with_root(root);
    in_->check_root(c);
    return reduced<std::remove_cvref_t<T>>(value, op, c, rank() == root);
  }
  /// The result on the root, an empty vector elsewhere.
  template <class T, std::size_t Extent, class Op = plus>
  task<std::vector<std::remove_const_t<T>>> reduce(
      std::span<T, Extent> values, Op op = Op(), int root = 0,
      std::source_location where = std::source_location::current()) {
    auto c = prepared<std::span<T>, Op>(detail::operation::reduce, where).with_root(root);
    in_->check_root(c);
    return reduced_range(std::vector<std::remove_const_t<T>>(values.begin(), values.end()), op, c,
                         rank() == root);
  }

  template <class T, class Op = plus>
  task<std::remove_cvref_t<T>> allreduce(
      T&& value, Op op = Op(), std::source_location where = std::source_location::current()) {
    return reduced_everywhere<std::remove_cvref_t<T>>(
        value, op, prepared<T, Op>(detail::operation::allreduce, where));
  }
  /// In place.
  template <class T, std::size_t Extent, class Op = plus>
  task<> allreduce(std::span<T, Extent> values, Op op = Op(),
                   std::source_location where = std::source_location::current()) {
    return reduced_in_place(std::span<T>(values), op,
                            prepared<std::span<T>, Op>(detail::operation::allreduce, where));
  }

  /// Of ranks 0 … this one.
  template <class T, class Op = plus>
  task<std::remove_cvref_t<T>> scan(
      T&& value, Op op = Op(), std::source_location where = std::source_location::current()) {
    return scanned<std::remove_cvref_t<T>>(value, op,
                                           prepared<T, Op>(detail::operation::scan, where));
  }
  /// Of the ranks below this one; rank 0 gets `identity`.
  template <class T, class Op = plus>
  task<std::remove_cvref_t<T>> exscan(
      T&& value, Op op = Op(), std::remove_cvref_t<T> identity = std::remove_cvref_t<T>(),
      std::source_location where = std::source_location::current()) {
    return scanned_below<std::remove_cvref_t<T>>(
        value, op, std::move(identity), prepared<T, Op>(detail::operation::exscan, where));
  }

 protected:
  using broadcasts::broadcasts;

 private:
  template <class T, class Op>
  [[nodiscard]] static detail::call prepared(detail::operation which,
                                             const std::source_location& where) {
    detail::check_argument<T>();
    detail::check_reduction<Op>();
    using value = std::remove_cvref_t<T>;
    auto c = detail::describe<value>(detail::call(which, where));
    if (detail::bulk<value> && !detail::by_element<value, Op>())
      c = c.with_data(detail::format::serialised, 0);
    c.head.reduction = detail::reduction_code<Op>();
    return c;
  }

  template <class T, class Op>
  task<std::optional<T>> reduced(T value, Op op, detail::call c, bool at_root) {
    auto sum = detail::accumulator_of(value, op);
    co_await in_->reduce(c, sum);
    std::optional<T> result;
    if (at_root) result = std::move(value);
    co_return result;
  }
  template <class T, class Op>
  task<std::vector<T>> reduced_range(std::vector<T> values, Op op, detail::call c, bool at_root) {
    auto sum = detail::accumulator_of(values, op);
    co_await in_->reduce(c, sum);
    if (!at_root) values.clear();
    co_return values;
  }
  template <class T, class Op>
  task<T> reduced_everywhere(T value, Op op, detail::call c) {
    auto sum = detail::accumulator_of(value, op);
    co_await in_->allreduce(c, sum);
    co_return value;
  }
  template <class T, class Op>
  task<> reduced_in_place(std::span<T> values, Op op, detail::call c) {
    detail::range_accumulator<T, Op> sum(values, op);
    co_await in_->allreduce(c, sum);
  }
  template <class T, class Op>
  task<T> scanned(T value, Op op, detail::call c) {
    auto sum = detail::accumulator_of(value, op);
    co_await in_->scan(c, sum);
    co_return value;
  }
  template <class T, class Op>
  task<T> scanned_below(T value, Op op, T identity, detail::call c) {
    auto sum = detail::accumulator_of(value, op);
    const bool any = co_await in_->exclusive_scan(c, sum);
    if (any) co_return value;
    co_return identity;
  }
};

}  // namespace p2pdvm::mpi

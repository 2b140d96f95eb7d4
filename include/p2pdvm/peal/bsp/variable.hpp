/// Variables and arrays that every rank has one of, and that other ranks reach.
#pragma once

#include <p2pdvm/peal/bsp/world.hpp>

#include <functional>
#include <memory>
#include <source_location>
#include <span>
#include <utility>
#include <vector>

namespace p2pdvm::bsp {

namespace detail {

template <class T>
class get_range final : public pending_get {
 public:
  explicit get_range(std::span<T> into) : into_(into) {}
  void write(byte_view data) override {
    if (!data.empty()) std::memcpy(into_.data(), data.data(), data.size());
  }

 private:
  std::span<T> into_;
};

template <class T>
class get_value final : public pending_get {
 public:
  explicit get_value(std::shared_ptr<slot<T>> into) : into_(std::move(into)) {}
  void write(byte_view data) override {
    std::memcpy(&into_->value, data.data(), sizeof(T));
    into_->ready = true;
  }

 private:
  std::shared_ptr<slot<T>> into_;
};

}  // namespace detail

/// Names one value of the program, the same on every rank, so that others reach it:
///
///     double share = 0;
///     rank.state("share", share);
///     bsp::variable<double> shared(world, share);
///
/// Collective: all ranks make the same ones in the same order. The value and the world must
/// outlive it; what it holds is part of a snapshot if it is state of the rank.
template <detail::element T>
class variable final : private detail::registered {
 public:
  variable(world& in, T& value) : in_(in), value_(value), slot_(in.add_registration(*this)) {}
  variable(const variable&) = delete;
  variable& operator=(const variable&) = delete;
  ~variable() { in_.remove_registration(slot_); }

  [[nodiscard]] T& value() noexcept { return value_; }
  /// At the end of this superstep the destination's becomes `value`.
  void put(int destination, const T& value,
           std::source_location where = std::source_location::current()) {
    in_.add_put(destination, slot_, 0, bytes_of(value), sizeof(T), where);
  }
  /// The source's at the end of this superstep.
  [[nodiscard]] future<T> get(int source,
                              std::source_location where = std::source_location::current()) {
    auto slot = std::make_shared<detail::slot<T>>();
    in_.add_get(source, slot_, 0, 1, sizeof(T), std::make_unique<detail::get_value<T>>(slot),
                where);
    return future<T>(std::move(slot));
  }

 private:
  byte_span memory() override { return std::as_writable_bytes(std::span<T>(&value_, 1)); }
  [[nodiscard]] std::size_t element_bytes() const noexcept override { return sizeof(T); }
  world& in_;
  T& value_;
  std::uint32_t slot_;
};

/// Names one vector of the program, each rank's of any length; otherwise as `variable`.
template <detail::element T>
class array final : private detail::registered {
 public:
  array(world& in, std::vector<T>& values)
      : in_(in), values_(values), slot_(in.add_registration(*this)) {}
  array(const array&) = delete;
  array& operator=(const array&) = delete;
  ~array() { in_.remove_registration(slot_); }

  /// This rank's own part.
  [[nodiscard]] std::vector<T>& local() noexcept { return values_; }
  /// At the end of this superstep the destination's elements from `first` on become `values`,
  /// which are copied at the call.
  void put(int destination, std::size_t first, std::span<const T> values,
           std::source_location where = std::source_location::current()) {
    in_.add_put(destination, slot_, first, std::as_bytes(values), sizeof(T), where);
  }
  void put(int destination, std::size_t index, const T& value,
           std::source_location where = std::source_location::current()) {
    in_.add_put(destination, slot_, index, bytes_of(value), sizeof(T), where);
  }
  /// The source's elements from `first` on, as they are at the end of this superstep; `into`
  /// is written then, and must live until then.
  void get(int source, std::size_t first, std::span<T> into,
           std::source_location where = std::source_location::current()) {
    in_.add_get(source, slot_, first, into.size(), sizeof(T),
                std::make_unique<detail::get_range<T>>(into), where);
  }

 private:
  byte_span memory() override { return std::as_writable_bytes(std::span(values_)); }
  [[nodiscard]] std::size_t element_bytes() const noexcept override { return sizeof(T); }
  world& in_;
  std::vector<T>& values_;
  std::uint32_t slot_;
};

/// As `array`, but what others give an element is combined with it, in the order of ranks and, of one rank, of its calls:
///
///     std::vector<double> forces(bodies);
///     bsp::accumulator<double> sums(world, forces);
///     sums.add(owner, index, force);
///
/// `Op(element, value)` is their sum unless something else is said; it is trivially destructible.
template <detail::element T, class Op = std::plus<>>
class accumulator final : private detail::registered {
  static_assert(std::is_trivially_destructible_v<Op>, "the operation must be trivially destructible: capture by reference");

 public:
  accumulator(world& in, std::vector<T>& values, Op op = {})
      : in_(in), values_(values), op_(op), slot_(in.add_registration(*this)) {}
  accumulator(const accumulator&) = delete;
  accumulator& operator=(const accumulator&) = delete;
  ~accumulator() { in_.remove_registration(slot_); }

  /// This rank's own part.
  [[nodiscard]] std::vector<T>& local() noexcept { return values_; }
  /// At the end of this superstep each of the destination's elements from `first` on becomes `op(element, value)`.
  void add(int destination, std::size_t first, std::span<const T> values,
           std::source_location where = std::source_location::current()) {
    in_.add_put(destination, slot_, first, std::as_bytes(values), sizeof(T), where);
  }
  void add(int destination, std::size_t index, const T& value,
           std::source_location where = std::source_location::current()) {
    in_.add_put(destination, slot_, index, bytes_of(value), sizeof(T), where);
  }

 private:
  byte_span memory() override { return std::as_writable_bytes(std::span(values_)); }
  [[nodiscard]] std::size_t element_bytes() const noexcept override { return sizeof(T); }
  void write(byte_span into, byte_view data) const override {
    for (std::size_t at = 0; at + sizeof(T) <= into.size(); at += sizeof(T)) {
      T element{}, value{};
      std::memcpy(&element, into.data() + at, sizeof(T));
      std::memcpy(&value, data.data() + at, sizeof(T));
      element = op_(element, value);
      std::memcpy(into.data() + at, &element, sizeof(T));
    }
  }
  world& in_;
  std::vector<T>& values_;
  [[no_unique_address]] Op op_;
  std::uint32_t slot_;
};

}  // namespace p2pdvm::bsp

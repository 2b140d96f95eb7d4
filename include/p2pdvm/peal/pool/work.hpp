/// Tasks with their types forgotten: what was submitted by one call.
#pragma once

#include <p2pdvm/async/task.hpp>
#include <p2pdvm/peal/pool/result.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

namespace p2pdvm::pool::detail {

/// Of the same results at every call and on every rank.
class work {
 public:
  virtual ~work() = default;
  [[nodiscard]] virtual std::uint32_t count() const noexcept = 0;
  /// Adds the tasks of this bag whose results task `index` of these takes.
  virtual void add_needs(std::uint32_t index, const results& of, std::vector<std::uint32_t>& to) const = 0;
  /// It is a coroutine: `run_awaited` is to be called, else `run`.
  [[nodiscard]] virtual bool suspends() const noexcept = 0;
  [[nodiscard]] virtual payload run(std::uint32_t index) const = 0;
  virtual task<payload> run_awaited(std::uint32_t index) const = 0;
};

/// An argument as it was given, and as the task gets it.
template <class A>
struct argument {
  using type = A;
  A given;
  void add_needs(const results&, std::vector<std::uint32_t>&) const {}
  [[nodiscard]] A get() const { return given; }
};
template <class T>
struct argument<ticket<T>> {
  using type = T;
  ticket<T> given;
  void add_needs(const results& of, std::vector<std::uint32_t>& to) const {
    if (given.in() == &of) to.push_back(given.task());
  }
  [[nodiscard]] T get() const { return given.value(); }
};
template <class T>
struct argument<tickets<T>> {
  using type = std::vector<T>;
  tickets<T> given;
  void add_needs(const results& of, std::vector<std::uint32_t>& to) const {
    for (std::size_t i = 0; i < given.size(); ++i) {
      if (given[i].in() == &of) to.push_back(given[i].task());
    }
  }
  [[nodiscard]] std::vector<T> get() const { return given.values(); }
};

template <class T>
struct without_task {
  using type = std::remove_cvref_t<T>;
  static constexpr bool awaited = false;
};
template <class T>
struct without_task<p2pdvm::task<T>> {
  using type = std::remove_cvref_t<T>;
  static constexpr bool awaited = true;
};
template <class F, class... Values>
using returned = without_task<std::invoke_result_t<const F&, const Values&...>>;
template <class F, class... Values>
using result_of = typename returned<F, Values...>::type;

template <class F, class... Values>
[[nodiscard]] payload call(const F& f, const Values&... values) {
  if constexpr (!returned<F, Values...>::awaited) return pack(std::invoke(f, values...));
  return {};
}

/// `kept` is what the task was called with. No template over closures: GCC warns of such coroutines.
template <class T>
task<payload> packed(task<T> called, std::shared_ptr<const void> kept) {
  const T v = co_await std::move(called);
  kept.reset();
  co_return pack(v);
}
task<payload> nothing();

template <class F, class... Values>
[[nodiscard]] task<payload> call_awaited(const F& f, std::tuple<Values...> values) {
  if constexpr (returned<F, Values...>::awaited) {
    const auto kept = std::make_shared<const std::tuple<Values...>>(std::move(values));
    return packed<result_of<F, Values...>>(std::apply(f, *kept), kept);
  } else {
    return nothing();
  }
}

/// One task.
template <class F, class... Arguments>
class single_work final : public work {
 public:
  explicit single_work(F f, Arguments... given) : f_(std::move(f)), arguments_(argument<Arguments>{std::move(given)}...) {}
  [[nodiscard]] std::uint32_t count() const noexcept override { return 1; }
  void add_needs(std::uint32_t, const results& of, std::vector<std::uint32_t>& to) const override {
    std::apply([&](const auto&... a) { (a.add_needs(of, to), ...); }, arguments_);
  }
  [[nodiscard]] bool suspends() const noexcept override {
    return returned<F, typename argument<Arguments>::type...>::awaited;
  }
  [[nodiscard]] payload run(std::uint32_t) const override {
    return std::apply([this](const auto&... a) { return call(f_, a.get()...); }, arguments_);
  }
  task<payload> run_awaited(std::uint32_t) const override {
    std::tuple<typename argument<Arguments>::type...> values =
        std::apply([](const auto&... a) { return std::tuple<typename argument<Arguments>::type...>(a.get()...); }, arguments_);
    return call_awaited(f_, std::move(values));
  }

 private:
  F f_;
  std::tuple<argument<Arguments>...> arguments_;
};

/// The same function of each of many values.
template <class F, class A>
class mapped_work final : public work {
 public:
  mapped_work(F f, std::vector<A> given) : f_(std::move(f)), given_(std::move(given)) {}
  [[nodiscard]] std::uint32_t count() const noexcept override { return static_cast<std::uint32_t>(given_.size()); }
  void add_needs(std::uint32_t, const results&, std::vector<std::uint32_t>&) const override {}
  [[nodiscard]] bool suspends() const noexcept override { return returned<F, A>::awaited; }
  [[nodiscard]] payload run(std::uint32_t index) const override { return call(f_, given_[index]); }
  task<payload> run_awaited(std::uint32_t index) const override {
    std::tuple<A> values(given_[index]);
    return call_awaited(f_, std::move(values));
  }

 private:
  F f_;
  std::vector<A> given_;
};

/// The same function of each of the results of earlier tasks.
template <class F, class T>
class chained_work final : public work {
 public:
  chained_work(F f, tickets<T> given) : f_(std::move(f)), given_(std::move(given)) {}
  [[nodiscard]] std::uint32_t count() const noexcept override { return static_cast<std::uint32_t>(given_.size()); }
  void add_needs(std::uint32_t index, const results& of, std::vector<std::uint32_t>& to) const override {
    argument<ticket<T>>{given_[index]}.add_needs(of, to);
  }
  [[nodiscard]] bool suspends() const noexcept override { return returned<F, T>::awaited; }
  [[nodiscard]] payload run(std::uint32_t index) const override { return call(f_, given_[index].value()); }
  task<payload> run_awaited(std::uint32_t index) const override {
    std::tuple<T> values(given_[index].value());
    return call_awaited(f_, std::move(values));
  }

 private:
  F f_;
  tickets<T> given_;
};

}  // namespace p2pdvm::pool::detail

/// Bags of tasks: what a program writes.
#pragma once

#include <p2pdvm/peal/adapter.hpp>
#include <p2pdvm/peal/pool/result.hpp>
#include <p2pdvm/peal/pool/scheduler.hpp>
#include <p2pdvm/peal/pool/work.hpp>
#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <ranges>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::pool {

namespace detail {
template <class T>
inline constexpr bool is_tickets = false;
template <class T>
inline constexpr bool is_tickets<tickets<T>> = true;
template <class Range>
concept values = std::ranges::input_range<Range> && !is_tickets<std::remove_cvref_t<Range>>;
}  // namespace detail

/// Make one at the top of the body, before `restore()`; it must live until the body ends. It is filled and run any number of
/// times:
///
///     pool::bag bag(rank);
///     …
///     co_await rank.restore();
///     while (round < rounds) {
///       const auto parts = bag.map(std::views::iota(0, 1000), [seed](int i) { return simulate(seed, i); });
///       const auto mean = bag.submit(mean_of, parts);   // begins when all parts are there
///       co_await bag.run();
///       seed = mean.value();                            // the same on every rank
///       ++round;
///     }
///
/// All ranks submit the same tasks in the same order and run the bag together, as in any collective. Who does which is
/// decided while they run; in the end every rank has every result. A result must follow from the task's arguments (and from
/// what is the same on all ranks) alone, so that it does not matter who computed it, or that several did.
///
/// A task is a function of its arguments that returns a value: one that can be copied as it is, or that cereal can save. It
/// may be a coroutine (`task<T>`, its parameters values) that awaits its rank's clock or other operations of its own; it must
/// not use ports or adapters that all ranks share, since one rank alone runs it. While it runs its rank answers nobody.
///
/// `run` is a safe point, before it does anything and between tasks: a snapshot holds the results that were there. What the
/// program names as its state is then as it was at the call, so after a restart it submits the same tasks again, and those whose
/// results the snapshot has are not done again.
class bag final : public peal::adapter {
 public:
  explicit bag(peal::rank& rank);
  bag(const bag&) = delete;
  bag& operator=(const bag&) = delete;
  /// Tells the others, so that a rank that runs it once more gets an error.
  ~bag() override;

  /// From the next bag on this share of the tasks, drawn alike on all ranks, is done by two ranks, and counts when both gave
  /// the same bytes; else a third one decides. Who gave other bytes is in `disagreements` and explained. Give no type with
  /// padding between its members: those bytes mean nothing.
  bag& check(double share);
  /// A task is done again elsewhere when it takes this many times as long as the longest so far, and others have nothing else to
  /// do; 4 unless set. 0: never.
  bag& again_after(double factor);

  /// One task: `f` of these arguments. An argument that is a `ticket` or `tickets` of this bag stands for its value, or their
  /// values in a vector; the task begins once they are there.
  template <class F>
  auto submit(F f, std::source_location where = std::source_location::current()) {
    return add_single(where, std::move(f));
  }
  template <class F, class A>
  auto submit(F f, A a, std::source_location where = std::source_location::current()) {
    return add_single(where, std::move(f), std::move(a));
  }
  template <class F, class A, class B>
  auto submit(F f, A a, B b, std::source_location where = std::source_location::current()) {
    return add_single(where, std::move(f), std::move(a), std::move(b));
  }
  template <class F, class A, class B, class C>
  auto submit(F f, A a, B b, C c, std::source_location where = std::source_location::current()) {
    return add_single(where, std::move(f), std::move(a), std::move(b), std::move(c));
  }
  /// A task for each value, which is copied.
  template <detail::values Range, class F>
  auto map(const Range& given, F f, std::source_location where = std::source_location::current()) {
    using argument = std::ranges::range_value_t<const Range>;
    using result = detail::result_of<F, argument>;
    static_assert(detail::value<result>, "a task must return a value that can be copied and made by default");
    std::vector<argument> all;
    for (auto&& v : given) all.emplace_back(v);
    return add_many<result>(where, std::make_unique<detail::mapped_work<F, argument>>(std::move(f), std::move(all)));
  }
  /// A task for the result of each of these.
  template <class T, class F>
  auto map(const tickets<T>& given, F f, std::source_location where = std::source_location::current()) {
    using result = detail::result_of<F, T>;
    static_assert(detail::value<result>, "a task must return a value that can be copied and made by default");
    return add_many<result>(where, std::make_unique<detail::chained_work<F, T>>(std::move(f), given));
  }
  /// How many tasks wait to be run.
  [[nodiscard]] std::size_t size() const noexcept { return tasks_; }

  /// Collective: does what was submitted. Afterwards the bag is empty and the tickets have their values.
  task<> run(std::source_location where = std::source_location::current());
  /// How many times it has run, those before a restart too.
  [[nodiscard]] std::uint64_t runs() const noexcept { return scheduler_.inside() ? scheduler_.bag() - 1 : scheduler_.bag(); }

  /// Ranks that gave other bytes than two others for a checked task, as far as this rank has seen it.
  [[nodiscard]] const std::vector<detail::disagreement>& disagreements() const noexcept { return scheduler_.disagreements(); }
  /// What this rank did since it began or was restored; differs between runs, so keep it out of results.
  [[nodiscard]] const detail::scheduler::counts& counted() const noexcept { return scheduler_.counted(); }

  // --- peal::adapter ---

  [[nodiscard]] std::optional<std::string> cannot_cut() const override;
  [[nodiscard]] byte_vector save() const override { return scheduler_.save(); }
  [[nodiscard]] bool may_begin_anew() const override { return !scheduler_.inside(); }
  void load(byte_view saved) override;

 private:
  struct group {
    std::uint32_t first = 0;
    std::unique_ptr<detail::work> what;
    std::source_location where;
  };

  template <class F, class... Arguments>
  auto add_single(const std::source_location& where, F f, Arguments... given) {
    using result = detail::result_of<F, typename detail::argument<Arguments>::type...>;
    static_assert(detail::value<result>, "a task must return a value that can be copied and made by default");
    const std::uint32_t task =
        add(where, std::make_unique<detail::single_work<F, Arguments...>>(std::move(f), std::move(given)...));
    return ticket<result>(results_, task, where);
  }
  template <class T>
  tickets<T> add_many(const std::source_location& where, std::unique_ptr<detail::work> what) {
    const std::uint32_t count = what->count();
    const std::uint32_t first = add(where, std::move(what));
    return tickets<T>(results_, first, count, where);
  }
  [[nodiscard]] std::uint32_t add(const std::source_location& where, std::unique_ptr<detail::work> what);
  [[nodiscard]] const group& group_of(std::uint32_t task) const;
  [[nodiscard]] detail::plan make_plan(const std::source_location& where);
  void begin(const std::source_location& where);
  void end(const std::source_location& where);
  task<> take_messages(peal::call_site at);
  task<> do_some();
  void send_out();
  void check_trouble(const std::source_location& where);
  void explain(const std::source_location& where);
  [[nodiscard]] std::string task_text(std::uint32_t task) const;
  [[nodiscard]] time_point now() const;
  void leave() noexcept;

  peal::rank& rank_;
  detail::scheduler scheduler_;  // before the port, whose opening may load it
  peal::port port_;
  int exceptions_;
  detail::setting setting_;
  std::shared_ptr<detail::results> results_;
  std::vector<group> groups_;
  std::uint32_t tasks_ = 0;
  bool busy_ = false;  ///< with a task, or between messages
  std::uint64_t claimed_before_ = 0;
  std::size_t disagreements_before_ = 0;
};

}  // namespace p2pdvm::pool

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/pool/impl/bag.ipp>
#endif

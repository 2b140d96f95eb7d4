/// Which temporaries beside a co_await does this compiler destroy twice?
///
/// GCC 12 does so with aggregates and closures (and runs into an assertion or an abort with
/// some conditionals). The guide to safe lines is a table in CONTRIBUTING.md; this test holds
/// it against the compiler at hand: it fails when a form that the table calls safe is not
/// balanced, and reports (only) which of the others break. The tests of scripts/lint also read
/// this file: the script must find every form marked `breaks` and none marked `safe`.
///
/// Initialiser lists (`co_await f({a, b})` with a vector parameter) are missing here because
/// GCC 12 rejects them: "array used as initializer".
// lint-allow-file(asio-include): task<> is Asio's awaitable, and only that is on trial
// lint-allow-file(co-await-temporary): to show that they break is this test's purpose
// lint-allow-file(awaitable-default-argument): to show that they break is this test's purpose
#include <asio/co_spawn.hpp>
#include <asio/experimental/channel.hpp>
#include <asio/io_context.hpp>
#include <asio/this_coro.hpp>
#include <asio/use_awaitable.hpp>

#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace {

template <class T = void>
using task = asio::awaitable<T>;

int constructed = 0;
int destroyed = 0;

class counted {
 public:
  counted() { ++constructed; }
  counted(const counted&) { ++constructed; }
  counted(counted&&) noexcept { ++constructed; }
  counted& operator=(const counted&) = default;
  ~counted() { ++destroyed; }
};

struct aggregate {
  counted owned{};
  int number = 0;
};

struct trivial {
  int first = 0;
  int second = 0;
};

class constructible {
 public:
  constructible() = default;
  explicit constructible(counted owned, int number = 0)
      : owned_(std::move(owned)), number_(number) {}
  [[nodiscard]] int number() const { return number_; }

 private:
  counted owned_;
  int number_ = 0;
};

using array_of_two = std::array<counted, 2>;

task<> nothing() { co_return; }
task<int> one(int n = 1) { co_return n; }
task<> take_counted(counted) { co_return; }
task<> take_aggregate(aggregate) { co_return; }
task<> see_aggregate(const aggregate&) { co_await nothing(); }
task<> default_braces(aggregate = {}) { co_return; }
task<> default_parentheses(aggregate = aggregate()) { co_return; }
task<> take_trivial(trivial) { co_return; }
task<> take_class(constructible) { co_return; }
task<> see_class(const constructible&) { co_await nothing(); }
task<> take_array(array_of_two) { co_return; }
task<> take_vector(std::vector<counted>) { co_return; }
task<> take_pair(std::pair<counted, int>) { co_return; }
task<> take_optional(std::optional<counted>) { co_return; }
task<> take_function(std::function<void()> f) {
  f();
  co_return;
}
template <class F>
task<> take_closure(F f) {
  f();
  co_return;
}
int number_of(const aggregate&, int number) { return number; }

template <class T>
using channel = asio::experimental::channel<void(asio::error_code, T)>;

struct form {
  const char* name;
  bool safe;
  task<> (*run)(asio::any_io_executor);
};
constexpr bool safe = true;
constexpr bool breaks = false;
using executor = asio::any_io_executor;

// One form per entry; `p` is the object that must not be destroyed twice.
const form forms[] = {
    // --- aggregates ---
    {"co_await f(aggregate{p})", breaks, [](executor) -> task<> {
       counted p;
       co_await take_aggregate(aggregate{p, 1});
     }},
    {"co_await f(aggregate{})", breaks, [](executor) -> task<> {
       co_await take_aggregate(aggregate{});
     }},
    {"co_await f(aggregate(p))", breaks, [](executor) -> task<> {
#if defined(__cpp_aggregate_paren_init)
       counted p;
       co_await take_aggregate(aggregate(p, 1));
#endif
       co_return;
     }},
    {"co_await f({.owned = p})", breaks, [](executor) -> task<> {
       counted p;
       co_await take_aggregate({.owned = p, .number = 1});
     }},
    {"co_await f({p}), by reference", breaks, [](executor) -> task<> {
       counted p;
       co_await see_aggregate({p, 1});
     }},
    {"co_await f({})", breaks, [](executor) -> task<> {
       co_await default_braces({});
     }},
    {"co_await f() with a default argument = {}", breaks, [](executor) -> task<> {
       co_await default_braces();  // the script finds this one at the declaration
     }},
    {"co_await f(std::array<T, 2>{p, p})", breaks, [](executor) -> task<> {
       counted p;
       co_await take_array(std::array<counted, 2>{p, p});
     }},
    {"co_await f(g(aggregate{p}))", breaks, [](executor) -> task<> {
       counted p;
       co_await one(number_of(aggregate{p, 1}, 3));
     }},
    {"g(aggregate{p}, co_await f())", breaks, [](executor) -> task<> {
       counted p;
       number_of(aggregate{p, 1}, co_await one());
     }},
    {"aggregate named{p, co_await f()}", breaks, [](executor) -> task<> {
       counted p;
       aggregate named{p, co_await one()};
       named.number = 0;
     }},
    {"v.push_back(aggregate{p, co_await f()})", breaks, [](executor) -> task<> {
       counted p;
       std::vector<aggregate> v;
       v.push_back(aggregate{p, co_await one()});
     }},
    {"co_await f(std::make_unique<aggregate>(aggregate{p}))", breaks, [](executor) -> task<> {
       counted p;
       co_await one(std::make_unique<aggregate>(aggregate{p, 1})->number);
     }},
    {"if (co_await f(aggregate{p}))", breaks, [](executor) -> task<> {
       counted p;
       if (co_await one(number_of(aggregate{p, 1}, 3)) == 3) co_await nothing();
     }},
    {"aggregate named{p}; co_await f(std::move(named))", safe, [](executor) -> task<> {
       counted p;
       aggregate named{p, 1};
       co_await take_aggregate(std::move(named));
     }},
    {"aggregate named{p}; co_await f(named), by reference", safe, [](executor) -> task<> {
       counted p;
       const aggregate named{p, 1};
       co_await see_aggregate(named);
     }},
    {"co_await f(aggregate())", safe, [](executor) -> task<> {
       co_await take_aggregate(aggregate());
     }},
    {"co_await f() with a default argument = T()", safe, [](executor) -> task<> {
       co_await default_parentheses();
     }},
    {"co_await f(trivially_destructible())", safe, [](executor) -> task<> {
       const trivial named{1, 2};
       co_await take_trivial(named);
     }},
    {"n = co_await f(); aggregate named{p, n}", safe, [](executor) -> task<> {
       counted p;
       const int n = co_await one();
       const aggregate named{p, n};
       number_of(named, 1);
     }},
    // --- classes with a constructor ---
    {"co_await f(T())", safe, [](executor) -> task<> {
       co_await take_counted(counted());
       co_await take_class(constructible());
     }},
    {"co_await f(T(p))", safe, [](executor) -> task<> {
       counted p;
       co_await take_class(constructible(p, 1));
     }},
    {"co_await f(T{p})", safe, [](executor) -> task<> {
       counted p;
       co_await take_class(constructible{p, 1});
     }},
    {"co_await f(T(p)), by reference", safe, [](executor) -> task<> {
       counted p;
       co_await see_class(constructible(p, 1));
     }},
    {"co_await f(std::pair(p, 1))", safe, [](executor) -> task<> {
       counted p;
       co_await take_pair(std::pair<counted, int>(p, 1));
       co_await take_pair(std::make_pair(p, 1));
     }},
    {"co_await f(std::optional(p))", safe, [](executor) -> task<> {
       counted p;
       co_await take_optional(std::optional<counted>(p));
     }},
    {"T named(p, co_await f())", safe, [](executor) -> task<> {
       counted p;
       const constructible named(p, co_await one());
       co_await one(named.number());
     }},
    // --- lists ---
    {"std::vector<T> named{p, p}; co_await f(std::move(named))", safe, [](executor) -> task<> {
       counted p;
       std::vector<counted> named{p, p};
       co_await take_vector(std::move(named));
     }},
    {"co_await f(std::vector<T>(2, p))", safe, [](executor) -> task<> {
       counted p;
       co_await take_vector(std::vector<counted>(2, p));
     }},
    // --- closures ---
    {"co_await f([p] {})", breaks, [](executor) -> task<> {
       counted p;
       co_await take_closure([p] { static_cast<void>(p); });
     }},
    {"co_await f([p] {}) with a std::function parameter", breaks, [](executor) -> task<> {
       counted p;
       co_await take_function([p] { static_cast<void>(p); });
     }},
    {"co_await f(std::function<void()>([p] {}))", breaks, [](executor) -> task<> {
       counted p;
       co_await take_function(std::function<void()>([p] { static_cast<void>(p); }));
     }},
    {"co_await [p]() -> task<> {}()", breaks, [](executor) -> task<> {
       counted p;
       co_await [p]() -> task<> {
         static_cast<void>(p);
         co_return;
       }();
     }},
    {"co_await f([&p] {})", safe, [](executor) -> task<> {
       counted p;
       co_await take_closure([&p] { static_cast<void>(p); });
       co_await take_function([&] { static_cast<void>(p); });
       co_await take_closure([at = &p] { static_cast<void>(at); });
     }},
    {"auto named = [p] {}; co_await f(std::move(named))", safe, [](executor) -> task<> {
       counted p;
       auto named = [p] { static_cast<void>(p); };
       co_await take_closure(std::move(named));
     }},
    {"std::function named = [p] {}; co_await f(std::move(named))", safe, [](executor) -> task<> {
       counted p;
       std::function<void()> named = [p] { static_cast<void>(p); };
       co_await take_function(std::move(named));
     }},
    {"co_await [](T) -> task<> {}(p)", safe, [](executor) -> task<> {
       counted p;
       co_await [](counted) -> task<> { co_return; }(p);
     }},
    {"co_await [&p]() -> task<> {}()", safe, [](executor) -> task<> {
       counted p;
       co_await [&p]() -> task<> {
         static_cast<void>(p);
         co_return;
       }();
     }},
    // --- conditionals ---
    {"co_await (c ? f() : g())", breaks, [](executor) -> task<> {
       co_await (constructed >= 0 ? nothing() : take_counted(counted()));
     }},
    {"co_await f(c ? T() : p)", breaks, [](executor) -> task<> {
       counted p;
       co_await take_counted(constructed > 100 ? counted() : p);
     }},
    {"co_await f(c ? string : \"literal\")", breaks, [](executor) -> task<> {
       const std::string text(100, 'x');
       co_await [](std::string) -> task<> { co_return; }(constructed >= 0 ? text : "literal");
     }},
    {"T named = c ? co_await f() : T()", breaks, [](executor) -> task<> {
       counted p;
       const auto give = [](const counted& c) -> task<counted> { co_return c; };
       const counted named = constructed > 100 ? co_await give(p) : counted();
       static_cast<void>(named);
     }},
    {"co_await f(c ? 1 : 2)", safe, [](executor) -> task<> {
       co_await one(constructed > 0 ? 1 : 2);
     }},
    {"if (c) co_await f(); else co_await g()", safe, [](executor) -> task<> {
       if (constructed >= 0) {
         co_await take_counted(counted());
       } else {
         co_await nothing();
       }
     }},
    {"c && co_await f(T(p))", safe, [](executor) -> task<> {
       counted p;
       if (constructed > 0 && co_await one(constructible(p, 1).number()) == 1) co_await nothing();
     }},
    // --- channels ---
    {"co_await channel.async_send(ec, aggregate{p}, token)", breaks, [](executor e) -> task<> {
       counted p;
       channel<aggregate> c(e, 1);
       co_await c.async_send(asio::error_code(), aggregate{p, 1}, asio::use_awaitable);
     }},
    {"co_await channel.async_send(ec, std::move(named), token)", safe, [](executor e) -> task<> {
       counted p;
       channel<aggregate> c(e, 1);
       aggregate named{p, 1};
       co_await c.async_send(asio::error_code(), std::move(named), asio::use_awaitable);
     }},
    {"co_await channel.async_send(ec, std::pair(p, 1), token)", safe, [](executor e) -> task<> {
       counted p;
       channel<std::pair<counted, int>> c(e, 1);
       co_await c.async_send(asio::error_code(), std::pair<counted, int>(p, 1),
                             asio::use_awaitable);
     }},
    {"co_await channel.async_send(ec, T(p), token)", safe, [](executor e) -> task<> {
       counted p;
       channel<constructible> c(e, 1);
       co_await c.async_send(asio::error_code(), constructible(p, 1), asio::use_awaitable);
     }},
};

constexpr int balanced = 0;
constexpr int unbalanced = 1;

int run_here(const form& f) {
  constructed = destroyed = 0;
  {
    asio::io_context context(1);
    asio::co_spawn(context, f.run(context.get_executor()), [](std::exception_ptr failure) {
      if (failure) std::rethrow_exception(failure);
    });
    context.run();
  }
  return constructed == destroyed ? balanced : unbalanced;
}

/// In a process of its own, because a double destruction may crash it.
const char* outcome(const form& f) {
  std::fflush(stdout);
  const pid_t child = ::fork();
  if (child < 0) return "not run: fork failed";
  if (child == 0) {
    static_cast<void>(!std::freopen("/dev/null", "w", stderr));
    ::_exit(run_here(f));
  }
  int status = 0;
  if (::waitpid(child, &status, 0) != child) return "not run: waitpid failed";
  if (WIFEXITED(status) && WEXITSTATUS(status) == balanced) return "balanced";
  if (WIFEXITED(status) && WEXITSTATUS(status) == unbalanced) return "unbalanced";
  return "crashes";
}

}  // namespace

int main() {
  int violated = 0;
  int broken = 0;
  for (const form& f : forms) {
    const std::string got = outcome(f);
    if (got == "balanced") continue;
    std::printf("%-10s %s%s\n", got.c_str(), f.name, f.safe ? "   <-- the table says safe" : "");
    (f.safe ? violated : broken)++;
  }
  std::printf("%d of %zu forms are called safe and are not; %d others break with this compiler\n",
              violated, std::size(forms), broken);
  return violated == 0 ? 0 : 1;
}

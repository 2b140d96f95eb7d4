#include "support/test.hpp"

#include <p2pdvm/async/driver_token.hpp>
#include <p2pdvm/async/nursery.hpp>
#include <p2pdvm/async/queue_executor.hpp>
#include <p2pdvm/async/suspension.hpp>

#include <algorithm>
#include <atomic>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <vector>

using namespace p2pdvm;

namespace {

task<> note(std::vector<int>* out, int value) {
  out->push_back(value);
  co_return;
}

task<> wait_then_note(suspension* gate, driver_token* token, std::vector<int>* out, int value) {
  co_await gate->wait(*token);
  out->push_back(value);
}

task<> run_children(queue_context* context, std::vector<int>* out) {
  nursery children(context->get_executor());
  for (int i = 0; i < 3; ++i) children.spawn(note(out, i));
  co_await children.join();
  out->push_back(99);
}

task<> failing() {
  throw std::runtime_error("child failed");
  co_return;
}

task<> run_failing(queue_context* context, std::string* what) {
  nursery children(context->get_executor());
  children.spawn(failing());
  try {
    co_await children.join();
  } catch (const std::exception& e) {
    *what = e.what();
  }
}

void drain(queue_context& context) {
  while (context.queue().drain(100) > 0) {
  }
}

void spawn(queue_context& context, task<> body) {
  asio::co_spawn(context.get_executor(), std::move(body), [](std::exception_ptr e) { CHECK(!e); });
}

/// Counts itself, and is neither moved nor destroyed when it should not be.
class counted_wait {
 public:
  using result_type = int;
  counted_wait(suspension& gate, driver_token& token, int value) : gate_(&gate), token_(&token), value_(value) { ++alive; }
  counted_wait(counted_wait&& other) noexcept : counted_wait(*other.gate_, *other.token_, other.value_) {
    moved_begun += other.begun_ ? 1 : 0;
  }
  counted_wait& operator=(counted_wait&&) = delete;
  ~counted_wait() { --alive; }
  [[nodiscard]] bool begin() {
    begun_ = true;
    return gate_->released();
  }
  void suspend(detail::frame_pointer frame) {
    const std::lock_guard lock(*token_);
    gate_->hold(frame);
  }
  [[nodiscard]] int end() {
    if (value_ < 0) throw std::runtime_error("it failed");
    return value_;
  }
  static inline int alive = 0, moved_begun = 0;

 private:
  suspension* gate_;
  driver_token* token_;
  int value_;
  bool begun_ = false;
};

task<counted_wait> wait_for(suspension& gate, driver_token& token, int value) {
  return task<counted_wait>(gate, token, value);
}

task<> add_both(suspension* first, suspension* second, driver_token* token, int* sum) {
  *sum += co_await wait_for(*first, *token, 3) * co_await wait_for(*second, *token, 5);
  try {
    *sum += co_await wait_for(*first, *token, -1);
  } catch (const std::runtime_error&) {
    *sum += 100;
  }
}

task<> add_as_task(suspension* gate, driver_token* token, int* sum) {
  task<int> coroutine = wait_for(*gate, *token, 7);
  *sum += co_await std::move(coroutine);
}

}  // namespace

TEST_CASE("what is awaited in place lives once, gives its result, and is a task where one is wanted") {
  queue_context context;
  driver_token token;
  suspension first(context.queue()), second(context.queue()), third(context.queue());
  int sum = 0;
  spawn(context, add_both(&first, &second, &token, &sum));
  spawn(context, add_as_task(&third, &token, &sum));
  drain(context);
  CHECK(sum == 0);
  CHECK(counted_wait::alive > 0);
  first.release();
  drain(context);
  second.release();
  third.release();
  drain(context);
  CHECK(counted_wait::alive == 0);
  CHECK(counted_wait::moved_begun == 0);
  CHECK(sum == 3 * 5 + 100 + 7);
}

TEST_CASE("a coroutine runs from the ready queue and only there") {
  queue_context context;
  std::vector<int> out;
  spawn(context, note(&out, 1));
  CHECK(out.empty());
  drain(context);
  CHECK(out == std::vector<int>{1});
}

TEST_CASE("a suspension may be released before or after the wait") {
  for (const bool before : {true, false}) {
    queue_context context;
    driver_token token;
    suspension gate(context.queue());
    std::vector<int> out;
    if (before) gate.release();
    spawn(context, wait_then_note(&gate, &token, &out, 5));
    drain(context);
    CHECK(out.empty() == !before);
    gate.release();
    drain(context);
    CHECK(out == std::vector<int>{5});
  }
}

TEST_CASE("a nursery waits for its children and passes on the first failure") {
  queue_context context;
  std::vector<int> out;
  spawn(context, run_children(&context, &out));
  drain(context);
  CHECK(out == std::vector<int>{0, 1, 2, 99});
  std::string what;
  spawn(context, run_failing(&context, &what));
  drain(context);
  CHECK(what == "child failed");
}

TEST_CASE("a token keeps its home thread and all others apart") {
  for (const bool settled : {true, false}) {
    driver_token token;
    if (settled) token.settle();
    std::atomic<int> interrupts{0};
    token.on_wanted([&] { interrupts.fetch_add(1, std::memory_order_relaxed); });
    constexpr int rounds = 20000, others = 2;
    std::uint64_t count = 0;  // unprotected but for the token
    std::atomic<int> running{others};
    std::vector<std::thread> threads;
    for (int t = 0; t < others; ++t) {
      threads.emplace_back([&, t] {
        for (int i = 0; i < rounds / 10; ++i) {
          if (t == 0) {
            token.lock();
          } else {
            while (!token.try_lock()) std::this_thread::yield();
          }
          ++count;
          token.unlock();
        }
        --running;
      });
    }
    int at_home = 0;
    for (; at_home < rounds || running > 0; ++at_home) {
      const std::lock_guard lock(token);
      ++count;
    }
    for (std::thread& t : threads) t.join();
    CHECK(count == static_cast<std::uint64_t>(at_home) + others * (rounds / 10));
    CHECK_FALSE(token.wanted());
    token.leave();
    CHECK(token.try_lock());
    token.unlock();
  }
}

TEST_CASE("whoever wants the token calls off a driver that holds it at home") {
  driver_token token;
  std::atomic<bool> called_off{false}, taken{false};
  token.on_wanted([&] { called_off = true; });
  token.settle();
  token.lock();
  std::thread other([&] {
    token.lock();
    taken = true;
    token.unlock();
  });
  while (!called_off) std::this_thread::yield();
  CHECK(token.wanted());
  CHECK_FALSE(taken);
  token.unlock();
  other.join();
  CHECK(taken);
  token.lock();  // the home thread gets it again
  token.unlock();
  token.leave();
}

TEST_CASE("what other threads push comes out of a queue at home, each thread's in its order") {
  struct item final : ready_queue::item {
    void resume() override { out->push_back(number); }
    std::vector<int>* out = nullptr;
    int number = 0;
  };
  for (const bool settled : {true, false}) {
    constexpr int count = 2000;
    std::vector<int> out;
    std::vector<item> mine(count), theirs(count);
    for (int i = 0; i < count; ++i) {
      const auto n = static_cast<std::size_t>(i);
      mine[n].out = theirs[n].out = &out;
      mine[n].number = i;
      theirs[n].number = count + i;
    }
    ready_queue queue;
    std::atomic<int> woken{0};
    queue.on_ready([&] { ++woken; });
    if (settled) queue.settle();
    std::thread other([&] {
      for (item& i : theirs) queue.push(i);
    });
    for (item& i : mine) {
      queue.push(i);
      (void)queue.drain(1);
    }
    other.join();
    if (settled) queue.leave();
    while (queue.drain(100) > 0) {
    }
    REQUIRE(out.size() == 2 * count);
    std::vector<int> first, second;
    for (const int n : out) (n < count ? first : second).push_back(n);
    CHECK(std::is_sorted(first.begin(), first.end()));
    CHECK(std::is_sorted(second.begin(), second.end()));
    CHECK(woken > 0);
  }
}

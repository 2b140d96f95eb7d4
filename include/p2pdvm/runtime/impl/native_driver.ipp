#pragma once

#include <p2pdvm/runtime/native_driver.hpp>

#include <p2pdvm/async/frame.hpp>

#include <asio/post.hpp>

#include <optional>
#include <utility>

namespace p2pdvm::runtime {

/// The reactor is asked once in so many turns, and by a driver between ranks after so long.
inline constexpr unsigned reactor_turns = 64;
inline constexpr auto reactor_pause_max = std::chrono::microseconds(20);
/// While nothing comes, the core is offered to others once in so many turns.
inline constexpr unsigned turns_between_yields = 128;
/// A yield that takes longer has let somebody else run.
inline constexpr auto lonely_yield_max = std::chrono::microseconds(3);

P2PDVM_DECL native_driver::native_driver(asio::io_context& io, queue_context& ranks,
                                         driver_token& token, options o)
    : io_(io),
      ranks_(ranks),
      token_(token),
      options_(o),
      polled_(o.polled != nullptr ? *o.polled : none_),
      work_(io.get_executor()) {
  token_.on_wanted([this] { interrupt(); });
  ranks_.queue().on_ready([this] {
    if (blocked_.load(std::memory_order_seq_cst)) interrupt();
    if (idle_workers_.load(std::memory_order_relaxed) > 0) {
      const std::lock_guard lock(mutex_);
      ready_.notify_one();
    }
  });
}

P2PDVM_DECL native_driver::~native_driver() {
  token_.on_wanted(nullptr);
  ranks_.queue().on_ready(nullptr);
}

P2PDVM_DECL void native_driver::interrupt() {
  asio::post(io_, [] {});
}

P2PDVM_DECL void native_driver::run() {
  {
    const std::lock_guard lock(token_);
    polled_.drive(true);
  }
  for (unsigned i = 1; i < options_.threads; ++i)
    threads_.emplace_back([this] { guarded(&native_driver::work); });
  threads_.emplace_back([this] { guarded(&native_driver::progress); });
  if (options_.threads == 1) {
    token_.settle();
    ranks_.queue().settle();
  }
  guarded(&native_driver::work);
  token_.leave();
  ranks_.queue().leave();
  {
    const std::lock_guard lock(token_);
    polled_.drive(false);
  }
  for (std::thread& t : threads_) t.join();
  threads_.clear();
  if (failure_) std::rethrow_exception(std::exchange(failure_, nullptr));
}

P2PDVM_DECL void native_driver::guarded(void (native_driver::*loop)()) {
  try {
    (this->*loop)();
  } catch (...) {
    const std::lock_guard lock(mutex_);
    if (!failure_) failure_ = std::current_exception();
  }
  stop();
}

P2PDVM_DECL void native_driver::stop() {
  if (stopped_.exchange(true)) return;
  interrupt();
  const std::lock_guard lock(mutex_);
  ready_.notify_all();
  progress_needed_.notify_all();
}

P2PDVM_DECL void native_driver::work() {
  const frame_cache frames;
  while (!stopped_.load(std::memory_order_relaxed)) {
    if (!ranks_.queue().empty()) {
      computing_.fetch_add(1);
      if (progress_parked_.load(std::memory_order_seq_cst)) {
        const std::lock_guard lock(mutex_);
        progress_needed_.notify_one();
      }
      ranks_.queue().drain(256);
      computing_.fetch_sub(1);
    }
    if (token_.try_lock()) {
      const std::lock_guard lock(token_, std::adopt_lock);
      drive();
    } else if (ranks_.queue().empty()) {
      // Another thread drives; sleep until there is a rank to run, but look at the token
      // again before long: that thread may have gone to run ranks.
      std::unique_lock lock(mutex_);
      idle_workers_.fetch_add(1);
      if (ranks_.queue().empty() && !stopped_) ready_.wait_for(lock, options_.patience);
      idle_workers_.fetch_sub(1);
    }
  }
}

/// A look at everything that can be looked at cheaply, and now and then at the reactor. For loops that do
/// nothing else.
P2PDVM_DECL bool native_driver::turn() {
  const bool found = polled_.poll();
  if (++turns_ % reactor_turns != 0) return found;
  return io_.poll() > 0 || found;
}

P2PDVM_DECL void native_driver::drive() {
  drives_.fetch_add(1, std::memory_order_relaxed);
  (void)polled_.poll();
  // Ranks may have run for long since the last time.
  const auto now = std::chrono::steady_clock::now();
  if (now - reactor_asked_ >= reactor_pause_max) {
    reactor_asked_ = now;
    (void)io_.poll();
  }
  if (!ranks_.queue().empty() || token_.wanted() || drive_spinning()) return;
  sleep(std::chrono::milliseconds(200));
}

P2PDVM_DECL void native_driver::sleep(duration at_most) {
  blocked_.store(true, std::memory_order_seq_cst);
  if (polled_.doze() && ranks_.queue().empty() && !stopped_ && !token_.wanted())
    io_.run_one_for(at_most);
  blocked_.store(false, std::memory_order_relaxed);
  polled_.wake();
}

/// False when nothing came for a while. Where others wait for the core, this gives it away at once,
/// and goes to sleep sooner: what it waits for may need the core most.
P2PDVM_DECL bool native_driver::drive_spinning() {
  using steady = std::chrono::steady_clock;
  std::optional<steady::time_point> begin;
  const auto patience = crowded_ ? options_.spin / 10 : options_.spin;
  for (unsigned i = 1;; ++i) {
    if (turn() || !ranks_.queue().empty() || token_.wanted() || stopped_) return true;
    if (!crowded_ && i % turns_between_yields != 0) continue;
    const auto before = steady::now();
    if (!begin) begin = before;
    std::this_thread::yield();
    const auto now = steady::now();
    crowded_ = now - before > lonely_yield_max;
    if (now - *begin >= patience) break;
  }
  return false;
}

P2PDVM_DECL void native_driver::progress() {
  std::uint64_t seen = drives_.load();
  int quiet = 0;
  while (!stopped_.load()) {
    {
      std::unique_lock lock(mutex_);
      const bool park = quiet > 100 && computing_.load() == 0;
      progress_parked_.store(park, std::memory_order_seq_cst);
      if (park && computing_.load() == 0 && !stopped_) {
        progress_needed_.wait(lock);
        quiet = 0;
      } else if (!stopped_) {
        progress_needed_.wait_for(lock, options_.patience);
      }
      progress_parked_.store(false);
    }
    const std::uint64_t now = drives_.load();
    const bool stalled = computing_.load() > 0 && now == seen;
    seen = now;
    quiet = computing_.load() > 0 ? 0 : quiet + 1;
    if (!stalled || !token_.try_lock()) continue;
    const std::lock_guard lock(token_, std::adopt_lock);
    while (computing_.load() > 0 && !token_.wanted() && !stopped_) {
      if (turn()) continue;
      if (polled_.doze()) io_.run_one_for(std::chrono::milliseconds(5));
      polled_.wake();
    }
  }
}

}  // namespace p2pdvm::runtime

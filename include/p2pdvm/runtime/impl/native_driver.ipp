#pragma once

#include <p2pdvm/runtime/native_driver.hpp>

#include <p2pdvm/async/frame.hpp>

#include <asio/post.hpp>

#include <time.h>

#include <algorithm>
#include <optional>
#include <utility>

namespace p2pdvm::runtime {

/// The progress thread asks the reactor once in so many turns.
inline constexpr unsigned reactor_turns = 64;
/// A driver that waits looks at the clock once in so many turns, and then asks the reactor and offers the core to others
/// if it has not done so for a while: both are calls of the system, in which a message has to wait.
inline constexpr unsigned turns_between_looks = 64;
inline constexpr auto reactor_pause_max = std::chrono::microseconds(10);
/// Where others want the core it goes round all of them between two looks, and each asks.
inline constexpr auto reactor_pause_crowded = std::chrono::microseconds(50);
inline constexpr auto yield_pause = std::chrono::microseconds(10);
/// A driver between ranks asks the reactor once in so many times, and when a tick of the system has gone by.
inline constexpr unsigned drives_between_asking = 64;
/// A yield that takes longer has let somebody else run.
inline constexpr auto lonely_yield_max = std::chrono::microseconds(2);
/// Who was woken before so many times `spin` looks for longer the next time. Ranks that meet all sleep or none does: when
/// each of eight has to be woken it takes them twenty times as long, and must not look to them as if that were all it can be.
inline constexpr int woken_soon = 40;
/// A yield that takes so long was to somebody who computes, and who keeps the core for some milliseconds; after a sleep
/// the system would give it back at once. So from now on drivers sleep, for the longer the more often that is found.
inline constexpr auto computing_yield_min = std::chrono::milliseconds(1);
inline constexpr auto sleeping_min = std::chrono::milliseconds(10), sleeping_max = std::chrono::milliseconds(320);
/// A process that is driven so often within `patience` does not compute for long; the progress thread, which takes the
/// core from somebody each time, looks less often, but after `rare_looks` times `patience` at the latest.
inline constexpr std::uint64_t often_driven = 16;
inline constexpr int rare_looks = 4;

namespace detail {
/// Grows every few milliseconds, and costs next to nothing.
[[nodiscard]] inline std::int64_t system_tick() noexcept {
#if defined(CLOCK_MONOTONIC_COARSE)
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
#else
  return std::chrono::steady_clock::now().time_since_epoch().count();
#endif
}
}  // namespace detail

P2PDVM_DECL native_driver::native_driver(asio::io_context& io, queue_context& ranks,
                                         driver_token& token, options o)
    : io_(io),
      ranks_(ranks),
      token_(token),
      options_(o),
      polled_(o.polled != nullptr ? *o.polled : none_),
      work_(io.get_executor()),
      sleeping_(sleeping_min) {
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
  start_threads();
  guarded(&native_driver::work);
  end_threads();
}

P2PDVM_DECL void native_driver::begin() {
  start_threads();
  computes(true);
}

P2PDVM_DECL void native_driver::end() {
  computes(false);
  stop();
  end_threads();
}

P2PDVM_DECL void native_driver::start_threads() {
  {
    const std::lock_guard lock(token_);
    polled_.drive(true);
  }
  const bool one = options_.threads == 1 && options_.home;
  alone_ = one && asymmetric_fence_available();
  for (unsigned i = 1; i < options_.threads; ++i)
    threads_.emplace_back([this] { guarded(&native_driver::work); });
  threads_.emplace_back([this] { guarded(&native_driver::progress); });
  if (one) {
    token_.settle();
    ranks_.queue().settle();
  }
}

P2PDVM_DECL void native_driver::end_threads() {
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

/// This thread begins or ends to run a rank's code.
P2PDVM_DECL void native_driver::computes(bool now) {
  if (!now) {
    if (alone_) return computing_.store(0, std::memory_order_release);
    computing_.fetch_sub(1);
    return;
  }
  if (alone_) {
    computing_.store(1, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // and the fence in `progress`
  } else {
    computing_.fetch_add(1);
  }
  if (progress_parked_.load(std::memory_order_seq_cst)) {
    const std::lock_guard lock(mutex_);
    progress_needed_.notify_one();
  }
}

P2PDVM_DECL void native_driver::look() {
  if (!ranks_.queue().empty()) ranks_.queue().drain(256);
  const std::lock_guard lock(token_);
  look_around();
}

P2PDVM_DECL void native_driver::work() {
  const frame_cache frames;
  while (!stopped_.load(std::memory_order_relaxed)) {
    if (!ranks_.queue().empty()) {
      computes(true);
      ranks_.queue().drain(256);
      computes(false);
    }
    if (token_.try_lock()) {
      const std::lock_guard lock(token_, std::adopt_lock);
      look_around();
      wait();
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

/// A look at everything that can be looked at cheaply, and now and then at the reactor.
P2PDVM_DECL bool native_driver::turn() {
  const bool found = polled_.poll();
  if (++turns_ % reactor_turns != 0) return found;
  return io_.poll() > 0 || found;
}

/// Until something came, or is wanted.
P2PDVM_DECL void native_driver::wait() {
  if (!ranks_.queue().empty() || token_.wanted() || drive_spinning()) return;
  sleep(std::chrono::milliseconds(200));
}

P2PDVM_DECL void native_driver::look_around() {
  drives_.store(drives_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // the token is held
  (void)polled_.poll();
  // Ranks may have run for long since the last time.
  const std::int64_t tick = detail::system_tick();
  if (std::exchange(tick_, tick) != tick || ++drives_unasked_ >= drives_between_asking) {
    drives_unasked_ = 0;
    (void)io_.poll();
  }
}

P2PDVM_DECL void native_driver::sleep(duration at_most) {
  blocked_.store(true, std::memory_order_seq_cst);
  if (polled_.doze() && ranks_.queue().empty() && !stopped_ && !token_.wanted()) {
    const auto begin = std::chrono::steady_clock::now();
    io_.run_one_for(at_most);
    const auto slept = std::chrono::steady_clock::now() - begin;
    // Falling asleep and being woken costs both sides more than to look for a little longer.
    patience_ = slept < woken_soon * options_.spin ? std::min(2 * patience_, options_.longer) : 1;
  }
  blocked_.store(false, std::memory_order_relaxed);
  polled_.wake();
}

/// False when nothing came for a while. Where others wait for the core, this gives it away in every turn: what it waits
/// for may need the core most.
P2PDVM_DECL bool native_driver::drive_spinning() {
  using steady = std::chrono::steady_clock;
  std::optional<steady::time_point> begin;
  for (unsigned i = 1;; ++i) {
    if (polled_.poll() || !ranks_.queue().empty() || token_.wanted() || stopped_.load(std::memory_order_relaxed))
      return true;
    if (options_.helped != nullptr && options_.helped->help()) return true;
    if (!crowded_ && i % turns_between_looks != 0) continue;
    auto now = steady::now();
    if (!begin) begin = now;
    if (now - reactor_asked_ >= (crowded_ ? reactor_pause_crowded : reactor_pause_max)) {
      reactor_asked_ = now;
      if (io_.poll() > 0) return true;
    }
    if (now < sleeps_until_) return false;
    if (crowded_ || now >= next_yield_) {
      std::this_thread::yield();
      const auto before = std::exchange(now, steady::now());
      next_yield_ = now + yield_pause;
      crowded_ = now - before > lonely_yield_max;
      if (now - before >= computing_yield_min) {
        sleeps_until_ = now + sleeping_;
        sleeping_ = std::min<duration>(2 * sleeping_, sleeping_max);
        continue;
      }
      sleeping_ = sleeping_min;
    }
    // Where nothing came soon after it fell asleep the last time, who waits for the core may need it most.
    const bool gives_up_early = crowded_ && patience_ == 1;
    if (now - *begin >= (gives_up_early ? options_.spin / 10 : patience_ * options_.spin)) return false;
  }
}

P2PDVM_DECL void native_driver::progress() {
  std::uint64_t seen = drives_.load();
  int quiet = 0, looks = 1;
  while (!stopped_.load()) {
    {
      std::unique_lock lock(mutex_);
      const bool park = quiet > 100 && computing_.load() == 0;
      progress_parked_.store(park, std::memory_order_seq_cst);
      if (park && alone_) asymmetric_fence();
      if (park && computing_.load() == 0 && !stopped_) {
        progress_needed_.wait(lock);
        quiet = 0;
      } else if (!stopped_) {
        progress_needed_.wait_for(lock, looks * options_.patience);
      }
      progress_parked_.store(false);
    }
    const std::uint64_t now = drives_.load();
    const bool stalled = computing_.load() > 0 && now == seen;
    looks = now - seen >= looks * often_driven ? std::min(2 * looks, rare_looks) : 1;
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

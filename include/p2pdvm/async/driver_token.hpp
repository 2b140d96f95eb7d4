/// The right to run a peer's protocol code: held by one thread at a time.
#pragma once

#include <p2pdvm/async/home_thread.hpp>
#include <p2pdvm/base/assert.hpp>

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

namespace p2pdvm {

/// A mutex whose holder may be blocked in the system waiting for the network; whoever wants
/// the token calls it off. Satisfies Lockable.
///
/// It may have a *home*: the one thread that takes it all the time, since its ranks send and receive.
/// That thread only notes that it is inside, without an atomic operation of the expensive kind; whoever else wants the
/// token pays for both, by making every core of the process see what it and the home thread wrote
/// (`asymmetric_fence`). Without a home it costs one exchange.
class driver_token {
 public:
  /// `interrupt` makes a driver that is blocked in the reactor return; any thread calls it.
  void on_wanted(std::function<void()> interrupt) { interrupt_ = std::move(interrupt); }

  /// This thread becomes the home, if the system lets it and there is none. It must not hold the token.
  void settle() {
    if (!asymmetric_fence_available()) return;
    const std::lock_guard guard(mutex_);
    home_.settle();
  }
  /// The home thread is a thread like others again.
  void leave() {
    if (!home_.here()) return;
    const std::lock_guard guard(mutex_);
    home_.leave();
  }

  void lock() {
    if (home_.here() && enter()) [[likely]]
      return;
    lock_slowly();
  }
  [[nodiscard]] bool try_lock() {
    if (home_.here()) return enter();
    if (!mutex_.try_lock()) return false;
    if (!home_.somewhere() || shut_out()) return true;
    let_in();
    mutex_.unlock();
    return false;
  }
  void unlock() {
    if (home_.here()) [[likely]]
      return inside_.store(false, std::memory_order_release);
    let_in();
    mutex_.unlock();
  }

  /// For drivers: somebody waits for the token; give it away soon.
  [[nodiscard]] bool wanted() const noexcept {
    return wanted_.load(std::memory_order_relaxed) != 0;
  }

 private:
  /// The home thread's way in.
  [[nodiscard]] bool enter() noexcept {
    P2PDVM_ASSERT(!inside_.load(std::memory_order_relaxed));
    inside_.store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);  // and the other side's asymmetric_fence
    if (!taken_.load(std::memory_order_acquire)) [[likely]]
      return true;
    inside_.store(false, std::memory_order_release);
    return false;
  }
  void want() {
    wanted_.fetch_add(1, std::memory_order_seq_cst);
    if (interrupt_) interrupt_();
  }
  void wait_for_mutex() {
    want();
    mutex_.lock();
    wanted_.fetch_sub(1, std::memory_order_relaxed);
    mutex_.unlock();
  }
  [[gnu::noinline]] void lock_slowly() {
    if (!home_.here()) return lock_from_elsewhere();
    do wait_for_mutex();
    while (!enter());
  }
  void lock_from_elsewhere() {
    if (!mutex_.try_lock()) {
      want();
      mutex_.lock();
      wanted_.fetch_sub(1, std::memory_order_relaxed);
    }
    if (!home_.somewhere() || shut_out()) return;
    want();
    for (int turns = 0; inside_.load(std::memory_order_acquire); ++turns) pause_thread(turns);
    wanted_.fetch_sub(1, std::memory_order_relaxed);
  }
  /// Keeps the home thread out from now on; false when it is still inside. The mutex is held.
  [[nodiscard]] bool shut_out() noexcept {
    taken_.store(true, std::memory_order_relaxed);
    asymmetric_fence();
    return !inside_.load(std::memory_order_acquire);
  }
  void let_in() noexcept { taken_.store(false, std::memory_order_release); }

  home_thread home_;
  std::atomic<bool> inside_{false};  ///< the home thread holds the token
  std::atomic<bool> taken_{false};   ///< another thread holds it, or waits for the home thread
  std::atomic<int> wanted_{0};
  std::mutex mutex_;  ///< of all other threads
  std::function<void()> interrupt_;
};

}  // namespace p2pdvm

/// The right to run a peer's protocol code: held by one thread at a time.
#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <utility>

namespace p2pdvm {

/// A mutex whose holder may be blocked in the system waiting for the network; whoever wants
/// the token calls it off. Uncontended it costs one exchange. Satisfies BasicLockable.
class driver_token {
 public:
  /// `interrupt` makes a driver that is blocked in the reactor return; any thread calls it.
  void on_wanted(std::function<void()> interrupt) { interrupt_ = std::move(interrupt); }

  void lock() {
    if (mutex_.try_lock()) return;
    wanted_.fetch_add(1, std::memory_order_seq_cst);
    if (interrupt_) interrupt_();
    mutex_.lock();
    wanted_.fetch_sub(1, std::memory_order_relaxed);
  }
  [[nodiscard]] bool try_lock() { return mutex_.try_lock(); }
  void unlock() { mutex_.unlock(); }

  /// For drivers: somebody waits for the token; give it away soon.
  [[nodiscard]] bool wanted() const noexcept {
    return wanted_.load(std::memory_order_seq_cst) != 0;
  }

 private:
  std::mutex mutex_;
  std::atomic<int> wanted_{0};
  std::function<void()> interrupt_;
};

}  // namespace p2pdvm

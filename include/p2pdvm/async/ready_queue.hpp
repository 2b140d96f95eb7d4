/// The queue of coroutines that can go on: intrusive, first in first out, drained by drivers.
///
/// Ranks live here and not in an `io_context`, so that only the thread that drives ranks
/// resumes them, outside protocol handlers, and never recursively from a sender.
#pragma once

#include <p2pdvm/async/home_thread.hpp>
#include <p2pdvm/base/assert.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>

namespace p2pdvm {

/// It may have a home: the one thread that drains it, whose own pushes need no lock.
class ready_queue {
 public:
  /// Something to resume. It is linked into at most one queue at a time and must stay
  /// alive until it was resumed or the queue is gone.
  class item {
   public:
    virtual void resume() = 0;

   protected:
    item() = default;
    item(const item&) = delete;
    item& operator=(const item&) = delete;
    virtual ~item() = default;

   private:
    friend class ready_queue;
    item* next_ = nullptr;
  };

  ready_queue() = default;
  ready_queue(const ready_queue&) = delete;
  ready_queue& operator=(const ready_queue&) = delete;

  /// Called after another thread than the home made the queue non-empty. Set it before use.
  void on_ready(std::function<void()> wake) { wake_ = std::move(wake); }

  /// Until it leaves, this thread alone drains the queue.
  void settle() { home_.settle(); }
  void leave() {
    if (!home_.here()) return;
    take_shared();
    home_.leave();
    while (item* next = own_.pop()) push(*next);
  }

  void push(item& ready) {
    if (home_.here()) return own_.push(ready);
    bool was_empty = false;
    {
      const std::lock_guard guard(mutex_);
      was_empty = shared_.empty();
      shared_.push(ready);
      some_shared_.store(true, std::memory_order_relaxed);
    }
    if (was_empty && wake_) wake_();
  }

  /// Null when there is nothing to do.
  [[nodiscard]] item* pop() {
    if (home_.here()) {
      if (some_shared_.load(std::memory_order_relaxed)) take_shared();
      return own_.pop();
    }
    if (!some_shared_.load(std::memory_order_relaxed)) return nullptr;
    const std::lock_guard guard(mutex_);
    item* const next = shared_.pop();
    some_shared_.store(!shared_.empty(), std::memory_order_relaxed);
    return next;
  }

  /// What the home has of its own is seen by the home alone.
  [[nodiscard]] bool empty() const noexcept {
    return !some_shared_.load(std::memory_order_relaxed) && !(home_.here() && !own_.empty());
  }

  /// Resumes up to `budget` items on this thread; returns how many ran.
  std::size_t drain(std::size_t budget) {
    std::size_t count = 0;
    while (count < budget) {
      item* next = pop();
      if (next == nullptr) break;
      next->resume();
      ++count;
    }
    return count;
  }

 private:
  class list {
   public:
    [[nodiscard]] bool empty() const noexcept { return first_ == nullptr; }
    void push(item& ready) noexcept {
      P2PDVM_ASSERT(ready.next_ == nullptr && last_ != &ready.next_);
      *last_ = &ready;
      last_ = &ready.next_;
    }
    [[nodiscard]] item* pop() noexcept {
      item* const next = first_;
      if (next == nullptr) return nullptr;
      first_ = std::exchange(next->next_, nullptr);
      if (first_ == nullptr) last_ = &first_;
      return next;
    }

   private:
    item* first_ = nullptr;
    item** last_ = &first_;
  };

  void take_shared() {
    const std::lock_guard guard(mutex_);
    while (item* next = shared_.pop()) own_.push(*next);
    some_shared_.store(false, std::memory_order_relaxed);
  }

  home_thread home_;
  list own_;  ///< of the home thread
  std::mutex mutex_;
  list shared_;
  std::atomic<bool> some_shared_{false};
  std::function<void()> wake_;
};

}  // namespace p2pdvm

/// The queue of coroutines that can go on: intrusive, first in first out, drained by drivers.
///
/// Ranks live here and not in an `io_context`, so that only the thread that drives ranks
/// resumes them, outside protocol handlers, and never recursively from a sender.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <atomic>
#include <cstddef>
#include <functional>
#include <mutex>
#include <utility>

namespace p2pdvm {

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

  /// Called after a push made the queue non-empty, from the pushing thread. Set it before use.
  void on_ready(std::function<void()> wake) { wake_ = std::move(wake); }

  void push(item& ready) {
    bool was_empty = false;
    {
      const std::lock_guard guard(mutex_);
      P2PDVM_ASSERT(ready.next_ == nullptr && tail_ != &ready.next_);
      was_empty = head_ == nullptr;
      *tail_ = &ready;
      tail_ = &ready.next_;
      size_.fetch_add(1, std::memory_order_relaxed);
    }
    if (was_empty && wake_) wake_();
  }

  /// Null when there is nothing to do.
  [[nodiscard]] item* pop() {
    if (empty()) return nullptr;
    const std::lock_guard guard(mutex_);
    item* first = head_;
    if (first == nullptr) return nullptr;
    head_ = std::exchange(first->next_, nullptr);
    if (head_ == nullptr) tail_ = &head_;
    size_.fetch_sub(1, std::memory_order_relaxed);
    return first;
  }

  [[nodiscard]] bool empty() const noexcept {
    return size_.load(std::memory_order_relaxed) == 0;
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
  std::mutex mutex_;
  item* head_ = nullptr;
  item** tail_ = &head_;
  std::atomic<std::size_t> size_{0};
  std::function<void()> wake_;
};

}  // namespace p2pdvm

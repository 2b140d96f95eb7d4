/// A scope for concurrent coroutines: all of them end before it does.
#pragma once

#include <p2pdvm/base/config.hpp>

#include <p2pdvm/async/task.hpp>
#include <p2pdvm/base/assert.hpp>

#include <asio/bind_cancellation_slot.hpp>
#include <asio/cancellation_signal.hpp>
#include <asio/co_spawn.hpp>
#include <asio/post.hpp>

#include <exception>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>

namespace p2pdvm {

/// Spawn children, then `co_await join()`, which must happen before the nursery dies. The
/// first child that throws cancels its siblings, and `join()` rethrows its exception.
/// Children run on the executor given; values they use must be owned by them or outlive
/// the nursery.
class nursery {
 public:
  explicit nursery(asio::any_io_executor executor)
      : state_(std::make_shared<state>(std::move(executor))) {}
  nursery(const nursery&) = delete;
  nursery& operator=(const nursery&) = delete;
  ~nursery() { P2PDVM_ASSERT(state_->running == 0); }

  void spawn(task<> child) {
    auto place = state_->add();
    asio::co_spawn(state_->executor, std::move(child),
                   asio::bind_cancellation_slot(place->slot(), [state = state_, place](
                                                                   std::exception_ptr failure) {
                     state->finished(place, std::move(failure));
                   }));
  }

  /// Asks all children to stop (Asio's terminal cancellation).
  void cancel() { state_->cancel(); }

  /// Waits for every child; call once, after the last `spawn`.
  task<> join() {
    co_await asio::async_initiate<const asio::use_awaitable_t<>&, void()>(
        [state = state_.get()](handler_type handler) { state->wait(std::move(handler)); },
        asio::use_awaitable);
    if (state_->failure) std::rethrow_exception(state_->failure);
  }

 private:
  using handler_type =
      typename asio::async_result<std::decay_t<const asio::use_awaitable_t<>&>, void()>::handler_type;

  struct state {
    explicit state(asio::any_io_executor e) : executor(std::move(e)) {}

    std::list<asio::cancellation_signal>::iterator add() {
      const std::lock_guard guard(mutex);
      ++running;
      return signals.emplace(signals.end());
    }
    void finished(std::list<asio::cancellation_signal>::iterator place, std::exception_ptr error) {
      bool first = false;
      bool last = false;
      {
        const std::lock_guard guard(mutex);
        signals.erase(place);
        first = error && !failure;
        if (first) failure = std::move(error);
        last = --running == 0 && waiting.has_value();
      }
      if (first) cancel();
      if (last) asio::post(executor, std::move(*waiting));
    }
    void cancel() {
      for (auto& signal : signals) signal.emit(asio::cancellation_type::terminal);
    }
    void wait(handler_type handler) {
      const std::lock_guard guard(mutex);
      if (running == 0) {
        asio::post(executor, std::move(handler));
      } else {
        waiting.emplace(std::move(handler));
      }
    }

    asio::any_io_executor executor;
    std::mutex mutex;
    std::size_t running = 0;
    std::list<asio::cancellation_signal> signals;
    std::exception_ptr failure;
    std::optional<handler_type> waiting;
  };

  std::shared_ptr<state> state_;
};

}  // namespace p2pdvm

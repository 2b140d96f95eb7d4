/// The frames of `task`: how one is suspended without a frame more, and where their memory comes from.
///
/// Asio suspends a coroutine for an operation by way of a second coroutine that waits for a completion
/// handler. For messages between ranks of one process that costs more than the messages. This file
/// uses what Asio builds it from, which no manual describes: `awaitable_thread` (the stack of frames), the
/// await transformation that hands a function the frame, and that `awaitable` is itself what `co_await` waits
/// with. Tried with Asio 1.22; all use of it is here.
#pragma once

#include <p2pdvm/base/config.hpp>

#include <p2pdvm/async/task.hpp>

#include <asio/detail/thread_context.hpp>
#include <asio/detail/thread_info_base.hpp>

#include <concepts>
#include <utility>

namespace p2pdvm {

namespace detail {

using frame_thread = asio::detail::awaitable_thread<asio::any_io_executor>;
using frame_pointer = asio::detail::awaitable_frame_base<asio::any_io_executor>*;

/// A coroutine with all that await it, taken off the thread that ran it. If it dies unresumed, so do
/// their frames, later and on their executor.
class suspended_coroutine : private frame_thread {
 public:
  explicit suspended_coroutine(frame_pointer frame) : frame_thread(std::move(*frame->detach_thread())) {}
  suspended_coroutine(suspended_coroutine&&) = default;
  /// Runs it until it waits again or ends; once.
  void resume() { launch(); }
};

/// What `co_await` calls with the coroutine's own frame once it is suspended. Unless the function takes
/// the frame into a `suspended_coroutine`, the coroutine goes on at once.
template <class F>
class frame_hook {
 public:
  explicit frame_hook(F function) : function_(std::move(function)) {}
  frame_thread* operator()(frame_pointer frame) {
    function_(frame);
    return nullptr;
  }

 private:
  F function_;
};

}  // namespace detail

/// What can be awaited like a `task`, and has no frame: it lives in that of the coroutine which awaits it.
/// It is moved before `begin`, and never after it; when it dies begun, the waiting is over. If it has a `take_back`, that
/// makes it one which may be awaited much later.
template <class T>
concept awaited_in_place = requires(T& waits, detail::frame_pointer frame) {
  typename T::result_type;
  /// Whether there is nothing to wait for.
  { waits.begin() } -> std::same_as<bool>;
  /// Takes the frame into a `suspended_coroutine`, or leaves it, and then the coroutine goes on at once.
  waits.suspend(frame);
  { waits.end() } -> std::same_as<typename T::result_type>;
};

/// While it lives, frames of coroutines that end on this thread are used again for new ones. Asio
/// does so only inside of its own event loop.
class frame_cache : private asio::detail::thread_context {
 public:
  frame_cache() : on_this_thread_(this, frames_) {}

 private:
  asio::detail::thread_info_base frames_;
  thread_call_stack::context on_this_thread_;
};

}  // namespace p2pdvm

namespace asio {

/// `p2pdvm::task<T>` of a `T` that is awaited in place. Converts to a coroutine with the same result.
template <p2pdvm::awaited_in_place T>
class [[nodiscard]] awaitable<T, any_io_executor> : public T {
 public:
  using T::T;
  [[nodiscard]] bool await_ready() { return this->begin(); }
  template <class Frame>
  void await_suspend(Frame handle) {
    this->suspend(&handle.promise());
  }
  typename T::result_type await_resume() { return this->end(); }
  operator p2pdvm::task<typename T::result_type>() && {  // NOLINT: is one
    if constexpr (requires { this->take_back(); }) this->take_back();
    return [](awaitable self) -> p2pdvm::task<typename T::result_type> {
      co_return co_await std::move(self);
    }(std::move(*this));
  }
};

}  // namespace asio

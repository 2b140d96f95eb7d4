/// An Asio executor that runs functions on a `ready_queue`.
#pragma once

#include <p2pdvm/base/config.hpp>

#include <p2pdvm/async/ready_queue.hpp>

#include <asio/execution.hpp>
#include <asio/execution_context.hpp>

#include <type_traits>
#include <utility>

namespace p2pdvm {

/// A `ready_queue` that Asio knows as an execution context; coroutines spawned on its
/// executor, and completions of Asio operations that they await, are resumed from it.
class queue_context : public asio::execution_context {
 public:
  ~queue_context() { shutdown(); }
  ready_queue& queue() noexcept { return queue_; }

  class executor_type {
   public:
    explicit executor_type(queue_context& context) noexcept : context_(&context) {}
    asio::execution_context& query(asio::execution::context_t) const noexcept { return *context_; }
    static constexpr asio::execution::blocking_t query(asio::execution::blocking_t) noexcept {
      return asio::execution::blocking.never;
    }
    executor_type require(asio::execution::blocking_t::never_t) const noexcept { return *this; }
    template <class F>
    void execute(F&& function) const {
      context_->queue_.push(*new call<std::decay_t<F>>(std::forward<F>(function)));
    }
    friend bool operator==(const executor_type& a, const executor_type& b) noexcept {
      return a.context_ == b.context_;
    }
    friend bool operator!=(const executor_type& a, const executor_type& b) noexcept {
      return a.context_ != b.context_;
    }

   private:
    template <class F>
    class call final : public ready_queue::item {
     public:
      explicit call(F function) : function_(std::move(function)) {}
      void resume() override {
        F function(std::move(function_));
        delete this;
        function();
      }

     private:
      F function_;
    };

    queue_context* context_;
  };

  executor_type get_executor() noexcept { return executor_type(*this); }

 private:
  ready_queue queue_;
};

}  // namespace p2pdvm

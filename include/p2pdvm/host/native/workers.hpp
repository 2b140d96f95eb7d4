/// `host::workers` by threads.
#pragma once

#include <p2pdvm/host/host.hpp>
#include <p2pdvm/host/native/descriptor.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace p2pdvm::native {

/// A thread for each core but the one that the driver needs, one at least. They begin with the first works.
class workers final : public host::workers {
 public:
  explicit workers(asio::io_context& io);
  ~workers() override;
  workers(const workers&) = delete;
  workers& operator=(const workers&) = delete;

  [[nodiscard]] unsigned count() const override { return count_; }
  void run(length takes, std::function<void()> work, std::function<void()> done) override;
  bool help() override;
  [[nodiscard]] unsigned idle() override;
  void share(std::size_t parts, const std::function<void(std::size_t)>& part) override;

 private:
  struct job {
    std::function<void()> work, done;
    asio::executor_work_guard<asio::io_context::executor_type> guard;  ///< the context has something to wait for
  };
  /// What `share` has on its caller's stack.
  struct shared {
    const std::function<void(std::size_t)>& part;
    std::size_t parts;
    std::atomic<std::size_t> next{0};
    std::atomic<unsigned> inside{0};  ///< threads of ours that may still look at it; more only with the mutex held
    void take_parts() {
      for (std::size_t n; (n = next.fetch_add(1, std::memory_order_relaxed)) < parts;) part(n);
    }
  };
  void loop();
  void begin_threads(std::size_t wanted);
  /// With the mutex held.
  [[nodiscard]] job take(std::deque<job>& from);
  [[nodiscard]] bool shares() const noexcept {
    return shared_ != nullptr && shared_->next.load(std::memory_order_relaxed) < shared_->parts;
  }
  void take_part(std::unique_lock<std::mutex>& lock);
  void linger();

  asio::io_context& io_;
  unsigned count_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<job> brief_, long_;
  std::atomic<std::size_t> waiting_{0};  ///< brief ones, to be looked at without the mutex
  shared* shared_ = nullptr;
  std::atomic<std::uint64_t> shares_{0};  ///< how many there were
  std::atomic<unsigned> awake_{0};        ///< threads that do not wait for works
  bool stopping_ = false;
  detail::descriptor load_;  ///< what the system says of its runnable threads
  std::chrono::steady_clock::time_point looked_at_;
  unsigned idle_ = 0;
  std::vector<std::thread> threads_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/workers.ipp>
#endif

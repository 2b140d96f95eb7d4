/// `host::workers` by threads.
#pragma once

#include <p2pdvm/host/host.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/io_context.hpp>

#include <atomic>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
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

 private:
  struct job {
    std::function<void()> work, done;
    asio::executor_work_guard<asio::io_context::executor_type> guard;  ///< the context has something to wait for
  };
  void loop();
  /// With the mutex held.
  [[nodiscard]] job take(std::deque<job>& from);

  asio::io_context& io_;
  unsigned count_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<job> brief_, long_;
  std::atomic<std::size_t> waiting_{0};  ///< brief ones, to be looked at without the mutex
  bool stopping_ = false;
  std::vector<std::thread> threads_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/workers.ipp>
#endif

/// Threads of a native peer: whoever waits, drives.
///
/// The thread whose ranks are all waiting holds the driver token and runs the protocol's
/// `io_context`; it spins for a moment, then blocks. A progress thread takes the token only
/// when nobody has driven for about a millisecond because ranks compute, and gives it back as
/// soon as it is wanted. Ranks are resumed without the token, never by the progress thread.
#pragma once

#include <p2pdvm/async/driver_token.hpp>
#include <p2pdvm/async/poll_group.hpp>
#include <p2pdvm/async/queue_executor.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/host/host.hpp>

#include <asio/io_context.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace p2pdvm::runtime {

class native_driver {
 public:
  struct options {
    unsigned threads = 1;  ///< that run ranks, the caller of `run` among them
    /// Looked at in every turn; the machine's, say. It must outlive the driver.
    poll_group* polled = nullptr;
    /// What the driver does when it would only look whether something comes; the machine's, say. It must outlive the driver.
    host::workers* helped = nullptr;
    /// How long a driver polls before it blocks. Longer costs a core, shorter costs latency. Where it turns out that it
    /// was woken again right after that, it polls for up to `longer` times that.
    duration spin = std::chrono::microseconds(50);
    int longer = 20;
    /// The thread that runs ranks stays the same, and gets along without locks (async/home_thread.hpp).
    bool home = true;
    /// Without being driven for so long, the progress thread steps in; a little later when it was driven often before.
    duration patience = std::chrono::milliseconds(1);
  };
  /// The context must not be run by anybody else while `run` runs.
  native_driver(asio::io_context& io, queue_context& ranks, driver_token& token, options o);
  ~native_driver();
  native_driver(const native_driver&) = delete;
  native_driver& operator=(const native_driver&) = delete;

  /// Drives until `stop`. An exception from protocol code ends all threads and is rethrown.
  void run();

  /// Instead of `run`, for a thread that is a rank's program itself and comes here only now and then. From `begin` to `end`
  /// it counts as a rank that computes, except inside of `drive_until`.
  void begin();
  /// Drives, and resumes coroutines, until `done()` or `stop`. What `done` looks at must change only with the token held, or by what this
  /// thread does meanwhile.
  template <class Done>
  void drive_until(Done done) {
    if (done()) return;
    computes(false);
    while (!done() && !stopped_.load(std::memory_order_relaxed)) {
      if (!ranks_.queue().empty()) {
        computes(true);
        ranks_.queue().drain(256);
        computes(false);
        continue;
      }
      const std::lock_guard lock(token_);
      if (done()) break;
      look_around();
      if (!done()) wait();
    }
    computes(true);
  }
  /// One look at what has come, without waiting; and what can be resumed is.
  void look();
  /// The threads end; an exception from protocol code is rethrown.
  void end();

  /// From any thread, also from inside a handler.
  void stop();

 private:
  void start_threads();
  void end_threads();
  void work();
  void computes(bool now);
  void look_around();
  void wait();
  [[nodiscard]] bool turn();
  [[nodiscard]] bool drive_spinning();
  void sleep(duration at_most);
  void progress();
  void guarded(void (native_driver::*loop)());
  void interrupt();

  asio::io_context& io_;
  queue_context& ranks_;
  driver_token& token_;
  options options_;
  poll_group none_;
  poll_group& polled_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::atomic<bool> stopped_{false};
  std::atomic<unsigned> computing_{0};      ///< threads inside rank code
  std::atomic<std::uint64_t> drives_{0};    ///< counts turns of the driver
  std::atomic<bool> blocked_{false};        ///< the driver may be asleep in the reactor
  unsigned turns_ = 0;
  std::chrono::steady_clock::time_point reactor_asked_{}, next_yield_{}, sleeps_until_{};
  duration sleeping_;  ///< for so long it sleeps instead of yielding, when it finds that somebody computes
  std::int64_t tick_ = 0;
  unsigned drives_unasked_ = 0;
  bool alone_ = false;  ///< one thread runs ranks, and can do without fences
  bool crowded_ = false;  ///< others want this core
  int patience_ = 1;      ///< times `spin`
  std::atomic<unsigned> idle_workers_{0};
  std::mutex mutex_;
  std::condition_variable ready_;
  std::condition_variable progress_needed_;
  std::atomic<bool> progress_parked_{false};
  std::exception_ptr failure_;
  std::vector<std::thread> threads_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/native_driver.ipp>
#endif

/// MPI in this process, from MPI_Init to MPI_Finalize: its rank, and how a call waits.
#pragma once

#include "../../common/c_program.hpp"
#include "failure.hpp"
#include "object.hpp"

#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/peal/mpi/context.hpp>
#include <p2pdvm/peal/services.hpp>
#include <p2pdvm/runtime/native_driver.hpp>

#include <atomic>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace p2pdvm::c_mpi {

class communicator;

/// Sub-spaces of the port beside those of communicators: what is said while one is made, and who has met a synchronous send.
inline constexpr std::uint32_t making_space = 0x80000000u, acknowledgement_space = 0xffffffffu;

class process {
 public:
  /// As MPI_Init. Ends the process with a sentence where there is no way to go on.
  void begin(int threads_wanted);
  /// As MPI_Finalize.
  void end();
  /// As MPI_Abort.
  [[noreturn]] void abort(int code, const std::string& sentence);

  [[nodiscard]] bool begun() const noexcept { return begun_; }
  [[nodiscard]] bool ended() const noexcept { return ended_; }
  [[nodiscard]] bool running() const noexcept { return begun_ && !ended_; }
  [[nodiscard]] int threads() const noexcept { return threads_; }
  [[nodiscard]] std::thread::id main_thread() const noexcept { return main_thread_; }

  [[nodiscard]] peal::rank& rank() noexcept { return here_.rank(); }
  [[nodiscard]] compat::c_program& program() noexcept { return here_; }
  [[nodiscard]] const std::shared_ptr<mpi::detail::context>& context() const noexcept { return context_; }
  [[nodiscard]] driver_token& token() noexcept { return *token_; }
  [[nodiscard]] messaging::endpoint& endpoint() noexcept { return *endpoint_; }
  [[nodiscard]] peal::port& port() noexcept { return context_->port(); }
  [[nodiscard]] messaging::space_number space(std::uint32_t sub_space) const noexcept { return space_of_port_ | sub_space; }
  [[nodiscard]] int world_rank() const noexcept { return world_rank_; }
  [[nodiscard]] int world_size() const noexcept { return world_size_; }

  /// Drives until `done()`; see `native_driver::drive_until`. Throws when the job is over before.
  template <class Done>
  void wait(Done done) {
    if (done()) return answer();
    for (;;) {
      here_->driver().drive_until([&] { return done() || here_->over() || owes_.load(std::memory_order_relaxed); });
      answer();
      if (done()) return;
      check();
    }
  }
  /// Lets coroutines go on that can, so that what was begun is on its way.
  void go_on() { here_->driver().look(); }
  /// Progress without waiting, for what asks again and again.
  void look();
  /// Throws when the job is over.
  void check() {
    if (here_->over()) [[unlikely]]
      is_over();
  }

  /// A synchronous send of that rank was met. The token is held.
  void owe(int rank, std::uint32_t serial) {
    owed_.emplace_back(rank, serial);
    owes_.store(true, std::memory_order_relaxed);
  }
  /// Says so to those ranks.
  void answer() {
    if (owes_.load(std::memory_order_relaxed)) [[unlikely]]
      answer_all();
  }

  /// To its end. Throws what it throws.
  void run(task<> work) {
    here_->run(std::move(work));
    answer();
  }
  void spawn(task<> work, std::function<void(std::exception_ptr)> ended) { here_->spawn(std::move(work), std::move(ended)); }

  /// How many looks of this thread found nothing; then others may need the core more.
  void found_nothing();
  void found() noexcept { idle_looks_ = 0; }

  /// What programs make and the library numbers.
  std::uint32_t next_serial() noexcept { return ++serial_; }

 private:
  void answer_all();
  [[noreturn]] void is_over();

  bool begun_ = false, ended_ = false;
  int threads_ = MPI_THREAD_SINGLE;
  std::thread::id main_thread_;
  compat::c_program here_;
  std::shared_ptr<mpi::detail::context> context_;
  driver_token* token_ = nullptr;
  messaging::endpoint* endpoint_ = nullptr;
  messaging::space_number space_of_port_ = 0;
  int world_rank_ = 0, world_size_ = 1;
  std::atomic<bool> owes_{false};
  std::vector<std::pair<int, std::uint32_t>> owed_;  ///< changes with the token held
  std::uint32_t serial_ = 0;
  unsigned idle_looks_ = 0;
};

[[nodiscard]] process& here() noexcept;

}  // namespace p2pdvm::c_mpi

#include "process.hpp"

#include "call.hpp"

#include <fmt/core.h>

#include <sched.h>

#include <mutex>
#include <optional>
#include <system_error>

namespace p2pdvm::c_mpi {

namespace {

/// After so many looks that found nothing a process offers its core to others, which may be those it waits for.
constexpr unsigned looks_between_yields = 16;

}  // namespace

process& here() noexcept {
  static process* const one = new process;  // programs call until they end
  return *one;
}

void process::begin(int threads_wanted) {
  if (begun_) fail(MPI_ERR_OTHER, "it was called before");
  threads_ = threads_wanted >= MPI_THREAD_SERIALIZED ? MPI_THREAD_SERIALIZED : threads_wanted;
  compat::c_program::setting s;
  s.name = "mpi";
  s.one_thread = threads_ < MPI_THREAD_SERIALIZED;
  s.opened = [this](peal::rank& r) { context_ = std::make_shared<mpi::detail::context>(r); };
  s.closing = [this] { context_.reset(); };
  try {
    here_.begin(std::move(s));
  } catch (const std::system_error& e) {
    fail(MPI_ERR_OTHER, e.what());
  }
  begun_ = true;
  main_thread_ = std::this_thread::get_id();
  token_ = &here_->token();
  endpoint_ = &rank().services().endpoint();
  space_of_port_ = port().pattern_of(peal::any_source, peal::any_tag, 0).space;
  world_rank_ = rank().id();
  world_size_ = rank().size();
  make_predefined_communicators();
}

void process::end() {
  drop_predefined_communicators();
  answer();
  const std::optional<std::string> wrong = here_.end();
  ended_ = true;
  if (wrong) abort(1, fmt::format("rank {}: MPI_Finalize: {}", world_rank_, *wrong));
}

void process::abort(int code, const std::string& sentence) { here_.abort(code, sentence); }

void process::is_over() { fail(MPI_ERR_PROC_ABORTED, here_->why()); }

void process::look() {
  here_->driver().look();
  answer();
  check();
}

void process::found_nothing() {
  if (++idle_looks_ % looks_between_yields == 0) ::sched_yield();
}

void process::answer_all() {
  const std::lock_guard held(token());
  for (const auto& [rank, serial] : std::exchange(owed_, {}))
    (void)endpoint().send(rank_number(static_cast<std::uint32_t>(rank)), space(acknowledgement_space), serial, payload());
  owes_.store(false, std::memory_order_relaxed);
}

void check_running(const char* call) {
  if (here().running()) [[likely]]
    return;
  here().abort(1, fmt::format("{} was called {}", call, here().ended() ? "after MPI_Finalize" : "before MPI_Init"));
}

}  // namespace p2pdvm::c_mpi

namespace p2pdvm::compat {

std::optional<checkpointed> checkpointed_here() {
  if (!c_mpi::here().running()) return std::nullopt;
  return checkpointed{&c_mpi::here().program(), c_mpi::here().world_size()};
}

}  // namespace p2pdvm::compat

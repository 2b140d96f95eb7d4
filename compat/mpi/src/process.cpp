#include "process.hpp"

#include "call.hpp"

#include <fmt/core.h>

#include <sched.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <mutex>

namespace p2pdvm::c_mpi {

namespace {

/// After so many looks that found nothing a process offers its core to others, which may be those it waits for.
constexpr unsigned looks_between_yields = 16;

std::string folder_of_its_own() {
  const char* const base = std::getenv("TMPDIR");
  std::string name = (base != nullptr ? std::string(base) : "/tmp") + "/p2pdvm-mpi-XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) fail(MPI_ERR_OTHER, "no folder can be made like " + name);
  return name;
}

}  // namespace

process& here() noexcept {
  static process* const one = new process;  // programs call until they end
  return *one;
}

void process::begin(int threads_wanted) {
  if (begun_) fail(MPI_ERR_OTHER, "it was called before");
  const std::string program = "mpi";
  auto told = runtime::embedded_command_line(program);
  if (!told.ok()) fail(MPI_ERR_OTHER, told.error().message());
  runtime::embedded_rank::setting s;
  s.program = program;
  if (*told) {
    s.how = **told;
  } else {
    s.how.data = own_folder_ = folder_of_its_own();
  }
  s.how.checkpoint_every = "off";
  event_fd_ = s.how.event_fd;
  threads_ = threads_wanted >= MPI_THREAD_SERIALIZED ? MPI_THREAD_SERIALIZED : threads_wanted;
  s.one_thread = threads_ < MPI_THREAD_SERIALIZED;
  s.opened = [this](peal::rank& r) { context_ = std::make_shared<mpi::detail::context>(r); };
  s.closing = [this] { context_.reset(); };
  try {
    here_.emplace(std::move(s));
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
  const bool good = here_->finish();
  const std::string why = good ? std::string() : here_->why();
  ended_ = true;
  here_.reset();
  if (!own_folder_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(own_folder_, ignored);
  }
  if (!good) abort(1, fmt::format("rank {}: MPI_Finalize: {}", world_rank_, why));
}

void process::abort(int code, const std::string& sentence) {
  std::fflush(nullptr);
  fmt::print(stderr, "{}\n", sentence);
  std::fflush(stderr);
  if (running()) {
    // A launcher that hears of it ends the others; where there are some that it has not started, the job tells them.
    runtime::event e;
    e.kind = runtime::event_kind::failed;
    e.text = sentence;
    here_->tell(e);
    if (!here_->over() && event_fd_ < 0) here_->fail(sentence);
  }
  if (!own_folder_.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(own_folder_, ignored);
  }
  ::_exit(code);
}

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

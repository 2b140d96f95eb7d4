#pragma once

#include <p2pdvm/async/frame.hpp>
#include <p2pdvm/async/suspension.hpp>
#include <p2pdvm/host/native/folder_lock.hpp>
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/runtime/embedded_rank.hpp>
#include <p2pdvm/runtime/impl/native_process.ipp>
#include <p2pdvm/runtime/native_driver.hpp>
#include <p2pdvm/runtime/peer.hpp>

#include <asio/co_spawn.hpp>

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <mutex>
#include <optional>
#include <sstream>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

namespace detail {

/// The body of a program is a plain function, so it finds its object here.
inline embedded_rank* embedded_here = nullptr;

}  // namespace detail

namespace detail {

/// A loss ends these programs, so nobody is taken for lost who may only have been kept from the processor: more processes than cores,
/// and a process that swaps, are answered for late. Where all are children of one launcher, that ends the others itself.
inline overlay::detector_options patient(overlay::detector_options o, bool watched) {
  o.suspicion_min = std::chrono::seconds(watched ? 120 : 20);
  o.suspicion_hinted = watched ? o.suspicion_min : duration(std::chrono::seconds(2));
  if (watched) o.probe_interval = o.probe_timeout = std::chrono::seconds(5);
  return o;
}

/// What stands before the end of a line there.
inline result<std::string> read_line(int fd) {
  std::string line;
  for (char c = 0; c != '\n';) {
    const ssize_t n = ::read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return error(errc::closed, "the launcher has ended before it gave a ticket");
    if (c != '\n') line += c;
  }
  return line;
}

}  // namespace detail

P2PDVM_DECL result<std::optional<command_line>> embedded_command_line(const std::string& program) {
  const char* const text = std::getenv(embedded_variable);
  if (text == nullptr) return std::optional<command_line>();
  std::vector<std::string> words{program};
  std::istringstream lines(text);
  for (std::string word; std::getline(lines, word);) words.push_back(word);
  ::unsetenv(embedded_variable);
  const auto fd = std::find(words.begin(), words.end(), "--event-fd");
  const auto join = std::find(words.begin(), words.end(), "--join");
  if (join != words.end() && join + 1 != words.end() && join[1] == "-" && fd != words.end() && fd + 1 != words.end()) {
    auto ticket_text = detail::read_line(std::atoi(fd[1].c_str()));
    if (!ticket_text.ok()) return ticket_text.error();
    join[1] = *ticket_text;
  }
  std::vector<const char*> argv;
  for (const std::string& w : words) argv.push_back(w.c_str());
  const peal::program plain(program, nullptr);
  command_line how;
  if (const auto stop = parse_command_line(static_cast<int>(argv.size()), argv.data(), plain, how))
    return error(errc::invalid_argument, stop->text);
  if (how.event_fd >= 0) ::fcntl(how.event_fd, F_SETFD, FD_CLOEXEC);
  return std::optional<command_line>(std::move(how));
}

struct embedded_rank::machinery {
  machinery(embedded_rank& owner, const std::string& folder)
      : machine(io, {folder}),
        program(owner.setting_.program, &embedded_rank::body),
        pipe(owner.setting_.how.event_fd),
        death(owner.setting_.how.local_index) {
    if (!owner.setting_.how.profile.empty()) far.emplace(machine, owner.setting_.how);
    native_driver::options o;
    o.home = owner.setting_.one_thread;
    o.polled = &machine.polled();
    o.helped = machine.workers();
    driver.emplace(io, ranks, token, o);
  }
  [[nodiscard]] host::machine& used() { return far ? far->machine : static_cast<host::machine&>(machine); }

  native::folder_lock lock;
  asio::io_context io;
  queue_context ranks;
  driver_token token;
  native::machine machine;
  std::optional<detail::far_machine> far;
  peal::program program;
  detail::event_pipe pipe;
  detail::death_wish death;
  std::optional<native_driver> driver;
  std::optional<peer> here;
  std::optional<frame_cache> frames;
  std::optional<suspension> open;  ///< the rank's coroutine waits for it
  std::optional<result<job_results>> outcome;
  bool may_go = false;
  peal::adapter presence;  ///< of `wait_for_all`
};

P2PDVM_DECL embedded_rank::embedded_rank(setting s) : setting_(std::move(s)) {
  const command_line& how = setting_.how;
  if (detail::embedded_here != nullptr)
    throw std::system_error(make_error_code(errc::misuse), "this process has a rank already");
  if (how.local_index >= 0) ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  const std::string folder = how.data.empty() ? default_data_folder(setting_.program) : how.data;
  parts_ = std::make_unique<machinery>(*this, folder);
  machinery& m = *parts_;
  (void)m.lock.take(folder).value();
  peer_setting peers = detail::setting_of(how);
  peers.executable = executable_digest().value();
  peers.shared_memory = how.shared_memory == "on";
  peers.detector = detail::patient(peers.detector, how.local_index >= 0);
  peer::callbacks call;
  call.event = [this](const event& e) { note(e); };
  call.ended = [this](const result<job_results>& r) {
    parts_->outcome = r;
    if (!r.ok()) over_ = true;
  };
  call.may_go = [this] { parts_->may_go = true; };
  {
    const std::lock_guard held(m.token);
    m.here.emplace(m.used(), m.ranks, m.token, m.program, peers, call);
    auto begun = m.here->open();
    if (begun.ok()) begun = detail::begin_job(*m.here, how);
    if (!begun.ok()) {
      m.here.reset();
      throw std::system_error(make_error_code(begun.error().code()), begun.error().message());
    }
  }
  detail::embedded_here = this;
  if (setting_.one_thread) m.frames.emplace();
  m.driver->begin();
  m.driver->drive_until([this] { return rank_ != nullptr || over_; });
  if (!over_) return;
  const std::string sentence = why();
  end();
  throw std::system_error(make_error_code(errc::refused), sentence);
}

P2PDVM_DECL embedded_rank::~embedded_rank() {
  if (parts_) end();
}

P2PDVM_DECL driver_token& embedded_rank::token() noexcept { return parts_->token; }
P2PDVM_DECL native_driver& embedded_rank::driver() noexcept { return *parts_->driver; }

P2PDVM_DECL task<> embedded_rank::body(peal::rank& rank) {
  embedded_rank& self = *detail::embedded_here;
  if (self.rank_ != nullptr || self.over_) {
    throw std::system_error(make_error_code(errc::lost),
                            self.loss_.empty() ? "a rank was lost, and this program cannot be begun again" : self.loss_);
  }
  return self.stay_open(rank);
}

P2PDVM_DECL task<> embedded_rank::stay_open(peal::rank& rank) {
  const peal::port presence = rank.open("presence", parts_->presence);
  if (setting_.opened) setting_.opened(rank);
  try {
    const bool again = co_await rank.restore();
    if (again) co_await wait_for_all(presence);
  } catch (...) {
    if (setting_.closing) setting_.closing();
    throw;
  }
  for (;;) {
    parts_->open.emplace(parts_->ranks.queue());
    rank_ = &rank;
    co_await parts_->open->wait(parts_->token);
    if (work_ == nullptr) break;
    try {
      co_await std::move(*work_);
    } catch (...) {
      failed_ = std::current_exception();
    }
    work_ = nullptr;
  }
  if (setting_.closing) setting_.closing();
  if (!failure_.empty()) throw std::system_error(make_error_code(errc::refused), failure_);
}

P2PDVM_DECL task<> embedded_rank::wait_for_all(peal::port port) {
  const int ranks = port.rank().size();
  if (port.rank().id() == 0) {
    for (int r = 1; r < ranks; ++r) (void)co_await port.receive(r, 0);
    for (int r = 1; r < ranks; ++r) port.post_send(r, 0, payload());
  } else {
    port.post_send(0, 0, payload());
    (void)co_await port.receive(0, 0);
  }
}

P2PDVM_DECL void embedded_rank::note(const event& e) {
  machinery& m = *parts_;
  m.pipe.write(e);
  m.death.on_event(e);
  if (e.kind == event_kind::lost && e.node && m.here && m.here->current_job() != nullptr && loss_.empty()) {
    const checkpoint::job_record& record = m.here->current_job()->record();
    const auto ranks = record.ranks_of(*e.node);
    const checkpoint::member* const who = record.find(*e.node);
    if (!ranks.empty() && who != nullptr)
      loss_ = "rank " + std::to_string(ranks.front().value()) + " (" + who->failure_domain + ") is gone";
  }
  // A rank is rolled back when its coroutine was cancelled: that is never undone here.
  if (e.kind == event_kind::recovering && rank_ != nullptr && !over_) {
    over_ = true;
    if (loss_.empty()) loss_ = "a rank is gone";
    if (m.open) m.open->release();
  }
  if (setting_.event) setting_.event(e);
}

P2PDVM_DECL void embedded_rank::open_gate() {
  const std::lock_guard held(parts_->token);
  if (parts_->open) parts_->open->release();
}

P2PDVM_DECL void embedded_rank::run(task<> work) {
  {
    const std::lock_guard held(parts_->token);
    // Else the coroutine may have gone already, and nobody would take the work.
    if (over_) throw std::system_error(make_error_code(errc::lost), why());
    work_ = &work;
    parts_->open->release();
  }
  // What it waits for ends when the rank is cancelled; then it throws, and is over as well.
  parts_->driver->drive_until([this] { return work_ == nullptr; });
  if (failed_) std::rethrow_exception(std::exchange(failed_, nullptr));
}

P2PDVM_DECL void embedded_rank::spawn(task<> work, std::function<void(std::exception_ptr)> ended) {
  asio::co_spawn(parts_->ranks.get_executor(), std::move(work), std::move(ended));
}

P2PDVM_DECL std::string embedded_rank::why() const {
  if (!loss_.empty()) return loss_;
  if (parts_ && parts_->outcome && !parts_->outcome->ok()) return parts_->outcome->error().message();
  return "the job has ended";
}

P2PDVM_DECL bool embedded_rank::finish() {
  machinery& m = *parts_;
  open_gate();
  m.driver->drive_until([this] { return parts_->may_go || over_; });
  const bool good = !over_;
  end();
  return good;
}

P2PDVM_DECL void embedded_rank::wish() {
  const std::lock_guard held(parts_->token);
  parts_->here->wish();
}

P2PDVM_DECL void embedded_rank::fail(const std::string& sentence) {
  machinery& m = *parts_;
  failure_ = sentence;
  open_gate();
  m.driver->drive_until([this] { return parts_->outcome.has_value() || parts_->may_go; });
}

P2PDVM_DECL void embedded_rank::tell(const event& e) {
  const std::lock_guard held(parts_->token);
  parts_->pipe.write(e);
}

P2PDVM_DECL void embedded_rank::end() {
  machinery& m = *parts_;
  m.driver->end();
  m.frames.reset();
  loss_ = why();
  // A coroutine that did not end waits for what is in here. The process ends soon.
  if (!m.may_go) return static_cast<void>(parts_.release());
  {
    const std::lock_guard held(m.token);
    m.here.reset();
  }
  detail::embedded_here = nullptr;
  parts_.reset();
}

}  // namespace p2pdvm::runtime

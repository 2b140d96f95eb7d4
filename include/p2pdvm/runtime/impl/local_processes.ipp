#pragma once

#include <p2pdvm/runtime/event_frames.hpp>
#include <p2pdvm/runtime/local_profile.hpp>
#include <p2pdvm/runtime/native_process.hpp>
#include <p2pdvm/runtime/reporter.hpp>

#include <fmt/core.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <optional>
#include <vector>

namespace p2pdvm::runtime {

namespace detail {

/// The parent of `--local`: no peer itself, it starts them, listens to their events and reports.
class local_parent {
 public:
  local_parent(const peal::program& program, const command_line& how)
      : program_(program), how_(how), report_({how.quiet, how.json, how.trace, true, how.explain}) {
    folder_ = how.data.empty() ? default_data_folder(program.name()) + "/local" : how.data;
  }

  int run() {
    ::signal(SIGPIPE, SIG_IGN);
    open_signals();
    children_.resize(how_.local);
    start(0);
    if (how_.resume) start_others_with_data();
    while (anybody_runs()) {
      poll_once();
      if (!others_started_ && (!report_.ticket().empty() || (how_.resume && started_))) start_others();
    }
    return conclude();
  }

 private:
  struct child {
    pid_t pid = 0;
    int pipe = -1;
    event_frames frames;
    int status = 0;
    bool running = false, started = false, ended = false;
    std::optional<std::uint64_t> safe_points;  ///< of its slowest rank
    std::string held_up;
    std::string failure;
  };

  void open_signals() {
    sigset_t set;
    sigemptyset(&set);
    for (const int s : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&set, s);
    ::sigprocmask(SIG_BLOCK, &set, nullptr);
    signals_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  }

  address listen_at(std::uint32_t k) const {
    return how_.profile.empty() ? address::loopback(0) : local_profile::address_of(k);
  }

  std::string folder_of(std::uint32_t k) const { return folder_ + "/peer-" + std::to_string(k); }

  bool has_data(std::uint32_t k) const {
    std::error_code ec;
    return std::filesystem::exists(folder_of(k) + "/store", ec);
  }

  std::vector<std::string> arguments(std::uint32_t k) const {
    std::vector<std::string> a = {program_.name(), "--listen", listen_at(k).text(),
                                  "--data", folder_of(k),
                                  "--local-index", std::to_string(k), "--event-fd", "3",
                                  "--threads", std::to_string(how_.threads),
                                  "--shared-memory", how_.shared_memory,
                                  "--checkpoint-every", how_.checkpoint_every,
                                  "--compression", how_.compression,
                                  "--hang-after", how_.hang_after};
    const auto add = [&a](std::initializer_list<std::string> words) { a.insert(a.end(), words); };
    if (how_.quota) add({"--quota", std::to_string(*how_.quota)});
    if (how_.memory_quota) add({"--memory-quota", std::to_string(*how_.memory_quota)});
    if (how_.upload_rate != 0) add({"--upload-rate", std::to_string(how_.upload_rate)});
    if (!how_.profile.empty()) add({"--profile", how_.profile, "--seed", std::to_string(how_.seed)});
    // A job that was imported or forked has begun in the first peer's folder alone.
    const bool joins = how_.resume && k > 0 && !has_data(k) && !report_.ticket().empty();
    if (how_.resume && !joins) {
      add({"--resume"});
    } else if (k == 0) {
      add({"--host", "--ranks", std::to_string(how_.ranks), "--peers", std::to_string(how_.local),
           "--replicas", std::to_string(how_.replicas), "--receipts", how_.receipts});
    } else {
      add({"--join", report_.ticket()});
    }
    add({"--"});
    for (const auto& [name, path] : how_.outputs) add({"--" + name, path});
    if (k == 0 && !how_.resume) {
      for (const auto& [name, value] : how_.program_options) add({"--" + name, value});
      for (const auto& [name, path] : how_.inputs) add({"--" + name, path});
    }
    return a;
  }

  void start(std::uint32_t k) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe");
    const auto words = arguments(k);
    std::vector<char*> argv;
    for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
    argv.push_back(nullptr);
    const pid_t pid = ::fork();
    if (pid < 0) throw std::system_error(errno, std::generic_category(), "fork");
    if (pid == 0) {
      ::setpgid(0, 0);  // Ctrl-C reaches the parent only, which tells the others
      sigset_t none;
      sigemptyset(&none);
      ::sigprocmask(SIG_SETMASK, &none, nullptr);
      if (ends[1] == 3) {
        ::fcntl(3, F_SETFD, 0);
      } else {
        ::dup2(ends[1], 3);
      }
      ::execv("/proc/self/exe", argv.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
    child& c = children_[k];
    c.pid = pid;
    c.pipe = ends[0];
    c.running = true;
    report_.say(fmt::format("peer {} pid {}", k, pid));
  }

  void start_others() {
    others_started_ = true;
    for (std::uint32_t k = 1; k < how_.local; ++k) {
      if (children_[k].pid == 0) start(k);
    }
  }

  void start_others_with_data() {
    others_started_ = true;
    for (std::uint32_t k = 1; k < how_.local; ++k) {
      if (has_data(k)) {
        start(k);
      } else {
        others_started_ = false;
      }
    }
  }

  bool anybody_runs() const {
    for (const child& c : children_) {
      if (c.running || c.pipe >= 0) return true;
    }
    return false;
  }

  void poll_once() {
    std::vector<pollfd> fds = {{signals_, POLLIN, 0}};
    for (const child& c : children_) fds.push_back({c.pipe, POLLIN, 0});
    ::poll(fds.data(), fds.size(), -1);
    for (std::size_t k = 0; k < children_.size(); ++k) {
      if ((fds[k + 1].revents & (POLLIN | POLLHUP)) != 0) read_events(k);
    }
    signalfd_siginfo info;
    while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
      if (info.ssi_signo != SIGCHLD) {
        on_stop_signal();
      } else {
        reap();
      }
    }
    reap();
  }

  void read_events(std::size_t k) {
    child& c = children_[k];
    if (!c.frames.read(c.pipe)) {
      ::close(c.pipe);
      c.pipe = -1;
    }
    while (const std::optional<event> e = c.frames.next()) on_event(k, *e);
  }

  void on_event(std::size_t k, const event& e) {
    if (e.kind == event_kind::progress) {
      children_[k].safe_points = e.count;
      children_[k].held_up = e.text;
      return show_progress();
    }
    if (e.kind == event_kind::started) ranks_ = e.count;
    report_.on_event(e, static_cast<int>(k));
    children_[k].ended |= e.kind == event_kind::done;
    children_[k].started |= e.kind == event_kind::started;
    started_ |= e.kind == event_kind::started;
    if (e.kind != event_kind::failed) return;
    children_[k].failure = e.text;
    if (!children_[k].started) report_.say(fmt::format("peer {} stops: {}", k, e.text));
    if (started_ || how_.resume) return;
    // The job waits for all of them, so it will never start.
    others_started_ = true;
    for (const child& c : children_) {
      if (c.running) ::kill(c.pid, SIGTERM);
    }
  }

  void show_progress() {
    std::size_t running = 0;
    std::optional<std::uint64_t> slowest;
    std::string held_up;
    for (const child& c : children_) {
      if (!c.running) continue;
      if (held_up.empty()) held_up = c.held_up;
      ++running;
      if (c.safe_points) slowest = std::min(slowest.value_or(*c.safe_points), *c.safe_points);
    }
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - began_;
    report_.progress(ranks_, running, report_.committed(), slowest.value_or(0), passed.count(), held_up);
  }

  /// What the run failed of, if it did: a peer that gave up does not matter once others are done,
  /// unless it was done itself and could not write what it should.
  std::string failure(bool done) const {
    for (const child& c : children_) {
      if (!c.failure.empty() && (!done || c.ended)) return c.failure;
    }
    return {};
  }

  void reap() {
    for (std::size_t k = 0; k < children_.size(); ++k) {
      child& c = children_[k];
      int status = 0;
      if (!c.running || ::waitpid(c.pid, &status, WNOHANG) != c.pid) continue;
      c.running = false;
      c.status = status;
      if (WIFSIGNALED(status))
        report_.say(fmt::format("peer {} (pid {}) was killed by signal {}", k, c.pid, WTERMSIG(status)));
    }
  }

  void on_stop_signal() {
    const bool again = std::exchange(stopping_, true);
    for (const child& c : children_) {
      if (c.running) ::kill(c.pid, again ? SIGKILL : SIGTERM);
    }
  }

  int conclude() {
    report_.finish();
    bool done = false;
    for (const child& c : children_) done |= c.ended;
    for (std::size_t k = 0; k < children_.size(); ++k) {
      const child& c = children_[k];
      if (done && c.started && !c.ended && !c.failure.empty())
        report_.say(fmt::format("peer {} stopped before: {}", k, c.failure));
    }
    if (report_.digests_differ()) {
      fmt::print(stderr, "{}: the peers ended with different results: this is a bug in p2pdvm\n", program_.name());
      return 1;
    }
    if (const std::string why = failure(done); !why.empty()) {
      fmt::print(stderr, "{}: {}\n", program_.name(), why);
      return 1;
    }
    if (stopping_ && !done) {
      report_.say(fmt::format("stopped after checkpoint {}; go on with --resume", report_.committed().value()));
      return 130;
    }
    if (!done) {
      fmt::print(stderr, "{}: every peer has ended before the job did; continue with --resume\n", program_.name());
      return 1;
    }
    for (std::size_t k = 0; k < children_.size(); ++k) {
      const child& c = children_[k];
      if (c.ended && WIFEXITED(c.status) && WEXITSTATUS(c.status) != 0) return WEXITSTATUS(c.status);
    }
    if (!how_.json && !report_.digest().empty()) fmt::print("digest: {}\n", report_.digest());
    return 0;
  }

  const peal::program& program_;
  const command_line& how_;
  reporter report_;
  std::string folder_;
  std::vector<child> children_;
  int signals_ = -1;
  bool others_started_ = false, started_ = false, stopping_ = false;
  std::uint64_t ranks_ = 0;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

}  // namespace detail

P2PDVM_DECL int run_local(const peal::program& program, const command_line& how) {
  return detail::local_parent(program, how).run();
}

}  // namespace p2pdvm::runtime

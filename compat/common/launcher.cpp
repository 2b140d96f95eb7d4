#include "launcher.hpp"

#include <p2pdvm/runtime/embedded_rank.hpp>

#include <fmt/core.h>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace p2pdvm::compat {

namespace {

constexpr int code_not_found = 127, code_timed_out = 124;
constexpr unsigned replicas_of_checkpoints = 3;
constexpr int poll_pause = 200;  ///< [ms] between two looks whether the time is over

bool can_run(const std::string& path) {
  std::error_code ec;
  return std::filesystem::is_regular_file(path, ec) && ::access(path.c_str(), X_OK) == 0;
}

/// As a shell finds it; empty when there is none.
std::string found_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return can_run(name) ? name : std::string();
  const char* const path = std::getenv("PATH");
  std::istringstream folders(path != nullptr ? path : "/bin:/usr/bin");
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string whole = (folder.empty() ? "." : folder) + "/" + name;
    if (can_run(whole)) return whole;
  }
  return can_run("./" + name) ? "./" + name : std::string();
}

void check(bool holds, const char* what) {
  if (!holds) throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

void launcher::say(const std::string& sentence) const { fmt::print(stderr, "{}: {}\n", of_.launcher, sentence); }

std::string launcher::name_of(std::size_t k) const {
  const std::string name = std::filesystem::path(program_).filename().string();
  if (how_.processes == 1) return name;
  return children_[k].rank ? fmt::format("{} (rank {})", name, *children_[k].rank) : fmt::format("{} (process {})", name, k);
}

std::vector<std::string> launcher::settings(std::size_t k) const {
  std::vector<std::string> words = {"--data", fmt::format("{}/peer-{}", folder_, k), "--checkpoint-every", "off",
                                    "--shared-memory", how_.shared_memory, "--event-fd", std::to_string(children_[k].channel)};
  const auto add = [&words](std::initializer_list<std::string> more) { words.insert(words.end(), more); };
  const bool far = how_.host || !how_.join.empty();
  if (!far) {
    // All are processes of this computer: they fail one by one, and hear of each other at once.
    add({"--local-index", std::to_string(k)});
    if (!how_.profile.empty()) {
      add({"--profile", how_.profile, "--seed", how_.seed, "--listen", fmt::format("127.77.{}.{}:0", 1 + k / 250, 1 + k % 250)});
    } else {
      add({"--listen", "127.0.0.1:0"});
    }
  } else if (!how_.listen.empty()) {
    add({"--listen", how_.listen});
  }
  if (resumes_) {
    add({"--resume"});
  } else if (!how_.join.empty()) {
    add({"--join", how_.join});
  } else if (k > 0) {
    add({"--join", "-"});
  } else {
    const std::string ranks = std::to_string(how_.ranks);
    const bool kept = !how_.data.empty() || how_.restart_on_loss;
    const std::string replicas = std::to_string(kept ? std::min(how_.ranks, replicas_of_checkpoints) : 1);
    add({"--host", "--ranks", ranks, "--peers", ranks, "--replicas", replicas, "--receipts", kept ? "disk" : "memory"});
  }
  return words;
}

void launcher::start(std::size_t k) {
  int ends[2];
  check(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0, "socketpair");
  child& c = children_[k];
  c.channel = ends[1];
  std::string text;
  for (const std::string& word : settings(k)) text += word + "\n";
  std::vector<char*> argv;
  for (const std::string& word : how_.command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t pid = ::fork();
  check(pid >= 0, "fork");
  if (pid == 0) {
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::fcntl(ends[1], F_SETFD, 0);
    if (k > 0) {  // what is typed is for the first
      if (const int nothing = ::open("/dev/null", O_RDONLY); nothing >= 0) ::dup2(nothing, 0), ::close(nothing);
    }
    ::setenv(runtime::embedded_variable, text.c_str(), 1);
    ::execv(program_.c_str(), argv.data());
    say(fmt::format("'{}' cannot be started: {}", program_, std::strerror(errno)));
    ::_exit(code_not_found);
  }
  ::close(ends[1]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);
  c.channel = ends[0];
  c.pid = pid;
  c.running = true;
}

int launcher::run() {
  program_ = found_program(how_.command.front());
  if (program_.empty()) {
    say(fmt::format("there is no program '{}' that can be run", how_.command.front()));
    return code_not_found;
  }
  make_folder();
  resumes_ = how_.restart;
  ::signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  for (const int s : {SIGINT, SIGTERM, SIGHUP, SIGCHLD}) sigaddset(&set, s);
  ::sigprocmask(SIG_BLOCK, &set, nullptr);
  signals_ = ::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
  if (how_.timeout != 0) ends_ = std::chrono::steady_clock::now() + std::chrono::seconds(how_.timeout);
  start_all();
  for (;;) {
    while (anybody_runs()) poll_once();
    if (!std::exchange(restarting_, false) || failed_) break;
    resumes_ = true;
    begun_from_ = committed_;
    start_all();
  }
  const int code = conclude();
  if (how_.data.empty()) {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }
  return code;
}

void launcher::start_all() {
  children_.clear();
  children_.resize(how_.processes);
  for (std::size_t k = 0; k < children_.size(); ++k) start(k);
}

void launcher::make_folder() {
  if (how_.data.empty()) {
    const char* const base = std::getenv("TMPDIR");
    folder_ = (base != nullptr ? std::string(base) : "/tmp") + "/p2pdvm-launch-XXXXXX";
    return check(::mkdtemp(folder_.data()) != nullptr, "mkdtemp");
  }
  folder_ = how_.data;
  const auto peer_folders = [this] {
    std::size_t n = 0;
    std::error_code ec;
    while (std::filesystem::is_directory(fmt::format("{}/peer-{}", folder_, n), ec)) ++n;
    return n;
  };
  const std::size_t there = peer_folders();
  if (how_.restart && there == 0) throw std::runtime_error(fmt::format("there is no job in '{}' to be restarted", folder_));
  if (how_.restart && there != how_.processes)
    throw std::runtime_error(fmt::format("the job in '{}' has {} processes here, and -n says {}", folder_, there, how_.processes));
  if (!how_.restart && there != 0)
    throw std::runtime_error(fmt::format("'{}' has a job already: go on with it by --restart, or name another folder", folder_));
  std::filesystem::create_directories(folder_);
}

bool launcher::anybody_runs() const {
  for (const child& c : children_) {
    if (c.running || c.channel >= 0) return true;
  }
  return false;
}

void launcher::poll_once() {
  std::vector<pollfd> fds = {{signals_, POLLIN, 0}};
  for (const child& c : children_) fds.push_back({c.channel, POLLIN, 0});
  if (::poll(fds.data(), fds.size(), how_.timeout == 0 ? -1 : poll_pause) == 0 && std::chrono::steady_clock::now() >= ends_)
    return fail(code_timed_out, fmt::format("ended after {} s, as --timeout or {} says", how_.timeout, of_.timeout));
  for (std::size_t k = 0; k < children_.size(); ++k) {
    child& c = children_[k];
    if ((fds[k + 1].revents & (POLLIN | POLLHUP)) == 0) continue;
    if (!c.frames.read(c.channel)) {
      ::close(c.channel);
      c.channel = -1;
    }
    while (const auto e = c.frames.next()) on_event(k, *e);
  }
  signalfd_siginfo info;
  while (::read(signals_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    if (info.ssi_signo != SIGCHLD) fail(128 + static_cast<int>(info.ssi_signo), {});
  }
  reap();
}

void launcher::on_event(std::size_t k, const runtime::event& e) {
  child& c = children_[k];
  c.begun = true;
  if (e.kind == runtime::event_kind::ticket && k == 0 && how_.join.empty()) on_ticket(e.text);
  if (e.kind == runtime::event_kind::rank_started && e.rank) c.rank = e.rank->value();
  if (e.kind == runtime::event_kind::done) c.done = true;
  if (e.kind == runtime::event_kind::committed) committed_ = std::max(committed_, e.epoch.value());
  if (e.kind == runtime::event_kind::recovering && c.rank) c.rolled_back = true;
  if (e.kind == runtime::event_kind::failed) c.explained = true;
}

void launcher::on_ticket(const std::string& ticket) {
  if (std::exchange(told_ticket_, true)) return;
  const std::string line = ticket + "\n";
  for (std::size_t k = 1; k < children_.size(); ++k) {
    if (children_[k].channel >= 0) (void)!::write(children_[k].channel, line.data(), line.size());
  }
  if (!how_.host) return;
  if (!how_.quiet) say(fmt::format("on other computers: {} -n N --join TICKET PROGRAM, with this ticket:", of_.launcher));
  fmt::print(stderr, "{}\n", ticket);
}

void launcher::reap() {
  for (std::size_t k = 0; k < children_.size(); ++k) {
    child& c = children_[k];
    if (!c.running || ::waitpid(c.pid, &c.status, WNOHANG) != c.pid) continue;
    c.running = false;
    if (c.channel >= 0) {  // its last words
      (void)c.frames.read(c.channel);
      while (const auto e = c.frames.next()) on_event(k, *e);
      ::close(c.channel);
      c.channel = -1;
    }
    on_exit(k);
  }
}

void launcher::on_exit(std::size_t k) {
  const child& c = children_[k];
  if (failed_ || restarting_) return;
  if (WIFSIGNALED(c.status)) {
    const int which = WTERMSIG(c.status);
    const std::string sentence = fmt::format("{} was ended by signal {} ({})", name_of(k), which, ::strsignal(which));
    return begins_again(sentence) ? void() : fail(128 + which, sentence);
  }
  const int code = WEXITSTATUS(c.status);
  if (c.rolled_back && code != 0 && begins_again(fmt::format("{} has lost another rank", name_of(k)))) return;
  if (c.done) {
    if (code_ == 0) code_ = code;
    return;
  }
  if (code != 0 || c.explained) {
    const bool silent = c.explained || code == code_not_found;
    return fail(code, silent ? std::string() : fmt::format("{} ended with code {}{}{}", name_of(k), code, c.begun ? " before " : "", c.begun ? of_.ends : ""));
  }
  if (c.begun) return fail(1, fmt::format("{} ended without calling {}", name_of(k), of_.ends));
  for (std::size_t other = 0; other < children_.size(); ++other) {
    if (children_[other].begun)
      return fail(1, fmt::format("{} ended without calling {}, and others wait for it", name_of(k), of_.begins));
  }
}

void launcher::fail(int code, const std::string& sentence) {
  if (std::exchange(failed_, true)) return;
  code_ = code;
  if (!sentence.empty()) say(sentence);
  end_all();
}

bool launcher::begins_again(const std::string& sentence) {
  if (!how_.restart_on_loss) return false;
  if (committed_ <= begun_from_) {
    say(fmt::format("there is no checkpoint since {}, so that all would happen again", resumes_ ? "they began again" : "the beginning"));
    return false;
  }
  say(fmt::format("{}; all begin again at checkpoint {}", sentence, committed_));
  restarting_ = true;
  end_all();
  return true;
}

void launcher::end_all() {
  for (const child& c : children_) {
    if (c.running) ::kill(c.pid, SIGKILL);
  }
}

int launcher::conclude() {
  bool begun = false;
  for (const child& c : children_) begun = begun || c.begun;
  if (!failed_ && !begun)
    say(fmt::format("{} never called {}: it ran {}", std::filesystem::path(program_).filename().string(), of_.begins,
                    children_.size() == 1 ? "by itself" : fmt::format("{} times, each by itself", children_.size())));
  return code_;
}

int launch(const environment& of, int argc, char** argv) {
  options how;
  if (const auto stop = parse(of, argc, argv, how)) {
    fmt::print(stop->code == 0 ? stdout : stderr, "{}", stop->text);
    return stop->code;
  }
  try {
    return launcher(of, std::move(how)).run();
  } catch (const std::exception& e) {
    fmt::print(stderr, "{}: {}\n", of.launcher, e.what());
    return 1;
  }
}

}  // namespace p2pdvm::compat

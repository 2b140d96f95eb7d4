#include "runs.hpp"

#include <p2pdvm/runtime/job_spec.hpp>

#include <asio/post.hpp>

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <system_error>

namespace p2pdvm::bench {

temporary_folder::temporary_folder() {
  path_ = (std::filesystem::temp_directory_path() / "p2pdvm-bench-XXXXXX").string();
  if (::mkdtemp(path_.data()) == nullptr)
    throw std::system_error(errno, std::generic_category(), "cannot make a folder '" + path_ + "'");
}

temporary_folder::~temporary_folder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

embedded_run::embedded_run(const peal::program& program, options how, runtime::event_sink watch)
    : options_(std::move(how)),
      watch_(std::move(watch)),
      machine_(io_, {folder_.path()}),
      driver_(io_, ranks_, token_, {.polled = &machine_.polled(), .helped = machine_.workers()}) {
  runtime::peer_setting setting;
  setting.checkpoint_interval = options_.checkpoint_interval;
  setting.platform = runtime::platform_probe();
  setting.failure_domain = "this process";
  runtime::peer::callbacks call;
  call.event = [this](const runtime::event& e) {
    if (e.kind == runtime::event_kind::started) started_ = steady::now();
    if (watch_) watch_(e);
  };
  call.ended = [this](const result<runtime::job_results>& r) {
    seconds_ = std::chrono::duration<double>(steady::now() - started_).count();
    outcome_ = r;
  };
  call.may_go = [this] { driver_.stop(); };
  const std::lock_guard held(token_);
  peer_.emplace(machine_, ranks_, token_, program, setting, call);
}

embedded_run::~embedded_run() {
  const std::lock_guard held(token_);
  peer_.reset();
}

runtime::job_results embedded_run::run() {
  {
    const std::lock_guard held(token_);
    auto begun = peer_->open();
    if (begun.ok()) {
      runtime::peer::job_request request;
      request.ranks = options_.ranks;
      request.receipts = options_.receipts;
      request.options = options_.program_options;
      begun = peer_->make_job(std::move(request));
    }
    if (!begun.ok()) throw std::runtime_error(begun.error().message());
  }
  driver_.run();
  if (!outcome_) throw std::runtime_error("the peer stopped before the job ended");
  if (!outcome_->ok()) throw std::runtime_error(outcome_->error().message());
  return **outcome_;
}

void embedded_run::wish() {
  // What the context runs, the driver runs with the token held.
  asio::post(io_, [this] { peer_->wish(); });
}

process::process(const std::string& argv0, const std::vector<std::string>& arguments) {
  std::vector<std::string> words = {argv0};
  words.insert(words.end(), arguments.begin(), arguments.end());
  start("/proc/self/exe", words);
}

process::process(const std::vector<std::string>& words) : gentle_(true) {
  start(words.at(0).c_str(), words);
}

void process::start(const char* executable, const std::vector<std::string>& words) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    throw std::system_error(errno, std::generic_category(), "pipe");
  std::vector<char*> argv;
  for (const std::string& w : words) argv.push_back(const_cast<char*>(w.c_str()));
  argv.push_back(nullptr);
  pid_ = ::fork();
  if (pid_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (pid_ == 0) {
    ::dup2(ends[1], STDOUT_FILENO);
    ::execvp(executable, argv.data());
    ::_exit(127);
  }
  ::close(ends[1]);
  output_ = ends[0];
}

process::~process() {
  if (output_ >= 0) ::close(output_);
  if (pid_ <= 0) return;
  if (gentle_) {
    ::kill(pid_, SIGTERM);
    for (int i = 0; i < 200; ++i) {
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) return;
      ::poll(nullptr, 0, 10);
    }
  }
  ::kill(pid_, SIGKILL);  // its peers have asked to die with it
  ::waitpid(pid_, nullptr, 0);
}

std::optional<int> process::wait(std::chrono::seconds limit,
                                 const std::function<void(std::string_view)>& line,
                                 const std::function<void()>& tick) {
  const auto end = std::chrono::steady_clock::now() + limit;
  std::string pending;
  for (;;) {
    if (std::chrono::steady_clock::now() >= end) return std::nullopt;
    pollfd ready{output_, POLLIN, 0};
    const bool readable = ::poll(&ready, 1, 5) > 0;
    if (tick) tick();
    if (!readable) continue;
    char block[4096];
    const ssize_t n = ::read(output_, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    pending.append(block, static_cast<std::size_t>(n));
    for (std::size_t at = 0; (at = pending.find('\n')) != std::string::npos;) {
      if (line) line(std::string_view(pending).substr(0, at));
      pending.erase(0, at + 1);
    }
  }
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> lines;
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace p2pdvm::bench

#include "c_program.hpp"

#include <fmt/core.h>

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <system_error>
#include <utility>

namespace p2pdvm::compat {

namespace {

std::string made_folder(const std::string& interface) {
  const char* const base = std::getenv("TMPDIR");
  std::string name = fmt::format("{}/p2pdvm-{}-XXXXXX", base != nullptr ? base : "/tmp", interface);
  if (::mkdtemp(name.data()) == nullptr)
    throw std::system_error(make_error_code(errc::io), "no folder can be made like " + name);
  return name;
}

}  // namespace

void c_program::begin(setting s) {
  runtime::embedded_rank::setting how;
  how.program = s.name;
  auto told = runtime::embedded_command_line(s.name);
  if (!told.ok()) throw std::system_error(make_error_code(told.error().code()), told.error().message());
  if (*told) {
    how.how = std::move(**told);
  } else {
    how.how.data = own_folder_ = made_folder(s.name);
  }
  how.how.checkpoint_every = "off";
  event_fd_ = how.how.event_fd;
  how.one_thread = s.one_thread;
  how.opened = std::move(s.opened);
  how.closing = std::move(s.closing);
  here_.emplace(std::move(how));
}

std::optional<std::string> c_program::end() {
  std::optional<std::string> why;
  if (!here_->finish()) why = here_->why();
  here_.reset();
  remove_own_folder();
  return why;
}

void c_program::abort(int code, const std::string& sentence) {
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
  remove_own_folder();
  ::_exit(code);
}

void c_program::remove_own_folder() {
  if (own_folder_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(own_folder_, ignored);
  own_folder_.clear();
}

}  // namespace p2pdvm::compat

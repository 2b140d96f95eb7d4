#include "c_program.hpp"

#include <p2pdvm/runtime/native_driver.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <fmt/core.h>

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace p2pdvm::compat {

namespace {

constexpr std::size_t name_bytes_max = 64;
/// By which ranks that attend are told of an epoch, or that they are dismissed.
constexpr std::int64_t attending_tag = -1;
constexpr std::uint64_t dismissed = ~std::uint64_t{0};

std::string made_folder(const std::string& interface) {
  const char* const base = std::getenv("TMPDIR");
  std::string name = fmt::format("{}/p2pdvm-{}-XXXXXX", base != nullptr ? base : "/tmp", interface);
  if (::mkdtemp(name.data()) == nullptr)
    throw std::system_error(make_error_code(errc::io), "no folder can be made like " + name);
  return name;
}

[[noreturn]] void refuse(const std::string& sentence) { throw std::system_error(make_error_code(errc::misuse), sentence); }

}  // namespace

// --- named_memory ---

void named_memory::name(const std::string& name, void* memory, std::size_t bytes) {
  if (name.empty() || name.size() > name_bytes_max) refuse(fmt::format("a name has 1 to {} bytes, and '{}' has {}", name_bytes_max, name, name.size()));
  if (bytes == 0) {
    named_.erase(name);
  } else if (memory == nullptr) {
    refuse(fmt::format("'{}' is NULL with a size of {} bytes", name, bytes));
  } else {
    named_[name] = {static_cast<std::byte*>(memory), bytes};
  }
}

bool named_memory::restore() {
  if (!saved_) return false;
  for (const auto& [name, memory] : named_) {
    const auto found = saved_->find(name);
    if (found == saved_->end()) refuse(fmt::format("the checkpoint has nothing that is named '{}'", name));
    if (found->second.size() != memory.size())
      refuse(fmt::format("'{}' has {} bytes, and {} in the checkpoint", name, memory.size(), found->second.size()));
  }
  for (const auto& [name, memory] : named_) std::memcpy(memory.data(), saved_->at(name).data(), memory.size());
  return true;
}

byte_vector named_memory::save() const {
  std::map<std::string, payload> all;
  for (const auto& [name, memory] : named_) all.emplace(name, payload::copy_of(memory));
  return wire::encode(all);
}

void named_memory::load(byte_view saved) {
  auto decoded = wire::decode<std::map<std::string, payload>>(saved);
  if (!decoded.ok()) throw std::system_error(make_error_code(errc::corrupted), "the program's memory in the checkpoint cannot be read");
  saved_ = std::move(*decoded);
}

// --- c_program ---

std::string sentence_of(const std::exception& e) {
  std::string why = e.what();
  if (const auto* const known = dynamic_cast<const std::system_error*>(&e)) {
    const std::string kind = ": " + known->code().message();
    if (why.ends_with(kind)) why.resize(why.size() - kind.size());
  }
  return why;
}

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
  how.opened = [this, opened = std::move(s.opened)](peal::rank& rank) {
    port_ = rank.open("memory", memory_);
    if (opened) opened(rank);
  };
  how.closing = std::move(s.closing);
  how.event = [this](const runtime::event& e) { note(e); };
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

void c_program::note(const runtime::event& e) {
  if (e.kind == runtime::event_kind::committed) committed_ = std::max(committed_, e.epoch);
  if (e.kind == runtime::event_kind::abandoned) given_up_ = std::max(given_up_, e.epoch);
}

/// All come to it, and then the first one wishes for the epoch that all of them cut for here.
task<epoch_number> c_program::cut(int ranks) {
  peal::rank& self = rank();
  const std::int64_t number = cuts_++;
  std::uint64_t wished = 0;
  if (self.id() == 0) {
    for (int r = 1; r < ranks; ++r) (void)co_await port_.receive(r, number);
    here_->wish();
    wished = self.wished().value();
    const payload told = payload::copy_of(bytes_of(wished));
    for (int r = 1; r < self.size(); ++r) port_.post_send(r, r < ranks ? number : attending_tag, told);
  } else {
    port_.post_send(0, number, payload());
    const peal::message told = co_await port_.receive(0, number);
    if (told.body().size() == sizeof wished) std::memcpy(&wished, told.body().data(), sizeof wished);
  }
  co_await self.safe_point_together(epoch_number(wished));
  co_return epoch_number(wished);
}

task<> c_program::attending() {
  for (;;) {
    std::uint64_t wished = dismissed;
    const peal::message told = co_await port_.receive(0, attending_tag);
    if (told.body().size() == sizeof wished) std::memcpy(&wished, told.body().data(), sizeof wished);
    if (wished == dismissed) co_return;
    co_await rank().safe_point_together(epoch_number(wished));
  }
}

void c_program::attend() { here_->run(attending()); }

void c_program::dismiss(int first) {
  const auto dismissing = [](c_program& self, int from) -> task<> {
    for (int r = from; r < self.rank().size(); ++r) co_await self.port_.send(r, attending_tag, bytes_of(dismissed));
  };
  if (first < rank().size()) here_->run(dismissing(*this, first));
}

std::uint64_t c_program::checkpoint(int ranks) {
  epoch_number epoch;
  const auto run = [](task<epoch_number> work, epoch_number& into) -> task<> { into = co_await std::move(work); };
  here_->run(run(cut(ranks), epoch));
  if (epoch == epoch_number()) return 0;
  here_->driver().drive_until([&] { return committed_ >= epoch || given_up_ >= epoch || here_->over(); });
  if (here_->over()) throw std::system_error(make_error_code(errc::lost), here_->why());
  return committed_ >= epoch ? epoch.value() : 0;
}

void c_program::remove_own_folder() {
  if (own_folder_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(own_folder_, ignored);
  own_folder_.clear();
}

}  // namespace p2pdvm::compat

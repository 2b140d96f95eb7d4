/// What a user names on the command line, opened; and how things are written for people.
#include "commands.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <filesystem>

namespace p2pdvm::tools {

result<named_holders> named_holders::open(const std::vector<std::string>& names) {
  named_holders all;
  for (const std::string& name : names) {
    std::error_code ec;
    if (std::filesystem::is_regular_file(name, ec)) {
      auto opened = runtime::native_file::open(name, false);
      if (!opened.ok()) return opened.error();
      auto file = runtime::job_file::open((*opened)->file(), name);
      if (!file.ok()) return file.error();
      all.files_.push_back(std::move(*opened));
      all.holders_.push_back(std::move(*file));
      continue;
    }
    auto folders = runtime::peer_folders(name);
    if (!folders.ok()) return folders.error();
    for (const std::string& folder : *folders) {
      auto locked = runtime::native_folder::read(folder);
      if (!locked.ok()) return locked.error();
      auto files = runtime::peer_files::open((*locked)->disk());
      if (!files.ok()) return files.error();
      all.folders_.push_back(std::move(*locked));
      all.holders_.push_back(std::move(*files));
    }
  }
  return all;
}

std::vector<runtime::job_holder*> named_holders::all() const {
  std::vector<runtime::job_holder*> list;
  for (const auto& h : holders_) list.push_back(h.get());
  return list;
}

std::string date_text(const std::optional<unix_seconds>& when) {
  if (!when) return "-";
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::localtime(static_cast<std::time_t>(*when)));
}

std::string count_text(std::uint64_t count, const std::string& what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

const char* state_text(checkpoint::job_state state) {
  switch (state) {
    case checkpoint::job_state::forming: return "waits for peers";
    case checkpoint::job_state::running: return "unfinished";
    case checkpoint::job_state::done: return "done";
    case checkpoint::job_state::failed: return "failed";
  }
  return "unknown";
}

}  // namespace p2pdvm::tools

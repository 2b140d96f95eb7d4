/// What a user names on the command line, opened; and how things are written for people.
#include "commands.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <ctime>
#include <filesystem>

namespace p2pdvm::tools {

namespace {

/// "job" of "job.2of6"; other names as they are.
std::string stem_of_part(const std::string& name) {
  const std::size_t of = name.rfind("of"), dot = name.rfind('.');
  if (of == std::string::npos || dot == std::string::npos || dot > of) return name;
  const std::string numbers = name.substr(dot + 1, of - dot - 1) + name.substr(of + 2);
  return numbers.find_first_not_of("0123456789") == std::string::npos ? name.substr(0, dot) : name;
}

bool is_beside_its_parts(const std::string& name) {
  const std::filesystem::path path(name);
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(path.has_parent_path() ? path.parent_path() : ".", ec)) {
    const std::string there = entry.path().filename().string();
    if (there != path.filename() && stem_of_part(there) == path.filename()) return true;
  }
  return false;
}

}  // namespace

result<named_holders> named_holders::open(const std::vector<std::string>& names) {
  named_holders all;
  std::vector<store::coded_file::part> parts;
  for (const std::string& name : names) {
    std::error_code ec;
    if (std::filesystem::is_regular_file(name, ec)) {
      auto opened = runtime::native_file::open(name, false);
      if (!opened.ok()) return opened.error();
      host::file& file = (*opened)->file();
      all.files_.push_back(std::move(*opened));
      if (store::coded_file::is_part(file)) {
        parts.push_back({name, &file});
      } else if (auto r = all.add_file(std::make_unique<store::file_source>(file), name); !r.ok()) {
        return r.error();
      }
      continue;
    }
    if (!std::filesystem::exists(name, ec) && is_beside_its_parts(name))
      return error(errc::not_found, "'" + name + "' is in parts: name these, '" + name + ".1of…' and so on");
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
  if (parts.empty()) return all;
  const std::string first = parts.front().name;
  auto coded = store::coded_file::open(std::move(parts));
  if (!coded.ok()) return coded.error();
  all.coded_ = coded->get();
  if (auto r = all.add_file(std::move(*coded), stem_of_part(first)); !r.ok()) return r.error();
  return all;
}

result<> named_holders::add_file(std::unique_ptr<store::byte_source> source, const std::string& name) {
  auto file = runtime::job_file::open(*source, name);
  if (!file.ok()) return file.error();
  sources_.push_back(std::move(source));
  holders_.push_back(std::move(*file));
  return {};
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

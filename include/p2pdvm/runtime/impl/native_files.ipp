#pragma once

#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/runtime/native_files.hpp>

#include <asio/io_context.hpp>

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>
#include <utility>

namespace p2pdvm::runtime {

struct native_folder::parts {
  explicit parts(const std::string& folder) : machine(io, {folder}) {}
  asio::io_context io;
  native::machine machine;
};

P2PDVM_DECL native_folder::native_folder() = default;
P2PDVM_DECL native_folder::~native_folder() = default;

P2PDVM_DECL result<std::unique_ptr<native_folder>> native_folder::read(const std::string& folder) {
  std::error_code ec;
  if (!std::filesystem::is_directory(folder, ec))
    return error(errc::not_found, "there is no folder '" + folder + "'");
  std::unique_ptr<native_folder> here(new native_folder);
  if (auto r = here->lock_.share(folder); !r.ok()) return r.error();
  here->parts_ = std::make_unique<parts>(folder);
  return here;
}

P2PDVM_DECL result<std::unique_ptr<native_folder>> native_folder::look(const std::string& folder) {
  auto here = read(folder);
  if (here.ok() || here.error().code() != errc::conflict) return here;
  std::unique_ptr<native_folder> used(new native_folder);
  used->in_use_ = true;
  used->parts_ = std::make_unique<parts>(folder);
  return used;
}

P2PDVM_DECL result<std::unique_ptr<native_folder>> native_folder::write(const std::string& folder) {
  std::unique_ptr<native_folder> here(new native_folder);
  if (auto r = here->lock_.take(folder); !r.ok()) return r.error();
  here->parts_ = std::make_unique<parts>(folder);
  return here;
}

P2PDVM_DECL host::disk& native_folder::disk() { return parts_->machine.disk(); }
P2PDVM_DECL host::entropy& native_folder::entropy() { return parts_->machine.entropy(); }
P2PDVM_DECL host::clock& native_folder::clock() { return parts_->machine.clock(); }

P2PDVM_DECL result<> native_folder::wait(const std::function<void(std::function<void(result<>)>)>& begin) {
  std::optional<result<>> outcome;
  begin([&outcome](result<> r) { outcome = std::move(r); });
  parts_->io.restart();
  while (!outcome && parts_->io.run_one() > 0) {
  }
  return outcome.value_or(error(errc::io, "the disk gave no answer"));
}

P2PDVM_DECL native_file::native_file() = default;
P2PDVM_DECL native_file::~native_file() = default;

P2PDVM_DECL result<std::unique_ptr<native_file>> native_file::open(const std::string& path, bool create) {
  const std::filesystem::path where(path);
  std::error_code ec;
  if (create && std::filesystem::exists(where, ec))
    return error(errc::conflict, "'" + path + "' exists already; remove it or choose another name");
  if (!create && std::filesystem::is_directory(where, ec))
    return error(errc::io, "'" + path + "' is a folder, not a file");
  if (!create && !std::filesystem::exists(where, ec))
    return error(errc::not_found, "there is no file '" + path + "'");
  const std::string folder = where.has_parent_path() ? where.parent_path().string() : std::string(".");
  std::unique_ptr<native_file> here(new native_file);
  here->folder_.reset(new native_folder);
  here->folder_->parts_ = std::make_unique<native_folder::parts>(folder);
  auto file = here->folder_->disk().open(where.filename().string(), create);
  if (!file.ok()) return file.error();
  here->file_ = std::move(*file);
  return here;
}

P2PDVM_DECL result<> native_file::sync() {
  return folder_->wait([this](std::function<void(result<>)> done) { file_->sync(std::move(done)); });
}

P2PDVM_DECL result<std::vector<std::string>> peer_folders(const std::string& folder) {
  namespace fs = std::filesystem;
  std::vector<std::string> found;
  std::error_code ec;
  if (!fs::is_directory(folder, ec)) return error(errc::not_found, "there is no folder '" + folder + "'");
  constexpr int levels = 2;
  for (auto at = fs::recursive_directory_iterator(folder, fs::directory_options::skip_permission_denied, ec);
       !ec && at != fs::recursive_directory_iterator(); at.increment(ec)) {
    std::error_code ignored;
    if (!at->is_directory(ignored)) continue;
    if (at->path().filename() == "store") found.push_back(at->path().parent_path().string());
    if (at->path().filename() == "store" || at.depth() >= levels) at.disable_recursion_pending();
  }
  if (ec) return error(errc::io, "cannot look into '" + folder + "': " + ec.message());
  if (found.empty())
    return error(errc::not_found, "'" + folder + "' holds no data of a peer, nor do folders in it");
  std::sort(found.begin(), found.end());
  return found;
}

P2PDVM_DECL std::string machine_name() {
  std::ifstream id("/etc/machine-id");
  std::string text;
  if (id >> text && text.size() <= checkpoint::failure_domain_bytes_max) return text;
  char name[256] = {};
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace p2pdvm::runtime

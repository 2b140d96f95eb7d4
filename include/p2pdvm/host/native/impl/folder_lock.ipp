#pragma once

#include <p2pdvm/host/native/folder_lock.hpp>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace p2pdvm::native {

P2PDVM_DECL result<> folder_lock::take(const std::string& folder) {
  std::error_code ec;
  std::filesystem::create_directories(folder, ec);
  if (ec) return error(errc::io, "cannot make the data folder '" + folder + "': " + ec.message());
  ::chmod(folder.c_str(), 0700);
  file_ = detail::descriptor(::open((folder + "/lock").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  if (!file_.ok())
    return error(errc::io, "cannot write to the data folder '" + folder + "': " + std::strerror(errno));
  if (::flock(file_.get(), LOCK_EX | LOCK_NB) == 0) return {};
  return error(errc::conflict, "the data folder '" + folder +
                                   "' is used by another process; choose another with --data");
}

P2PDVM_DECL result<> folder_lock::share(const std::string& folder) {
  file_ = detail::descriptor(::open((folder + "/lock").c_str(), O_RDONLY | O_CLOEXEC));
  if (!file_.ok() && errno == ENOENT) return {};
  if (!file_.ok()) return error(errc::io, "cannot read '" + folder + "/lock': " + std::strerror(errno));
  if (::flock(file_.get(), LOCK_SH | LOCK_NB) == 0) return {};
  if (errno != EWOULDBLOCK)
    return error(errc::io, "cannot lock '" + folder + "/lock': " + std::strerror(errno));
  return error(errc::conflict,
               "a running peer uses the data folder '" + folder + "'; stop it first, with Ctrl-C");
}

}  // namespace p2pdvm::native

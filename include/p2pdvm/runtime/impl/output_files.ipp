#pragma once

#include <p2pdvm/runtime/output_files.hpp>

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace p2pdvm::runtime {

namespace detail {

/// For others that write the same file, at the end.
inline constexpr int output_lock_tries = 1500, output_lock_pause_ms = 20;

inline error output_error(const std::string& name, const std::string& path, int why) {
  const errc code = why == ENOSPC || why == EDQUOT ? errc::no_space : errc::io;
  return error(code, "--" + name + ": cannot write '" + path + "': " + std::strerror(why));
}

/// Bytes of the file from `at` on that are as here; less than all where it ends or differs.
inline result<std::size_t> same_bytes(int fd, std::uint64_t at, byte_view bytes) {
  std::size_t same = 0;
  std::byte block[1 << 16];
  while (same < bytes.size()) {
    const ssize_t n = ::pread(fd, block, std::min(sizeof block, bytes.size() - same), static_cast<off_t>(at + same));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return error(errc::io);
    if (n == 0) break;
    const auto* const end = std::mismatch(block, block + n, bytes.data() + same).first;
    same += static_cast<std::size_t>(end - block);
    if (end != block + n) break;
  }
  return same;
}

}  // namespace detail

P2PDVM_DECL output_files::output_files(const std::map<std::string, std::string>& paths) {
  for (const auto& [name, path] : paths) {
    places_[name].path = path;
    names_.insert(name);
  }
}

P2PDVM_DECL output_files::~output_files() {
  for (auto& [name, p] : places_) close(p);
}

P2PDVM_DECL void output_files::close(place& p) {
  if (p.fd >= 0) ::close(std::exchange(p.fd, -1));
}

P2PDVM_DECL result<bool> output_files::lock(const std::string& name, place& p, patience wait) {
  if (p.fd >= 0) return true;
  const int fd = ::open(p.path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
  if (fd < 0) return detail::output_error(name, p.path, errno);
  struct stat is {};
  if (::fstat(fd, &is) != 0 || !S_ISREG(is.st_mode)) {
    ::close(fd);
    return error(errc::io, "--" + name + ": '" + p.path + "' is not a file that can be written piece by piece");
  }
  for (int tries = wait == patience::some ? detail::output_lock_tries : 1; tries > 0; --tries) {
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) {
      p.fd = fd;
      return true;
    }
    if (errno != EWOULDBLOCK && errno != EINTR) break;
    if (tries > 1) ::poll(nullptr, 0, detail::output_lock_pause_ms);
  }
  const int why = errno;
  ::close(fd);
  if (why == EWOULDBLOCK || why == EINTR) return false;
  return detail::output_error(name, p.path, why);
}

P2PDVM_DECL bool output_files::mine(const std::string& name) {
  const auto locked = lock(name, places_.at(name), patience::none);
  return !locked.ok() || *locked;  // then the write says what is wrong
}

P2PDVM_DECL result<> output_files::put(const std::string& name, place& p, std::uint64_t at, byte_view bytes) {
  struct stat is {};
  if (::fstat(p.fd, &is) != 0) return detail::output_error(name, p.path, errno);
  if (is.st_nlink == 0 || static_cast<std::uint64_t>(is.st_size) < at) {
    close(p);
    return error(errc::conflict, "--" + name + ": somebody has removed or shortened '" + p.path + "'; it is written again");
  }
  std::size_t same = 0;
  if (static_cast<std::uint64_t>(is.st_size) > at) {
    const auto compared = detail::same_bytes(p.fd, at, bytes);
    if (!compared.ok()) return detail::output_error(name, p.path, errno);
    same = *compared;
    if (at + same < static_cast<std::uint64_t>(is.st_size) && ::ftruncate(p.fd, static_cast<off_t>(at + same)) != 0)
      return detail::output_error(name, p.path, errno);
  }
  while (same < bytes.size()) {
    const ssize_t n = ::pwrite(p.fd, bytes.data() + same, bytes.size() - same, static_cast<off_t>(at + same));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return detail::output_error(name, p.path, errno);
    same += static_cast<std::size_t>(n);
  }
  return {};
}

P2PDVM_DECL result<> output_files::write(const std::string& name, std::uint64_t at, byte_view bytes) {
  place& p = places_.at(name);
  const auto locked = lock(name, p, patience::none);
  if (!locked.ok()) return locked.error();
  if (!*locked) return error(errc::conflict, "--" + name + ": another process writes '" + p.path + "'");
  return put(name, p, at, bytes);
}

P2PDVM_DECL void output_files::complete(const std::string& name, std::uint64_t at, byte_view bytes) {
  place& p = places_.at(name);
  if (p.fd < 0 && at == 0) {
    p.whole = to_vector(bytes);
    return;
  }
  result<> done = write(name, at, bytes);
  close(p);
  if (!done.ok() && outcome_.ok()) outcome_ = std::move(done);
}

P2PDVM_DECL result<> output_files::finish() {
  for (auto& [name, p] : places_) {
    if (!p.whole) continue;
    result<> done;
    if (const auto locked = lock(name, p, patience::some); !locked.ok()) {
      done = locked.error();
    } else if (!*locked) {
      done = error(errc::timed_out, "--" + name + ": another process has been writing '" + p.path +
                                        "' for long, so that the job's output cannot be put there");
    } else {
      done = put(name, p, 0, *p.whole);
    }
    close(p);
    p.whole.reset();
    if (!done.ok() && outcome_.ok()) outcome_ = std::move(done);
  }
  return outcome_;
}

}  // namespace p2pdvm::runtime

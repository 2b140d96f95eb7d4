#pragma once

#include <p2pdvm/host/native/descriptor.hpp>
#include <p2pdvm/host/native/disk.hpp>

#include <asio/executor_work_guard.hpp>
#include <asio/post.hpp>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace p2pdvm::native {

namespace detail {

/// Name of a file that `replace` has not finished; `list` does not show it.
inline constexpr std::string_view unfinished_suffix = ".unfinished";

inline error disk_error(const char* doing, const std::string& path, int cause) {
  if (cause == ENOSPC || cause == EDQUOT)
    return error(errc::no_space, std::string("disk full while ") + doing + " " + path +
                                     "; free some space there and start again");
  if (cause == ENOENT) return error(errc::not_found, path + " does not exist");
  return error(errc::io, std::string("error while ") + doing + " " + path + ": " +
                             std::generic_category().message(cause));
}

/// EIO of a read is the medium's: what stood there is lost, the rest of the file is not.
inline error read_error(const std::string& path, int cause) {
  const error why = disk_error("reading", path, cause);
  return cause == EIO ? error(errc::corrupted, why.message()) : why;
}

inline std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

/// Makes a folder and its parents; `changed` gets each folder that has a new entry.
inline result<> make_folders(const std::string& folder, std::vector<std::string>& changed) {
  struct stat info {};
  if (::stat(folder.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) return {};
    return error(errc::io, folder + " is in the way: it is not a folder");
  }
  if (const auto made = make_folders(parent_of(folder), changed); !made) return made;
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return disk_error("making the folder", folder, errno);
  changed.push_back(parent_of(folder));
  return {};
}

inline int sync_folder(const std::string& folder) {
  const descriptor d(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!d.ok() || ::fsync(d.get()) != 0) return errno;
  return 0;
}

inline int sync_data(int fd) {
#if defined(__APPLE__)
  return ::fcntl(fd, F_FULLFSYNC) == 0 ? 0 : errno;
#else
  return ::fdatasync(fd) == 0 ? 0 : errno;
#endif
}

/// 0 or errno.
inline int write_all(int fd, std::uint64_t offset, byte_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    bytes = bytes.subspan(static_cast<std::size_t>(n));
    offset += static_cast<std::uint64_t>(n);
  }
  return 0;
}

/// Bytes read, or minus errno.
inline std::int64_t read_fully(int fd, std::uint64_t offset, byte_span into) {
  std::size_t done = 0;
  while (done < into.size()) {
    const ssize_t n = ::pread(fd, into.data() + done, into.size() - done,
                              static_cast<off_t>(offset + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return -errno;
    if (n == 0) break;
    done += static_cast<std::size_t>(n);
  }
  return static_cast<std::int64_t>(done);
}

/// A thread that runs blocking jobs in order; started by the first job.
class sync_worker {
 public:
  sync_worker() = default;
  sync_worker(const sync_worker&) = delete;
  sync_worker& operator=(const sync_worker&) = delete;
  ~sync_worker() { stop(); }

  void add(std::function<void()> job) {
    const std::lock_guard lock(mutex_);
    if (stopping_) return;
    jobs_.push_back(std::move(job));
    if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
    wake_.notify_one();
  }
  void stop() {
    std::deque<std::function<void()>> dropped;
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      dropped.swap(jobs_);
      wake_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
  }

 private:
  void run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (stopping_) return;
      std::function<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
      job = nullptr;
      lock.lock();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> jobs_;
  std::thread thread_;
  bool stopping_ = false;
};

/// An open file; lives on while a sync of it is under way.
class open_file : public std::enable_shared_from_this<open_file> {
 public:
  open_file(asio::io_context& io, std::shared_ptr<sync_worker> worker, int fd, std::string path,
            std::vector<std::string> changed_folders, std::uint64_t size)
      : io_(io),
        worker_(std::move(worker)),
        fd_(fd),
        path_(std::move(path)),
        changed_folders_(std::move(changed_folders)),
        size_(size) {}

  result<> write(std::uint64_t offset, byte_view bytes) {
    const int cause = write_all(fd_.get(), offset, bytes);
    if (cause != 0) {
      struct stat info {};
      if (::fstat(fd_.get(), &info) == 0) size_ = static_cast<std::uint64_t>(info.st_size);
      return disk_error("writing", path_, cause);
    }
    if (!bytes.empty()) size_ = std::max(size_, offset + bytes.size());
    begin_writing(offset, bytes.size());
    return {};
  }
  result<std::size_t> read(std::uint64_t offset, byte_span into) const {
    const std::int64_t n = read_fully(fd_.get(), offset, into);
    if (n < 0) return read_error(path_, static_cast<int>(-n));
    return static_cast<std::size_t>(n);
  }
  result<> truncate(std::uint64_t size) {
#if defined(__linux__)
    if (size > size_) {
      const auto grow = static_cast<off_t>(size - size_);
      int done = 0;
      do {
        done = ::fallocate(fd_.get(), 0, static_cast<off_t>(size_), grow);
      } while (done != 0 && errno == EINTR);
      const bool able = errno != EOPNOTSUPP && errno != ENOSYS;
      if (done != 0 && able) return disk_error("reserving", path_, errno);
    }
#endif
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0)
      return disk_error("resizing", path_, errno);
    size_ = size;
    return {};
  }
  [[nodiscard]] std::uint64_t size() const noexcept { return size_; }

  /// Calls that come while a sync is under way share the next one.
  void sync(std::function<void(result<>)> done) {
    waiting_.push_back(std::move(done));
    if (served_.empty()) begin_sync();
  }
  void end() {
    ended_ = true;
    const auto dropped = std::exchange(waiting_, {});
    const auto also = std::exchange(served_, {});
  }

 private:
  using work_guard = asio::executor_work_guard<asio::io_context::executor_type>;

  /// Lets the disk begin with what a sync will ask of it, so that it does not stand idle until then.
  void begin_writing([[maybe_unused]] std::uint64_t offset, [[maybe_unused]] std::uint64_t bytes) {
#if defined(__linux__)
    constexpr std::uint64_t at_once = 1 << 20;
    if (offset != unwritten_end_) unwritten_begin_ = offset;
    unwritten_end_ = offset + bytes;
    if (unwritten_end_ - unwritten_begin_ < at_once) return;
    worker_->add([self = shared_from_this(), from = unwritten_begin_, to = unwritten_end_] {
      // What fails here fails the sync, too.
      (void)::sync_file_range(self->fd_.get(), static_cast<off_t>(from), static_cast<off_t>(to - from), SYNC_FILE_RANGE_WRITE);
    });
    unwritten_begin_ = unwritten_end_;
#endif
  }
  void begin_sync() {
    served_.swap(waiting_);
    auto guard = std::make_shared<work_guard>(io_.get_executor());
    worker_->add([self = shared_from_this(), guard, folders = changed_folders_] {
      int cause = sync_data(self->fd_.get());
      for (const std::string& folder : folders)
        if (cause == 0) cause = sync_folder(folder);
      asio::post(self->io_, [self, guard, cause] { self->end_sync(cause); });
    });
  }
  void end_sync(int cause) {
    if (ended_) return;
    if (cause == 0) changed_folders_.clear();
    const auto served = std::exchange(served_, {});
    if (!waiting_.empty()) begin_sync();
    for (const auto& done : served) {
      if (ended_) return;
      done(cause == 0 ? result<>() : result<>(disk_error("syncing", path_, cause)));
    }
  }

  asio::io_context& io_;
  std::shared_ptr<sync_worker> worker_;
  descriptor fd_;
  std::string path_;
  std::vector<std::string> changed_folders_;
  std::uint64_t size_;
  std::uint64_t unwritten_begin_ = 0, unwritten_end_ = 0;  ///< of bytes in a row that nobody has told the disk of
  std::vector<std::function<void(result<>)>> waiting_;  ///< for the sync after the current one
  std::vector<std::function<void(result<>)>> served_;   ///< by the sync that is under way
  bool ended_ = false;
};

class native_file final : public host::file {
 public:
  explicit native_file(std::shared_ptr<open_file> f) : file_(std::move(f)) {}
  ~native_file() override { file_->end(); }
  [[nodiscard]] std::uint64_t size() const override { return file_->size(); }
  result<> write(std::uint64_t offset, byte_view bytes) override {
    return file_->write(offset, bytes);
  }
  result<std::size_t> read(std::uint64_t offset, byte_span into) override {
    return file_->read(offset, into);
  }
  result<> truncate(std::uint64_t size) override { return file_->truncate(size); }
  void sync(std::function<void(result<>)> done) override { file_->sync(std::move(done)); }

 private:
  std::shared_ptr<open_file> file_;
};

}  // namespace detail

P2PDVM_DECL disk::disk(asio::io_context& io, std::string folder)
    : io_(io), folder_(std::move(folder)), worker_(std::make_shared<detail::sync_worker>()) {
  while (folder_.size() > 1 && folder_.back() == '/') folder_.pop_back();
}

P2PDVM_DECL disk::~disk() { worker_->stop(); }

P2PDVM_DECL std::string disk::describe(std::string_view path) const {
  if (path.empty()) return folder_;
  return (folder_ == "/" ? std::string() : folder_) + "/" + std::string(path);
}

/// The system's name for `path`; refuses what would lead out of the folder.
P2PDVM_DECL result<std::string> disk::locate(std::string_view path) const {
  if (folder_.empty())
    return error(errc::io, "cannot store '" + std::string(path) +
                               "': this peer has no data folder; choose one with --data");
  for (std::size_t begin = 0; begin < path.size();) {
    const std::size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    const bool odd = part.empty() || part == "." || part == ".." ||
                     part.find('\0') != std::string_view::npos || end + 1 == path.size();
    if (odd)
      return error(errc::invalid_argument,
                   "'" + std::string(path) + "' is not a path inside the data folder");
    begin = end + 1;
  }
  return describe(path);
}

P2PDVM_DECL result<std::unique_ptr<host::file>> disk::open(std::string_view path, bool create) {
  auto name = locate(path);
  if (!name) return name.error();
  std::vector<std::string> changed;
  int fd = ::open(name->c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0 && errno == ENOENT && create) {
    const std::string parent = detail::parent_of(*name);
    if (const auto made = detail::make_folders(parent, changed); !made) return made.error();
    changed.push_back(parent);
    fd = ::open(name->c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  }
  if (fd < 0) return detail::disk_error("opening", *name, errno);
  struct stat info {};
  if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    ::close(fd);
    return error(errc::io, *name + " is not a file");
  }
  return std::unique_ptr<host::file>(std::make_unique<detail::native_file>(
      std::make_shared<detail::open_file>(io_, worker_, fd, *name, std::move(changed),
                                          static_cast<std::uint64_t>(info.st_size))));
}

P2PDVM_DECL result<std::vector<std::string>> disk::list(std::string_view folder) {
  const auto name = locate(folder);
  if (!name) return name.error();
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::opendir(name->c_str()), ::closedir);
  if (!directory) {
    if (errno == ENOENT) return names;
    return detail::disk_error("listing", *name, errno);
  }
  for (;;) {
    errno = 0;  // a null may be the end, or an error
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr && errno != 0) return detail::disk_error("listing", *name, errno);
    if (entry == nullptr) break;
    const std::string_view found = entry->d_name;
    if (found != "." && found != ".." && !found.ends_with(detail::unfinished_suffix))
      names.emplace_back(found);
  }
  std::sort(names.begin(), names.end());
  return names;
}

P2PDVM_DECL result<> disk::remove(std::string_view path) {
  const auto name = locate(path);
  if (!name) return name.error();
  if (::unlink(name->c_str()) != 0) return detail::disk_error("removing", *name, errno);
  return {};
}

P2PDVM_DECL result<> disk::replace(std::string_view path, byte_view bytes) {
  const auto name = locate(path);
  if (!name) return name.error();
  const std::string parent = detail::parent_of(*name);
  std::vector<std::string> changed;
  if (const auto made = detail::make_folders(parent, changed); !made) return made.error();
  const std::string unfinished = *name + std::string(detail::unfinished_suffix);
  int cause = 0;
  {
    const detail::descriptor d(
        ::open(unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    cause = d.ok() ? detail::write_all(d.get(), 0, bytes) : errno;
    if (cause == 0) cause = detail::sync_data(d.get());
  }
  if (cause == 0 && ::rename(unfinished.c_str(), name->c_str()) != 0) cause = errno;
  if (cause != 0) {
    ::unlink(unfinished.c_str());
    return detail::disk_error("writing", *name, cause);
  }
  changed.push_back(parent);
  for (const std::string& folder : changed)
    if (cause = detail::sync_folder(folder); cause != 0)
      return detail::disk_error("syncing", folder, cause);
  return {};
}

P2PDVM_DECL result<byte_vector> disk::read_all(std::string_view path, std::size_t bytes_max) {
  const auto name = locate(path);
  if (!name) return name.error();
  const detail::descriptor d(::open(name->c_str(), O_RDONLY | O_CLOEXEC));
  struct stat info {};
  if (!d.ok() || ::fstat(d.get(), &info) != 0) return detail::disk_error("opening", *name, errno);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (size > bytes_max)
    return error(errc::too_large, *name + " has " + std::to_string(size) + " bytes; at most " +
                                      std::to_string(bytes_max) + " are allowed");
  byte_vector bytes(static_cast<std::size_t>(size));
  const std::int64_t n = detail::read_fully(d.get(), 0, bytes);
  if (n < 0) return detail::read_error(*name, static_cast<int>(-n));
  bytes.resize(static_cast<std::size_t>(n));
  return bytes;
}

}  // namespace p2pdvm::native

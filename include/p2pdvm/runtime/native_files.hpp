/// Real folders and files of jobs that nobody runs, for tools: locked, opened, closed again.
#pragma once

#include <p2pdvm/host/host.hpp>
#include <p2pdvm/host/native/folder_lock.hpp>
#include <p2pdvm/runtime/job_holder.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

/// A folder of this computer. It is locked as long as this lives.
class native_folder {
 public:
  /// For reading: nothing in it changes. Errors of `folder_lock::share`; `not_found`.
  [[nodiscard]] static result<std::unique_ptr<native_folder>> read(const std::string& folder);
  /// For a glance at what a peer is perhaps just changing: not locked. `not_found`.
  [[nodiscard]] static result<std::unique_ptr<native_folder>> look(const std::string& folder);
  /// Of one that was only looked at: whether a peer uses it.
  [[nodiscard]] bool in_use() const noexcept { return in_use_; }
  /// As a peer uses it. Errors of `folder_lock::take`.
  [[nodiscard]] static result<std::unique_ptr<native_folder>> write(const std::string& folder);
  ~native_folder();

  [[nodiscard]] host::disk& disk();
  [[nodiscard]] host::entropy& entropy();
  [[nodiscard]] host::clock& clock();
  /// Calls `begin`, which is given what to call at the end, and blocks until that was called.
  [[nodiscard]] result<> wait(const std::function<void(std::function<void(result<>)>)>& begin);

 private:
  friend class native_file;
  struct parts;
  native_folder();
  native::folder_lock lock_;
  bool in_use_ = false;
  std::unique_ptr<parts> parts_;
};

/// A file of this computer, in a folder that need not be a peer's. `create`: a new one, `conflict` where there is one
/// already.
class native_file {
 public:
  [[nodiscard]] static result<std::unique_ptr<native_file>> open(const std::string& path, bool create);
  ~native_file();
  [[nodiscard]] host::file& file() noexcept { return *file_; }
  [[nodiscard]] host::entropy& entropy() { return folder_->entropy(); }
  /// Everything durable, or an error.
  [[nodiscard]] result<> sync();

 private:
  native_file();
  std::unique_ptr<native_folder> folder_;
  std::unique_ptr<host::file> file_;
};

/// The folders of peers at or below `folder` (as `--local` and the default of `--data` make them),
/// two levels deep, sorted; `not_found` when there is none.
[[nodiscard]] result<std::vector<std::string>> peer_folders(const std::string& folder);

/// Of this computer, the same for all its processes: a failure domain.
[[nodiscard]] std::string machine_name();

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/native_files.ipp>
#endif

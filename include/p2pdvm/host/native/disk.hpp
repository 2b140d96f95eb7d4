/// Real files below one folder as `host::disk`; one background thread makes them durable.
#pragma once

#include <p2pdvm/host/host.hpp>

#include <asio/io_context.hpp>

#include <memory>
#include <string>

namespace p2pdvm::native {

namespace detail {
class sync_worker;
}

/// Folders are made with mode 0700 and files with 0600. Growing a file by `truncate` reserves
/// the space where the file system can. The first `sync` of a new file also makes its name
/// durable; a `remove` may be undone by a crash.
class disk final : public host::disk {
 public:
  /// An empty `folder` gives a disk on which everything fails.
  disk(asio::io_context& io, std::string folder);
  disk(const disk&) = delete;
  disk& operator=(const disk&) = delete;
  ~disk() override;  ///< waits for the sync in progress; callbacks are dropped

  result<std::unique_ptr<host::file>> open(std::string_view path, bool create) override;
  result<std::vector<std::string>> list(std::string_view folder) override;
  result<> remove(std::string_view path) override;
  result<> replace(std::string_view path, byte_view bytes) override;
  result<byte_vector> read_all(std::string_view path, std::size_t bytes_max) override;
  [[nodiscard]] std::string describe(std::string_view path) const override;

 private:
  [[nodiscard]] result<std::string> locate(std::string_view path) const;

  asio::io_context& io_;
  std::string folder_;
  std::shared_ptr<detail::sync_worker> worker_;
};

}  // namespace p2pdvm::native

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/native/impl/disk.ipp>
#endif

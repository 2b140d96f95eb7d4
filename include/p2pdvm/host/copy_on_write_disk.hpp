/// A disk that reads another one and changes nothing on it: what is written stays in memory.
#pragma once

#include <p2pdvm/host/host.hpp>

#include <map>
#include <memory>
#include <set>
#include <string>

namespace p2pdvm::host {

namespace detail {
class copied_file;
}

/// For whoever wants to look at what a peer has stored with the code that also writes: writes,
/// removals and new files are seen through this disk alone and are gone with it. Takes memory for
/// what is written; growing a file takes none. `sync` and `replace` promise nothing.
class copy_on_write_disk final : public disk {
 public:
  /// `below` must outlive the disk.
  explicit copy_on_write_disk(disk& below) : below_(below) {}
  copy_on_write_disk(const copy_on_write_disk&) = delete;
  copy_on_write_disk& operator=(const copy_on_write_disk&) = delete;
  ~copy_on_write_disk() override;

  result<std::unique_ptr<file>> open(std::string_view path, bool create) override;
  result<std::vector<std::string>> list(std::string_view folder) override;
  result<> remove(std::string_view path) override;
  result<> replace(std::string_view path, byte_view bytes) override;
  result<byte_vector> read_all(std::string_view path, std::size_t bytes_max) override;
  [[nodiscard]] std::string describe(std::string_view path) const override {
    return below_.describe(path);
  }

 private:
  [[nodiscard]] std::shared_ptr<detail::copied_file> find(std::string_view path) const;

  disk& below_;
  /// A file that was written to keeps itself; the others stay while somebody has them open.
  std::map<std::string, std::weak_ptr<detail::copied_file>, std::less<>> files_;
  std::set<std::string, std::less<>> removed_;
};

}  // namespace p2pdvm::host

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/impl/copy_on_write_disk.ipp>
#endif

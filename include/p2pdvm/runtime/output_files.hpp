/// Files of this computer that outputs of a job appear in.
#pragma once

#include <p2pdvm/runtime/output_sink.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>

namespace p2pdvm::runtime {

/// A file is written where it stands, so that people can follow it. What is there already, of an earlier process of the job, is
/// compared and not written again; what differs (a file of another job) is cut off.
///
/// Several processes of one computer may be told the same file, as those of `--local` are: one of them holds the file's lock and
/// writes. When it is killed the system gives the lock to another, which takes over at the next checkpoint.
class output_files final : public output_sink {
 public:
  /// Names of outputs, and where they go.
  explicit output_files(const std::map<std::string, std::string>& paths);
  output_files(const output_files&) = delete;
  output_files& operator=(const output_files&) = delete;
  ~output_files() override;

  const std::set<std::string>& names() const override { return names_; }
  bool mine(const std::string& name) override;
  result<> write(const std::string& name, std::uint64_t at, byte_view bytes) override;
  void complete(const std::string& name, std::uint64_t at, byte_view bytes) override;
  /// When the peer is gone: waits for processes that have a file's lock still, and looks whether they left it whole. The first
  /// thing that went wrong with the last of a file.
  result<> finish();

 private:
  struct place {
    std::string path;
    int fd = -1;
    std::optional<byte_vector> whole;  ///< to be compared in `finish`
  };
  enum class patience { none, some };

  /// Opened and locked.
  [[nodiscard]] result<bool> lock(const std::string& name, place& p, patience wait);
  [[nodiscard]] result<> put(const std::string& name, place& p, std::uint64_t at, byte_view bytes);
  static void close(place& p);

  std::map<std::string, place> places_;
  std::set<std::string> names_;
  result<> outcome_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/output_files.ipp>
#endif

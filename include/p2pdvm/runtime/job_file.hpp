/// A checkpoint of a job in one file: what `p2pdvm export` writes.
///
/// The file is a head (specification, secret, record with its certificate), the chunks as holders
/// keep them, and a code over all of it that only who knows the secret can make. It holds the secret:
/// who can read it can go on with the job and read its state, as with a peer's folder.
#pragma once

#include <p2pdvm/runtime/saved_job.hpp>
#include <p2pdvm/store/byte_stream.hpp>

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>

namespace p2pdvm::runtime {

inline constexpr std::uint32_t job_file_version = 2;
inline constexpr std::size_t job_file_head_bytes_max = std::size_t{64} << 20;

struct exported_job {
  epoch_number epoch;
  std::size_t chunks = 0;
  std::uint64_t bytes = 0;  ///< of the file
};

/// Writes an epoch, the committed one if none is given, and the inputs; every chunk is checked.
/// Errors: `lost` and others of `saved_job`, those of `to`.
[[nodiscard]] result<exported_job> export_job(saved_job& from, std::optional<epoch_number> epoch,
                                              store::byte_sink& to);

class job_file final : public job_holder {
 public:
  /// `file` must outlive it. Reads all of it once. Damage behind the head is `trouble()`. Errors:
  /// `malformed` (no such file), `unsupported_version`, `corrupted` (the head), those of `file`.
  [[nodiscard]] static result<std::unique_ptr<job_file>> open(store::byte_source& file, std::string name);

  [[nodiscard]] std::string name() const override { return name_; }
  [[nodiscard]] const result<held_job>& job() const override { return job_; }
  [[nodiscard]] std::string trouble() const override { return trouble_; }
  [[nodiscard]] std::vector<chunk_id> promised(const job_id& job, epoch_number epoch) const override;
  [[nodiscard]] bool contains(const chunk_id& id) const override { return chunks_.contains(id); }
  [[nodiscard]] std::uint64_t sealed_bytes(const chunk_id& id) const override;
  [[nodiscard]] result<payload> get(const chunk_id& id) override;

 private:
  struct place {
    std::uint64_t offset;
    std::uint32_t bytes;
    bool of_input;
  };
  job_file(store::byte_source& file, std::string name) : file_(file), name_(std::move(name)) {}
  void read_chunks(std::uint64_t offset, crypto::hasher& all);

  store::byte_source& file_;
  std::string name_;
  result<held_job> job_ = error(errc::not_found);
  std::string trouble_;
  std::unordered_map<chunk_id, place> chunks_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/job_file.ipp>
#endif

/// What a peer keeps on its disk of its job, besides chunks: enough to go on after every process
/// of the job was stopped.
#pragma once

#include <p2pdvm/checkpoint/acceptor.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/messaging/exchange.hpp>
#include <p2pdvm/runtime/job_messages.hpp>
#include <p2pdvm/store/chunk_log.hpp>
#include <p2pdvm/store/compression.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::runtime {

/// Who a job is to its members.
struct job_identity {
  job_spec spec;
  crypto::secret_key secret;
};

/// Errors are sentences that name the folder and say what to do.
class job_folder {
 public:
  job_folder(host::disk& disk, store::chunk_log& log) : disk_(disk), log_(log) {}

  struct stored_job {
    job_identity who;
    record_update newest;
  };
  struct kept_job : stored_job {
    std::optional<checkpoint::acceptor> acceptor;  ///< of a peer that ever was a keeper
  };
  /// `wrong_job` when it holds a job that has not ended.
  [[nodiscard]] result<> vacant() const;
  [[nodiscard]] std::optional<job_id> job() const;
  /// Whether that job has ever had this peer as a member, as far as it was told here.
  [[nodiscard]] bool lists(const node_id& peer) const;
  /// The job that is kept here, whichever program's and however it stands. `not_found`,
  /// `corrupted`.
  [[nodiscard]] result<stored_job> read() const;
  /// When epochs were committed, as far as it was noted here; see `record_keeper`.
  [[nodiscard]] std::map<epoch_number, unix_seconds> dates() const;
  void keep_dates(const std::map<epoch_number, unix_seconds>& dates);
  /// The job to go on with. `not_found`, `corrupted`, `wrong_job` for another program's, `misuse`
  /// when it has failed. No program: of a peer that runs none, whose job it is to hold what is another's.
  [[nodiscard]] result<kept_job> load(const std::optional<std::string>& program,
                                      const crypto::identity& self) const;
  /// Whether it was this peer that kept the job here. It may be a member of which the record that
  /// was kept does not know yet.
  [[nodiscard]] bool kept_by(const node_id& peer) const;
  /// Whose folder it is, by the job that was kept last.
  [[nodiscard]] std::optional<node_id> owner() const;
  /// In place of any earlier job, whose chunks nothing keeps any more. `acceptor`: of a founder.
  result<> keep(const node_id& peer, const job_identity& who, const record_update& newest,
                byte_view acceptor = {});
  /// Seals them; gives how they are found again, as the specification lists it.
  result<std::map<std::string, job_input>> seal_inputs(
      const std::map<std::string, byte_vector>& inputs, const crypto::secret_key& secret,
      store::compression compressing = store::compression::automatic);
  /// From now on they are not collected.
  result<> pin_inputs(const job_spec& spec);

  /// The port that others remember; 0: none yet.
  [[nodiscard]] std::uint16_t port() const;
  result<> keep_port(std::uint16_t port);
  /// What the peer may take of the disk, as it was told the last time; nothing where it never was.
  [[nodiscard]] std::optional<std::uint64_t> quota() const;
  void keep_quota(std::uint64_t bytes);
  [[nodiscard]] std::vector<messaging::contact> contacts() const;
  void keep_contacts(const std::vector<messaging::contact>& list);

 private:
  [[nodiscard]] std::string name() const { return disk_.describe(""); }
  [[nodiscard]] bool damaged(const result<byte_vector>& value) const;
  [[nodiscard]] error damage() const;
  [[nodiscard]] error foreign() const;

  host::disk& disk_;
  store::chunk_log& log_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/job_folder.ipp>
#endif

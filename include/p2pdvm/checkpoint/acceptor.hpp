/// The keeper's side of the replicated register: promises, accepts and signs job records.
#pragma once

#include <p2pdvm/checkpoint/certificate.hpp>

#include <cstdint>
#include <optional>
#include <variant>

namespace p2pdvm::checkpoint {

/// Phase 1: asks for a promise not to accept older ballots.
struct prepare_request {
  job_id job;
  checkpoint::ballot ballot;
  std::uint64_t keeper_version = 0;  ///< the newest that the proposer knows of
  digest256 known;                   ///< a record that need not be sent back
  template <class F>
  void fields(F&& f) {
    f(job);
    f(ballot);
    f(keeper_version);
    f(known);
  }
};

/// Phase 2: asks to accept a record.
struct accept_request {
  job_id job;
  checkpoint::ballot ballot;
  std::uint64_t keeper_version = 0;  ///< the newest that the proposer knows of
  byte_vector record;
  template <class F>
  void fields(F&& f) {
    f(job);
    f(ballot);
    f(keeper_version);
    f(record);
  }
};

using register_request = std::variant<prepare_request, accept_request>;

struct promise_reply {
  checkpoint::ballot ballot;    ///< of the request
  checkpoint::ballot accepted;  ///< counter 0: nothing accepted yet
  digest256 digest;             ///< of the accepted record
  byte_vector record;           ///< empty when the proposer knows it or there is none
  template <class F>
  void fields(F&& f) {
    f(ballot);
    f(accepted);
    f(digest);
    f(record);
  }
};

struct accepted_reply {
  checkpoint::ballot ballot;
  keeper_signature signature;
  template <class F>
  void fields(F&& f) {
    f(ballot);
    f(signature);
  }
};

struct refused_reply {
  checkpoint::ballot ballot;         ///< of the request
  checkpoint::ballot promised;       ///< a newer one, or
  std::uint64_t keeper_version = 0;  ///< a newer one: prepare again with it to get the record
  template <class F>
  void fields(F&& f) {
    f(ballot);
    f(promised);
    f(keeper_version);
  }
};

using register_reply = std::variant<promise_reply, accepted_reply, refused_reply>;

/// No honest proposer is further ahead of what a keeper promised; one that is would use up all
/// ballots that there are.
inline constexpr std::uint64_t ballot_step_max = std::uint64_t{1} << 32;

/// One per job on each keeper. Its state is {promised ballot, accepted ballot, accepted
/// record}. A keeper that lost this state must not come back under the same node id.
class acceptor {
 public:
  struct outcome {
    /// When present: make these bytes durable before this or any later reply is sent. If that
    /// fails, send nothing until what `persistent` gives then is durable.
    std::optional<byte_vector> persist;
    std::optional<register_reply> reply;  ///< none for what does not deserve one
  };

  /// `self` must outlive the acceptor.
  acceptor(const job_id& job, const crypto::identity& self) : job_(job), self_(&self) {}

  /// The founder's: has accepted the first record. Gives the proof of that record and the
  /// state to persist before either is shown to anybody.
  [[nodiscard]] certified_record found(job_record first, byte_vector& persist);

  /// From what was persisted last; `corrupted` when that does not decode.
  [[nodiscard]] static result<acceptor> restore(const job_id& job, const crypto::identity& self,
                                                byte_view persisted);

  /// `from` is the authenticated sender; whether it may write is the caller's to know.
  [[nodiscard]] outcome on_request(const node_id& from, const register_request& request);

  /// Its whole state, for `restore`.
  [[nodiscard]] byte_vector persistent() const;
  [[nodiscard]] const ballot& promised() const noexcept { return state_.promised; }
  [[nodiscard]] const ballot& accepted() const noexcept { return state_.accepted; }

 private:
  struct persistent_state {
    ballot promised;
    ballot accepted;
    byte_vector record;
    template <class F>
    void fields(F&& f) {
      f(promised);
      f(accepted);
      f(record);
    }
  };

  [[nodiscard]] outcome on_prepare(const prepare_request& request);
  [[nodiscard]] outcome on_accept(const accept_request& request);
  [[nodiscard]] std::optional<register_reply> refusal(const ballot& asked,
                                                      std::uint64_t version) const;
  [[nodiscard]] keeper_signature sign(const job_record& record, const ballot& at) const;

  job_id job_;
  const crypto::identity* self_;
  persistent_state state_;
  digest256 digest_;                  ///< of `state_.record`
  std::uint64_t keeper_version_ = 0;  ///< of `state_.record`
};

}  // namespace p2pdvm::checkpoint

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/checkpoint/impl/acceptor.ipp>
#endif

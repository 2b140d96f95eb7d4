/// This peer's newest job record, its part in keeping it, and its writes to it.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/checkpoint/acceptor.hpp>
#include <p2pdvm/checkpoint/proposer.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/runtime/job_messages.hpp>
#include <p2pdvm/store/chunk_log.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>

namespace p2pdvm::runtime {

/// Told from timers and from calls of the keeper. All calls happen with the token held.
class record_owner {
 public:
  virtual void send(const node_id& to, job_message message) = 0;
  /// `newest()` has changed; `previous` is what it was.
  virtual void on_record(const checkpoint::job_record& previous) = 0;
  /// This peer got `newest()` chosen, and is the one who tells the others.
  virtual void on_chosen() = 0;
  /// `asked` keepers were asked: the silent ones and others.
  virtual void on_no_majority(const std::vector<node_id>& silent, std::size_t asked) = 0;
  /// This peer cannot be a keeper until its disk takes data again. Told once while that lasts.
  virtual void on_keeper_failed(const error& why) = 0;

 protected:
  ~record_owner() = default;
};

/// Drives the register's proposer and acceptor: persists before it replies, and loops messages to
/// itself back.
class record_keeper {
 public:
  using write_done = std::function<void(result<>)>;

  /// `known` is believed. `acceptor` is this peer's own of an earlier life, or the founder's.
  record_keeper(record_owner& owner, host::machine& machine, store::chunk_log& log,
                const crypto::identity& self, record_update known,
                std::optional<checkpoint::acceptor> acceptor);
  ~record_keeper();

  [[nodiscard]] const checkpoint::job_record& newest() const { return *proposer_.known().record; }
  [[nodiscard]] std::shared_ptr<const checkpoint::job_record> newest_shared() const {
    return proposer_.known().record;
  }
  [[nodiscard]] record_update update() const;
  /// Of the newest record.
  [[nodiscard]] const checkpoint::ballot& ballot() const {
    return proposer_.known().proof.statement.ballot;
  }

  /// Writes; `done` tells the outcome (`conflict`: not needed any more).
  void propose(checkpoint::proposer::transition change, write_done done = nullptr);
  /// Members that may not know yet that they are: not to be made keepers for now.
  void set_newcomers(std::set<node_id> newcomers) { proposer_.set_newcomers(std::move(newcomers)); }
  void on_request(const node_id& from, const checkpoint::register_request& request);
  void on_reply(const node_id& from, const checkpoint::register_reply& reply);
  /// False when the record was not news.
  result<bool> learn(const record_update& update);
  /// The same. `not_found` when the difference is to a record that is not known here.
  result<bool> learn(record_difference difference);
  [[nodiscard]] const checkpoint::certified_record& certified_newest() const noexcept {
    return proposer_.known();
  }
  [[nodiscard]] const std::vector<checkpoint::certificate>& links() const noexcept {
    return proposer_.links();
  }

  /// Names in the log.
  static constexpr std::string_view record_name = "job/record";
  static constexpr std::string_view acceptor_name = "job/acceptor";
  /// When this peer heard that an epoch was committed, by its own clock, for people: of the newest
  /// two that it saw. Folders of earlier builds have none.
  static constexpr std::string_view dates_name = "job/dates";

 private:
  void pump();
  void pump_once();
  void carry_out(const node_id& from, checkpoint::acceptor::outcome outcome);
  void disk_failed(const error& why);
  void reply(const node_id& to, checkpoint::register_reply reply);
  void adopted();
  void note_date(const checkpoint::job_record& previous);

  record_owner& owner_;
  host::machine& machine_;
  store::chunk_log& log_;
  const crypto::identity& self_;
  random_generator random_;
  checkpoint::proposer proposer_;
  std::shared_ptr<const checkpoint::job_record> last_;
  std::optional<checkpoint::acceptor> acceptor_;
  std::uint64_t changes_ = 0;  ///< of the acceptor
  std::uint64_t durable_ = 0;  ///< of them
  bool disk_failed_ = false;   ///< and the owner knows
  std::map<std::uint64_t, write_done> writes_;
  host::timer timer_;
  bool pumping_ = false, pump_again_ = false;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/record_keeper.ipp>
#endif

/// Carries rank messages between this peer's endpoints and those of other peers.
#pragma once

#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/messaging/exchange.hpp>
#include <p2pdvm/runtime/job_messages.hpp>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

class rank_traffic_owner {
 public:
  virtual void send(const node_id& to, job_message message) = 0;
  virtual void must_abandon(epoch_number epoch, std::string why) = 0;
  virtual void waits_for_held(rank_number rank, epoch_number epoch, std::string why) = 0;
  /// `from` works in a later incarnation than this peer's record.
  virtual void record_is_old(const node_id& from) = 0;
  /// Messages for ranks of this host wait until it is known that they are ready.
  virtual void ask_ready(const node_id& host) = 0;

 protected:
  ~rank_traffic_owner() = default;
};

/// Fences by incarnation, knows which rank is ready where, and batches acknowledgements.
class rank_traffic final : public messaging::endpoint_host {
 public:
  rank_traffic(rank_traffic_owner& owner, messaging::exchange* exchange, host::clock& clock,
               const node_id& self, std::uint32_t ranks);

  /// Follows the record: messages of other incarnations are dropped from now on, and a rank
  /// whose host changed is not ready until its new host says so.
  void on_record(const checkpoint::job_record& record);
  void add(messaging::endpoint& local);
  void remove(rank_number rank);
  /// A frozen rank takes no messages: its senders keep them for its next host.
  void freeze(rank_number rank, bool frozen);

  void on_ready(const node_id& from, const ready_notice& notice);
  void on_message(const node_id& from, payload message);
  void on_acknowledgements(const acknowledgement_batch& batch);
  void on_blocked(const messaging::rank_blocked& blocked);

  [[nodiscard]] messaging::endpoint* local(rank_number rank) override;
  [[nodiscard]] bool ready(rank_number rank) const override;
  void awaits(rank_number rank) override;
  /// Whatever was said between this peer and that one may be lost.
  void on_peer_reset(const node_id& host);
  void transmit(const messaging::rank_message& message, messaging::numbering stream,
                epoch_number epoch) override;
  void tell_blocked(rank_number source, rank_number destination,
                    messaging::numbering stream) override;
  void acknowledgements_due(messaging::endpoint& from) override;
  void must_abandon(rank_number rank, epoch_number epoch, std::string why) override;
  void waits_for_held(rank_number rank, epoch_number epoch, std::string why) override {
    owner_.waits_for_held(rank, epoch, std::move(why));
  }
  [[nodiscard]] std::size_t ready_count() const;
  [[nodiscard]] std::uint64_t delivered() const noexcept { return delivered_; }

 private:
  struct place {
    node_id host;
    node_id announced_by;  ///< who said `ready` last,
    incarnation_number incarnation;  ///< and for which incarnation
    messaging::endpoint* endpoint = nullptr;
    bool frozen = false;
  };
  void flush();

  rank_traffic_owner& owner_;
  messaging::exchange* exchange_;
  host::clock& clock_;
  node_id self_;
  incarnation_number incarnation_;
  std::vector<place> places_;
  std::set<node_id> asked_;  ///< whether their ranks are ready
  std::vector<messaging::endpoint*> due_;
  host::timer flush_timer_;
  std::uint64_t delivered_ = 0;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/rank_traffic.ipp>
#endif

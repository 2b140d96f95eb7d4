/// Carries rank messages between this peer's endpoints and those of other peers.
#pragma once

#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/messaging/next_header.hpp>
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
  /// Messages go to this host, and no lane does. Said with the first and again after every so many: a lane may come late,
  /// or end and come again.
  virtual void want_lane(const node_id& host) = 0;

 protected:
  ~rank_traffic_owner() = default;
};

/// Fences by incarnation, knows which rank is ready where, and batches acknowledgements.
class rank_traffic final : public messaging::endpoint_host {
 public:
  rank_traffic(rank_traffic_owner& owner, messaging::exchange* exchange, host::clock& clock,
               const node_id& self, std::uint32_t ranks);

  /// Follows the record: messages of other incarnations are dropped from now on, and a rank
  /// whose host changed is not ready until its new host says so. Precondition: ranks of another incarnation were removed, since
  /// whatever waits with them would be sent as a message of this one.
  void on_record(const checkpoint::job_record& record);
  void add(messaging::endpoint& local);
  void remove(rank_number rank);
  /// A frozen rank takes no messages: its senders keep them for its next host.
  void freeze(rank_number rank, bool frozen);

  void on_ready(const node_id& from, const ready_notice& notice);
  void on_message(const node_id& from, messaging::arrived_message message);
  void on_messages(const node_id& from, std::span<const byte_view> run);
  /// See `messaging::exchange_handler`.
  [[nodiscard]] messaging::landing land(const node_id& from, byte_view begin, std::size_t total,
                                        messaging::landing_guest& guest);
  void on_acknowledgements(const acknowledgement_batch& batch);
  /// Ranks of this host are reached by this lane from now on, or by the exchange again.
  void use_lane(const node_id& host, host::lane* lane);
  void on_lane_message(const node_id& from, byte_view head, host::lane_body& body);
  void on_blocked(const messaging::rank_blocked& blocked);

  [[nodiscard]] messaging::endpoint* local(rank_number rank) override {
    return places_[rank.value()].local;
  }
  [[nodiscard]] messaging::endpoint* reached(rank_number rank) override {
    const place& p = places_[rank.value()];
    return p.ready ? p.local : nullptr;
  }
  [[nodiscard]] bool ready(rank_number rank) const override { return places_[rank.value()].ready; }
  void awaits(rank_number rank) override;
  /// Whatever was said between this peer and that one may be lost.
  void on_peer_reset(const node_id& host);
  void transmit(const messaging::rank_message& message, messaging::numbering stream,
                epoch_number epoch) override;
  void transmit_and_copy(messaging::rank_message& message, const two_parts& body, messaging::numbering stream,
                         epoch_number epoch) override;
  [[nodiscard]] std::uint64_t lend(const messaging::rank_message& message, const two_parts& body,
                                   messaging::numbering stream, epoch_number epoch) override;
  void take_back(std::uint64_t lent, bool unreturned) override;
  void tell_blocked(rank_number source, rank_number destination,
                    messaging::numbering stream) override;
  [[nodiscard]] bool gives_way(messaging::endpoint&) override;
  void acknowledgements_due(messaging::endpoint& from, bool urgent) override;
  void must_abandon(rank_number rank, epoch_number epoch, std::string why) override;
  void waits_for_held(rank_number rank, epoch_number epoch, std::string why) override {
    owner_.waits_for_held(rank, epoch, std::move(why));
  }
  [[nodiscard]] std::size_t ready_count() const;
  [[nodiscard]] std::uint64_t delivered() const noexcept { return delivered_; }

 private:
  static constexpr std::uint8_t lane_data = 1, lane_acknowledgement = 2, lane_next = 3;
  /// What goes in front of a rank message on a lane; copied as it is, since both ends are one computer.
  struct lane_head {
    std::uint8_t kind = 0;
    std::uint8_t stream = 0;
    std::uint8_t gap = 0, lift = 0;  ///< of acknowledgements
    std::uint32_t source = 0, destination = 0;
    std::uint8_t lent = 0;  ///< the sender waits for the acknowledgement
    std::uint8_t reserved[3] = {};
    std::uint64_t incarnation = 0;
    std::uint64_t epoch = 0;     ///< acknowledgements: messages read
    std::uint64_t sequence = 0;  ///< acknowledgements: how many have arrived
    std::uint64_t space = 0;     ///< acknowledgements: bytes read
    std::int64_t tag = 0;
  };
  /// Instead, for the message after the last one that went this way: all but its sequence and its tag are the same.
  struct next_head {
    std::uint64_t kind = lane_next;  ///< and above it whether it is lent: a whole word, see `apart`
    std::int64_t tag = 0;
  };
  static constexpr unsigned next_lent_shift = 8;
  static constexpr std::uint32_t messages_between_wishes = 256;
  struct lane_way {
    host::lane* lane = nullptr;
    lane_head sent, received;  ///< the last data; without a kind none
    next_head next;            ///< the last short head
  };
  /// The last one to a rank, and what it would be of the message after it.
  struct sent_header {
    messaging::rank_message_header last;
    messaging::next_header next;
    [[nodiscard]] bool is_next(const messaging::rank_message& m, messaging::numbering stream, epoch_number epoch,
                               incarnation_number incarnation) const noexcept;
  };
  struct place {
    node_id host;
    node_id announced_by;  ///< who said `ready` last,
    incarnation_number incarnation;  ///< and for which incarnation
    messaging::endpoint* endpoint = nullptr;
    bool frozen = false;
    // What follows from the rest, because every message asks for it.
    messaging::endpoint* local = nullptr;
    bool ready = false;
    lane_way* way = nullptr;  ///< with a lane, or none
    std::uint32_t without_lane = 0;  ///< messages
    std::unique_ptr<sent_header> sent;  ///< by the exchange; none yet
  };
  /// Acknowledgements wait so long for others, unless somebody may be waiting for them.
  static constexpr duration acknowledgement_delay = std::chrono::milliseconds(1);
  /// Who lends a message waits at most twice so long, then makes a copy: its receiver may be frozen, or not driven.
  static constexpr duration lent_max = std::chrono::milliseconds(5);

  /// Of large messages that were lent to a session, and not to a lane.
  struct loan {
    std::uint64_t number = 0;
    node_id host;
    std::size_t bytes = 0;
    time_point since;
  };
  static constexpr std::uint64_t loan_bit = std::uint64_t{1} << 63;  ///< lanes number otherwise
  /// Smaller ones are copied: what is waited for takes longer, and the next message could be sealed meanwhile.
  static constexpr std::size_t loan_bytes_min = 128 * 1024;
  /// A copy takes so long.
  [[nodiscard]] static constexpr duration copy_time(std::size_t bytes) noexcept {
    return std::chrono::nanoseconds(bytes / 8);
  }
  /// A sender is held up for no longer, or it would better have made a copy.
  [[nodiscard]] static constexpr duration loan_time_max(std::size_t bytes) noexcept {
    return std::chrono::nanoseconds(bytes);
  }
  /// After loans that took longer so many messages are copied, twice as many each time.
  struct lending {
    std::uint32_t to_copy = 0;
    std::uint32_t caution = 0;
  };
  static constexpr std::uint32_t caution_max = 1024;

  void flush();
  void send_far(const node_id& to, byte_view head, const payload& body);
  [[nodiscard]] messaging::rank_message_header header_of(const messaging::rank_message& message,
                                                         messaging::numbering stream, epoch_number epoch) const;
  [[nodiscard]] std::uint64_t lend_far(place& p, const messaging::rank_message& message, const two_parts& body,
                                       messaging::numbering stream, epoch_number epoch);
  /// Gives the second part to the exchange as it is.
  [[nodiscard]] std::uint64_t send_lent(place& p, const messaging::rank_message_header& header, const two_parts& body);
  void on_lane_head(const node_id& from, const lane_head& head, host::lane_body& body);
  /// The head of a message on this way, which is the last one sent from now on.
  [[nodiscard]] byte_view head_of(lane_way& way, const messaging::rank_message& message,
                                  messaging::numbering stream, epoch_number epoch, bool lent);
  void settle_lent();
  /// After any change of a place.
  void conclude(place& p);
  /// What a header is about: none when it is of no use here.
  [[nodiscard]] messaging::endpoint* destination_of(const node_id& from, const messaging::rank_message_header& header);

  rank_traffic_owner& owner_;
  messaging::exchange* exchange_;
  host::clock& clock_;
  node_id self_;
  incarnation_number incarnation_;
  std::vector<place> places_;
  std::set<node_id> asked_;  ///< whether their ranks are ready
  std::map<node_id, lane_way> ways_;
  std::pair<const node_id, lane_way>* heard_ = nullptr;  ///< the one of `ways_` that heard last
  std::vector<messaging::endpoint*> due_;
  std::vector<loan> loans_;
  std::uint64_t last_loan_ = 0;
  std::map<node_id, lending> lendings_;
  host::timer flush_timer_, lent_timer_, turn_timer_;
  bool flush_now_ = false;
  std::uint64_t delivered_ = 0;
  std::uint64_t changes_ = 0;  ///< of places and of the incarnation
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/rank_traffic.ipp>
#endif

/// What peers of one job say to each other on their sessions.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/checkpoint/acceptor.hpp>
#include <p2pdvm/checkpoint/cut.hpp>
#include <p2pdvm/checkpoint/proposer.hpp>
#include <p2pdvm/checkpoint/record_change.hpp>
#include <p2pdvm/host/lane.hpp>
#include <p2pdvm/messaging/address_book.hpp>
#include <p2pdvm/messaging/rank_message.hpp>
#include <p2pdvm/runtime/member_lifetimes.hpp>
#include <p2pdvm/runtime/job_spec.hpp>
#include <p2pdvm/runtime/roll.hpp>
#include <p2pdvm/runtime/ticket.hpp>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace p2pdvm::runtime {

/// Channels of the exchange.
namespace channel {
inline constexpr std::uint8_t job = 1;    ///< job_message
inline constexpr std::uint8_t rank = 2;   ///< rank_message_header, then the body
inline constexpr std::uint8_t store = 3;  ///< store::store_message
inline constexpr std::uint8_t detector = 4;  ///< where datagrams may not get through
}  // namespace channel

/// First byte of a datagram.
namespace datagram_kind {
inline constexpr std::byte overlay{1};
inline constexpr std::byte detector{2};
inline constexpr std::byte joining{3};  ///< join_datagram
}  // namespace datagram_kind

/// "Let me in": the first message of a joiner, and of a member that comes back.
struct join_request {
  job_id job;
  std::optional<runtime::ticket> ticket;  ///< none from a member that was admitted before
  digest256 executable;
  std::uint64_t platform = 0;
  std::string failure_domain;
  std::vector<address> addresses;
  bool storage_only = false;
  bool is_ready = false;  ///< second step: job and inputs are on the disk, admit me
  bool is_guided = false;  ///< it follows another member than the one that it asks
  bool is_hidden = false;  ///< set by who passes it on: it came from none of its addresses
  overlay::packed_coordinate place;
  template <class F>
  void fields(F&& f) {
    f(job), f(ticket), f(executable), f(platform), f(failure_domain), f(addresses),
        f(storage_only), f(is_ready), f(is_guided), f(is_hidden), f(place);
  }
};
struct join_refusal {
  std::string reason;
  bool elsewhere = false;  ///< this peer has nothing to do with the job; others may
  std::optional<node_id> whom;  ///< to whom it is to be passed on, if not the receiver
  template <class F>
  void fields(F&& f) {
    f(reason), f(elsewhere), f(whom);
  }
};

/// A record with all that it takes to believe it.
struct record_update {
  checkpoint::job_record record;
  checkpoint::certificate proof;
  std::vector<checkpoint::certificate> links;
  template <class F>
  void fields(F&& f) {
    f(record), f(proof), f(links);
  }
};

[[nodiscard]] inline checkpoint::certified_record certified(const record_update& update) {
  return {std::make_shared<const checkpoint::job_record>(update.record), update.proof};
}

/// The same for who has an older one; `links` only when the keepers have changed since.
struct record_difference {
  checkpoint::record_change change;
  checkpoint::certificate proof;
  std::vector<checkpoint::certificate> links;
  template <class F>
  void fields(F&& f) {
    f(change), f(proof), f(links);
  }
};

/// "Where are your ranks?" (runtime/roll_call.hpp)
struct roll_request {
  incarnation_number incarnation;
  node_id author;
  std::uint64_t number = 0;
  bool further = false;  ///< the receiver asks the others of its column and answers for them too
  template <class F>
  void fields(F&& f) {
    f(incarnation), f(author), f(number), f(further);
  }
};
struct roll_answer {
  incarnation_number incarnation;
  node_id author;  ///< of the request
  std::uint64_t number = 0;
  roll ranks;
  template <class F>
  void fields(F&& f) {
    f(incarnation), f(author), f(number), f(ranks);
  }
};
/// What came of it: where all ranks are, or that those who waited go on.
struct roll_report {
  incarnation_number incarnation;
  roll ranks;
  std::uint32_t seconds = 0;
  bool over = false;
  template <class F>
  void fields(F&& f) {
    f(incarnation), f(ranks), f(seconds), f(over);
  }
};

/// "What does this rank of yours call the source file of this number?" (peal/rank.hpp)
struct file_request {
  rank_number rank;
  std::uint16_t file = 0;
  template <class F>
  void fields(F&& f) {
    f(rank), f(file);
  }
};
struct file_answer {
  static constexpr std::size_t name_max = 64;
  rank_number rank;
  std::uint16_t file = 0;
  std::string name;  ///< empty: it has none
  template <class F>
  void fields(F&& f) {
    f(rank), f(file), f(name);
  }
};

/// What is told to all members.
using common_news = std::variant<record_update, checkpoint::cut_facts, roll_report>;
/// The same on its way through somebody who is not its author.
struct passed_on {
  node_id author;
  bool further = false;  ///< the receiver tells the others of its column (member_square.hpp)
  common_news news;
  template <class F>
  void fields(F&& f) {
    f(author), f(further), f(news);
  }
};

/// Answer to a good `join_request`: the job's secret and its specification.
struct welcome {
  job_spec spec;
  crypto::secret_key secret;
  record_update newest;  ///< or the job's first one, which is small and proves those after it
  std::optional<messaging::contact> guide;  ///< follow this member instead
  std::vector<messaging::contact> others;   ///< to be asked when the one that sends this is gone
  template <class F>
  void fields(F&& f) {
    f(spec), f(secret), f(newest), f(guide), f(others);
  }
};
/// The same on its shortest way, while a connection is only being made; what gets lost is asked
/// again on that. The answer is never longer than the question.
struct join_datagram {
  std::variant<join_request, welcome> what;
  byte_vector padding;
  template <class F>
  void fields(F&& f) {
    f(what), f(padding);
  }
};
/// While a job is forming one member admits: whoever else is asked passes the question on.
struct passed_join {
  node_id joiner;
  join_request request;
  template <class F>
  void fields(F&& f) {
    f(joiner), f(request);
  }
};
/// "You will be let in; I have not forgotten you."
struct join_queued {
  template <class F>
  void fields(F&&) {}
};
/// "Tell me every new record of this job from when I am in it until it begins."
struct follow_request {
  job_id job;
  template <class F>
  void fields(F&& f) {
    f(job);
  }
};
struct record_request {
  template <class F>
  void fields(F&&) {}
};
/// "Tell me which ranks of yours are ready for this incarnation's messages, and which become so."
struct ready_request {
  incarnation_number incarnation;
  template <class F>
  void fields(F&& f) {
    f(incarnation);
  }
};
/// These ranks run here and take this incarnation's messages.
struct ready_notice {
  incarnation_number incarnation;
  std::vector<rank_number> ranks;
  template <class F>
  void fields(F&& f) {
    f(incarnation), f(ranks);
  }
};
struct acknowledgement_batch {
  std::vector<messaging::rank_acknowledgement> acknowledgements;
  template <class F>
  void fields(F&& f) {
    f(acknowledgements);
  }
};
/// "Here is a lane of this computer; join it if it is yours as well." (host/lane.hpp)
struct lane_offer {
  host::lane_name name{};
  template <class F>
  void fields(F&& f) {
    for (std::byte& b : name) f(b);
  }
};
/// The sender has the results and the certified end of the job.
struct end_seen {
  bool by_links = false;  ///< all links of the sender have seen it too
  template <class F>
  void fields(F&& f) {
    f(by_links);
  }
};

/// What a failure detector says to a member that it may not reach by itself.
struct passed_probe {
  node_id peer;          ///< to whom; from whom once it was passed on
  bool further = false;  ///< to be passed on
  byte_vector bytes;
  template <class F>
  void fields(F&& f) {
    f(peer), f(further), f(bytes);
  }
};

using job_message =
    std::variant<join_request, join_refusal, welcome, record_update, record_request, ready_notice,
                 checkpoint::cut_facts, checkpoint::register_request, checkpoint::register_reply,
                 acknowledgement_batch, messaging::rank_blocked, end_seen, ready_request, passed_on,
                 record_difference, join_queued, follow_request, passed_join, lane_offer, roll_request,
                 roll_answer, roll_report, file_request, file_answer, passed_probe, lifetimes_told>;

}  // namespace p2pdvm::runtime

/// One rank's end of rank messaging: windows, sequences, mailbox, credit, and its part of a cut.
///
/// A synchronous state machine. Guarantees, for every pair of ranks and within the main
/// numbering: each message enters the destination's mailbox once and in order, also across
/// lost connections, moved ranks and restarts from a snapshot.
///
/// - A sent message stays in the sender's window until the destination's rank acknowledgement,
///   which is issued in the same step that put it into the mailbox, the held list or the late log.
/// - Messages are accepted strictly in sequence, so that the set of received sequences is a prefix.
/// - A message of a later epoch than this rank's is *held* until this rank cuts or the floor
///   passes that epoch. A message of an earlier epoch, accepted while the late log is open, is
///   also kept in the *late log*, which belongs to this rank's snapshot.
/// - Credit: at most `limits::credit_*_per_pair` bytes and messages may be on their way or unread
///   per pair. When a receive waits that a blocked source could satisfy, credit is lifted.
#pragma once

#include <p2pdvm/base/intrusive_list.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/ring_queue.hpp>
#include <p2pdvm/base/spare_blocks.hpp>
#include <p2pdvm/host/lane.hpp>
#include <p2pdvm/messaging/landing.hpp>
#include <p2pdvm/messaging/rank_message.hpp>

#include <cstddef>
#include <deque>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::messaging {

/// The part of a rank's snapshot that belongs to messaging.
struct endpoint_state {
  struct pair_state {
    std::uint64_t next_sequence = 0;  ///< of the next message to that rank
    std::uint64_t received = 0;       ///< all sequences below it came from that rank
    template <class F>
    void fields(F&& f) {
      f(next_sequence), f(received);
    }
  };
  std::vector<pair_state> pairs;      ///< one per rank of the job
  std::vector<rank_message> window;   ///< sent, not yet acknowledged, in order per destination
  std::vector<rank_message> mailbox;  ///< received, unread, in order of arrival
  template <class F>
  void fields(F&& f) {
    f(pairs), f(window), f(mailbox);
  }
  /// Whether it can be that of a rank among so many.
  [[nodiscard]] bool fits(std::uint32_t ranks) const;
  /// Puts the late log's messages where a restart must find them.
  void absorb(std::vector<rank_message> late);
};

/// A posted receive or probe. It must be withdrawn or completed before it dies.
class receiver : public list_link<receiver> {
 public:
  messaging::pattern pattern;
  bool probe = false;    ///< completes on a match and leaves it in the mailbox; body not set
  rank_message message;  ///< valid once completed; without a body when it was placed

  /// Memory of the program for a message whose bytes would have to be copied anyway: if it is as long as
  /// `head` at least and the rest fits into `body`, it goes there and nowhere else. Only for a receiver that
  /// no snapshot can find completed.
  struct placement {
    byte_span head, body;
    std::size_t bytes = 0;  ///< of the body, once `done`
    bool done = false;
    [[nodiscard]] bool takes(std::size_t size) const noexcept {
      return !head.empty() && size >= head.size() && size - head.size() <= body.size();
    }
  };
  placement place;
  landing_site ground;  ///< `place.body`

  /// Called once, from inside `post` never, from inside other endpoint calls.
  virtual void on_message() = 0;

 protected:
  ~receiver() = default;
};

/// A sender that waits until a destination has room, or until what it lent is no longer needed.
class room_waiter {
 public:
  virtual void on_room() = 0;

 protected:
  ~room_waiter() = default;
};

class endpoint;

/// Messages for a rank that does not read wait with their sender.
struct stall {
  rank_number source, destination;
  std::uint64_t unread = 0;   ///< bytes on their way, or there and not read
  std::uint64_t waiting = 0;  ///< bytes with the sender
};

/// What an endpoint asks of the peer that hosts it.
class endpoint_host {
 public:
  /// The endpoint of a rank hosted by this very peer in this incarnation, or null.
  virtual endpoint* local(rank_number rank) = 0;
  /// Whether a rank's host is known to be ready for this incarnation's messages.
  [[nodiscard]] virtual bool ready(rank_number rank) const = 0;
  /// `local`, if `ready`.
  [[nodiscard]] virtual endpoint* reached(rank_number rank) { return ready(rank) ? local(rank) : nullptr; }
  /// A message waits for a rank that is not; `on_ready` is due once it is.
  virtual void awaits(rank_number) {}
  virtual void transmit(const rank_message& message, numbering stream, epoch_number epoch) = 0;
  /// The same of a message without a body, which it has when this returns: it may be copied when it is on its way.
  virtual void transmit_and_copy(rank_message& message, const two_parts& body, numbering stream, epoch_number epoch) {
    message.body = payload::copy_of(body.first, body.second);
    transmit(message, stream, epoch);
  }
  /// The same for a body that nobody keeps: see `host::lane::lend`. Calls `settle_lent` after a while.
  [[nodiscard]] virtual std::uint64_t lend(const rank_message&, const two_parts&, numbering, epoch_number) {
    return 0;
  }
  /// `unreturned`: its sender goes on before it has come back.
  virtual void take_back(std::uint64_t lent, bool unreturned) { static_cast<void>(lent), static_cast<void>(unreturned); }
  virtual void tell_blocked(rank_number source, rank_number destination, numbering stream) = 0;
  /// A sender gives way to whatever else there is to do; `wake_senders` is due after that. False: there is nothing.
  [[nodiscard]] virtual bool gives_way(endpoint&) { return false; }
  /// The endpoint has acknowledgements to collect with `take_acknowledgements()`: soon, or now if somebody
  /// may be waiting for them.
  virtual void acknowledgements_due(endpoint& from, bool urgent) = 0;
  /// The outstanding epoch cannot be completed; `why` is a sentence for the user.
  virtual void must_abandon(rank_number rank, epoch_number epoch, std::string why) = 0;
  /// The same, unless the rank comes to its cut of that epoch without the message it waits for.
  virtual void waits_for_held(rank_number rank, epoch_number epoch, std::string why) = 0;

 protected:
  ~endpoint_host() = default;
};

class endpoint {
 public:
  /// A fresh rank, or one that starts again from `state` of a snapshot of `epoch`.
  endpoint(endpoint_host& host, rank_number self, std::uint32_t ranks, epoch_number epoch,
           epoch_number floor, const endpoint_state* state);
  endpoint(const endpoint&) = delete;
  endpoint& operator=(const endpoint&) = delete;
  ~endpoint();

  [[nodiscard]] rank_number self() const noexcept { return self_; }
  [[nodiscard]] epoch_number epoch() const noexcept { return epoch_; }

  // --- the rank's own operations ---

  /// Takes the message over; it will arrive. False: messages wait for the destination, and a polite sender waits with
  /// `wait_for_room` before the next one, be it for a moment.
  bool send(rank_number destination, space_number space, tag_number tag, payload body);
  /// The same with a body in two parts, which are copied once.
  bool send(rank_number destination, space_number space, tag_number tag, const two_parts& body);
  /// As `send`, but the second part stays where it is, if that can be done: its number, or nothing, and nothing was
  /// sent. It must not change until `wait_for_return` and its waiter say so, or `take_back` was called.
  [[nodiscard]] std::optional<std::uint64_t> lend(rank_number destination, space_number space, tag_number tag,
                                                  const two_parts& body);
  /// False: it is no longer needed.
  [[nodiscard]] bool wait_for_return(rank_number destination, std::uint64_t loan, room_waiter& waiter);
  /// Makes a copy, if it is still needed; its waiter is not told.
  void take_back(rank_number destination, std::uint64_t loan);
  /// Makes copies of what was lent before the last call: the destination may take nothing for long. Whether some is
  /// still lent.
  bool settle_lent();
  /// False: there is room, and nothing else to do.
  [[nodiscard]] bool wait_for_room(rank_number destination, room_waiter& waiter);
  /// Those for whom there is room.
  void wake_senders();
  void stop_waiting(room_waiter& waiter);

  /// True: `r.message` is set at once. False: `r` waits, in the order of posting.
  bool post(receiver& r);
  void withdraw(receiver& r);
  /// The message that a receive of this pattern would get now, or null.
  [[nodiscard]] const rank_message* peek(const pattern& p);
  /// Ends the prelude: from here on messages belong to snapshots. False when the prelude left
  /// an unread message (which the caller reports).
  [[nodiscard]] bool end_prelude();
  [[nodiscard]] bool in_prelude() const noexcept { return stream_ == numbering::prelude; }

  // --- from other peers and ranks ---

  void accept(rank_message message, numbering stream, epoch_number epoch);
  /// The same for one whose body is still elsewhere; `m` has none.
  void accept(const rank_message& m, host::lane_body& body, numbering stream, epoch_number epoch);
  /// The same will come of a message with a body of `size` bytes, unless something comes between: the memory of the posted
  /// receive that would take it, if there is one that says of whom and with which tag.
  [[nodiscard]] landing land(const rank_message& m, std::size_t size, numbering stream, epoch_number epoch,
                             landing_guest& guest);
  void on_acknowledgement(const rank_acknowledgement& ack);
  void on_blocked(rank_number source, numbering stream);
  /// A rank became ready on a peer that knows nothing of this incarnation's credit: sends its
  /// window, and counts credit anew in both directions.
  void on_ready(rank_number rank);
  /// The way to a rank broke: what was sent to it and not acknowledged is sent again.
  void send_again(rank_number destination);
  /// Messages in both directions may be lost, and acknowledgements: says again whatever of it matters.
  void repeat(rank_number other);
  /// Sends what waits to all that are ready: they may have said so before this rank was here.
  void send_waiting();
  /// Asks every source for what it sent while nobody took this rank's messages.
  void ask_again();
  [[nodiscard]] std::vector<rank_acknowledgement> take_acknowledgements();

  // --- cuts ---

  /// Captures this rank's messages and opens the late log. `taken`: messages that receives have
  /// matched, but of which the program knows nothing yet; a restart finds them unread.
  [[nodiscard]] endpoint_state cut(epoch_number epoch,
                                   const std::vector<const rank_message*>& taken = {});
  /// Every rank's cut is known: what arrives from now on is in some sender's window.
  void close_late_log() noexcept { late_open_ = false; }
  /// The late log of the newest cut, closed or not.
  [[nodiscard]] const std::vector<rank_message>& late_log() const noexcept { return late_; }
  void drop_late_log();
  /// Epochs up to `floor` are given up: held messages of them are delivered.
  void on_floor(epoch_number floor);
  /// Says again, when it is so, that a posted receive waits for a held message.
  void check_held();

  /// For the hang report and tests.
  [[nodiscard]] std::size_t unread() const noexcept { return unread_; }
  [[nodiscard]] std::uint64_t unread_bytes() const noexcept;
  /// What waits here for room at a destination.
  [[nodiscard]] std::uint64_t waiting_bytes(rank_number destination) const noexcept;
  /// The destinations that are so far behind that messages for them wait here.
  [[nodiscard]] std::vector<stall> stalls(std::size_t most) const;
  [[nodiscard]] std::size_t held() const noexcept { return held_.size(); }
  [[nodiscard]] std::size_t unacknowledged() const noexcept;

 private:
  struct lent_body {
    byte_vector first;
    byte_view second;
    std::uint64_t number;  ///< by which the host knows it
    room_waiter* waiter = nullptr;
    bool old = false;
  };
  struct sent {
    rank_message message;
    epoch_number epoch;
    std::unique_ptr<lent_body> lent;  ///< instead of the message's own
  };
  struct outgoing {
    std::uint64_t next_sequence = 0;
    ring_queue<sent> window;
    std::size_t transmitted = 0;  ///< a prefix of the window
    std::uint64_t used_messages = 0, used_bytes = 0;          ///< handed over, this incarnation
    std::uint64_t consumed_messages = 0, consumed_bytes = 0;  ///< read there, this incarnation
    std::size_t waiting_bytes = 0;                            ///< not yet transmitted
    bool blocked_told = false;
    bool lifted = false;
  };
  struct incoming {
    std::uint64_t received = 0;  ///< in the mailbox, read, or held
    epoch_number epoch;          ///< of the last of them; a source's epochs never fall
    std::uint64_t consumed_messages = 0, consumed_bytes = 0;
    bool dirty = false, gap = false, lift = false, blocked = false;
  };
  /// A message on its way into this endpoint: somebody's bytes in two parts, an owned body, or one that
  /// is elsewhere.
  struct arrival {
    rank_number source;
    std::uint64_t sequence;
    space_number space;
    tag_number tag;
    const two_parts* parts;
    std::size_t size;
    payload* owned;
    host::lane_body* elsewhere;
  };
  struct kept : list_link<kept> {
    kept(rank_message what, numbering of, bool counts) : message(std::move(what)), stream(of), counted(counts) {}
    kept(const arrival& a, rank_number self, payload body, numbering of)
        : message{a.source, self, a.sequence, a.space, a.tag, std::move(body)}, stream(of), counted(true) {}
    static void* operator new(std::size_t) { return spare_blocks<sizeof(kept)>::take(); }
    static void operator delete(void* block) noexcept { spare_blocks<sizeof(kept)>::give(block); }
    rank_message message;
    numbering stream;
    bool counted;  ///< came in this incarnation, so that reading it gives credit back
  };
  struct held_message {
    rank_message message;
    epoch_number epoch;
  };
  struct pair_of {
    outgoing out[2];
    incoming in[2];
  };

  outgoing& out(rank_number r, numbering s) {
    return pairs_[r.value()].out[static_cast<std::size_t>(s)];
  }
  incoming& in(rank_number r, numbering s) {
    return pairs_[r.value()].in[static_cast<std::size_t>(s)];
  }
  [[nodiscard]] bool early(epoch_number epoch) const noexcept {
    return epoch > epoch_ && epoch > floor_;
  }
  void pump(rank_number destination, numbering stream);
  void send_again(rank_number destination, numbering stream);
  [[nodiscard]] sent* lent_of(rank_number destination, std::uint64_t loan);
  /// Its body is the message's own from now on.
  void own(sent& s, bool unreturned = false);
  void given_back(lent_body& lent, bool unreturned = false);
  void unblock(outgoing& o) noexcept {
    if (std::exchange(o.blocked_told, false)) --blocked_destinations_;
  }
  [[nodiscard]] bool has_credit(const outgoing& o, std::size_t bytes) const noexcept;
  [[nodiscard]] bool has_room(const outgoing& o) const noexcept {
    return o.waiting_bytes <= limits::waiting_bytes_per_pair &&
           o.window.size() - o.transmitted <= limits::waiting_messages_per_pair;
  }
  [[nodiscard]] static arrival arrival_of(rank_message& m) noexcept {
    return {m.source, m.sequence, m.space, m.tag, nullptr, m.body.size(), &m.body, nullptr};
  }
  /// Its body as one that somebody owns; false when it is elsewhere and the sender's memory is gone.
  [[nodiscard]] static bool body_of(const arrival& a, payload& body);
  [[nodiscard]] static payload body_here(const arrival& a) {
    return a.owned != nullptr ? std::move(*a.owned) : payload::copy_of(a.parts->first, a.parts->second);
  }
  /// Precondition: it is not elsewhere.
  [[nodiscard]] rank_message message_of(const arrival& a) const {
    return {a.source, self_, a.sequence, a.space, a.tag, body_here(a)};
  }
  /// Gives it to the destination, which lives here, if nothing is in the way.
  bool hand_over(outgoing& o, endpoint& near, arrival& a);
  /// Nothing waits, and the way is open.
  [[nodiscard]] bool goes_now(const outgoing& o, rank_number destination, std::size_t bytes);
  bool send_later(outgoing& o, rank_number destination, const arrival& a);
  /// The place of its message in the window, without a body.
  rank_message& into_window(outgoing& o, rank_number destination, const arrival& a);
  rank_message& sent_now(outgoing& o, rank_number destination, const arrival& a);
  /// `from`: the source's endpoint when it lives in this peer.
  void take(arrival& a, numbering stream, epoch_number epoch, endpoint* from);
  /// What is not the next of its source, and of this epoch and numbering.
  void take_otherwise(arrival& a, numbering stream, epoch_number epoch, endpoint* from);
  void deliver(arrival& a, numbering stream, bool counted, endpoint* from);
  void put_into_mailbox(rank_message message, numbering stream, bool counted) {
    put_into_mailbox(*new kept(std::move(message), stream, counted));
  }
  void put_into_mailbox(kept& k) {
    mailbox_.push_back(k);
    ++unread_;
  }
  /// False when the sender's memory is gone.
  [[nodiscard]] static bool complete(receiver& r, const arrival& a);
  /// `near`: as `from` of `take`.
  void consumed(rank_number source, std::size_t bytes, numbering stream, endpoint* near);
  void mark(rank_number source, numbering stream, bool urgent = false);
  void ask_for_lift(const pattern& p) {
    if (blocked_sources_ > 0) lift_sources(p);
  }
  void lift_sources(const pattern& p);
  void check_held(const pattern& p) {
    if (!held_.empty()) look_for_held(p);
  }
  void look_for_held(const pattern& p);
  void waits_for(const held_message& held);
  [[nodiscard]] kept* find(const pattern& p);
  void fetch_after(const kept& next);
  template <class Message>
  [[nodiscard]] bool awaited(const Message& message);
  void keep_late(const rank_message& message);

  endpoint_host& host_;
  rank_number self_;
  epoch_number epoch_, floor_;
  numbering stream_ = numbering::prelude;
  std::vector<pair_of> pairs_;
  intrusive_list<kept> mailbox_;  ///< owns them
  std::size_t unread_ = 0;        ///< in it
  intrusive_list<receiver> posted_;
  std::deque<held_message> held_;
  std::vector<rank_message> late_;
  std::size_t late_bytes_ = 0;
  bool late_open_ = false;
  std::size_t lent_ = 0;  ///< of all windows
  std::uint32_t blocked_sources_ = 0;  ///< of `in`, both numberings
  std::uint32_t blocked_destinations_ = 0;  ///< of `out` likewise
  std::vector<std::pair<rank_number, numbering>> dirty_;
  bool urgent_ = false;  ///< one of them is, and the host knows
  struct room {
    rank_number destination;
    room_waiter* waiter;
  };
  std::list<room> waiting_for_room_;
};

}  // namespace p2pdvm::messaging

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/messaging/impl/endpoint.ipp>
#endif

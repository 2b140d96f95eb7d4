#pragma once

#include <p2pdvm/messaging/circuits.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::messaging {

/// First byte of what is said; the top bit is set when the receiver has chosen the number, which
/// follows.
enum class circuits::kind : std::uint8_t {
  begin = 0,   ///< to a relay: lead this circuit to the node that follows
  arrive = 1,  ///< to the far end: the node that follows has begun this circuit
  data = 2,    ///< bytes
  credit = 3,  ///< so many more bytes may be sent
  end = 4,
};

namespace detail {

inline constexpr std::uint8_t circuit_number_is_yours = 0x80;
/// Credit is given back in parts of this size.
inline constexpr std::size_t circuit_credit_bytes = circuit_window_bytes / 4;

}  // namespace detail

class circuits::stream final : public host::stream {
 public:
  stream(circuits& of, place where) : of_(of), where_(std::move(where)) {}
  ~stream() override {
    *alive_ = false;
    if (!over_) of_.end(of_.circuits_.find(where_), true);
    std::erase(of_.ended_, this);
  }

  [[nodiscard]] address local() const override { return {}; }
  [[nodiscard]] address remote() const override { return {}; }
  void start(host::stream_handler& handler) override { handler_ = &handler; }
  void write(byte_vector bytes) override {
    if (over_ || bytes.empty()) return;
    unsent_ += bytes.size();
    out_.push_back(payload(std::move(bytes)));
    send();
  }
  [[nodiscard]] std::size_t unsent() const override { return unsent_; }
  void pause(bool paused) override {
    paused_ = paused;
    if (!paused && !in_.empty()) of_.end_later(*this);  // its turn comes from a timer
  }

  /// The far end has taken so many bytes.
  void credit(std::uint64_t bytes) {
    credit_ += static_cast<std::size_t>(
        std::min<std::uint64_t>(bytes, circuit_window_bytes - credit_));
    const bool waited = unsent_ > 0;
    send();
    if (waited && unsent_ == 0 && handler_ != nullptr) handler_->on_drained();
  }
  /// False when the far end sends what it has no credit for.
  [[nodiscard]] bool receive(payload bytes) {
    if (bytes.size() > circuit_window_bytes - untaken_) return false;
    untaken_ += bytes.size();
    in_.push_back(std::move(bytes));
    deliver();
    return true;
  }
  /// Takes the handler its turn: what waited while it was paused, then the end.
  void turn() {
    const auto alive = alive_;
    deliver();
    if (!*alive || !over_ || handler_ == nullptr) return;
    if (paused_ && !in_.empty()) return;
    std::exchange(handler_, nullptr)
        ->on_closed(error(errc::closed, "the way through another peer has ended"));
  }
  void end() {
    over_ = true;
    out_.clear();
    unsent_ = 0;
  }

 private:
  void send() {
    while (!out_.empty() && credit_ > 0) {
      payload& front = out_.front();
      const std::size_t n = std::min({front.size(), credit_, circuit_piece_bytes_max});
      payload piece = front.slice(0, n);
      if (n == front.size()) {
        static_cast<void>(out_.pop_front());
      } else {
        front = front.slice(n, front.size() - n);
      }
      credit_ -= n;
      unsent_ -= n;
      of_.say(where_, kind::data, {}, std::move(piece));
    }
  }
  void deliver() {
    const auto alive = alive_;
    while (!paused_ && handler_ != nullptr && !in_.empty()) {
      const payload bytes = in_.pop_front();
      if (!std::exchange(open_, true)) handler_->on_open();
      if (*alive && handler_ != nullptr) handler_->on_data(bytes.view());
      if (!*alive) return;
      taken(bytes.size());
    }
  }
  void taken(std::size_t bytes) {
    untaken_ -= bytes;
    ungiven_ += bytes;
    if (over_ || ungiven_ < detail::circuit_credit_bytes) return;
    byte_vector rest;
    wire::writer(rest).size(std::exchange(ungiven_, 0));
    of_.say(where_, kind::credit, rest);
  }

  circuits& of_;
  place where_;
  host::stream_handler* handler_ = nullptr;
  ring_queue<payload> out_;
  std::size_t unsent_ = 0;
  std::size_t credit_ = circuit_window_bytes;
  ring_queue<payload> in_;    ///< while paused
  std::size_t untaken_ = 0;   ///< bytes in `in_`
  std::size_t ungiven_ = 0;   ///< taken, and no credit given back for them yet
  bool open_ = false, paused_ = false;
  bool over_ = false;  ///< no entry leads here any more
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

P2PDVM_DECL circuits::circuits(host::clock& clock, circuit_owner& owner)
    : clock_(clock), owner_(owner), end_timer_(clock) {}

P2PDVM_DECL circuits::~circuits() = default;

P2PDVM_DECL std::unique_ptr<host::stream> circuits::connect(const node_id& relay,
                                                            const node_id& target) {
  const place where = fresh_place(relay);
  auto s = std::make_unique<stream>(*this, where);
  if (full(relay)) {
    s->end();
    end_later(*s);
    return s;
  }
  circuits_[where].end = s.get();
  say(where, kind::begin, target.bytes());
  return s;
}

P2PDVM_DECL bool circuits::full(const node_id& neighbour) const {
  if (circuits_.size() >= circuits_max) return true;
  const auto first = circuits_.lower_bound(place{neighbour, false, 0});
  std::size_t n = 0;
  for (auto i = first; i != circuits_.end() && i->first.neighbour == neighbour; ++i) ++n;
  return n >= circuits_per_peer_max;
}

P2PDVM_DECL bool circuits::full(const node_id& from, const node_id& to) const {
  std::size_t n = 0;
  for (auto i = circuits_.lower_bound(place{from, false, 0}); i != circuits_.end() && i->first.neighbour == from; ++i)
    n += i->second.onward && i->second.onward->neighbour == to ? 1 : 0;
  return n >= circuits_per_pair_max;
}

P2PDVM_DECL void circuits::passed(const place& there, std::size_t bytes) { passing_[there.neighbour] += bytes; }

P2PDVM_DECL void circuits::taken(const place& there, std::size_t bytes) {
  const auto at = passing_.find(there.neighbour);
  if (at != passing_.end() && (at->second -= bytes) == 0) passing_.erase(at);
}

P2PDVM_DECL circuits::place circuits::fresh_place(const node_id& neighbour) {
  return {neighbour, true, ++last_number_};
}

P2PDVM_DECL void circuits::say(const place& where, kind what, byte_view rest, payload body) {
  byte_vector head{static_cast<std::byte>(static_cast<std::uint8_t>(what) |
                                          (where.mine ? 0 : detail::circuit_number_is_yours))};
  wire::writer w(head);
  w.size(where.number);
  w.raw(rest);
  owner_.send_circuit(where.neighbour, head, std::move(body));
}

P2PDVM_DECL void circuits::on_message(const node_id& from, const arrived_message& message) {
  wire::reader r(message.view);
  std::uint8_t head = 0;
  r(head);
  const bool mine = (head & detail::circuit_number_is_yours) != 0;
  const auto what = static_cast<kind>(head & ~detail::circuit_number_is_yours);
  const std::uint64_t number = r.size(UINT64_MAX);
  if (!r.ok()) return;
  if (what == kind::begin || what == kind::arrive) {
    const byte_view node = r.raw(node_id::size);
    if (!r.ok() || mine) return;
    return what == kind::begin ? begin(from, number, node_id(node)) : arrive(from, number, node_id(node));
  }
  const auto at = circuits_.find(place{from, mine, number});
  if (at == circuits_.end()) {  // the other side may not know that it has ended
    if (what == kind::data) say(place{from, mine, number}, kind::end);
    return;
  }
  switch (what) {
    case kind::data: {
      const std::size_t skipped = message.view.size() - r.remaining();
      payload bytes;
      if (message.assembled != nullptr) {
        const payload whole(std::move(*message.assembled));
        bytes = whole.slice(skipped, whole.size() - skipped);
      } else {
        bytes = payload::copy_of(message.view.subspan(skipped));
      }
      return on_data(at, std::move(bytes));
    }
    case kind::credit: return on_credit(at, r.size(circuit_window_bytes));
    case kind::end: return end(at, false);
    default: return;
  }
}

P2PDVM_DECL void circuits::begin(const node_id& from, std::uint64_t number, const node_id& target) {
  const place here{from, false, number};
  if (circuits_.contains(here)) return;
  if (target == from || full(from) || full(target) || full(from, target) || !owner_.passes_on(from, target))
    return say(here, kind::end);
  const place there = fresh_place(target);
  circuits_[here].onward = there;
  circuits_[there].onward = here;
  say(there, kind::arrive, from.bytes());
}

P2PDVM_DECL void circuits::arrive(const node_id& from, std::uint64_t number, const node_id& origin) {
  const place here{from, false, number};
  if (circuits_.contains(here)) return;
  if (full(from)) return say(here, kind::end);
  auto s = std::make_unique<stream>(*this, here);
  circuits_[here].end = s.get();
  owner_.on_circuit(from, origin, std::move(s));
}

P2PDVM_DECL void circuits::on_data(entries::iterator at, payload bytes) {
  entry& e = at->second;
  if (e.end != nullptr) {
    const place where = at->first;
    stream* const s = e.end;
    if (!s->receive(std::move(bytes))) end(circuits_.find(where), true);
    return;
  }
  const place there = *e.onward;
  const auto waiting = passing_.find(there.neighbour);
  const bool too_much = waiting != passing_.end() && waiting->second > relay_backlog_bytes_max;
  if (bytes.size() > circuit_window_bytes - e.passing || too_much) {
    say(at->first, kind::end);
    return end(at, true);
  }
  e.passing += bytes.size();
  passed(there, bytes.size());
  say(there, kind::data, {}, std::move(bytes));
}

P2PDVM_DECL void circuits::on_credit(entries::iterator at, std::uint64_t bytes) {
  if (at->second.end != nullptr) return at->second.end->credit(bytes);
  const place there = *at->second.onward;
  entry& sender = circuits_.find(there)->second;
  const auto given = std::min<std::uint64_t>(bytes, sender.passing);
  sender.passing -= static_cast<std::size_t>(given);
  taken(at->first, static_cast<std::size_t>(given));
  byte_vector rest;
  wire::writer(rest).size(given);
  say(there, kind::credit, rest);
}

P2PDVM_DECL void circuits::end(entries::iterator at, bool tell) {
  P2PDVM_ASSERT(at != circuits_.end());
  const place here = at->first;
  const entry e = at->second;
  circuits_.erase(at);
  if (e.onward) {
    taken(*e.onward, e.passing);
    const auto other = circuits_.find(*e.onward);
    taken(here, other->second.passing);
    circuits_.erase(other);
    return say(*e.onward, kind::end);
  }
  if (tell) say(here, kind::end);
  e.end->end();
  end_later(*e.end);
}

P2PDVM_DECL void circuits::drop(const node_id& neighbour) {
  for (;;) {
    const auto at = circuits_.lower_bound(place{neighbour, false, 0});
    if (at == circuits_.end() || at->first.neighbour != neighbour) return;
    end(at, false);
  }
}

P2PDVM_DECL void circuits::stop() {
  for (auto& [where, e] : circuits_) {
    if (e.end != nullptr) e.end->end();
  }
  circuits_.clear();
  passing_.clear();
  end_timer_.cancel();
}

P2PDVM_DECL void circuits::end_later(stream& s) {
  if (std::find(ended_.begin(), ended_.end(), &s) == ended_.end()) ended_.push_back(&s);
  if (!end_timer_.armed()) end_timer_.at(clock_.now(), [this] { end_some(); });
}

/// Those whose turn comes while others have theirs get it in the next round.
P2PDVM_DECL void circuits::end_some() {
  for (std::size_t n = ended_.size(); n > 0 && !ended_.empty(); --n) {
    stream* const s = ended_.front();
    ended_.erase(ended_.begin());
    s->turn();
  }
  if (!ended_.empty() && !end_timer_.armed()) end_timer_.at(clock_.now(), [this] { end_some(); });
}

}  // namespace p2pdvm::messaging

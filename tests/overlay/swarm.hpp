/// A swarm of overlay nodes in virtual time: latency, loss, deaths and faults by seed.
#pragma once

#include <p2pdvm/overlay/node.hpp>

#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::overlay::test {

using namespace std::chrono_literals;

inline constexpr unix_seconds wall_start = 1'700'000'000;

inline crypto::identity make_identity(std::uint64_t number) {
  const digest256 seed = crypto::hash(bytes_of(number));
  return crypto::identity(crypto::secret_key(seed.bytes()));
}

inline address make_address(std::size_t i) {
  // One peer per public /24, so that the caps per network do not shape the tests.
  return address::v4(static_cast<std::uint8_t>(20 + i / 40000),
                     static_cast<std::uint8_t>(i / 200 % 200), static_cast<std::uint8_t>(i % 200),
                     1, 4000);
}

class swarm {
 public:
  explicit swarm(std::uint64_t seed, double loss = 0) : random_(seed), loss_(loss) {}

  struct peer final : overlay_transport {
    peer(swarm& owner, std::size_t number, const node_options& options, std::uint64_t seed)
        : in(owner),
          who(make_identity(seed)),
          where{who.key(), make_address(number)},
          self(who, options, random_generator(seed), *this) {}
    void send(const contact& to, byte_view bytes) override { in.carry(*this, to, bytes); }
    swarm& in;
    crypto::identity who;
    contact where;
    bool alive = true;
    time_point armed = time_point_never;
    node self;
  };

  std::size_t add(const node_options& options = {}) {
    const std::size_t number = peers_.size();
    peers_.push_back(std::make_unique<peer>(*this, number, options, 1000 + number));
    peer& p = *peers_.back();
    p.self.set_wall_clock(now_, wall());
    by_address_[p.where.where] = number;
    return number;
  }
  peer& at(std::size_t i) { return *peers_[i]; }
  node& node_at(std::size_t i) { return peers_[i]->self; }
  std::size_t size() const { return peers_.size(); }
  time_point now() const { return now_; }
  unix_seconds wall() const {
    return wall_start + std::chrono::floor<std::chrono::seconds>(now_.time_since_epoch()).count();
  }
  random_generator& random() { return random_; }
  /// Datagrams from one to another for which this says false are dropped.
  std::function<bool(std::size_t from, std::size_t to)> passes;
  /// One way between two peers, where it is not the usual random one.
  std::function<duration(std::size_t a, std::size_t b)> way;
  /// Sees every datagram sent.
  std::function<void(const contact& from, const contact& to, byte_view bytes)> tap;

  void kill(std::size_t i) { peers_[i]->alive = false; }

  void arm(std::size_t i) {
    peer& p = *peers_[i];
    const time_point next = p.self.next_timer();
    if (!p.alive || next == time_point_never || next >= p.armed) return;
    p.armed = next;
    events_.push({std::max(next, now_), order_++, i, {}, {}});
  }

  void run_for(duration d) {
    const time_point end = now_ + d;
    while (!events_.empty() && events_.top().when <= end) step();
    now_ = end;
  }
  /// Until `done`, at most `d`.
  template <class Done>
  bool run_until(Done done, duration d) {
    const time_point end = now_ + d;
    while (!done() && !events_.empty() && events_.top().when <= end) step();
    return done();
  }
  std::uint64_t steps() const { return steps_; }

  /// Everybody joins through the first peer, one after another.
  void build(std::size_t count, const node_options& options = {}, duration pause = 50ms) {
    const std::size_t first = add(options);
    for (std::size_t k = 1; k < count; ++k) {
      const std::size_t i = add(options);
      node_at(i).join(now_, {at(first).where});
      arm(i);
      run_for(pause);
    }
  }

 private:
  struct event {
    time_point when;
    std::uint64_t order;
    std::size_t to;
    contact from;
    payload bytes;  ///< empty: a timer
    bool operator<(const event& other) const {
      return std::pair(when, order) > std::pair(other.when, other.order);
    }
  };

  void step() {
    event e = events_.top();
    events_.pop();
    ++steps_;
    now_ = e.when;
    peer& p = *peers_[e.to];
    if (!p.alive) return;
    if (e.bytes.empty()) {
      p.armed = time_point_never;
      if (p.self.next_timer() <= now_) p.self.on_timer(now_);
    } else {
      p.self.on_datagram(now_, e.from, e.bytes.view());
    }
    arm(e.to);
  }

  /// Symmetric, from 10 to 130 ms, the same for a pair always.
  duration latency(std::size_t a, std::size_t b) const {
    const std::uint64_t mixed = (std::min(a, b) + 1) * 0x9e3779b97f4a7c15ull ^
                                (std::max(a, b) + 1) * 0xbf58476d1ce4e5b9ull;
    return 10ms + std::chrono::microseconds(mixed % 120'000);
  }

  void carry(const peer& from, const contact& to, byte_view bytes) {
    if (tap) tap(from.where, to, bytes);
    const auto at = by_address_.find(to.where);
    const bool lost = random_.chance(loss_);
    if (at == by_address_.end() || lost) return;
    const std::size_t source = by_address_.at(from.where.where);
    if (peers_[at->second]->where.key != to.key) return;
    if (passes && !passes(source, at->second)) return;
    const duration took = way ? way(source, at->second) : latency(source, at->second);
    events_.push({now_ + took, order_++, at->second, from.where,
                  payload::copy_of(bytes)});
  }

  random_generator random_;
  double loss_;
  time_point now_{};
  std::uint64_t order_ = 0;
  std::uint64_t steps_ = 0;
  std::vector<std::unique_ptr<peer>> peers_;
  std::map<address, std::size_t> by_address_;
  std::priority_queue<event> events_;
};

inline node_id random_id(random_generator& random) {
  node_id id;
  for (std::size_t i = 0; i < node_id::size; ++i) {
    id.mutable_bytes()[i] = static_cast<std::byte>(random.below(256));
  }
  return id;
}

}  // namespace p2pdvm::overlay::test

/// The members of one job and their failure detectors in virtual time.
#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/failure_detector.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <utility>
#include <vector>

namespace p2pdvm::overlay::test {

using namespace std::chrono_literals;

class group {
 public:
  struct settings {
    std::size_t members = 5;
    std::uint64_t seed = 1;
    double loss = 0;
    detector_options options;
    duration latency_min = 200us;
    duration latency_max = 1ms;
  };

  struct member final : detector_owner {
    member(group& owner, std::size_t number, const node_id& name)
        : in(owner),
          index(number),
          id(name),
          detector(name, owner.settings_.options,
                   random_generator(owner.settings_.seed * 1000 + number), *this) {}
    void send(const node_id& to, byte_view datagram) override { in.carry(*this, to, datagram); }
    void suspected(const node_id& who, const std::vector<node_id>&) override {
      ++suspicions[in.index_of(who)];
    }
    void refuted(const node_id& who) override {
      ++refutations[in.index_of(who)];
      agreed.erase(in.index_of(who));
    }
    void agreed_dead(const node_id& who, const std::vector<node_id>& observers) override {
      agreed.emplace(in.index_of(who), in.now_);
      observer_count = observers.size();
      ++in.agreements;
      if (evict_at_once) detector.set_members(in.now_, in.all_but(who));
    }
    void spoken_of(detector_name stranger, const node_id& by) override {
      strangers.emplace(in.index_of(by), stranger);
    }
    std::optional<packed_coordinate> place() override { return own_place; }
    void measured(const node_id& who, const packed_coordinate& where, duration took) override {
      samples.push_back({in.index_of(who), where, took});
    }
    struct sample {
      std::size_t from;
      packed_coordinate where;
      duration took;
    };
    group& in;
    std::size_t index;
    node_id id;
    failure_detector detector;
    bool alive = true;
    bool evict_at_once = false;
    time_point stalled_until{};
    std::map<std::size_t, time_point> agreed;
    std::map<std::size_t, int> suspicions;
    std::map<std::size_t, int> refutations;
    std::size_t observer_count = 0;
    std::set<std::pair<std::size_t, detector_name>> strangers;  ///< spoken of by whom
    std::optional<packed_coordinate> own_place;
    std::vector<sample> samples;
    time_point armed = time_point_never;
  };

  explicit group(const settings& s) : settings_(s), random_(s.seed) {
    for (std::size_t i = 0; i < s.members; ++i) {
      const node_id id(crypto::hash(bytes_of(i * 7919 + s.seed)).bytes());
      ids_.push_back(id);
      index_[id] = i;
      members_.push_back(std::make_unique<member>(*this, i, id));
    }
    for (std::size_t i = 0; i < s.members; ++i) {
      members_[i]->detector.set_members(now_, ids_);
      arm(i);
    }
  }

  member& at(std::size_t i) { return *members_[i]; }
  std::size_t size() const { return members_.size(); }
  time_point now() const { return now_; }
  std::size_t index_of(const node_id& id) const { return index_.at(id); }
  std::vector<node_id> all_but(const node_id& who) const {
    std::vector<node_id> rest;
    for (const node_id& id : ids_) {
      if (id != who) rest.push_back(id);
    }
    return rest;
  }
  void kill(std::size_t i) { members_[i]->alive = false; }
  /// The process runs nothing until `until`; its datagrams wait for it.
  void stall(std::size_t i, duration length) { members_[i]->stalled_until = now_ + length; }
  void hint(std::size_t at_member, std::size_t about) {
    members_[at_member]->detector.hint(now_, ids_[about]);
    arm(at_member);
  }
  void inject(std::size_t to, const node_id& from, byte_view message) {
    members_[to]->detector.on_message(now_, from, message);
    arm(to);
  }
  const node_id& id(std::size_t i) const { return ids_[i]; }

  void run_for(duration d) {
    const time_point end = now_ + d;
    while (!events_.empty() && events_.top().when <= end) step();
    now_ = end;
  }
  /// When the last living member agreed that `who` is dead, if all did.
  std::optional<duration> agreed_by_all(std::size_t who, time_point since) const {
    duration last{};
    for (const auto& m : members_) {
      if (!m->alive || m->index == who) continue;
      const auto at = m->agreed.find(who);
      if (at == m->agreed.end()) return std::nullopt;
      last = std::max(last, at->second - since);
    }
    return last;
  }
  std::function<void(std::size_t from, byte_view datagram)> on_datagram;
  std::size_t agreements = 0;
  std::uint64_t datagrams = 0;
  std::uint64_t bytes = 0;

 private:
  struct event {
    time_point when;
    std::uint64_t order;
    std::size_t to;
    node_id from;
    byte_vector bytes;  ///< empty: a timer
    bool operator<(const event& other) const {
      return std::pair(when, order) > std::pair(other.when, other.order);
    }
  };

  void arm(std::size_t i) {
    member& m = *members_[i];
    const time_point next = std::max(m.detector.next_timer(), now_);
    if (next == time_point_never || next >= m.armed) return;
    m.armed = next;
    events_.push({next, order_++, i, {}, {}});
  }

  void step() {
    event e = events_.top();
    events_.pop();
    now_ = e.when;
    member& m = *members_[e.to];
    if (!m.alive) return;
    if (m.stalled_until > now_) {
      e.when = m.stalled_until;
      if (e.bytes.empty()) m.armed = e.when;
      events_.push(std::move(e));
      return;
    }
    if (e.bytes.empty()) {
      m.armed = time_point_never;
      if (m.detector.next_timer() <= now_) m.detector.on_timer(now_);
    } else {
      m.detector.on_message(now_, e.from, e.bytes);
    }
    arm(e.to);
  }

  void carry(const member& from, const node_id& to, byte_view message) {
    const auto spread = static_cast<std::uint64_t>(
        (settings_.latency_max - settings_.latency_min).count() + 1);
    const duration delay =
        settings_.latency_min + duration(static_cast<std::int64_t>(random_.below(spread)));
    const bool lost = random_.chance(settings_.loss);
    ++datagrams;
    if (on_datagram) on_datagram(from.index, message);
    bytes += message.size();
    if (lost || !index_.contains(to)) return;
    events_.push({now_ + delay, order_++, index_.at(to), from.id, to_vector(message)});
  }

  settings settings_;
  random_generator random_;
  time_point now_{};
  std::uint64_t order_ = 0;
  std::vector<node_id> ids_;
  std::map<node_id, std::size_t> index_;
  std::vector<std::unique_ptr<member>> members_;
  std::priority_queue<event> events_;
};

}  // namespace p2pdvm::overlay::test

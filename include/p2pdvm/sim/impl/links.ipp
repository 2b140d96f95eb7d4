#pragma once

#include <p2pdvm/sim/links.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::sim {

P2PDVM_DECL network_conditions conditions_of(latency_profile profile) {
  network_conditions c;
  switch (profile) {
    case latency_profile::loopback:
    case latency_profile::lan:
      c.jitter = 0.1;
      break;
    case latency_profile::planetlab:
    case latency_profile::intercontinental:
      c.jitter = 0.02;
      c.loss = 0.005;
      c.shift_share = 0.01;
      break;
    case latency_profile::residential:
      c.jitter = 0.1;
      c.loss = 0.01;
      c.shift_share = 0.01;
      break;
  }
  return c;
}

namespace detail {

/// Nanoseconds that `bytes` take on a link of `rate` bit/s.
inline tick transmission(std::size_t bytes, std::uint64_t rate) noexcept {
  return static_cast<tick>(bytes * 8'000'000'000ull / rate);
}

P2PDVM_DECL links::links(latency_map map, network_conditions how, std::uint64_t seed)
    : conditions(how), random(seed), map_(std::move(map)), shift_seed_(seed) {}

P2PDVM_DECL void links::add_machine(const machine_options& how,
                                   std::optional<std::uint32_t> neighbour) {
  map_.add_machine(neighbour);
  const latency_map::access access = map_.draw_access();
  ends_.push_back({how.up.value_or(access.up), how.down.value_or(access.down)});
}

P2PDVM_DECL bool links::partitioned(std::uint32_t from, std::uint32_t to) const {
  const auto in = [](const std::vector<bool>& set, std::uint32_t m) {
    return m < set.size() && set[m];
  };
  for (const auto& [id, s] : splits_) {
    if (in(s.a, from) && in(s.b, to)) return true;
    if (s.which == direction::both && in(s.b, from) && in(s.a, to)) return true;
  }
  return false;
}

P2PDVM_DECL bool links::matches(const fault_rule& rule, std::uint32_t from, std::uint32_t to,
                                traffic kind, tick now) {
  const time_point at{duration(now)};
  return (!rule.from || *rule.from == from) && (!rule.to || *rule.to == to) &&
         (!rule.kind || *rule.kind == kind) && at >= rule.begin && at < rule.end;
}

P2PDVM_DECL bool links::blocked(std::uint32_t from, std::uint32_t to, tick now) const {
  if (from == to) return false;
  if (!splits_.empty() && partitioned(from, to)) return true;
  for (const auto& [id, rule] : rules_)
    if (matches(rule, from, to, traffic::stream, now))
      return rule.action == fault_action::drop && rule.probability >= 1;
  return false;
}

P2PDVM_DECL links::verdict links::judge(std::uint32_t from, std::uint32_t to, traffic kind,
                                        tick now) {
  for (const auto& [id, rule] : rules_) {
    if (!matches(rule, from, to, kind, now)) continue;
    if (rule.probability < 1 && !random.chance(rule.probability)) return {};
    if (rule.action == fault_action::drop) return {true, 0};
    if (rule.action == fault_action::delay) return {false, rule.delay.count()};
    return {};
  }
  return {};
}

/// Pairs change at different times. Nothing is kept: a hash of pair and time slot says it all.
P2PDVM_DECL tick links::shift(std::uint32_t from, std::uint32_t to, tick base, tick now) const {
  const auto phase = static_cast<tick>(pair_draw(shift_seed_, from, to) *
                                       static_cast<double>(conditions.shift_interval.count()));
  const auto slot = static_cast<std::uint64_t>((now + phase) / conditions.shift_interval.count());
  const double u = pair_draw(shift_seed_ + (slot + 1) * 0xd1342543de82ef95ull, from, to);
  if (u >= conditions.shift_share) return 0;
  return static_cast<tick>(static_cast<double>(base) * conditions.shift_max *
                           (u / conditions.shift_share));
}

P2PDVM_DECL tick links::one_way(std::uint32_t from, std::uint32_t to, tick now) {
  tick base = map_.round_trip(from, to).count() / 2;
  if (conditions.shift_share > 0 && from != to) base += shift(from, to, base, now);
  if (conditions.jitter <= 0) return base;
  const double u = random.unit();
  return base + static_cast<tick>(static_cast<double>(base) * conditions.jitter * u * u);
}

P2PDVM_DECL std::optional<tick> links::datagram_arrival(std::uint32_t from, std::uint32_t to,
                                                        std::size_t bytes, tick now) {
  if (from == to) return now + one_way(from, to, now);
  if (!splits_.empty() && partitioned(from, to)) return std::nullopt;
  const verdict v = rules_.empty() ? verdict{} : judge(from, to, traffic::datagram, now);
  if (v.dropped) return std::nullopt;
  tick departure = now;
  end& e = ends_[from];
  if (e.up != 0) {
    if (e.up_free - now > conditions.queue_max.count()) return std::nullopt;
    e.up_free = std::max(now, e.up_free) + transmission(bytes + header_bytes, e.up);
    departure = e.up_free;
  }
  if (conditions.loss > 0 && random.chance(conditions.loss)) return std::nullopt;
  tick latency = one_way(from, to, now);
  if (conditions.reordering > 0 && random.chance(conditions.reordering)) {
    const double late = random.unit();
    latency += static_cast<tick>(static_cast<double>(latency) * late);
  }
  return departure + latency + v.delay;
}

P2PDVM_DECL tick links::stream_arrival(std::uint32_t from, std::uint32_t to, std::size_t bytes,
                                       tick now) {
  if (from == to) return now + one_way(from, to, now);
  const verdict v = rules_.empty() ? verdict{} : judge(from, to, traffic::stream, now);
  tick departure = now;
  const std::size_t packets = bytes / packet_bytes + 1;
  end& e = ends_[from];
  if (e.up != 0) {
    const std::size_t with_headers = bytes + packets * header_bytes;
    e.up_free = std::max(now, e.up_free) + transmission(with_headers, e.up);
    departure = e.up_free;
  }
  tick arrival = departure + one_way(from, to, now) + v.delay;
  const double loss = std::min(0.5, conditions.loss * static_cast<double>(packets));
  if (v.dropped || (loss > 0 && random.chance(loss))) {
    // Mostly the packets behind a lost one tell; else the sender's timer has to.
    const tick round = map_.round_trip(from, to).count();
    arrival += random.chance(0.75) ? round : std::max(retransmission_min, 2 * round);
  }
  return arrival;
}

P2PDVM_DECL std::optional<tick> links::downlink(std::uint32_t machine, std::size_t bytes,
                                                bool datagram, tick now) {
  end& e = ends_[machine];
  if (datagram && e.down_free - now > conditions.queue_max.count()) return std::nullopt;
  const std::size_t packets = bytes / packet_bytes + 1;
  const std::size_t with_headers = bytes + packets * header_bytes;
  e.down_free = std::max(now, e.down_free) + transmission(with_headers, e.down);
  return e.down_free;
}

P2PDVM_DECL fault_id links::partition(const std::vector<std::uint32_t>& a,
                                      const std::vector<std::uint32_t>& b, direction which) {
  const auto set_of = [this](const std::vector<std::uint32_t>& members) {
    std::vector<bool> set(ends_.size());
    for (const std::uint32_t m : members) {
      P2PDVM_ASSERT(m < ends_.size());
      set[m] = true;
    }
    return set;
  };
  splits_.emplace(next_id_, split{set_of(a), set_of(b), which});
  return next_id_++;
}

P2PDVM_DECL fault_id links::add_fault(const fault_rule& rule) {
  rules_.emplace(next_id_, rule);
  return next_id_++;
}

P2PDVM_DECL void links::remove(fault_id id) {
  splits_.erase(id);
  rules_.erase(id);
}

P2PDVM_DECL void links::remove_all() {
  splits_.clear();
  rules_.clear();
}

}  // namespace detail

}  // namespace p2pdvm::sim

#pragma once

#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::sim {

P2PDVM_DECL std::uint64_t places_seed(std::uint64_t seed) {
  return detail::mix_seed(seed, 1, 1u << 31);
}

namespace detail {

inline latency_map map_for(options& how) {
  const std::uint64_t seed = places_seed(how.seed);
  latency_map map = how.matrix ? latency_map(std::move(*how.matrix), seed) : latency_map(how.profile, seed);
  if (how.access) map.access_of(*how.access);
  return map;
}

}  // namespace detail

P2PDVM_DECL simulation::simulation(options how)
    : world_(detail::map_for(how), how.conditions.value_or(conditions_of(how.profile)),
             detail::mix_seed(how.seed, 2, 1u << 31)) {
  world_.seed = how.seed;
  world_.wall_start = how.wall_start;
}

/// Actions that never ran may own sockets and files: they go while the machines are still there.
P2PDVM_DECL simulation::~simulation() { world_.core.queue.drop_actions(); }

P2PDVM_DECL machine& simulation::add_machine(const machine_options& how) {
  machines_.push_back(std::make_unique<machine>(world_, how));
  return *machines_.back();
}

P2PDVM_DECL void simulation::fold(const detail::event& e) {
  detail::event_digest& digest = world_.core.digest;
  digest.add(static_cast<std::uint64_t>(world_.core.now));
  digest.add(std::uint64_t{e.machine} << 8 | static_cast<std::uint8_t>(e.kind));
  if (e.is_action()) return;
  digest.add(e.kind == detail::event_kind::datagram ? e.bytes.size() : e.bytes.size() + e.amount);
  if (!e.bytes.empty()) digest.add(detail::event_digest::of(e.bytes));
}

/// The slot is free again before the action runs, so that it cannot cancel itself.
P2PDVM_DECL void simulation::execute_action(detail::event_queue::slot slot) {
  detail::event& e = world_.core.queue[slot];
  const std::function<void()> action = std::exchange(e.action, nullptr);
  world_.core.queue.release(slot);
  if (action) action();
}

P2PDVM_DECL void simulation::execute(detail::event_queue::slot slot) {
  using detail::event_kind;
  detail::event_queue& queue = world_.core.queue;
  detail::event& e = queue[slot];
  fold(e);
  bool again = false;
  switch (e.kind) {
    case event_kind::script: execute_action(slot); return;
    case event_kind::timer:
    case event_kind::disk: {
      const detail::site& s = *world_.core.sites[e.machine];
      if (!s.up || s.life != e.life) break;
      if (!world_.core.stalled(s)) {
        execute_action(slot);
        return;
      }
      queue.again(slot, s.stalled_until);
      again = true;
      break;
    }
    case event_kind::datagram: again = world_.udp.arrive(slot); break;
    default: again = world_.tcp.happen(slot); break;
  }
  if (!again) queue.release(slot);
}

/// With thousands of machines each event touches memory that has long left the cache. The queue
/// knows the next events: what they need is fetched in stages, each of which reads what an earlier
/// one has fetched, while other events run. Nothing that happens depends on it.
P2PDVM_DECL void simulation::look_ahead() {
  using detail::event;
  detail::event_queue& queue = world_.core.queue;
  constexpr std::size_t pause = 3;  // events between two stages
  constexpr std::size_t stages = host::datagram_handler::stages;
  const auto concerns_peer = [](const event* e) {
    return e != nullptr &&
           (e->kind == detail::event_kind::datagram || e->kind == detail::event_kind::timer);
  };
  queue.fetch((stages + 3) * pause);
  if (const event* e = queue.ahead((stages + 2) * pause); concerns_peer(e)) {
    prefetch(world_.core.sites[e->machine].get(), 2 * sizeof(event));
    prefetch(machines_[e->machine].get(), 64);
    if (!e->bytes.empty()) prefetch(e->bytes.data(), e->bytes.size());
  }
  if (const event* e = queue.ahead((stages + 1) * pause); concerns_peer(e)) {
    const detail::site& s = *world_.core.sites[e->machine];
    prefetch(s.expectant);
    prefetch(s.sockets.data(), sizeof(*s.sockets.data()));
    machines_[e->machine]->prefetch_life();
  }
  for (std::size_t stage = 0; stage < stages; ++stage) {
    const event* e = queue.ahead((stages - stage) * pause);
    if (!concerns_peer(e)) continue;
    const detail::site& s = *world_.core.sites[e->machine];
    if (s.expectant != nullptr) s.expectant->expect(static_cast<unsigned>(stage));
  }
}

P2PDVM_DECL bool simulation::step_until(detail::tick limit) {
  detail::event_queue::slot slot = 0;
  detail::tick when = 0;
  if (!world_.core.queue.pop(std::min(limit, detail::tick_never - 1), when, slot)) return false;
  world_.core.now = when;
  ++events_;
  look_ahead();
  execute(slot);
  return true;
}

P2PDVM_DECL bool simulation::step() { return step_until(detail::tick_never); }

P2PDVM_DECL void simulation::run_until(time_point when) {
  const detail::tick limit = when.time_since_epoch().count();
  while (step_until(limit)) {
  }
  if (when != time_point_never) world_.core.now = std::max(world_.core.now, limit);
}

P2PDVM_DECL bool simulation::run_until(const std::function<bool()>& condition, time_point limit) {
  while (!condition()) {
    if (!step_until(limit.time_since_epoch().count())) return condition();
  }
  return true;
}

P2PDVM_DECL void simulation::call_at(time_point when, std::function<void()> action) {
  const detail::tick at = std::max(world_.core.now, when.time_since_epoch().count());
  world_.core.schedule(at, detail::event_kind::script, 0).action = std::move(action);
}

P2PDVM_DECL fault_id simulation::partition(const std::vector<const machine*>& a,
                                           const std::vector<const machine*>& b, direction which) {
  const auto indices = [](const std::vector<const machine*>& set) {
    std::vector<std::uint32_t> out;
    for (const machine* m : set) out.push_back(m->index());
    return out;
  };
  return world_.core.net.partition(indices(a), indices(b), which);
}

P2PDVM_DECL fault_id simulation::isolate(const machine& one) {
  std::vector<const machine*> others;
  for (const auto& m : machines_)
    if (m.get() != &one) others.push_back(m.get());
  return partition({&one}, others);
}

P2PDVM_DECL fault_id simulation::add_fault(const fault_rule& rule) {
  if (rule.end != time_point_never) call_at(rule.end, [this] { world_.tcp.resume_all(); });
  return world_.core.net.add_fault(rule);
}

P2PDVM_DECL void simulation::heal(fault_id id) {
  world_.core.net.remove(id);
  world_.tcp.resume_all();
}

P2PDVM_DECL void simulation::heal() {
  world_.core.net.remove_all();
  world_.tcp.resume_all();
}

}  // namespace p2pdvm::sim

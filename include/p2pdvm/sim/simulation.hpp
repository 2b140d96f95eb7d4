/// A network of simulated machines in virtual time; the same seed gives the same run, always.
#pragma once

#include <p2pdvm/sim/machine.hpp>
#include <p2pdvm/sim/options.hpp>

#include <functional>
#include <memory>
#include <vector>

namespace p2pdvm::sim {

/// `latency_map(profile, places_seed(seed))` gives a simulation's places in the order of its machines.
[[nodiscard]] std::uint64_t places_seed(std::uint64_t seed);

/// Single-threaded. Destroy every object that its machines gave out before it. Handlers and
/// scripts may do anything to it except run it.
class simulation {
 public:
  explicit simulation(options how);
  simulation(const simulation&) = delete;
  simulation& operator=(const simulation&) = delete;
  ~simulation();

  machine& add_machine(const machine_options& how = {});
  /// For `machine_options::nat`; any number of machines may share it.
  nat_id add_nat(const nat_options& how = {}) { return world_.core.add_nat(how); }
  [[nodiscard]] machine& at(std::size_t index) { return *machines_[index]; }
  [[nodiscard]] std::size_t size() const noexcept { return machines_.size(); }

  [[nodiscard]] time_point now() const noexcept { return time_point(duration(world_.core.now)); }
  /// Of all events so far: time, machine, kind, size and bytes.
  [[nodiscard]] std::uint64_t digest() const noexcept { return world_.core.digest.value(); }
  [[nodiscard]] std::uint64_t events() const noexcept { return events_; }
  [[nodiscard]] std::size_t pending() const noexcept { return world_.core.queue.size(); }

  /// Executes the next event, if there is one.
  bool step();
  /// Executes everything up to and including `when`.
  void run_until(time_point when);
  void run_for(duration time) { run_until(now() + time); }
  /// Until `condition` holds, looked at after each event; false when `limit` came first.
  bool run_until(const std::function<bool()>& condition, time_point limit);
  /// A step of the test's script.
  void call_at(time_point when, std::function<void()> action);

  /// Base latency there and back.
  [[nodiscard]] duration round_trip(const machine& a, const machine& b) const {
    return world_.core.net.round_trip(a.index(), b.index());
  }
  [[nodiscard]] network_conditions& conditions() noexcept { return world_.core.net.conditions; }

  /// Somebody on the path who sees every datagram sent from machine to machine, may alter it, and
  /// drops those for which this says false.
  void tamper(std::function<bool(std::uint32_t from, std::uint32_t to, byte_vector& bytes)> how) {
    world_.core.tamper = std::move(how);
  }

  /// Nothing gets through between two sets of machines. Streams fall silent.
  fault_id partition(const std::vector<const machine*>& a, const std::vector<const machine*>& b,
                     direction which = direction::both);
  /// Cuts one machine off from all that exist now.
  fault_id isolate(const machine& one);
  fault_id add_fault(const fault_rule& rule);
  /// Takes one partition or fault back, or all; streams go on at once.
  void heal(fault_id id);
  void heal();

 private:
  bool step_until(detail::tick limit);
  void execute(detail::event_queue::slot slot);
  void execute_action(detail::event_queue::slot slot);
  void fold(const detail::event& e);
  void look_ahead();

  detail::world world_;
  std::vector<std::unique_ptr<machine>> machines_;
  std::uint64_t events_ = 0;
};

}  // namespace p2pdvm::sim

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/simulation.ipp>
#endif

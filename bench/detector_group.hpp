/// The failure detectors of one job in virtual time, for measurements of membership.
#pragma once

#include "measurement.hpp"

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/failure_detector.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <unordered_map>
#include <vector>

namespace p2pdvm::bench {

struct job_profile {
  const char* name;
  sim::latency_profile latency;
  overlay::detector_options detector;
};

inline const job_profile job_profiles[] = {
    {"lan", sim::latency_profile::lan, overlay::detector_options::lan()},
    {"planetlab", sim::latency_profile::planetlab, overlay::detector_options::wan()},
};

/// The failure detectors of one job, without the rest of its peers, on simulated datagrams in clear: what
/// is measured is the detector; the seal would add 100 bytes to each datagram and nothing else.
class detector_group {
 public:
  /// `loss`: none for that of the profile.
  detector_group(const job_profile& profile, std::size_t members, std::uint64_t seed,
                 std::optional<double> loss = {})
      : world_(network_of(profile, seed, loss)), how_(profile.detector) {
    for (std::size_t i = 0; i < members; ++i) add();
    tell();
  }

  [[nodiscard]] sim::simulation& world() noexcept { return world_; }
  /// All that ever were.
  [[nodiscard]] std::size_t size() const noexcept { return members_.size(); }
  [[nodiscard]] bool alive(std::size_t i) const { return members_[i]->machine.up(); }
  void crash(std::size_t i) { members_[i]->machine.crash(sim::crash_mode::silent); }
  void stall(std::size_t i, duration how_long) { members_[i]->machine.stall(how_long); }
  /// How often somebody has agreed that `i` is dead.
  [[nodiscard]] std::size_t agreed(std::size_t i) const { return members_[i]->agreed_by; }
  /// The roster without its dead, as the job's record would say.
  void evict(std::size_t i) {
    std::erase(ids_, members_[i]->id);
    tell();
  }
  /// A new member, on a machine of its own.
  std::size_t enter() {
    const std::size_t i = add();
    tell();
    return i;
  }
  /// Each time that `by` has agreed that `who` is dead.
  std::function<void(std::size_t who, std::size_t by)> on_agreed;
  std::uint64_t datagrams = 0;
  std::uint64_t bytes = 0;

 private:
  struct member final : overlay::detector_owner, host::datagram_handler {
    member(detector_group& owner, sim::machine& on, const overlay::detector_options& how)
        : in(owner),
          machine(on),
          id(crypto::hash(bytes_of(machine.entropy().next())).bytes()),
          where(machine.address().with_port(4000)),
          detector(id, how, random_generator(machine.entropy().next()), *this) {
      auto opened = machine.network().open_datagrams(where, *this);
      if (!opened.ok()) throw std::runtime_error(opened.error().message());
      socket = std::move(*opened);
    }
    void send(const node_id& to, byte_view datagram) override {
      ++in.datagrams;
      in.bytes += datagram.size();
      socket->send(in.members_[in.index_of_id_.at(to)]->where, datagram);
    }
    void on_datagram(const address& from, byte_view datagram) override {
      detector.on_message(machine.clock().now(), in.ids_at(from), datagram);
      arm();
    }
    void suspected(const node_id&, const std::vector<node_id>&) override {}
    void refuted(const node_id&) override {}
    void agreed_dead(const node_id& who, const std::vector<node_id>&) override {
      const std::size_t index = in.index_of_id_.at(who);
      ++in.members_[index]->agreed_by;
      if (in.on_agreed) in.on_agreed(index, in.index_of_id_.at(id));
    }
    void arm() {
      const time_point next = detector.next_timer();
      if (next >= armed) return;
      if (timer != 0) machine.clock().cancel(timer);
      armed = next;
      timer = machine.clock().call_at(next, [this] {
        timer = 0;
        armed = time_point_never;
        const time_point now = machine.clock().now();
        if (detector.next_timer() <= now) detector.on_timer(now);
        arm();
      });
    }
    detector_group& in;
    sim::machine& machine;
    node_id id;
    address where;
    overlay::failure_detector detector;
    std::unique_ptr<host::datagram_socket> socket;
    time_point armed = time_point_never;
    host::timer_id timer = 0;
    std::size_t agreed_by = 0;
  };

  static sim::options network_of(const job_profile& profile, std::uint64_t seed,
                                 std::optional<double> loss) {
    sim::options o;
    o.seed = seed;
    o.profile = profile.latency;
    o.conditions = sim::conditions_of(profile.latency);
    if (loss) o.conditions->loss = *loss;
    return o;
  }
  std::size_t add() {
    const std::size_t i = members_.size();
    members_.push_back(std::make_unique<member>(*this, world_.add_machine(), how_));
    ids_.push_back(members_[i]->id);
    index_of_id_[ids_.back()] = i;
    index_of_address_[members_[i]->where] = i;
    return i;
  }
  void tell() {
    for (auto& m : members_) {
      if (!m->machine.up()) continue;
      m->detector.set_members(world_.now(), ids_);
      m->arm();
    }
  }
  [[nodiscard]] const node_id& ids_at(const address& from) const {
    return members_[index_of_address_.at(from)]->id;
  }

  sim::simulation world_;
  overlay::detector_options how_;
  std::vector<std::unique_ptr<member>> members_;
  std::vector<node_id> ids_;  ///< of the roster
  std::unordered_map<node_id, std::size_t> index_of_id_;
  std::map<address, std::size_t> index_of_address_;
};

[[nodiscard]] inline measurement about(const job_profile& profile, std::size_t members) {
  measurement m;
  m.benchmark = "overlay";
  m.system = "p2pdvm";
  m.profile = profile.name;
  m.parameters["members"] = members;
  m.parameters["processes"] = 1;
  return m;
}

}  // namespace p2pdvm::bench

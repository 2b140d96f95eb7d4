/// When and whether a packet arrives: latency, bandwidth with queues, loss, partitions, faults.
#pragma once

#include <p2pdvm/sim/event_queue.hpp>
#include <p2pdvm/sim/options.hpp>

#include <map>
#include <optional>
#include <vector>

namespace p2pdvm::sim::detail {

class links {
 public:
  links(latency_map map, network_conditions conditions, std::uint64_t seed);

  network_conditions conditions;

  /// On the site of `neighbour`, or on one of its own.
  void add_machine(const machine_options& how, std::optional<std::uint32_t> neighbour = {});
  [[nodiscard]] duration round_trip(std::uint32_t a, std::uint32_t b) const {
    return map_.round_trip(a, b);
  }

  /// Nothing of a stream gets from `from` to `to` at present.
  [[nodiscard]] bool blocked(std::uint32_t from, std::uint32_t to, tick now) const;
  /// When a datagram sent now arrives, before the queue of the receiver's downlink.
  [[nodiscard]] std::optional<tick> datagram_arrival(std::uint32_t from, std::uint32_t to,
                                                     std::size_t bytes, tick now);
  /// The same for a piece of a stream, which only gets late. Precondition: not blocked.
  [[nodiscard]] tick stream_arrival(std::uint32_t from, std::uint32_t to, std::size_t bytes,
                                    tick now);
  [[nodiscard]] bool duplicates() {
    return conditions.duplication > 0 && random.chance(conditions.duplication);
  }

  /// When a stream may put more on the uplink: at once, unless it is backed up.
  [[nodiscard]] tick uplink_ready(std::uint32_t machine) const {
    return ends_[machine].up_free - stream_backlog;
  }
  [[nodiscard]] bool uplink_limited(std::uint32_t machine) const { return ends_[machine].up != 0; }
  /// Passes the downlink: the time when all bytes are in; none when its queue drops a datagram.
  [[nodiscard]] std::optional<tick> downlink(std::uint32_t machine, std::size_t bytes,
                                             bool datagram, tick now);
  [[nodiscard]] bool downlink_limited(std::uint32_t machine) const {
    return ends_[machine].down != 0;
  }

  fault_id partition(const std::vector<std::uint32_t>& a, const std::vector<std::uint32_t>& b,
                     direction which);
  fault_id add_fault(const fault_rule& rule);
  void remove(fault_id id);
  void remove_all();

  random_generator random;

 private:
  /// Streams keep the uplink's queue this short, so that datagrams are not held up.
  static constexpr tick stream_backlog = 20'000'000;
  static constexpr std::size_t packet_bytes = 1448;
  static constexpr std::size_t header_bytes = 52;
  static constexpr tick retransmission_min = 200'000'000;

  struct end {
    std::uint64_t up;
    std::uint64_t down;
    tick up_free = 0;
    tick down_free = 0;
  };
  struct split {
    std::vector<bool> a;
    std::vector<bool> b;
    direction which;
  };
  struct verdict {
    bool dropped = false;
    tick delay = 0;
  };

  [[nodiscard]] bool partitioned(std::uint32_t from, std::uint32_t to) const;
  [[nodiscard]] static bool matches(const fault_rule& rule, std::uint32_t from, std::uint32_t to,
                                    traffic kind, tick now);
  [[nodiscard]] verdict judge(std::uint32_t from, std::uint32_t to, traffic kind, tick now);
  [[nodiscard]] tick one_way(std::uint32_t from, std::uint32_t to, tick now);
  [[nodiscard]] tick shift(std::uint32_t from, std::uint32_t to, tick base, tick now) const;

  latency_map map_;
  std::uint64_t shift_seed_;
  std::vector<end> ends_;
  std::map<fault_id, split> splits_;
  std::map<fault_id, fault_rule> rules_;
  fault_id next_id_ = 1;
};

}  // namespace p2pdvm::sim::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/links.ipp>
#endif

/// What a simulation is told: the weather of its network, its machines, and faults as data.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/sim/latency.hpp>

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::sim {

/// Behaviour of all links; may be changed while the simulation runs.
struct network_conditions {
  /// Each packet is late by up to this share of its one-way latency, small delays being likelier.
  double jitter = 0.02;
  /// Routes change: each pair is, for this share of its time, farther apart than its base latency
  /// says, for `shift_interval` at a time and by up to `shift_max` of it (uniform).
  double shift_share = 0;
  double shift_max = 1;
  duration shift_interval = std::chrono::minutes(10);  ///< not zero
  /// Of datagrams; a lost packet of a stream is repeated, which delays the stream.
  double loss = 0;
  double duplication = 0;
  /// Chance that a datagram is late by up to one more latency.
  double reordering = 0;
  /// A link that is backed up by more than this drops datagrams.
  duration queue_max = std::chrono::milliseconds(200);
  /// Bytes of a stream under way or not yet read.
  std::size_t stream_window_bytes = 1024 * 1024;
  /// A stream whose bytes get no answer for so long ends with `timed_out`.
  duration stream_timeout = std::chrono::seconds(60);
  /// A connection request that gets no answer for so long ends with `unreachable`.
  duration connect_timeout = std::chrono::seconds(10);
  /// Chance that a reader gets the bytes that arrived in two parts, or two arrivals in one.
  double partial_reads = 0.25;
};

/// Typical loss, jitter and shifts of a profile.
[[nodiscard]] network_conditions conditions_of(latency_profile profile);

struct options {
  std::uint64_t seed = 1;
  latency_profile profile = latency_profile::lan;
  /// Takes the place of the profile's latencies; access links are then without limit.
  std::optional<latency_matrix> matrix;
  /// Access links as this profile has them, also with a matrix.
  std::optional<latency_profile> access;
  /// None: those of the profile.
  std::optional<network_conditions> conditions;
  /// What `clock::wall` gives when the simulation starts.
  unix_seconds wall_start = 1'700'000'000;
};

/// What a NAT looks at when it maps or filters (RFC 4787, sections 4.1 and 5).
enum class nat_dependence : std::uint8_t {
  endpoint_independent,
  address_dependent,
  address_and_port_dependent,
};

/// A NAT that machines are put behind. Only what leaves refreshes a mapping. A connection that was
/// made through it stays for as long as both ends do.
struct nat_options {
  /// Of one port inside: one port outside for all remote endpoints, or one for each. The last of
  /// these makes it "symmetric".
  nat_dependence mapping = nat_dependence::endpoint_independent;
  /// Who may send to a port outside: all, or only whom something was sent to from there.
  nat_dependence filtering = nat_dependence::address_and_port_dependent;
  /// For datagrams. At least two minutes by RFC 4787, often less at home.
  duration mapping_timeout = std::chrono::minutes(2);
  /// For connection requests from outside (RFC 5382).
  duration stream_mapping_timeout = std::chrono::minutes(124);
  /// Machines behind it reach one another by their outside addresses.
  bool hairpin = false;
  /// Port 0; must not be taken. Any: one of 198.18.0.0/15.
  p2pdvm::address outside;
};

/// Names a NAT of a simulation.
using nat_id = std::uint32_t;

struct machine_options {
  std::string name;  ///< empty: "machine N"
  /// Port 0; must not be taken. Any: one of 10.0.0.0/8, or of 192.168.0.0/16 behind a NAT, where
  /// none can be chosen.
  p2pdvm::address address;
  /// Behind this one, on the same site as the others there.
  std::optional<nat_id> nat;
  /// Own ports that its NAT lets everybody reach by the same number, as by UPnP.
  std::vector<std::uint16_t> forwarded_ports;
  /// Bit/s, 0 for no limit; none: as the profile draws it.
  std::optional<std::uint64_t> up;
  std::optional<std::uint64_t> down;
  std::uint64_t disk_bytes = std::numeric_limits<std::int64_t>::max();
  duration clock_offset = {};   ///< of `clock::now` against simulated time
  std::int64_t clock_drift = 0; ///< nanoseconds gained per second, over minus half a second
  std::int64_t wall_offset = 0; ///< seconds
};

enum class crash_mode : std::uint8_t {
  reset,   ///< the process dies: its system resets its connections and refuses new ones
  silent,  ///< the machine dies: nothing answers any more
};

enum class traffic : std::uint8_t { datagram, stream };
enum class fault_action : std::uint8_t { pass, delay, drop };

/// Applies to packets from a machine to a machine. The first rule that matches decides. A stream
/// whose packets are dropped with certainty is silent until the rule ends.
struct fault_rule {
  std::optional<std::uint32_t> from;  ///< index of a machine; none: any
  std::optional<std::uint32_t> to;
  std::optional<traffic> kind;
  fault_action action = fault_action::drop;
  double probability = 1;
  duration delay = {};  ///< for `delay`
  time_point begin = time_point();
  time_point end = time_point_never;
};

enum class direction : std::uint8_t {
  both,
  forward,  ///< nothing gets from the first to the second set
};

/// Names a partition or a fault, for taking it back.
using fault_id = std::uint64_t;

}  // namespace p2pdvm::sim

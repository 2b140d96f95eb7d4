/// What the parts of a simulation share: the event queue, the links and the machines' kernels.
#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/sim/event_digest.hpp>
#include <p2pdvm/sim/event_queue.hpp>
#include <p2pdvm/sim/links.hpp>
#include <p2pdvm/sim/nat.hpp>

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

namespace p2pdvm::sim::detail {

/// An open port. Serials are never used twice, so what a crash closed stays closed.
template <class Handler>
struct open_port {
  std::uint64_t serial;
  address local;
  Handler* handler;
};

/// The kernel's side of one machine; what every event needs comes first.
struct alignas(64) site {
  std::uint32_t index = 0;
  std::uint32_t life = 1;  ///< plus one at every crash
  bool up = true;
  bool silent = false;  ///< down without a system that refuses connections
  bool uplink_pending = false;
  std::uint16_t next_port = 0;
  tick stalled_until = 0;
  std::size_t held_bytes = 0;  ///< datagrams that wait for the end of a stall
  nat_box* nat = nullptr;      ///< that it is behind
  host::datagram_handler* expectant = nullptr;  ///< of its first socket
  std::vector<open_port<host::datagram_handler>> sockets;
  std::vector<open_port<host::listen_handler>> listeners;
  std::vector<endpoint_id> endpoints;
  std::deque<endpoint_id> uplink_waiters;
  address ip;
  std::string name;
};

struct fabric {
  fabric(latency_map map, network_conditions conditions, std::uint64_t seed)
      : net(std::move(map), conditions, seed) {}

  event_queue queue;
  tick now = 0;
  event_digest digest;
  links net;
  std::vector<std::unique_ptr<site>> sites;
  std::vector<std::unique_ptr<nat_box>> nats;
  std::uint64_t next_serial = 1;
  /// What somebody on the path does to datagrams; see `simulation::tamper`.
  std::function<bool(std::uint32_t from, std::uint32_t to, byte_vector& bytes)> tamper;

  static constexpr std::uint16_t ephemeral_first = 32768;
  static constexpr std::uint16_t ephemeral_last = 60999;

  event& schedule(tick when, event_kind kind, std::uint32_t machine) {
    return queue[queue.add(when, kind, machine)];
  }
  static void sockets_changed(site& s) {
    s.expectant = s.sockets.empty() ? nullptr : s.sockets.front().handler;
  }
  [[nodiscard]] bool stalled(const site& s) const noexcept { return s.stalled_until > now; }

  void add_ip(const address& ip, std::uint32_t index) {
    const bool fresh = !has_ip(ip) && by_ip_.emplace(ip.ip(), index).second;
    P2PDVM_ASSERT(fresh);
    if (!ip.is_v4()) return;
    if (++v4_count_ * 2 > v4_.size()) grow_v4();
    insert_v4(v4_number(ip), index);
  }
  [[nodiscard]] bool has_ip(const address& ip) const {
    return by_ip_.contains(ip.ip()) || nat_by_ip_.contains(ip.ip());
  }
  /// The machine that `to` means on machine `from`.
  [[nodiscard]] std::optional<std::uint32_t> find(const address& to, std::uint32_t from) const {
    if (to.is_loopback()) return from;
    if (to.is_v4()) return find_v4(v4_number(to));
    const auto found = by_ip_.find(to.ip());
    if (found == by_ip_.end()) return std::nullopt;
    return found->second;
  }
  /// The address of `s` that talks to `to`.
  [[nodiscard]] static address source_for(const site& s, const address& to, std::uint16_t port) {
    return to.is_loopback() ? to.with_port(port) : s.ip.with_port(port);
  }

  struct route {
    std::uint32_t target;
    address source;  ///< as the target sees it
  };
  /// The way of a packet from a port of `s`; mappings of its NAT are opened and refreshed.
  [[nodiscard]] std::optional<route> route_of(const site& s, std::uint16_t port, const address& to,
                                              traffic kind) {
    if (!nats.empty()) return route_through_nats(s, port, to, kind);
    const auto target = find(to, s.index);
    if (!target) return std::nullopt;
    return route{*target, source_for(s, to, port)};
  }
  /// What arrives for the outside of the NAT of `s` gets its destination inside. False when it
  /// may not pass.
  [[nodiscard]] bool pass_nat(const site& s, event& e, traffic kind) const {
    if (s.nat == nullptr || e.destination.ip() != s.nat->outside().ip()) return true;
    const auto inner = s.nat->inward(kind, e.destination.port(), e.source, now);
    if (!inner || inner->machine != s.index) return false;
    e.destination = s.ip.with_port(inner->port);
    return true;
  }
  nat_id add_nat(const nat_options& how);

  template <class Handler>
  [[nodiscard]] static open_port<Handler>* match(std::vector<open_port<Handler>>& ports,
                                                 const address& to) {
    for (auto& p : ports)
      if (p.local.port() == to.port() && (p.local.is_any() || p.local.ip() == to.ip())) return &p;
    return nullptr;
  }

  /// Binds a handler to a port of `s`; the errors are those of `host::network`.
  template <class Handler>
  result<open_port<Handler>> bind(site& s, std::vector<open_port<Handler>>& ports, address local,
                                  Handler& handler, const char* what) {
    if (!local.is_any() && !local.is_loopback() && local.ip() != s.ip.ip())
      return error(errc::io, std::string("cannot ") + what + " " + local.text() + ": " + s.name +
                                 " has no such address");
    const auto taken = [&](std::uint16_t port) {
      for (const auto& p : ports) {
        const bool overlap = p.local.is_any() || local.is_any() || p.local.ip() == local.ip();
        if (p.local.port() == port && overlap) return true;
      }
      return false;
    };
    if (local.port() == 0) {
      std::uint16_t port = next_ephemeral(s);
      for (int tries = 0; taken(port); ++tries) {
        if (tries > ephemeral_last - ephemeral_first)
          return error(errc::address_in_use, "every port of " + s.name + " is in use");
        port = next_ephemeral(s);
      }
      local = local.with_port(port);
    } else if (taken(local.port())) {
      const std::string text = local.text();
      return error(errc::address_in_use, "port " + std::to_string(local.port()) + " is in use on " +
                                             text.substr(0, text.rfind(':')) +
                                             "; choose another with --listen");
    }
    ports.push_back({next_serial++, local, &handler});
    return ports.back();
  }

  static std::uint16_t next_ephemeral(site& s) {
    const bool wrap = s.next_port < ephemeral_first || s.next_port >= ephemeral_last;
    s.next_port = wrap ? ephemeral_first : static_cast<std::uint16_t>(s.next_port + 1);
    return s.next_port;
  }

 private:
  [[nodiscard]] std::optional<route> route_through_nats(const site& s, std::uint16_t port,
                                                        const address& to, traffic kind);

  using ip_bytes = std::array<std::uint8_t, 16>;
  /// IPv4 addresses in a table with open addressing: one cache line instead of a list.
  struct v4_entry {
    std::uint32_t ip = 0;
    std::uint32_t index = none;
  };
  static constexpr std::uint32_t none = ~std::uint32_t{0};

  [[nodiscard]] static std::uint32_t v4_number(const address& ip) noexcept {
    const auto& b = ip.ip();
    return std::uint32_t{b[12]} << 24 | std::uint32_t{b[13]} << 16 | std::uint32_t{b[14]} << 8 | b[15];
  }
  [[nodiscard]] std::size_t v4_home(std::uint32_t ip) const noexcept {
    return static_cast<std::size_t>(ip * 0x9e3779b97f4a7c15ull >> 32) & (v4_.size() - 1);
  }
  void insert_v4(std::uint32_t ip, std::uint32_t index) {
    std::size_t at = v4_home(ip);
    while (v4_[at].index != none) at = (at + 1) & (v4_.size() - 1);
    v4_[at] = {ip, index};
  }
  void grow_v4() {
    const std::vector<v4_entry> old = std::exchange(v4_, std::vector<v4_entry>(v4_.size() * 2));
    for (const v4_entry& e : old)
      if (e.index != none) insert_v4(e.ip, e.index);
  }
  [[nodiscard]] std::optional<std::uint32_t> find_v4(std::uint32_t ip) const noexcept {
    for (std::size_t at = v4_home(ip); v4_[at].index != none; at = (at + 1) & (v4_.size() - 1))
      if (v4_[at].ip == ip) return v4_[at].index;
    return std::nullopt;
  }

  struct ip_hash {
    std::size_t operator()(const ip_bytes& ip) const noexcept {
      std::uint64_t halves[2] = {};
      std::memcpy(halves, ip.data(), sizeof halves);
      const std::uint64_t mixed = (halves[0] ^ (halves[1] >> 7)) * 0x9e3779b97f4a7c15ull;
      return static_cast<std::size_t>(mixed ^ (mixed >> 32));
    }
  };
  std::vector<v4_entry> v4_ = std::vector<v4_entry>(64);
  std::size_t v4_count_ = 0;
  std::unordered_map<ip_bytes, std::uint32_t, ip_hash> by_ip_;  // looked up, never iterated
  std::unordered_map<ip_bytes, nat_id, ip_hash> nat_by_ip_;     // so is this one
};

}  // namespace p2pdvm::sim::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/fabric.ipp>
#endif

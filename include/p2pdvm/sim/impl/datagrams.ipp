#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/sim/datagrams.hpp>

#include <utility>

namespace p2pdvm::sim::detail {

class simulated_socket final : public host::datagram_socket {
 public:
  simulated_socket(datagrams& owner, std::uint32_t machine, std::uint64_t serial,
                   const address& local)
      : owner_(owner), machine_(machine), serial_(serial), local_(local) {}
  simulated_socket(const simulated_socket&) = delete;
  simulated_socket& operator=(const simulated_socket&) = delete;
  ~simulated_socket() override { owner_.close(machine_, serial_); }
  [[nodiscard]] address local() const override { return local_; }
  void send(const address& to, byte_view bytes) override {
    if (owner_.is_open(machine_, serial_)) owner_.send(machine_, local_, to, bytes);
  }

 private:
  datagrams& owner_;
  std::uint32_t machine_;
  std::uint64_t serial_;
  address local_;
};

P2PDVM_DECL result<std::unique_ptr<host::datagram_socket>> datagrams::open(
    site& s, const address& local, host::datagram_handler& handler) {
  const auto port = fabric_.bind(s, s.sockets, local, handler, "receive datagrams on");
  if (!port) return port.error();
  fabric::sockets_changed(s);
  return std::unique_ptr<host::datagram_socket>(
      std::make_unique<simulated_socket>(*this, s.index, port->serial, port->local));
}

P2PDVM_DECL bool datagrams::is_open(std::uint32_t machine, std::uint64_t serial) const {
  for (const auto& p : fabric_.sites[machine]->sockets)
    if (p.serial == serial) return true;
  return false;
}

P2PDVM_DECL void datagrams::close(std::uint32_t machine, std::uint64_t serial) {
  site& s = *fabric_.sites[machine];
  std::erase_if(s.sockets, [serial](const auto& p) { return p.serial == serial; });
  fabric::sockets_changed(s);
}

P2PDVM_DECL void datagrams::send(std::uint32_t machine, const address& local, const address& to,
                                 byte_view bytes) {
  P2PDVM_ASSERT(bytes.size() <= limits::datagram_bytes_max);
  if (to.is_v4() != local.is_v4()) return;
  const auto way = fabric_.route_of(*fabric_.sites[machine], local.port(), to, traffic::datagram);
  if (!way) return;
  if (fabric_.tamper) return tamper_and_send(way->target, machine, way->source, to, bytes);
  deliver_later(way->target, machine, way->source, to, bytes);
  if (fabric_.net.duplicates()) deliver_later(way->target, machine, way->source, to, bytes);
}

P2PDVM_DECL void datagrams::deliver_later(std::uint32_t target, std::uint32_t from,
                                          const address& source, const address& to,
                                          byte_view bytes) {
  const auto arrival = fabric_.net.datagram_arrival(from, target, bytes.size(), fabric_.now);
  if (!arrival) return;
  event& e = fabric_.schedule(*arrival, event_kind::datagram, target);
  e.origin = from;
  e.source = source;
  e.destination = to;
  e.bytes = fabric_.queue.buffer();
  e.bytes.assign(bytes.begin(), bytes.end());
}

P2PDVM_DECL void datagrams::tamper_and_send(std::uint32_t target, std::uint32_t machine,
                                            const address& source, const address& to,
                                            byte_view bytes) {
  byte_vector altered = to_vector(bytes);
  if (fabric_.tamper(machine, target, altered)) {
    P2PDVM_ASSERT(altered.size() <= limits::datagram_bytes_max);
    deliver_later(target, machine, source, to, altered);
  }
}

P2PDVM_DECL bool datagrams::arrive(event_queue::slot slot) {
  event& e = fabric_.queue[slot];
  site& s = *fabric_.sites[e.machine];
  if (e.held) s.held_bytes -= e.bytes.size();
  e.held = false;
  if (!s.up || !fabric_.pass_nat(s, e, traffic::datagram)) return false;
  if (!e.passed_downlink && e.origin != e.machine && fabric_.net.downlink_limited(e.machine)) {
    const auto in = fabric_.net.downlink(e.machine, e.bytes.size(), true, fabric_.now);
    if (!in) return false;
    e.passed_downlink = true;
    fabric_.queue.again(slot, *in);
    return true;
  }
  if (fabric_.stalled(s)) {
    if (s.held_bytes + e.bytes.size() > held_bytes_max) return false;
    s.held_bytes += e.bytes.size();
    e.held = true;
    fabric_.queue.again(slot, s.stalled_until);
    return true;
  }
  if (const auto* port = fabric::match(s.sockets, e.destination))
    port->handler->on_datagram(e.source, e.bytes);
  return false;
}

}  // namespace p2pdvm::sim::detail

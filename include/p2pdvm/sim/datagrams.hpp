/// Simulated UDP: sockets that send over the links.
#pragma once

#include <p2pdvm/sim/fabric.hpp>

namespace p2pdvm::sim::detail {

class datagrams {
 public:
  explicit datagrams(fabric& f) : fabric_(f) {}

  result<std::unique_ptr<host::datagram_socket>> open(site& s, const address& local,
                                                      host::datagram_handler& handler);
  void send(std::uint32_t machine, const address& local, const address& to, byte_view bytes);
  void close(std::uint32_t machine, std::uint64_t serial);
  [[nodiscard]] bool is_open(std::uint32_t machine, std::uint64_t serial) const;
  /// A datagram arrives. True when it waits longer and was put back.
  bool arrive(event_queue::slot slot);

 private:
  /// What the kernel holds for a process that does not run.
  static constexpr std::size_t held_bytes_max = 212'992;

  void tamper_and_send(std::uint32_t target, std::uint32_t machine, const address& source,
                       const address& to, byte_view bytes);
  void deliver_later(std::uint32_t target, std::uint32_t from, const address& source,
                     const address& to, byte_view bytes);

  fabric& fabric_;
};

}  // namespace p2pdvm::sim::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/sim/impl/datagrams.ipp>
#endif

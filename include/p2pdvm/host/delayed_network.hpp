/// A real network that behaves as if its remotes were far away: for measurements on one computer.
///
/// Where traffic control of the operating system is missing or not permitted, the program delays
/// its own traffic. Of two peers, the one that dialled delays a stream, in both directions: it
/// knows by the address it dialled where the other one "is". Datagrams are delayed by whoever
/// sends them. All streams and datagrams of a process share its access link. Packets are lost as in the
/// simulator: a lost datagram is gone, a lost packet of a stream is repeated, which delays the stream.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/host/timer.hpp>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

namespace p2pdvm::host {

/// The way to another machine and back, each `one_way` long.
struct path {
  duration one_way{};
  std::uint64_t up = 0;    ///< bit/s, 0: no limit
  std::uint64_t down = 0;  ///< bit/s, 0: no limit
  double loss = 0;         ///< share of packets, each way
  double jitter = 0;       ///< late by up to this share of `one_way`, small delays being likelier
};

/// Bytes of one stream on their way here; more stay with the system, which holds the remote back.
inline constexpr std::size_t delayed_bytes_max = 4 * 1024 * 1024;
/// A queue of datagrams longer than this is lost at its end, as in a router.
inline constexpr duration delayed_queue_max = std::chrono::seconds(1);

class delayed_network final : public network {
 public:
  using path_function = std::function<path(const address& remote)>;
  /// `inner` and `clock` must outlive this, and this all that it gives out.
  delayed_network(network& inner, host::clock& clock, path_function path_to, std::uint64_t seed = 0)
      : inner_(inner), clock_(clock), path_to_(std::move(path_to)), random_(seed) {}

  result<std::unique_ptr<datagram_socket>> open_datagrams(const address& local,
                                                          datagram_handler& handler) override;
  result<std::unique_ptr<listener>> listen(const address& local, listen_handler& handler) override {
    return inner_.listen(local, handler);
  }
  std::unique_ptr<stream> connect(const address& remote) override;
  [[nodiscard]] std::vector<address> interfaces() const override { return inner_.interfaces(); }

 private:
  class delayed_stream;
  class delayed_socket;
  /// One direction of the access link: when what was given to it so far has gone through.
  class link {
   public:
    /// When `bytes` more have gone through at `rate`.
    time_point pass(time_point now, std::size_t bytes, std::uint64_t rate);
    [[nodiscard]] duration queue(time_point now) const;

   private:
    time_point free_{};
  };

  /// `one_way` with its jitter.
  [[nodiscard]] duration on_way(const path& way);
  /// The same for bytes of a stream, packets of which may be lost and repeated.
  [[nodiscard]] duration on_way(const path& way, std::size_t stream_bytes);

  network& inner_;
  host::clock& clock_;
  path_function path_to_;
  random_generator random_;
  link up_, down_;
};

/// A machine with another network than its own.
class machine_with_network final : public machine {
 public:
  machine_with_network(machine& inner, host::network& network) : inner_(inner), network_(network) {}
  host::clock& clock() override { return inner_.clock(); }
  host::entropy& entropy() override { return inner_.entropy(); }
  host::network& network() override { return network_; }
  host::disk& disk() override { return inner_.disk(); }

 private:
  machine& inner_;
  host::network& network_;
};

}  // namespace p2pdvm::host

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/host/impl/delayed_network.ipp>
#endif

/// Circuits: byte streams to a peer through one other peer, which is connected with both.
///
/// At either end a circuit is a `host::stream` like one of TCP, over which the two peers make a
/// connection of their own: what passes the relay is sealed. A sender has credit from the other end,
/// so that a relay keeps no more than a window of each direction. A circuit ends with the first of the two
/// connections that it goes over; sessions then find another way, as they do when a cable is pulled.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/ring_queue.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/messaging/session.hpp>

#include <compare>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

namespace p2pdvm::messaging {

/// Of sessions; what peers say to each other about circuits.
inline constexpr std::uint8_t circuit_channel = 255;
/// What an end may send before the other end has taken it.
inline constexpr std::size_t circuit_window_bytes = 512 * 1024;
/// Bytes of one message of a circuit.
inline constexpr std::size_t circuit_piece_bytes_max = 32 * 1024;
/// Over one connection, whoever began them.
inline constexpr std::size_t circuits_per_peer_max = 256;
inline constexpr std::size_t circuits_max = 4096;
/// Of one peer to another through this one: some may have ended without its having heard of it.
inline constexpr std::size_t circuits_per_pair_max = 8;
/// A relay gives up a circuit rather than let more circuits' bytes wait for the next peer.
inline constexpr std::size_t relay_backlog_bytes_max = 32 * 1024 * 1024;

class circuit_owner {
 public:
  virtual void send_circuit(const node_id& to, byte_view head, payload body) = 0;
  /// Whether this peer is a relay from the one to the other: it is connected with `to`, not by a circuit,
  /// and lets both use it.
  [[nodiscard]] virtual bool passes_on(const node_id& from, const node_id& to) = 0;
  /// A circuit has come in through `relay`, which says that it begins at `origin`.
  virtual void on_circuit(const node_id& relay, const node_id& origin,
                          std::unique_ptr<host::stream> stream) = 0;

 protected:
  ~circuit_owner() = default;
};

/// Both ends and relays; a synchronous state machine. Streams must not outlive it. Handlers of
/// streams are called from `on_message` and from a timer.
class circuits {
 public:
  /// Both must outlive this.
  circuits(host::clock& clock, circuit_owner& owner);
  ~circuits();
  circuits(const circuits&) = delete;
  circuits& operator=(const circuits&) = delete;

  /// Always gives a stream; failures arrive as `on_closed`.
  [[nodiscard]] std::unique_ptr<host::stream> connect(const node_id& relay, const node_id& target);
  /// What came on `circuit_channel` of a session. What makes no sense is ignored: it is late, or of a
  /// peer that can harm its own circuits only.
  void on_message(const node_id& from, const arrived_message& message);
  /// The connection with this peer has ended, and with it all circuits that went over it.
  void drop(const node_id& neighbour);
  /// All end and nobody is told: the owner is about to go.
  void stop();
  /// Ends here and circuits that are passed on, each counted once for either side of this peer.
  [[nodiscard]] std::size_t size() const noexcept { return circuits_.size(); }

 private:
  class stream;
  enum class kind : std::uint8_t;

  /// A circuit on the connection with one peer: who began it there has chosen the number.
  struct place {
    node_id neighbour;
    bool mine = false;
    std::uint64_t number = 0;
    friend auto operator<=>(const place&, const place&) = default;
  };
  struct entry {
    stream* end = nullptr;        ///< it ends here,
    std::optional<place> onward;  ///< or goes on there
    std::size_t passing = 0;      ///< bytes passed on that the far end has not yet taken
  };
  using entries = std::map<place, entry>;

  [[nodiscard]] bool full(const node_id& neighbour) const;
  [[nodiscard]] bool full(const node_id& from, const node_id& to) const;
  void passed(const place& there, std::size_t bytes);
  void taken(const place& there, std::size_t bytes);
  [[nodiscard]] place fresh_place(const node_id& neighbour);
  void say(const place& where, kind what, byte_view rest = {}, payload body = {});
  void begin(const node_id& from, std::uint64_t number, const node_id& target);
  void arrive(const node_id& from, std::uint64_t number, const node_id& origin);
  void on_data(entries::iterator at, payload bytes);
  void on_credit(entries::iterator at, std::uint64_t bytes);
  /// Forgets it here and where it goes on, and tells those ends that do not know.
  void end(entries::iterator at, bool tell);
  void end_later(stream& s);
  void end_some();

  host::clock& clock_;
  circuit_owner& owner_;
  entries circuits_;
  std::map<node_id, std::size_t> passing_;  ///< bytes passed on to each, and not yet taken by the far ends
  std::uint64_t last_number_ = 0;
  std::vector<stream*> ended_;  ///< whose handlers are still to be told
  host::timer end_timer_;
};

}  // namespace p2pdvm::messaging

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/messaging/impl/circuits.ipp>
#endif

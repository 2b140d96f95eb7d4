/// The exchange: one session per remote peer over a host's network, dialled when needed.
///
/// It listens (streams and datagrams on one port), dials with back-off while a session has
/// unacknowledged data or its peer is to be kept, keeps one connection per peer, detects those
/// that have gone silent, closes idle ones, and bounds what strangers may cost. A trusted peer to whom no address
/// leads is reached through another one (`circuits`), until it is reached directly; so may others be through this one.
#pragma once

#include <p2pdvm/base/intrusive_list.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/host/host.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/link/connection.hpp>
#include <p2pdvm/link/datagram.hpp>
#include <p2pdvm/messaging/address_book.hpp>
#include <p2pdvm/messaging/circuits.hpp>
#include <p2pdvm/messaging/session.hpp>

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

namespace p2pdvm::messaging {

/// A peer that came by itself and is not trusted may send messages up to this size, and leave
/// so much unread of what it is sent before its session is dropped.
inline constexpr std::size_t stranger_message_bytes_max = 64 * 1024;
inline constexpr std::size_t stranger_unread_bytes_max = 256 * 1024;
/// The same for one that this side turned to: a job's description and its whole record.
inline constexpr std::size_t invited_message_bytes_max = 32 * 1024 * 1024;
/// Sessions of peers that came by themselves and are not trusted. When there are more, the
/// network that has most of them gives up the one that said nothing for longest.
inline constexpr std::size_t strangers_max = 256;
/// From so many sessions on, those that nobody needs are dropped; a peer that returns after
/// that sees a reset.
inline constexpr std::size_t idle_sessions_max = 1024;
/// Key agreements for datagrams of unknown senders: as many as a large job has newcomers.
inline constexpr std::uint64_t stranger_datagrams_per_second_max = 2000;
/// Bytes handed to a stream ahead of the network: more would let small messages wait.
inline constexpr std::size_t write_ahead_bytes = 256 * 1024;
inline constexpr std::size_t meetings_max = 16;
/// What is queued, with its cost, is sent at once when it is so much: the remote takes it while more comes.
inline constexpr std::size_t queued_bytes_max = 64 * 1024;
/// Small messages handed over together.
inline constexpr std::size_t message_run_max = 64;
/// Ports tried when the host may choose one that is free for both kinds of socket.
inline constexpr int port_attempts_max = 16;

struct exchange_options {
  link::swarm_id swarm;
  bool allow_aes = true;
  /// Only in simulations: see `link::clear_datagrams`.
  bool clear_datagrams = false;
  /// First and longest wait before dialling a peer again; doubles in between.
  duration redial_min = std::chrono::milliseconds(100);
  duration redial_max = std::chrono::seconds(10);
  /// A connection that lasted so long is replaced at once when it is lost.
  duration stable = std::chrono::seconds(5);
  /// Silence of a peer that owes an answer, after which its connection is given up.
  duration silence_max = std::chrono::seconds(10);
  /// A kept connection that is silent for so long is tested.
  duration keepalive = std::chrono::seconds(15);
  /// A connection that nobody keeps is closed after so long without use.
  duration idle_max = std::chrono::seconds(60);
  /// So long a peer's addresses are tried alone; then ways through other peers as well.
  duration detour_after = std::chrono::milliseconds(500);
  /// First and longest wait before the addresses of a peer that is reached through another are tried
  /// again; doubles in between.
  duration straighten_min = std::chrono::seconds(10);
  duration straighten_max = std::chrono::minutes(10);
  /// An established connection silent for so long may be replaced by one through another peer.
  duration silent_for_detour = std::chrono::seconds(1);
};

struct exchange_statistics {
  link::traffic bytes;
  std::uint64_t messages_sent = 0;
  std::uint64_t messages_received = 0;
  std::uint64_t datagrams_sent = 0;
  std::uint64_t datagrams_received = 0;
  std::uint64_t datagrams_refused = 0;
  std::uint64_t connections = 0;  ///< established
  std::uint64_t detours = 0;      ///< of these, through another peer
  std::uint64_t dials = 0;
  std::uint64_t handshakes_failed = 0;  ///< incoming ones
  std::uint64_t half_open_refused = 0;
  std::uint64_t strangers_refused = 0;
};

/// Calls come from the host's handlers and timers, never from inside a call of the exchange.
/// They may call the exchange, but not destroy it.
class exchange_handler {
 public:
  virtual void on_message(const node_id& from, std::uint8_t channel, arrived_message message) = 0;
  /// Whether `on_messages` takes what comes together in a channel.
  [[nodiscard]] virtual bool takes_runs(std::uint8_t channel) const {
    static_cast<void>(channel);
    return false;
  }
  /// Several small messages that came together; the same as one after the other. Must not forget `from`.
  virtual void on_messages(const node_id& from, std::uint8_t channel, std::span<const byte_view> run) {
    static_cast<void>(from), static_cast<void>(channel), static_cast<void>(run);
  }
  /// A large message is arriving, see `landing_places`. `guest` writes it.
  [[nodiscard]] virtual landing land(const node_id& from, std::uint8_t channel, byte_view begin, std::size_t total,
                                     landing_guest& guest) {
    static_cast<void>(from), static_cast<void>(channel), static_cast<void>(begin), static_cast<void>(total);
    static_cast<void>(guest);
    return {};
  }
  /// Whether a node that dialled and is not trusted may have a session.
  virtual bool accept(const node_id&, const public_key&) { return true; }
  /// The first session with this process of the peer.
  virtual void on_peer_up(const node_id&) {}
  /// The peer has restarted (or forgotten us): what was sent before this call and was
  /// unacknowledged is dropped. `on_peer_up` follows.
  virtual void on_peer_reset(const node_id&) {}
  /// A hint for failure detection: a connection was lost. The exchange itself goes on trying when it has reason to.
  virtual void on_connection_lost(const node_id&, const error&) {}
  /// Neither an address nor another peer led to it. That says little about a peer of which no address ever did.
  virtual void on_unreachable(const node_id&, const error&) {}
  /// The session was `congested` and is no longer.
  virtual void on_writable(const node_id&) {}
  virtual void on_meeting_failed(const address&, const error&) {}
  /// Trusted peers that may have a connection with `node`, the best way first.
  [[nodiscard]] virtual std::vector<node_id> relays_to(const node_id& node) {
    static_cast<void>(node);
    return {};
  }
  /// The peer is reached through another one from now on, or (none) no longer.
  virtual void on_path(const node_id& node, const std::optional<node_id>& relay) {
    static_cast<void>(node), static_cast<void>(relay);
  }
  /// One that is not `current` may be a replay of an earlier process, or of a new one that has
  /// no session yet.
  virtual void on_datagram(const link::opened_datagram&, const address& from) {
    static_cast<void>(from);
  }
  /// See `host::datagram_handler`.
  virtual void expect(unsigned stage) const noexcept { static_cast<void>(stage); }

 protected:
  ~exchange_handler() = default;
};

class exchange final : private host::listen_handler,
                       private host::datagram_handler,
                       private link::connection_handler,
                       private circuit_owner {
 public:
  /// All references must outlive the exchange.
  exchange(host::machine& machine, const crypto::identity& self, exchange_options options,
           exchange_handler& handler);
  ~exchange();
  exchange(const exchange&) = delete;
  exchange& operator=(const exchange&) = delete;

  /// Accepts connections and datagrams on one port; port 0 lets the host choose. Once only.
  [[nodiscard]] result<> listen(const address& local);
  /// Where it listens; port 0 before `listen`.
  [[nodiscard]] address local() const;
  [[nodiscard]] const crypto::identity& self() const noexcept { return self_; }
  /// Random number of this process, which tells it from an earlier one of the same identity.
  [[nodiscard]] std::uint64_t instance() const noexcept { return instance_; }

  /// Adds to the address book; a new address of a peer that is waited for is dialled at once.
  /// Error: `authentication` for an invalid key.
  result<node_id> learn(const contact& who);
  /// Null when unknown; valid until the next change of the book.
  [[nodiscard]] const contact* find(const node_id& node) { return book_.find(node); }
  [[nodiscard]] std::vector<contact> contacts() const { return book_.all(); }
  /// Dials an address whose peer is not known yet, once; ends in `on_peer_up` or
  /// `on_meeting_failed`. False when too many such attempts are under way.
  bool meet(const address& where);

  /// Connects, and connects again whenever the connection is lost, until told otherwise.
  void keep(const node_id& node, bool kept = true);
  /// Lifts the limits for strangers, until the node is forgotten. Opens nothing.
  void trust(const node_id& node);
  /// Drops session, connection, trust and all data; the address book keeps the contact.
  void forget(const node_id& node);

  /// Queues a message, in order with others of its priority; dials when needed. It is sent when
  /// the current handler has returned, by `flush`, or when more has been queued than should wait. Precondition: `node` is
  /// another peer.
  void send(const node_id& node, std::uint8_t channel, byte_view header, payload body = {},
            priority p = priority::normal);
  /// The same for one that is copied at once. Precondition: both together at most `bundled_message_bytes_max`.
  void send_small(const node_id& node, std::uint8_t channel, byte_view header, byte_view body);
  /// The same with a body that is not copied and may be sent several times, until `take_back` is called with a number that
  /// differs from all others that were not taken back. Nobody else sees how long that has to be.
  void lend(const node_id& node, std::uint8_t channel, byte_view header, byte_view body, std::uint64_t number);
  /// Copies what is still needed of it.
  void take_back(const node_id& node, std::uint64_t number);
  /// The same when all of it has been copied already.
  void take_back(const node_id& node, std::uint64_t number, byte_view lent, const payload& copy);
  /// The round trip of the connection with it, where there is one and the system knows.
  [[nodiscard]] std::optional<duration> round_trip(const node_id& node) const;
  /// Hands what is queued to the network now.
  void flush();
  [[nodiscard]] bool connected(const node_id& node) const;
  /// Whether it may be asked to pass something on: it is trusted, and not itself reached through another.
  [[nodiscard]] bool can_relay(const node_id& node) const;
  /// An address has led to it, and it may be dialled again.
  [[nodiscard]] bool has_reached(const node_id& node) const;
  /// There was a connection with it.
  [[nodiscard]] bool has_met(const node_id& node) const;
  /// Where its connection leads; none where there is none, or it is through another peer.
  [[nodiscard]] std::optional<address> remote_address(const node_id& node) const;
  /// The peer through which this one is reached; none when that is direct, or not at all.
  [[nodiscard]] std::optional<node_id> relay_to(const node_id& node) const;
  /// See `session::congested`; `on_writable` is called when it ends.
  [[nodiscard]] bool congested(const node_id& node);
  /// See `session::unacknowledged`; 0 when there is no session.
  [[nodiscard]] std::size_t unacknowledged(const node_id& node) const;

  /// False when it is too large, the key is invalid or the exchange does not listen.
  bool send_datagram(const public_key& to, const address& where, byte_view plain);

  [[nodiscard]] const exchange_statistics& statistics() const noexcept { return statistics_; }
  /// Incoming connections whose remote has not proven to be there.
  [[nodiscard]] std::size_t half_open() const noexcept { return half_open_.size(); }

 private:
  struct peer;
  using connection_pointer = std::shared_ptr<link::connection>;

  void on_accept(std::unique_ptr<host::stream> stream) override;
  void on_datagram(const address& from, byte_view bytes) override;
  void expect(unsigned stage) const noexcept override;
  void on_authenticated(link::connection& from) override;
  void on_record(link::connection& from, byte_view plain) override;
  byte_span place(link::connection& from, std::size_t plain_bytes) override;
  void on_drained(link::connection& from) override;
  void on_partial_record(link::connection& from) override;
  void on_ended(link::connection& from, const error& why) override;

  void send_circuit(const node_id& to, byte_view head, payload body) override;
  [[nodiscard]] bool passes_on(const node_id& from, const node_id& to) override;
  void on_circuit(const node_id& relay, const node_id& origin,
                  std::unique_ptr<host::stream> stream) override;

  [[nodiscard]] peer* find_peer(const node_id& node) const;
  [[nodiscard]] peer& peer_of(const node_id& node, bool invited = true);
  [[nodiscard]] connection_pointer open(link::noise::role side,
                                        std::unique_ptr<host::stream> stream,
                                        const std::optional<public_key>& remote,
                                        const std::optional<node_id>& relay = {});
  [[nodiscard]] connection_pointer take_half_open(link::connection& from);
  [[nodiscard]] bool admit(const link::connection& from);
  void make_room_for_stranger(const address& source);
  void make_room_for_handshake();
  [[nodiscard]] static std::size_t message_limit(const peer& p);
  [[nodiscard]] bool preferred(const peer& p, const link::connection& fresh) const;
  bool join(connection_pointer fresh);
  void receive(link::connection& from, byte_view record);
  void take(const node_id& node, std::uint8_t channel, arrived_message message);
  void take_run(peer& p, time_point now, byte_view& record, const whole_message& first);
  void on_event(const node_id& node, session_event event);
  void on_established(peer& p);
  void on_detour(peer& p);

  [[nodiscard]] static bool wanted(const peer& p);
  void touch(peer& p);
  void queued(peer& p, std::size_t bytes);
  void service(peer& p);
  void arm(peer& p);
  [[nodiscard]] static bool blocked(const peer& p);
  [[nodiscard]] time_point patience(const peer& p) const;
  [[nodiscard]] time_point next_deadline(const peer& p) const;
  void on_timer(peer& p);
  void dial(peer& p);
  void dial_next_address(peer& p, const contact& who);
  void on_dial_failed(peer& p, const error& why);
  /// Tries ways through other peers; false when there is none to try.
  bool take_detour(peer& p);
  bool next_relay(peer& p);
  [[nodiscard]] bool is_straight(const node_id& node) const;
  void on_detour_failed(peer& p, const error& why);
  void rest(peer& p, const error& why);
  [[nodiscard]] bool is_silent(const peer& p) const;
  void redial_later(peer& p);
  void straighten_later(peer& p);
  void straighten_now(peer& p);
  void note_path(peer& p);
  void lose(peer& p, const error& why, bool broken = false);

  host::machine& machine_;
  std::optional<link::record_crew> crew_;
  const crypto::identity& self_;
  exchange_options options_;
  exchange_handler& handler_;
  random_generator random_;
  std::uint64_t instance_;
  std::unique_ptr<link::datagram_codec> codec_;
  address_book book_;
  exchange_statistics statistics_;
  circuits circuits_;  ///< connections go over them
  std::unique_ptr<host::listener> listener_;
  std::unique_ptr<host::datagram_socket> datagrams_;
  std::vector<connection_pointer> half_open_;
  struct meeting {
    connection_pointer with;
    address where;
  };
  std::vector<meeting> meetings_;
  std::map<node_id, std::unique_ptr<peer>> peers_;
  std::set<node_id> trusted_;
  intrusive_list<peer> touched_;
  mutable peer* last_found_ = nullptr;  ///< the same peer is asked for many times in a row
  host::timer flush_timer_;
  time_point stranger_second_;
  std::uint64_t stranger_datagrams_ = 0;
};

}  // namespace p2pdvm::messaging

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/messaging/impl/exchange.ipp>
#include <p2pdvm/messaging/impl/exchange_connections.ipp>
#endif

/// One peer of the swarm: answers others, finds peers and records, keeps its table in repair.
#pragma once

#include <p2pdvm/overlay/address_proof.hpp>
#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/overlay/lifetime.hpp>
#include <p2pdvm/overlay/lookup.hpp>
#include <p2pdvm/overlay/nearest.hpp>
#include <p2pdvm/overlay/record.hpp>
#include <p2pdvm/overlay/request_budget.hpp>
#include <p2pdvm/overlay/routing_table.hpp>
#include <p2pdvm/overlay/rpc.hpp>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <utility>
#include <vector>

namespace p2pdvm::overlay {

inline constexpr std::size_t rpcs_max = 1536;       ///< unanswered requests: of all searches
inline constexpr std::size_t operations_max = 128;  ///< running searches of users
/// Peers that must have answered at the end of a search that upkeep makes.
inline constexpr std::size_t upkeep_width = 4;
/// Running searches, users' included, above which upkeep starts none of its own.
inline constexpr std::size_t upkeep_operations_max = 8;
inline constexpr std::size_t nearest_queries_max = 8;  ///< running, of users
inline constexpr std::size_t ping_backs_max = 16;   ///< unanswered pings to peers not yet met
inline constexpr std::size_t remembered_max = 64;   ///< contacts kept for rejoining
inline constexpr std::size_t rejoin_contacts_max = 8;
inline constexpr std::size_t own_records_max = limits::records_per_source_max;
/// Pause between two stores that upkeep starts, so that many records due at once do not flood.
inline constexpr duration upkeep_store_pause = std::chrono::milliseconds(200);

/// Contacts that a search asks each peer for: more per reply cost more bytes where addresses are
/// not proven, fewer make searches longer.
inline constexpr std::uint8_t search_contacts = 8;
/// Sendings of one request, for values and for the peers nearest to a target: a search that
/// misses the very nearest is wrong.
inline constexpr unsigned attempts_max = 4;
/// Of the nearest candidates of a search so many get all attempts.
inline constexpr std::size_t patient_candidates = 4;

/// Times adapt to the sessions that the node observes (`lifetime_estimate`), within bounds.
struct node_options {
  routing_options routing;
  lookup_options lookups;
  /// Disjoint paths of searches for values, and for those who are to keep one: a peer that lies
  /// spoils one of them, and the first good answer ends all.
  std::size_t value_paths = 3;
  record_store_options records;
  /// Overdue time of a request to a peer with no measured round trip, before any is measured.
  duration timeout_initial = std::chrono::milliseconds(1000);
  duration timeout_min = std::chrono::milliseconds(100);
  duration timeout_max = std::chrono::seconds(3);
  /// Times that a request is sent before its peer has failed, but see `patient_candidates`.
  unsigned attempts = 2;
  /// Pause between two checks of peers that may have gone.
  duration check_interval_min = std::chrono::milliseconds(300);
  duration check_interval_max = std::chrono::seconds(60);
  /// Pause between two questions for members of one bucket.
  duration refresh_interval_min = std::chrono::seconds(3);
  duration refresh_interval_max = std::chrono::minutes(5);
  /// Pause between two exchanges with a sibling, which tells whom it knows near us.
  duration exchange_interval_min = std::chrono::seconds(2);
  duration exchange_interval_max = std::chrono::minutes(2);
  /// Pause between two whole searches, for a random place and from there for ourselves: how the
  /// halves of a divided swarm find all of each other again.
  duration explore_interval_min = std::chrono::minutes(4);
  duration explore_interval_max = std::chrono::minutes(15);
  /// The same while more new siblings appear than sessions explain: two swarms have met.
  duration explore_interval_merging = std::chrono::seconds(30);
  /// Pause between two pings to peers that the table could do without: how it gets nearer ones.
  duration surplus_interval = std::chrono::seconds(60);
  /// Pause between two stores of the same record, by its publisher and by each holder, or half
  /// an observed session and a whole one where that is shorter.
  duration republish_interval = std::chrono::minutes(10);
  duration replicate_interval = std::chrono::minutes(20);
  duration rejoin_interval_min = std::chrono::seconds(1);
  duration rejoin_interval_max = std::chrono::minutes(1);
};

struct lookup_result {
  std::vector<contact> nearest;  ///< those that answered, nearest first
  unsigned hops = 0;             ///< as `iterative_lookup::hops`
  std::size_t queries = 0;
};
struct found_record {
  record what;
  unsigned hops = 0;  ///< 0: it was here
  std::size_t queries = 0;
};

/// A peer and the round trip to it, just measured.
struct near_peer {
  contact peer;
  duration round_trip{};
};

struct node_statistics {
  std::uint64_t datagrams_in = 0;
  std::uint64_t datagrams_out = 0;
  std::uint64_t bytes_in = 0;
  std::uint64_t bytes_out = 0;
  std::uint64_t malformed = 0;         ///< did not decode, or impossible
  std::uint64_t over_budget = 0;       ///< requests dropped because their network asks too much
  std::uint64_t unexpected = 0;        ///< replies to nothing that we asked
  std::uint64_t requests_sent = 0;     ///< without repetitions
  std::uint64_t requests_failed = 0;   ///< unanswered after all attempts
  std::uint64_t proofs_demanded = 0;   ///< replies that were only a token
  std::uint64_t invalid_records = 0;   ///< offered by others as values or to store
  std::uint64_t stores_accepted = 0;
  std::uint64_t stores_refused = 0;
  std::uint64_t operations = 0;
  std::uint64_t rejoins = 0;

  node_statistics& operator+=(const node_statistics& other) noexcept { return add(other, 1); }
  node_statistics& operator-=(const node_statistics& other) noexcept {
    return add(other, ~std::uint64_t{0});
  }

 private:
  node_statistics& add(const node_statistics& other, std::uint64_t factor) noexcept {
    datagrams_in += factor * other.datagrams_in;
    datagrams_out += factor * other.datagrams_out;
    bytes_in += factor * other.bytes_in;
    bytes_out += factor * other.bytes_out;
    malformed += factor * other.malformed;
    over_budget += factor * other.over_budget;
    unexpected += factor * other.unexpected;
    requests_sent += factor * other.requests_sent;
    requests_failed += factor * other.requests_failed;
    proofs_demanded += factor * other.proofs_demanded;
    invalid_records += factor * other.invalid_records;
    stores_accepted += factor * other.stores_accepted;
    stores_refused += factor * other.stores_refused;
    operations += factor * other.operations;
    rejoins += factor * other.rejoins;
    return *this;
  }
};

/// A synchronous state machine: call `on_datagram` with what arrives and `on_timer` at
/// `next_timer()`; it sends through the transport and calls back when a search ends. A
/// callback runs from inside `on_datagram`, `on_timer` or the call that started it, and may
/// call the node again. All memory is bounded by the limits above and the options.
class node {
 public:
  using lookup_callback = std::function<void(const lookup_result&)>;
  /// Errors: `not_found`, `unreachable` (nobody answered), `refused` (too many searches).
  using find_callback = std::function<void(const result<found_record>&)>;
  /// How many peers keep the record now, ourselves included; errors as above.
  using publish_callback = std::function<void(const result<std::size_t>&)>;

  /// Nearest first; may be fewer than wanted, or none.
  using nearest_callback = std::function<void(const std::vector<near_peer>&)>;

  /// `random` comes from the host's entropy; `transport` must outlive the node.
  node(const crypto::identity& self, const node_options& options, random_generator random,
       overlay_transport& transport);
  node(const node&) = delete;
  node& operator=(const node&) = delete;

  [[nodiscard]] const node_id& id() const noexcept { return self_; }

  /// Tells the time of day, for expiry dates; call at the start and when it may have jumped.
  void set_wall_clock(time_point now, unix_seconds wall);
  /// `from.key` is authenticated, `from.where` is not.
  void on_datagram(time_point now, const contact& from, byte_view bytes);
  void on_timer(time_point now);
  [[nodiscard]] time_point next_timer() const;
  /// Fetches into the cache what the next call will probably need: in three stages, 0 to 2.
  void expect(unsigned stage) const noexcept;

  /// Enters the swarm through any of these (of a ticket, or remembered), or meets another
  /// swarm. They are kept for rejoining; when everybody falls silent the node rejoins by itself.
  void join(time_point now, const std::vector<contact>& through);
  /// The peers nearest to `target`.
  void lookup(time_point now, const node_id& target, lookup_callback done);
  /// The first valid record found for `target`, of `publisher` if given.
  void find(time_point now, const node_id& target, const std::optional<public_key>& publisher,
            find_callback done);
  /// Stores a record at the peers nearest to its target, again and again until it expires or
  /// one of the same key with a higher sequence is published here.
  void publish(time_point now, record r, publish_callback done);

  /// Peers worth remembering on disk and in tickets: those in the table, the longest known
  /// first, then those met earlier.
  [[nodiscard]] std::vector<contact> known_contacts(std::size_t count) const;
  [[nodiscard]] const routing_table& table() const noexcept { return table_; }
  [[nodiscard]] const record_store& records() const noexcept { return store_; }
  [[nodiscard]] const node_statistics& statistics() const noexcept { return statistics_; }
  [[nodiscard]] std::size_t pending_requests() const noexcept { return pending_.size(); }
  /// The peers of the table with the shortest round trips, at most `nearest_shortlist_max / 4`:
  /// coordinates choose a shortlist, which is then measured.
  void nearest(time_point now, std::size_t wanted, nearest_callback done);
  /// Where this peer is, by the round trips of its requests; replies tell it to others.
  [[nodiscard]] const coordinate& place() const noexcept { return tracker_.own(); }
  /// Round trip to a peer in the table as the coordinates have it; nothing while it has not said
  /// where it is.
  [[nodiscard]] std::optional<duration> predicted(const node_id& peer) const;
  /// What another protocol measured to a peer that said where it is: a sample like the node's
  /// own. Nothing for the time: only the place is news.
  void note_place(const node_id& peer, const packed_coordinate& place,
                  std::optional<duration> round_trip_time);
  /// Mean session of other peers, as observed.
  [[nodiscard]] duration observed_lifetime() const noexcept { return lifetime_.mean(); }

 private:
  enum class goal { nodes, value, publish };
  struct operation {
    goal what;
    iterative_lookup search;
    std::optional<public_key> publisher;
    std::optional<record> subject;  ///< to be stored, or what was found
    bool upkeep = false;
    bool storing = false;
    std::size_t stores_open = 0;
    std::size_t copies = 0;
    lookup_callback on_lookup;
    find_callback on_find;
    publish_callback on_publish;
  };
  /// A request on its way. Each sending has its own transaction number, base + index, so that
  /// a late answer to an early one still gives a true round trip.
  struct pending {
    std::uint64_t base = 0;
    contact to;
    message_kind kind = message_kind::ping;
    std::uint8_t wanted = 0;
    bool proved = false;
    bool ping_back = false;
    bool lingers = false;  ///< overdue, and nobody waits for it, but its answer is welcome
    unsigned timeouts = 0;
    unsigned sendings = 0;
    std::uint64_t operation = 0;  ///< 0: of upkeep
    std::uint64_t measurement = 0;  ///< of this query for the nearest; 0: of none
    std::uint32_t candidate = 0;    ///< of the query
    node_id target;
    std::array<time_point, 8> sent{};
    time_point deadline{};
    [[nodiscard]] node_id id() const { return crypto::node_id_of(to.key); }
  };

  // node.ipp: searches
  [[nodiscard]] operation make_operation(time_point now, goal what, const node_id& target,
                                         const std::vector<contact>& seeds);
  [[nodiscard]] operation make_upkeep(time_point now, const node_id& target,
                                      const std::vector<contact>& seeds);
  [[nodiscard]] std::vector<contact> seeds_for(const node_id& target, std::size_t paths = 1);
  void start(time_point now, operation op);
  void drive(time_point now, std::uint64_t number);
  void begin_stores(time_point now, std::uint64_t number, operation& op);
  void finish(std::uint64_t number);
  void answered(time_point now, const pending& p, const contact& from, const message& reply);
  void stored(time_point now, const pending& p, bool kept);
  void searched(time_point now, operation& op, const pending& p, const contact& from,
                const message& reply);
  void unanswered(time_point now, const pending& p);
  [[nodiscard]] bool good_value(time_point now, const operation& op, const record& r) const;
  [[nodiscard]] std::optional<record> local(time_point now, const node_id& target,
                                            const std::optional<public_key>& publisher);
  void measure_next(time_point now, std::uint64_t number);
  void measured(time_point now, const pending& p, std::optional<duration> round_trip_time);
  [[nodiscard]] unix_seconds wall(time_point now) const;
  void remember(const contact& peer);

  // node_rpc.ipp: requests and replies
  bool ask(time_point now, pending question);
  bool ping(time_point now, const contact& to);
  void ping_back(time_point now, const contact& stranger);
  void transmit(time_point now, pending& p);
  [[nodiscard]] message question_of(const pending& p) const;
  [[nodiscard]] address_token token_for(time_point now, const node_id& id) const;
  [[nodiscard]] pending* find_pending(std::uint64_t base);
  [[nodiscard]] pending take_pending(std::uint64_t base);
  [[nodiscard]] unsigned attempts_for(const pending& p) const;
  [[nodiscard]] bool is_upkeep(const pending& p) const;
  void on_request(time_point now, const contact& from, const message& q, std::size_t bytes);
  void on_reply(time_point now, const contact& from, const message& r);
  void on_timeout(time_point now, std::uint64_t base);
  void answer(time_point now, const contact& from, const message& q, bool proven, message& r);
  [[nodiscard]] bool keep(time_point now, const contact& from, const record& r);
  [[nodiscard]] std::vector<contact> nearest_for(time_point now, const contact& from,
                                                 const node_id& target, std::size_t count) const;
  void send(const contact& to, const byte_vector& bytes);
  [[nodiscard]] duration timeout_for(const pending& p) const;
  void meet(time_point now, const contact& peer, std::optional<duration> round_trip_time);

  // node_upkeep.ipp: repair
  void upkeep(time_point now);
  [[nodiscard]] time_point next_upkeep() const;
  void check_somebody(time_point now);
  void exchange(time_point now);
  void refresh(time_point now);
  void explore(time_point now);
  void keep_explored(std::vector<contact> found);
  [[nodiscard]] bool is_merging(time_point now) const;
  [[nodiscard]] time_point trusted_since(time_point now) const;
  void note_absent(time_point now, const node_id& id);
  [[nodiscard]] bool is_absent(time_point now, const node_id& id) const;
  [[nodiscard]] duration check_pause() const;
  void store_again(time_point now);
  void rejoin(time_point now);
  [[nodiscard]] time_point next_store() const;
  [[nodiscard]] duration republish_pause();
  [[nodiscard]] duration replicate_pause();
  [[nodiscard]] duration jittered(duration d);

  node_id self_;
  public_key key_;
  node_options options_;
  random_generator random_;
  overlay_transport* transport_;
  routing_table table_;
  record_store store_;
  request_budget budget_;
  address_prover prover_;
  token_cache tokens_;
  round_trip rtt_;  ///< of all peers together
  coordinate_tracker tracker_;
  node_statistics statistics_;

  lifetime_estimate lifetime_;
  std::vector<pending> pending_;
  std::size_t ping_backs_ = 0;  ///< among them
  struct absence {
    std::uint64_t peer = 0;  ///< the first bytes of its id
    time_point until{};
  };
  /// Who did not answer lately, and need not be asked because others still name it.
  std::array<absence, 32> absent_{};
  std::size_t next_absent_ = 0;
  std::uint64_t transactions_ = 0;
  std::map<std::uint64_t, operation> operations_;
  struct measurement {
    nearest_query query;
    std::vector<contact> candidates;
    nearest_callback done;
  };
  std::map<std::uint64_t, measurement> measurements_;
  std::uint64_t next_operation_ = 1;  ///< number of an operation or measurement

  struct own_record {
    record r;
    time_point due;
  };
  std::map<record_key, own_record> own_;
  std::vector<contact> remembered_;  ///< last met first
  std::vector<contact> bootstrap_;   ///< given to `join`
  std::vector<contact> explored_;    ///< where the last refreshing lookup ended
  time_point wall_at_{};
  unix_seconds wall_ = 0;

  duration exchange_interval_;
  duration explore_interval_;
  duration rejoin_interval_;
  time_point next_check_ = time_point_never;
  time_point next_exchange_ = time_point_never;
  time_point next_refresh_ = time_point_never;
  time_point next_explore_ = time_point_never;
  time_point next_rejoin_ = time_point_never;
  time_point next_surplus_{};
  std::size_t new_siblings_ = 0;  ///< since then:
  time_point explored_at_{};
  time_point checked_{};  ///< when somebody was last asked whether it lives
  time_point stores_not_before_{};
};

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/node.ipp>
#include <p2pdvm/overlay/impl/node_rpc.ipp>
#include <p2pdvm/overlay/impl/node_upkeep.ipp>
#endif

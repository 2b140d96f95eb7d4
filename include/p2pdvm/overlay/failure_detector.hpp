/// Which members of a job have died, agreed by several of them: SWIM with Lifeguard.
///
/// Das, Gupta and Motivala, "SWIM" (2002); Dadgar, Phillips and Currey, "Lifeguard" (2018).
/// Beyond them, a suspicion names its observers, so that a death is not one member's opinion:
/// it is agreed when min(3, unsuspected members) observers, whose own probes failed, say so and
/// the suspect had its time to refute. What follows from it is the owner's to decide.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/overlay/contact.hpp>
#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/overlay/detector_options.hpp>
#include <p2pdvm/overlay/round_trip.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

namespace p2pdvm::overlay {

inline constexpr std::size_t detector_probes_max = 256;    ///< own, unanswered
inline constexpr std::size_t detector_relays_max = 256;    ///< on behalf of others
inline constexpr std::size_t detector_claims_max = 14;     ///< claims in one datagram
inline constexpr std::size_t detector_observers_max = 6;   ///< remembered per suspicion
/// A refuting member tells up to this many others at once, the rest hear it as news.
inline constexpr std::size_t detector_refutation_fanout = 16;
/// Highest step that a claim may make another's incarnation number take.
inline constexpr std::uint64_t detector_incarnation_step_max = 1 << 20;

/// How messages call a member: the first eight bytes of its id, most significant first. A peer
/// can at most make an id that is called like another one of its own; then only one of the two
/// is spoken of.
using detector_name = std::uint64_t;
[[nodiscard]] detector_name detector_name_of(const node_id& id) noexcept;

/// All that its sender knows of a member: that it lives, or who finds it dead.
struct detector_claim {
  enum class kind : std::uint8_t { alive = 1, suspect = 2 };
  kind what = kind::alive;
  bool hinted = false;
  detector_name node = 0;
  std::uint64_t incarnation = 0;
  std::vector<detector_name> observers;  ///< of a suspicion
  template <class F>
  void fields(F&& f) {
    f(what), f(hinted), f(node), f(incarnation), f(observers);
  }
};

struct detector_message {
  enum class kind : std::uint8_t {
    ping = 1,
    ack,
    ping_request,  ///< "probe `target` for me"
    relayed_ack,   ///< "`target` answered me"
    nack,          ///< "I am here, but `target` has not answered me yet"
    gossip,
  };
  kind what = kind::ping;
  bool hinted = false;
  std::uint32_t sequence = 0;
  std::uint64_t incarnation = 0;  ///< the sender's own
  std::optional<detector_name> target;
  std::vector<detector_claim> claims;
  std::optional<packed_coordinate> place;  ///< of who acknowledges
  template <class F>
  void fields(F&& f) {
    f(what), f(hinted), f(sequence), f(incarnation), f(target), f(claims);
    if (what == kind::ack) f(place);
  }
};

/// What the detector wants of its owner. Events are delivered when the detector is done with
/// its input, so they may call it again; sending, `place` and `measured` may not.
class detector_owner {
 public:
  /// Unreliable, authenticated, at most `datagram_payload_max` bytes.
  virtual void send(const node_id& to, byte_view bytes) = 0;
  /// The same, when nothing came back of what was sent before: if there is another way, by that too.
  virtual void send_again(const node_id& to, byte_view bytes) { send(to, bytes); }
  virtual void suspected(const node_id& who, const std::vector<node_id>& observers) = 0;
  /// A suspected or even agreed member lives.
  virtual void refuted(const node_id& who) = 0;
  /// Once per suspicion. The member stays one until `set_members` drops it.
  virtual void agreed_dead(const node_id& who, const std::vector<node_id>& observers) = 0;
  /// A member speaks of somebody who is none here: one of the two is behind.
  virtual void spoken_of(detector_name stranger, const node_id& by) { (void)stranger, (void)by; }
  /// Our coordinate, for members that probe us; nothing where nobody keeps one.
  [[nodiscard]] virtual std::optional<packed_coordinate> place() { return std::nullopt; }
  /// A member answered at once, and said where it is; its word is plausible.
  virtual void measured(const node_id& who, const packed_coordinate& place, duration round_trip) {
    (void)who, (void)place, (void)round_trip;
  }

 protected:
  ~detector_owner() = default;
};

struct detector_statistics {
  std::uint64_t probes = 0;
  std::uint64_t probes_failed = 0;
  std::uint64_t malformed = 0;
  std::uint64_t strangers = 0;    ///< messages of non-members
  std::uint64_t refutations = 0;  ///< of suspicions about ourselves
  std::uint64_t stalls = 0;       ///< own pauses that were noticed
};

class failure_detector {
 public:
  /// `owner` must outlive the detector; `random` comes from the host's entropy.
  failure_detector(const node_id& self, const detector_options& options, random_generator random,
                   detector_owner& owner);
  failure_detector(const failure_detector&) = delete;
  failure_detector& operator=(const failure_detector&) = delete;

  /// The members of the job, at most `limits::members_max`; ourselves may be among them.
  /// What is known of those that stay is kept.
  void set_members(time_point now, const std::vector<node_id>& members);
  /// `from` is authenticated, and this comes from its present process. What another member had to pass on tells nothing of the way there.
  void on_message(time_point now, const node_id& from, byte_view bytes, bool passed_on = false);
  void on_timer(time_point now);
  [[nodiscard]] time_point next_timer() const;
  /// There is reason to believe that `who` is gone, such as a refused connection: probes it at
  /// once and has others do so, with shortened suspicion.
  void hint(time_point now, const node_id& who);
  /// `who` was heard of by other means, such as a frame on its session. Free while
  /// nobody is probed or suspected, one search in a sorted array otherwise.
  void heard_from(time_point now, const node_id& who);

  [[nodiscard]] bool is_suspected(const node_id& who) const;
  /// Of the probes that a member answered at once; nothing before the first.
  [[nodiscard]] std::optional<duration> round_trip_to(const node_id& who) const;
  /// Where a member said last that it is; plausible.
  [[nodiscard]] std::optional<packed_coordinate> place_of(const node_id& who) const;
  [[nodiscard]] std::uint64_t incarnation() const noexcept { return incarnation_; }
  /// 0: healthy; higher: this member has reason to doubt itself.
  [[nodiscard]] unsigned local_health() const noexcept { return health_; }
  [[nodiscard]] const detector_statistics& statistics() const noexcept { return statistics_; }

 private:
  /// Index of a member; they are many, so everything else refers to them by it.
  using slot = std::uint32_t;
  static constexpr slot own_slot = ~slot{0};
  static constexpr slot no_slot = own_slot - 1;

  struct suspicion {
    time_point since{};
    bool hinted = false;
    bool agreed = false;
    std::vector<slot> observers;
    time_point next_check{};  ///< while we are an observer: probe and claim again
    time_point next_buddy{};  ///< not before: tell the suspect that it is suspected
  };
  struct member {
    node_id id;
    std::uint64_t incarnation = 0;
    round_trip rtt;
    std::optional<packed_coordinate> place;
    std::unique_ptr<suspicion> suspected;
  };
  /// A probe has three stages of one timeout each; the ping is repeated in each, so that an answer tells which one it answers.
  static constexpr std::uint32_t stages = 4;  ///< numbers of one probe: at least three, a power of two
  struct probe {
    std::uint32_t sequence = 0;  ///< of its first ping, a multiple of `stages`
    slot target = no_slot;
    time_point sent{};
    time_point deadline{};
    unsigned stage = 0;
    bool hinted = false;
    bool stalled = false;  ///< this peer was, meanwhile: its answer is no measurement
    std::size_t nacks = 0;
    std::size_t helpers = 0;
  };
  struct relay {
    std::uint32_t sequence = 0;  ///< of our ping
    slot target = no_slot;
    slot requester = no_slot;
    std::uint32_t requester_sequence = 0;
    time_point nack_at{};
    time_point deadline{};
    bool nacked = false;
  };
  /// That something about a member has changed; what is told is what is known when it is told.
  struct news {
    slot about = no_slot;
    unsigned transmissions = 0;
    std::uint64_t number = 0;  ///< newer first among the equally often told
  };
  struct event {
    enum class kind { suspected, refuted, agreed, spoken_of } what;
    node_id who;
    std::vector<node_id> observers;
    detector_name stranger = 0;
  };

  // failure_detector.ipp: members, probes, timers
  [[nodiscard]] slot find(detector_name name) const;
  [[nodiscard]] slot find(const node_id& id) const;
  void renumber(std::vector<member> before);
  [[nodiscard]] std::size_t group_size() const noexcept { return members_.size() + 1; }
  [[nodiscard]] unsigned group_log2() const noexcept;
  [[nodiscard]] duration timeout_for(slot who) const;
  [[nodiscard]] std::vector<slot> pick(std::size_t count, slot except, bool unsuspected_only);
  void forgive_own_stall(time_point now);
  void probe_next(time_point now);
  void start_probe(time_point now, slot target, bool hinted, bool with_helpers);
  void ask_helpers(probe& p);
  void ping(slot target, std::uint32_t sequence, bool again = false);
  void advance(time_point now, probe& p);
  void fail_probe(time_point now, const probe& p);
  void on_ack(time_point now, slot by, const detector_message& m, bool passed_on);
  void on_relayed_ack(const detector_message& m);
  void on_nack(std::uint32_t sequence);
  [[nodiscard]] std::uint32_t next_sequence() noexcept { return sequence_ += stages; }
  [[nodiscard]] static std::uint32_t first_of(std::uint32_t sequence) noexcept { return sequence & ~(stages - 1); }
  void on_ping_request(time_point now, slot from, const detector_message& m);
  void run_relays(time_point now);
  void healthier() noexcept;
  void sicker(std::size_t by) noexcept;

  // failure_detector_claims.ipp: suspicion and news
  void send(slot to, detector_message m, bool again = false);
  void note_alive(time_point now, slot who, std::uint64_t incarnation);
  void on_claim(time_point now, const detector_claim& c, const node_id& by);
  void note_stranger(detector_name who, const node_id& by);
  void on_suspect_claim(time_point now, const detector_claim& c, slot who);
  void refute(std::uint64_t suspected_incarnation);
  void observe(time_point now, slot who, bool hinted);
  void suspect(time_point now, slot who, const std::vector<slot>& observers, bool hinted);
  bool add_observer(suspicion& s, slot observer);
  void clear_suspicion(slot who);
  void spread(slot about);
  void gossip(time_point now);
  void gossip_to(const std::vector<slot>& targets);
  void check_suspects(time_point now);
  void evaluate(time_point now);
  [[nodiscard]] bool is_suspected(slot who) const;
  [[nodiscard]] static bool is_observer(const suspicion& s);
  [[nodiscard]] std::size_t standing(const suspicion& s) const;
  [[nodiscard]] std::size_t needed() const;
  [[nodiscard]] duration suspicion_time(const suspicion& s) const;
  [[nodiscard]] time_point agreement_due(const suspicion& s) const;
  [[nodiscard]] detector_name name_of(slot who) const;
  [[nodiscard]] std::vector<node_id> ids_of(const std::vector<slot>& slots) const;
  [[nodiscard]] detector_claim claim_about(slot who) const;
  void attach_news(slot to, detector_message& m);
  void settle(time_point now);

  node_id self_;
  detector_name own_name_;
  detector_options options_;
  random_generator random_;
  detector_owner* owner_;
  detector_statistics statistics_;

  std::vector<member> members_;       ///< others, by id
  std::vector<detector_name> names_;  ///< theirs, in the same order: a search reads little memory
  std::vector<slot> order_;           ///< shuffled; probed from the back
  std::vector<slot> suspects_;
  std::vector<slot> open_;  ///< suspects that are not agreed dead, or that we observe
  std::vector<probe> probes_;
  std::vector<relay> relays_;
  std::vector<news> news_;
  bool has_eager_news_ = false;  ///< may also be true when there is none any more
  std::vector<event> events_;
  bool flushing_ = false;
  /// Suspicions or members have changed, so `suspects_due_` is to be found anew.
  bool changed_ = false;
  time_point suspects_due_ = time_point_never;  ///< of checks and agreements

  std::uint64_t incarnation_ = 0;
  std::uint32_t sequence_;
  std::uint64_t news_number_ = 0;
  unsigned health_ = 0;
  time_point next_probe_ = time_point_never;
  time_point next_gossip_{};
  time_point gossip_paid_{};  ///< rounds sent, at the pace of steady ones; not far in the past
};

namespace detail {

template <class Item>
bool contains(const std::vector<Item>& items, const Item& item) {
  return std::find(items.begin(), items.end(), item) != items.end();
}

}  // namespace detail

}  // namespace p2pdvm::overlay

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/overlay/impl/failure_detector.ipp>
#include <p2pdvm/overlay/impl/failure_detector_claims.ipp>
#endif

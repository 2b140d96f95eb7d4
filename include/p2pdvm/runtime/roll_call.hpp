/// Finds out that ranks have been waiting for long, and where all of them are.
///
/// A slow timer looks at what the ranks here wait for. When one of them has been seen in the very same wait for
/// the whole patience, one peer (the first by place in the record that notices; others hear of it and leave it
/// at that) calls the roll: the request goes the way of all news (member_square.hpp), answers are put together
/// in the columns, and what comes of it is told to all, so that every peer says the same. It is called again,
/// ever more seldom, and told again when it is another one or after a long time; and once more
/// when ranks go on. Nothing is asked of a message or a receive but where it keeps what it waits for
/// (peal/call_site.hpp).
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/peal/call_site.hpp>
#include <p2pdvm/runtime/job_messages.hpp>
#include <p2pdvm/runtime/roll.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace p2pdvm::runtime {

/// What is seen of a rank here at one moment.
struct rank_glance {
  rank_number rank;
  std::vector<peal::wait_state> waits;
  std::uint64_t begun = 0;  ///< waits, however short
  bool returned = false, starts = false;
  epoch_number epoch;
};

class roll_call_owner {
 public:
  /// Whether it is of interest now who waits where: not while the job recovers, say.
  [[nodiscard]] virtual bool may_call_roll() const = 0;
  [[nodiscard]] virtual const checkpoint::job_record& record() const = 0;
  [[nodiscard]] virtual std::vector<rank_glance> glance() = 0;
  [[nodiscard]] virtual std::vector<backlog> backlogs() = 0;
  virtual void send(const node_id& to, job_message message) = 0;
  /// Another peer's `on_report` gets it from all members but this one.
  virtual void tell_all(const common_news& news) = 0;
  /// As often as ranks are looked at.
  virtual void note_stalls() = 0;
  virtual void hung(const roll& all) = 0;
  virtual void went_on(std::uint32_t seconds) = 0;

 protected:
  ~roll_call_owner() = default;
};

class roll_call final {
 public:
  /// No patience: never.
  roll_call(roll_call_owner& owner, host::clock& clock, const node_id& self, duration patience);

  /// Ranks run from now on.
  void begin();
  /// They begin again: what was known of them is void.
  void reset();
  void stop();

  // From live members.
  void on(const node_id& from, const roll_request& request);
  void on(const node_id& from, const roll_answer& answer);
  void on_report(const node_id& author, const roll_report& report);

 private:
  /// A rank waits for answers so long, and somebody who puts some together for it.
  static constexpr duration answer_time = std::chrono::seconds(6);
  static constexpr duration relay_time = std::chrono::seconds(3);
  static constexpr duration stagger = std::chrono::milliseconds(20);  ///< per place in the record
  static constexpr std::size_t relays_max = 16;
  static constexpr int told_again_after = 20;  ///< patiences, and then twice as long each time
  static constexpr int heard_nothing_after = 4;

  struct waited {
    std::uint64_t begun = 0;
    time_point begun_at{};                         ///< seen first
    std::map<std::uint64_t, time_point> suspended;  ///< by number of the wait, seen first
  };
  /// Answers being put together.
  struct collection {
    collection(host::clock& clock, const node_id& asker, std::uint64_t which, roll first)
        : to(asker), number(which), all(std::move(first)), end(clock) {}
    node_id to;
    std::uint64_t number;
    roll all;
    std::set<node_id> awaited;
    host::timer end;
  };

  void look_later();
  void look();
  void watch();
  [[nodiscard]] bool stuck_here() const;
  [[nodiscard]] bool is_due() const;
  [[nodiscard]] roll roll_here();
  void enter(roll& into, const rank_glance& g, const waited& seen) const;
  void call();
  void conclude();
  void answer(const node_id& author);
  void take(const roll_report& report, const node_id& author);
  [[nodiscard]] time_point now() const { return clock_.now(); }
  [[nodiscard]] std::uint32_t seconds_since(time_point when) const;

  roll_call_owner& owner_;
  host::clock& clock_;
  node_id self_;
  duration patience_;
  host::timer look_timer_, call_timer_;
  std::map<rank_number, waited> ranks_;
  std::uint64_t calls_ = 0;
  std::optional<collection> own_;
  std::map<node_id, collection> relays_;  ///< by author
  // What was told last.
  bool told_ = false, leads_ = false;
  byte_vector fingerprint_;
  std::uint32_t told_seconds_ = 0;
  time_point told_at_{}, heard_at_{}, next_call_{}, seen_at_{};
  duration pause_, told_again_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/roll_call.ipp>
#endif

/// Lanes to other members of a job on the same computer: who offers one to whom, and what is left of it.
#pragma once

#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/host/lane.hpp>
#include <p2pdvm/host/timer.hpp>
#include <p2pdvm/runtime/job_messages.hpp>

#include <map>
#include <memory>

namespace p2pdvm::runtime {

class lanes_owner {
 public:
  virtual void send(const node_id& to, job_message message) = 0;
  /// Whether it is worth trying: the member's addresses are this computer's.
  [[nodiscard]] virtual bool on_this_machine(const node_id& host) const = 0;
  /// Rank messages may take this lane from now on; null: no more, and what was on it may be lost.
  virtual void use_lane(const node_id& host, host::lane* lane) = 0;
  virtual void on_lane_message(const node_id& from, byte_view head, host::lane_body& body) = 0;

 protected:
  ~lanes_owner() = default;
};

/// A lane is made when it is first wanted. The one who offers waits for the other to join; of two offers that
/// cross, that of the smaller node id counts.
class lanes {
 public:
  /// `through`: null where there are none.
  lanes(lanes_owner& owner, host::clock& clock, host::neighbourhood* through, const node_id& self);
  ~lanes();

  /// A small message to a process of this computer and its answer take about so long, datagrams far longer.
  static constexpr duration round_trip = std::chrono::nanoseconds(300);
  /// Whether messages for this member go through memory, or soon will.
  [[nodiscard]] bool possible(const node_id& host) const {
    return through_ != nullptr && owner_.on_this_machine(host);
  }
  /// Whether they do as far as one can tell: addresses alone may deceive.
  [[nodiscard]] bool likely(const node_id& host) const;
  /// How many threads of this computer run at once; 0: unknown.
  [[nodiscard]] std::uint32_t cores() const { return through_ == nullptr ? 0 : through_->cores(); }
  /// A message for this member found no lane. No effect while one is being made, or for a while after it
  /// could not be.
  void want(const node_id& host);
  void on_offer(const node_id& from, const lane_offer& offer);
  /// The member's process is another one, or none.
  void forget(const node_id& host);

 private:
  /// After a failure or an end; a process that restarts needs about so long.
  static constexpr duration pause = std::chrono::seconds(2);
  class way;

  [[nodiscard]] way& way_to(const node_id& host);
  void made(const node_id& host, std::uint64_t attempt, result<std::unique_ptr<host::lane>> lane);
  void ended(const node_id& host);

  lanes_owner& owner_;
  host::clock& clock_;
  host::neighbourhood* through_;
  node_id self_;
  std::map<node_id, std::unique_ptr<way>> ways_;
  std::uint64_t attempts_ = 0;
  std::shared_ptr<lanes*> alive_;  ///< what attempts that end later look at
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/lanes.ipp>
#endif

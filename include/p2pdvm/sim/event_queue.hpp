/// The simulator's future: pooled events, in time order and then in order of insertion.
///
/// A calendar of short slots holds the next seconds. The slot whose time has come is sorted as a
/// whole, which is cheaper than a heap and lets coming events be fetched into the cache; what is
/// added to it later goes to a small heap, and what is far off to another.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/sim/event_heap.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

namespace p2pdvm::sim::detail {

/// The numbers enter the digest: append, never renumber.
enum class event_kind : std::uint8_t {
  none = 0,
  script,       ///< an action of the test
  timer,        ///< an action that a peer asked its clock for
  disk,         ///< a sync has ended
  datagram,     ///< arrives
  connect,      ///< a connection request arrives
  reply,        ///< the answer to it arrives
  established,  ///< the answer to that arrives
  segment,      ///< bytes of a stream arrive
  credit,       ///< the reader's word that it took bytes
  finish,       ///< the orderly end of a stream arrives
  reset,        ///< the abrupt end of a stream arrives
  retry,        ///< a connection request is repeated or given up
  timeout,      ///< a stream that got no answer is given up
  notice,       ///< a stream tells its handler what is pending
  uplink,       ///< a busy uplink takes more
};

using endpoint_id = std::uint64_t;  ///< 0: none

/// Laid out by cache lines: an action uses the first, a datagram the first two.
struct alignas(64) event {
  event_kind kind = event_kind::none;
  bool passed_downlink = false;
  bool held = false;          ///< waits in the buffers of a stalled machine
  std::uint32_t machine = 0;  ///< where it happens
  std::uint32_t life = 0;     ///< of that machine, for what dies with a crash
  std::uint32_t generation = 0;
  std::uint32_t origin = 0;  ///< the machine that sent it
  std::function<void()> action;

  byte_vector bytes;
  address source;
  address destination;

  endpoint_id to = 0;
  endpoint_id from = 0;
  std::uint64_t amount = 0;

  [[nodiscard]] bool is_action() const noexcept {
    return kind == event_kind::script || kind == event_kind::timer || kind == event_kind::disk;
  }
};

/// Events are recycled, and so are the buffers of datagrams, so that a running simulation
/// hardly allocates. References to an event stay valid until it is released.
class event_queue {
 public:
  using slot = std::uint32_t;

  event_queue() : calendar_(calendar_slots) {}

  [[nodiscard]] event& operator[](slot s) noexcept {
    return blocks_[s / block_size][s % block_size];
  }
  [[nodiscard]] std::size_t size() const noexcept { return count_; }

  slot add(tick when, event_kind kind, std::uint32_t machine) {
    if (free_.empty()) grow();
    const slot s = free_.back();
    free_.pop_back();
    event& e = (*this)[s];
    e.kind = kind;
    e.machine = machine;
    push(when, s);
    return s;
  }
  /// Puts an event that `pop` gave back into the future.
  void again(slot s, tick when) { push(when, s); }

  /// The earliest event not after `limit`; false when there is none.
  bool pop(tick limit, tick& when, slot& s) {
    for (;;) {
      if (at_ == sorted_.size() && late_.empty() && !advance(limit)) return false;
      const bool from_late =
          at_ == sorted_.size() || (!late_.empty() && late_.front().before(sorted_[at_]));
      const event_node n = from_late ? late_.front() : sorted_[at_];
      const bool dead = cancelled_[n.slot()];
      if (!dead && n.when > limit) return false;
      if (from_late) {
        late_.pop();
      } else {
        ++at_;
      }
      --count_;
      if (dead) {
        forget(n.slot());
        continue;
      }
      when = n.when;
      s = n.slot();
      return true;
    }
  }
  /// The event that will probably be popped after `count` others; or null.
  [[nodiscard]] const event* ahead(std::size_t count) noexcept {
    const std::size_t i = at_ + count;
    return i < sorted_.size() ? &(*this)[sorted_[i].slot()] : nullptr;
  }
  /// Begins to fetch that one into the cache.
  void fetch(std::size_t count) noexcept {
    if (const event* e = ahead(count)) prefetch(e, sizeof(event));
  }

  /// Precondition: given by `pop`.
  void release(slot s) {
    event& e = (*this)[s];
    ++e.generation;
    e.passed_downlink = e.held = false;
    e.life = e.origin = 0;
    if (!e.is_action()) {
      recycle(std::exchange(e.bytes, {}));
      if (e.kind != event_kind::datagram) e.to = e.from = e.amount = 0;
    }
    e.kind = event_kind::none;
    free_.push_back(s);
    if (e.action) const std::function<void()> last = std::exchange(e.action, nullptr);
  }
  /// Of an action. Its node stays in the heap until it comes to the front or cancelled ones
  /// prevail.
  void cancel(slot s) {
    event& e = (*this)[s];
    P2PDVM_ASSERT(e.is_action());
    e.kind = event_kind::none;
    cancelled_[s] = true;
    ++e.generation;
    const std::function<void()> last = std::exchange(e.action, nullptr);
    if (++cancelled_count_ > cancelled_min && cancelled_count_ > count_ / 2) sweep();
  }
  /// Destroys all actions, also those that never come.
  void drop_actions() {
    for (slot s = 0; holds(s); ++s) {
      const std::function<void()> last = std::exchange((*this)[s].action, nullptr);
    }
  }
  [[nodiscard]] bool holds(slot s) const noexcept { return s / block_size < blocks_.size(); }

  /// An empty buffer with room for a datagram.
  byte_vector buffer() {
    if (spare_.empty()) return {};
    byte_vector b = std::move(spare_.back());
    spare_.pop_back();
    return b;
  }
  void recycle(byte_vector b) {
    if (b.capacity() == 0 || b.capacity() > spare_bytes_max || spare_.size() >= spare_max) return;
    b.clear();
    spare_.push_back(std::move(b));
  }

 private:
  static constexpr std::size_t block_size = 1024;
  static constexpr int slot_bits = 23;  ///< a calendar slot is about eight milliseconds
  static constexpr std::size_t calendar_slots = 2048;
  static constexpr tick calendar_span = static_cast<tick>(calendar_slots) << slot_bits;
  static constexpr tick tick_latest = tick_never / 2;  ///< later is never; saves overflow checks
  static constexpr std::size_t spare_max = 4096;
  static constexpr std::size_t spare_bytes_max = 4096;
  static constexpr std::size_t cancelled_min = 1024;

  void grow() {
    const auto first = static_cast<slot>(blocks_.size() * block_size);
    P2PDVM_ASSERT(first + block_size <= event_node::slots_max);
    blocks_.push_back(std::make_unique<event[]>(block_size));
    cancelled_.resize(first + block_size);
    for (slot i = block_size; i > 0; --i) free_.push_back(first + i - 1);
  }

  void push(tick when, slot s) {
    P2PDVM_ASSERT(next_order_ < event_node::order_max);
    ++count_;
    if (when > tick_latest) when = tick_never;
    place({when, next_order_++ * event_node::slots_max | s});
  }
  void place(const event_node n) {
    if (n.when < near_end_) {
      late_.push(n);
    } else if (n.when - near_end_ < calendar_span) {
      calendar_[calendar_index(n.when)].push_back(n);
      ++in_calendar_;
    } else {
      far_.push(n);
    }
  }
  [[nodiscard]] static std::size_t calendar_index(tick when) noexcept {
    return static_cast<std::size_t>(when >> slot_bits) % calendar_slots;
  }
  /// Makes the next calendar slot that holds anything the current one. False when there is none
  /// that begins before `limit`.
  bool advance(tick limit) {
    if (in_calendar_ == 0) {
      if (far_.empty()) return false;
      if (far_.front().when == tick_never || far_.front().when > limit) return false;
      near_end_ = far_.front().when >> slot_bits << slot_bits;
    }
    while (near_end_ <= limit) {
      while (!far_.empty() && far_.front().when - near_end_ < calendar_span) place(far_.pop());
      std::vector<event_node>& next = calendar_[calendar_index(near_end_)];
      near_end_ += tick{1} << slot_bits;
      if (next.empty()) continue;
      in_calendar_ -= next.size();
      sorted_.swap(next);
      next.clear();
      at_ = 0;
      std::sort(sorted_.begin(), sorted_.end(),
                [](const event_node& a, const event_node& b) { return a.before(b); });
      return true;
    }
    return false;
  }
  void forget(slot s) {
    cancelled_[s] = false;
    --cancelled_count_;
    free_.push_back(s);
  }
  void sweep() {
    const auto dead = [this](const event_node& n) {
      if (!cancelled_[n.slot()]) return false;
      forget(n.slot());
      --count_;
      return true;
    };
    late_.erase_if(dead);
    far_.erase_if(dead);
    for (std::vector<event_node>& nodes : calendar_) in_calendar_ -= std::erase_if(nodes, dead);
    sorted_.erase(sorted_.begin(), sorted_.begin() + static_cast<std::ptrdiff_t>(at_));
    at_ = 0;
    std::erase_if(sorted_, dead);
  }

  std::vector<std::unique_ptr<event[]>> blocks_;
  std::vector<slot> free_;
  std::vector<byte_vector> spare_;

  std::vector<event_node> sorted_;  ///< of the current calendar slot
  std::size_t at_ = 0;              ///< those before it are gone
  tick near_end_ = 0;               ///< of the current calendar slot
  event_heap late_;                 ///< added to it after it was sorted
  std::vector<std::vector<event_node>> calendar_;
  std::size_t in_calendar_ = 0;
  event_heap far_;
  std::size_t count_ = 0;
  std::uint64_t next_order_ = 0;

  std::vector<bool> cancelled_;  ///< by slot; their nodes are still somewhere above
  std::size_t cancelled_count_ = 0;
};

}  // namespace p2pdvm::sim::detail

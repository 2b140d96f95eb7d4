/// The simulator's future: pooled events in a heap, in time order and then in order of insertion.
#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/bytes.hpp>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

namespace p2pdvm::sim::detail {

/// Nanoseconds of simulated time since the start.
using tick = std::int64_t;
inline constexpr tick tick_never = std::numeric_limits<tick>::max();

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

struct event {
  event_kind kind = event_kind::none;
  bool passed_downlink = false;
  bool held = false;  ///< waits in the buffers of a stalled machine
  std::uint32_t machine = 0;  ///< where it happens
  std::uint32_t life = 0;     ///< of that machine, for what dies with a crash
  std::uint32_t generation = 0;
  std::uint32_t origin = 0;  ///< the machine that sent it
  endpoint_id to = 0;
  endpoint_id from = 0;
  std::uint64_t amount = 0;
  address source;
  address destination;
  byte_vector bytes;
  std::function<void()> action;
};

/// Events are recycled, and so are the buffers of datagrams, so that a running simulation
/// hardly allocates. References to an event stay valid until it is released.
class event_queue {
 public:
  using slot = std::uint32_t;

  [[nodiscard]] event& operator[](slot s) noexcept { return blocks_[s / block_size][s % block_size]; }
  [[nodiscard]] std::size_t size() const noexcept { return heap_.size(); }

  slot add(tick when, event_kind kind, std::uint32_t machine) {
    if (free_.empty()) grow();
    const slot s = free_.back();
    free_.pop_back();
    event& e = (*this)[s];
    e.kind = kind;
    e.machine = machine;
    push({when, next_order_++, s});
    return s;
  }
  /// Puts an event that `pop` gave back into the future.
  void again(slot s, tick when) { push({when, next_order_++, s}); }

  /// The earliest event not after `limit`; false when there is none.
  bool pop(tick limit, tick& when, slot& s) {
    drop_cancelled();
    if (heap_.empty() || heap_.front().when > limit) return false;
    when = heap_.front().when;
    s = heap_.front().s;
    remove_front();
    return true;
  }
  [[nodiscard]] tick next_time() {
    drop_cancelled();
    return heap_.empty() ? tick_never : heap_.front().when;
  }

  /// Precondition: given by `pop`.
  void release(slot s) {
    event& e = (*this)[s];
    ++e.generation;
    e.kind = event_kind::none;
    e.passed_downlink = e.held = false;
    e.life = e.origin = 0;
    e.to = e.from = e.amount = 0;
    recycle(std::exchange(e.bytes, {}));
    free_.push_back(s);
    const std::function<void()> last = std::exchange(e.action, nullptr);
  }
  /// Its node stays in the heap until it comes to the front or cancelled ones prevail.
  void cancel(slot s) {
    event& e = (*this)[s];
    e.kind = event_kind::none;
    ++e.generation;
    const std::function<void()> last = std::exchange(e.action, nullptr);
    if (++cancelled_ > cancelled_min && cancelled_ > heap_.size() / 2) sweep();
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
  struct node {
    tick when;
    std::uint64_t order;
    slot s;
    [[nodiscard]] bool before(const node& other) const noexcept {
      return when != other.when ? when < other.when : order < other.order;
    }
  };
  static constexpr std::size_t block_size = 1024;
  static constexpr std::size_t arity = 4;  // fewer cache misses than two
  static constexpr std::size_t spare_max = 4096;
  static constexpr std::size_t spare_bytes_max = 4096;
  static constexpr std::size_t cancelled_min = 1024;

  void grow() {
    const auto first = static_cast<slot>(blocks_.size() * block_size);
    blocks_.push_back(std::make_unique<event[]>(block_size));
    for (slot i = block_size; i > 0; --i) free_.push_back(first + i - 1);
  }

  void push(node n) {
    heap_.push_back(n);
    std::size_t i = heap_.size() - 1;
    while (i > 0) {
      const std::size_t parent = (i - 1) / arity;
      if (!n.before(heap_[parent])) break;
      heap_[i] = heap_[parent];
      i = parent;
    }
    heap_[i] = n;
  }
  void remove_front() {
    const node last = heap_.back();
    heap_.pop_back();
    if (!heap_.empty()) sink(0, last);
  }
  /// Places `n` at `i` or below.
  void sink(std::size_t i, const node n) {
    const std::size_t count = heap_.size();
    for (;;) {
      const std::size_t first = i * arity + 1;
      if (first >= count) break;
      std::size_t least = first;
      const std::size_t end = std::min(first + arity, count);
      for (std::size_t child = first + 1; child < end; ++child)
        if (heap_[child].before(heap_[least])) least = child;
      if (!heap_[least].before(n)) break;
      heap_[i] = heap_[least];
      i = least;
    }
    heap_[i] = n;
  }
  void drop_cancelled() {
    while (!heap_.empty() && (*this)[heap_.front().s].kind == event_kind::none) {
      const slot s = heap_.front().s;
      remove_front();
      --cancelled_;
      release(s);
    }
  }
  void sweep() {
    std::vector<slot> dead;
    std::erase_if(heap_, [&](const node& n) {
      if ((*this)[n.s].kind != event_kind::none) return false;
      dead.push_back(n.s);
      return true;
    });
    for (std::size_t i = heap_.size() / arity + 1; i > 0; --i)
      if (i - 1 < heap_.size()) sink(i - 1, heap_[i - 1]);
    cancelled_ = 0;
    for (const slot s : dead) release(s);
  }

  std::vector<std::unique_ptr<event[]>> blocks_;
  std::vector<slot> free_;
  std::vector<node> heap_;
  std::vector<byte_vector> spare_;
  std::uint64_t next_order_ = 0;
  std::size_t cancelled_ = 0;
};

/// A running 64-bit digest of everything that happened. Not cryptographic.
class event_digest {
 public:
  void add(std::uint64_t word) noexcept {
    value_ = (value_ ^ word) * 0x9fb21c651e98df25ull;
    value_ ^= value_ >> 32;
  }
  [[nodiscard]] std::uint64_t value() const noexcept { return value_; }

  /// Four lanes of multiply and shift: about as fast as memory.
  [[nodiscard]] static std::uint64_t of(byte_view bytes) noexcept {
    std::uint64_t lane[4] = {0x9e3779b97f4a7c15ull, 0xc2b2ae3d27d4eb4full, 0x165667b19e3779f9ull,
                             0x27d4eb2f165667c5ull};
    const std::size_t size = bytes.size();
    std::size_t at = 0;
    for (; at + 32 <= size; at += 32)
      for (std::size_t i = 0; i < 4; ++i) mix(lane[i], word(bytes.data() + at + i * 8, 8));
    for (std::size_t i = 0; at < size; at += 8, i = (i + 1) % 4)
      mix(lane[i], word(bytes.data() + at, std::min<std::size_t>(8, size - at)));
    std::uint64_t all = size;
    for (const std::uint64_t l : lane) mix(all, l);
    return all;
  }

 private:
  static std::uint64_t word(const std::byte* from, std::size_t count) noexcept {
    std::uint64_t w = 0;
    std::memcpy(&w, from, count);
    return w;
  }
  static void mix(std::uint64_t& lane, std::uint64_t w) noexcept {
    lane = (lane ^ w) * 0x9fb21c651e98df25ull;
    lane ^= lane >> 29;
  }

  std::uint64_t value_ = 0x6a09e667f3bcc908ull;
};

}  // namespace p2pdvm::sim::detail

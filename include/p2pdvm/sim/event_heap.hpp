/// A heap of small nodes: when an event happens, its order of insertion, where it is kept.
#pragma once

#include <p2pdvm/base/assert.hpp>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <new>
#include <vector>

namespace p2pdvm::sim::detail {

/// Nanoseconds of simulated time since the start.
using tick = std::int64_t;
inline constexpr tick tick_never = std::numeric_limits<tick>::max();

/// Sixteen bytes, so that the four children of a node share a cache line.
struct event_node {
  tick when = 0;
  std::uint64_t order_and_slot = 0;  ///< order in the upper 40 bits

  static constexpr std::uint64_t slots_max = std::uint64_t{1} << 24;
  static constexpr std::uint64_t order_max = std::uint64_t{1} << 40;

  [[nodiscard]] bool before(const event_node& other) const noexcept {
    return when != other.when ? when < other.when : order_and_slot < other.order_and_slot;
  }
  [[nodiscard]] std::uint32_t slot() const noexcept {
    return static_cast<std::uint32_t>(order_and_slot & (slots_max - 1));
  }
};

class event_heap {
 public:
  event_heap() { nodes_.resize(root); }

  [[nodiscard]] std::size_t size() const noexcept { return nodes_.size() - root; }
  [[nodiscard]] bool empty() const noexcept { return size() == 0; }
  [[nodiscard]] const event_node& front() const noexcept { return nodes_[root]; }

  void push(const event_node n) {
    nodes_.push_back(n);
    std::size_t i = nodes_.size() - 1;
    while (i > root) {
      const std::size_t parent = i / arity + root - 1;
      if (!n.before(nodes_[parent])) break;
      nodes_[i] = nodes_[parent];
      i = parent;
    }
    nodes_[i] = n;
  }
  event_node pop() {
    const event_node first = nodes_[root];
    const event_node last = nodes_.back();
    nodes_.pop_back();
    if (!empty()) sink(root, last);
    return first;
  }
  template <class Predicate>
  void erase_if(Predicate dead) {
    nodes_.erase(std::remove_if(nodes_.begin() + root, nodes_.end(), dead), nodes_.end());
    for (std::size_t i = nodes_.size(); i > root; --i) sink(i - 1, nodes_[i - 1]);
  }

 private:
  template <class T>
  struct line_allocator {
    using value_type = T;
    line_allocator() = default;
    template <class U>
    explicit line_allocator(const line_allocator<U>&) noexcept {}
    T* allocate(std::size_t n) {
      return static_cast<T*>(::operator new(n * sizeof(T), std::align_val_t{64}));
    }
    void deallocate(T* p, std::size_t) noexcept { ::operator delete(p, std::align_val_t{64}); }
    friend bool operator==(const line_allocator&, const line_allocator&) { return true; }
  };

  static constexpr std::size_t arity = 4;         // fewer cache misses than two
  static constexpr std::size_t root = arity - 1;  // so that siblings start at multiples of four

  /// Places `n` at `i` or below.
  void sink(std::size_t i, const event_node n) {
    const std::size_t count = nodes_.size();
    for (;;) {
      const std::size_t first = (i - root + 1) * arity;
      if (first >= count) break;
      std::size_t least = first;
      const std::size_t end = std::min(first + arity, count);
      for (std::size_t child = first + 1; child < end; ++child)
        if (nodes_[child].before(nodes_[least])) least = child;
      if (!nodes_[least].before(n)) break;
      nodes_[i] = nodes_[least];
      i = least;
    }
    nodes_[i] = n;
  }

  std::vector<event_node, line_allocator<event_node>> nodes_;  ///< from `root` on
};

}  // namespace p2pdvm::sim::detail

#pragma once

#include <p2pdvm/host/native/clock.hpp>

#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <utility>
#include <vector>

namespace p2pdvm::native {

struct clock::state final : pollable, std::enable_shared_from_this<clock::state> {
  struct node {
    time_point when;
    std::uint64_t order;
    std::uint32_t slot;
    std::uint32_t generation;
  };
  struct slot {
    std::function<void()> action;
    std::uint32_t generation = 0;
    bool used = false;
  };
  /// `std::push_heap` keeps the largest in front: the latest is the smallest.
  struct later {
    bool operator()(const node& a, const node& b) const noexcept {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };
  /// Arms the next waking even when an action throws through the event loop.
  struct rearm_at_exit {
    state& s;
    ~rearm_at_exit() {
      s.firing = false;
      s.arm();
    }
  };

  static constexpr auto sleep_max = std::chrono::hours(1);
  static constexpr std::size_t stale_min = 64;

  state(asio::io_context& io, poll_group& polled) : context(io), group(polled), timer(io) {
    group.add(*this);
  }

  [[nodiscard]] bool stale(const node& n) const {
    return !slots[n.slot].used || slots[n.slot].generation != n.generation;
  }

  void pop() {
    std::pop_heap(heap.begin(), heap.end(), later());
    heap.pop_back();
  }

  void drop_stale_front() {
    while (!heap.empty() && stale(heap.front())) {
      pop();
      --stale_count;
    }
  }

  std::function<void()> release(std::uint32_t index) {
    slot& s = slots[index];
    s.used = false;
    ++s.generation;
    free_slots.push_back(index);
    return std::exchange(s.action, nullptr);
  }

  host::timer_id add(time_point when, std::function<void()> action) {
    if (closed) return ~host::timer_id{0};
    if (free_slots.empty()) {
      free_slots.push_back(static_cast<std::uint32_t>(slots.size()));
      slots.emplace_back();
    }
    const std::uint32_t index = free_slots.back();
    free_slots.pop_back();
    slot& s = slots[index];
    s.used = true;
    s.action = std::move(action);
    if (when <= seen.load(std::memory_order_relaxed)) {
      due.push_back({when, 0, index, s.generation});
      if (!group.driven()) post_due();
    } else {
      heap.push_back({when, next_order++, index, s.generation});
      std::push_heap(heap.begin(), heap.end(), later());
      if (!firing) arm();
    }
    return (host::timer_id{s.generation} << 32) | (host::timer_id{index} + 1);
  }

  void cancel(host::timer_id id) {
    const auto index = static_cast<std::uint32_t>(id) - 1;
    if (index >= slots.size() || !slots[index].used ||
        slots[index].generation != static_cast<std::uint32_t>(id >> 32))
      return;
    // The action is destroyed last: its captures may call back into this clock.
    const auto same = [index, generation = slots[index].generation](const node& n) {
      return n.slot == index && n.generation == generation;
    };
    const bool was_due = std::any_of(due.begin(), due.end(), same) ||
                         std::any_of(running.begin(), running.end(), same);
    const std::function<void()> action = release(index);
    if (was_due) return;  // it never was in the heap
    if (++stale_count > stale_min && stale_count > heap.size() / 2) {
      std::erase_if(heap, [this](const node& n) { return stale(n); });
      std::make_heap(heap.begin(), heap.end(), later());
      stale_count = 0;
    }
  }

  /// Runs what is due; what becomes due meanwhile waits for the next turn.
  bool poll() override { return !due.empty() && run_due(); }
  [[gnu::noinline]] bool run_due() {
    std::swap(due, running);
    for (const node& n : running) {
      if (stale(n)) continue;
      const std::function<void()> action = release(n.slot);
      if (action) action();
    }
    running.clear();
    return true;
  }
  bool dozes() override { return due.empty(); }
  void post_due() {
    if (std::exchange(posted, true)) return;
    asio::post(context, [self = shared_from_this()] {
      self->posted = false;
      (void)self->poll();
    });
  }

  /// Forgets everything; captures of the actions may call back while they are destroyed.
  void clear() {
    closed = true;
    group.remove(*this);
    due.clear();
    heap.clear();
    free_slots.clear();
    stale_count = 0;
    const std::vector<slot> doomed = std::exchange(slots, {});
    ++turn_number;
    timer.cancel();
  }

  /// Sets the Asio timer when the earliest deadline is earlier than what it waits for. A timer
  /// that was cancelled may leave it set: an idle waking is cheaper than a system call.
  void arm() {
    drop_stale_front();
    if (heap.empty()) return;
    const time_point wake = heap.front().when;
    if (armed_for <= wake) return;
    armed_for = wake;
    const auto steady_now = std::chrono::steady_clock::now();
    const auto at = std::chrono::steady_clock::time_point(wake.time_since_epoch());
    timer.expires_at(std::min(at, steady_now + sleep_max));
    timer.async_wait([self = shared_from_this(), turn = ++turn_number](const asio::error_code& ec) {
      if (!ec && turn == self->turn_number) self->fire();
    });
  }

  void fire() {
    armed_for = time_point_never;
    const time_point now_point(std::chrono::steady_clock::now().time_since_epoch());
    const std::uint64_t order_end = next_order;  // timers set meanwhile wait for the next turn
    firing = true;
    const rearm_at_exit guard{*this};
    for (;;) {
      drop_stale_front();
      if (heap.empty() || heap.front().when > now_point || heap.front().order >= order_end) break;
      const std::uint32_t index = heap.front().slot;
      pop();
      const std::function<void()> action = release(index);
      if (action) action();
    }
  }

  asio::io_context& context;
  poll_group& group;
  asio::steady_timer timer;
  std::atomic<time_point> seen{time_point()};  ///< the clock was read and showed this
  std::vector<node> due, running;
  bool posted = false;
  std::vector<node> heap;
  std::vector<slot> slots;
  std::vector<std::uint32_t> free_slots;
  std::size_t stale_count = 0;
  std::uint64_t next_order = 0;
  std::uint64_t turn_number = 0;
  time_point armed_for = time_point_never;
  bool firing = false;
  bool closed = false;
};

P2PDVM_DECL clock::clock(asio::io_context& io, poll_group& polled)
    : state_(std::make_shared<state>(io, polled)) {}

P2PDVM_DECL clock::~clock() { state_->clear(); }

P2PDVM_DECL time_point clock::now() const {
  const time_point now(std::chrono::steady_clock::now().time_since_epoch());
  state_->seen.store(now, std::memory_order_relaxed);
  return now;
}

P2PDVM_DECL unix_seconds clock::wall() const {
  const auto since = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(since).count();
}

P2PDVM_DECL host::timer_id clock::call_at(time_point when, std::function<void()> action) {
  return state_->add(when, std::move(action));
}

P2PDVM_DECL void clock::cancel(host::timer_id timer) { state_->cancel(timer); }

}  // namespace p2pdvm::native

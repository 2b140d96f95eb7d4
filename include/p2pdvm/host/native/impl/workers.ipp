#pragma once

#include <p2pdvm/host/native/workers.hpp>

#include <asio/post.hpp>

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <system_error>
#include <utility>

namespace p2pdvm::native {

namespace detail {

/// How long a count of runnable threads is believed.
inline constexpr auto load_age_max = std::chrono::milliseconds(10);
/// A thread that has helped is there for the next part without being woken.
inline constexpr auto linger_max = std::chrono::microseconds(50);

/// The fourth word of /proc/loadavg is "RUNNABLE/ALL"; nothing where there is no such file.
inline std::optional<unsigned> runnable_threads(const descriptor& load) {
  std::array<char, 128> bytes{};
  const ssize_t size = load.ok() ? ::pread(load.get(), bytes.data(), bytes.size(), 0) : 0;
  std::string_view text(bytes.data(), static_cast<std::size_t>(std::max<ssize_t>(size, 0)));
  for (int word = 0; word < 3; ++word) text.remove_prefix(std::min(text.find(' '), text.size() - 1) + 1);
  unsigned runnable = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), runnable);
  if (failure != std::errc() || end == text.data() + text.size() || *end != '/') return std::nullopt;
  return runnable;
}

}  // namespace detail

P2PDVM_DECL workers::workers(asio::io_context& io)
    : io_(io),
      count_(std::max(std::thread::hardware_concurrency(), 2u) - 1),
      load_(::open("/proc/loadavg", O_RDONLY | O_CLOEXEC)) {}

P2PDVM_DECL workers::~workers() {
  *alive_ = false;
  std::deque<job> dropped[2];
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    dropped[0].swap(brief_);
    dropped[1].swap(long_);
  }
  wake_.notify_all();
  for (std::thread& t : threads_) t.join();
}

P2PDVM_DECL void workers::begin_threads(std::size_t wanted) {
  try {
    while (threads_.size() < std::min<std::size_t>(count_, wanted)) threads_.emplace_back([this] { loop(); });
  } catch (const std::system_error&) {
    // The system has no more; those that are there have to do.
  }
}

P2PDVM_DECL void workers::run(length takes, std::function<void()> work, std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    begin_threads(brief_.size() + long_.size() + 1);
    if (threads_.empty())
      return asio::post(io_, [alive = alive_, work = std::move(work), done = std::move(done)] {
        if (*alive) work(), done();
      });
    (takes == length::brief ? brief_ : long_).push_back({std::move(work), std::move(done), asio::make_work_guard(io_)});
    waiting_.store(brief_.size(), std::memory_order_relaxed);
  }
  wake_.notify_one();
}

P2PDVM_DECL workers::job workers::take(std::deque<job>& from) {
  job next = std::move(from.front());
  from.pop_front();
  waiting_.store(brief_.size(), std::memory_order_relaxed);
  return next;
}

P2PDVM_DECL bool workers::help() {
  if (waiting_.load(std::memory_order_relaxed) == 0) return false;
  std::unique_lock lock(mutex_);
  if (brief_.empty()) return false;
  const job next = take(brief_);
  lock.unlock();
  next.work();
  next.done();
  return true;
}

P2PDVM_DECL unsigned workers::idle() {
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_at_ < detail::load_age_max) return idle_;
  looked_at_ = now;
  const unsigned ours = awake_.load(std::memory_order_relaxed);
  const std::optional<unsigned> runnable = detail::runnable_threads(load_);
  const unsigned others = !runnable ? count_ + 1 : *runnable - std::min(*runnable, ours);  // the caller is one of them
  idle_ = count_ + 1 - std::clamp(others, 1u, count_ + 1);
  return idle_;
}

P2PDVM_DECL void workers::share(std::size_t parts, const std::function<void(std::size_t)>& part) {
  shared all{part, parts};
  bool first = false;
  if (parts > 1) {
    const std::lock_guard lock(mutex_);
    first = shared_ == nullptr;  // a part may share what it does; it does that by itself
    if (first) {
      shared_ = &all;
      shares_.fetch_add(1, std::memory_order_release);
      begin_threads(parts - 1);
    }
  }
  if (first) {
    for (std::size_t n = std::min<std::size_t>(parts - 1, count_); n > 0; --n) wake_.notify_one();
  }
  all.take_parts();
  if (!first) return;
  {
    const std::lock_guard lock(mutex_);
    shared_ = nullptr;
  }
  while (all.inside.load(std::memory_order_acquire) > 0) std::this_thread::yield();
}

/// A part of what is shared, and what follows it.
P2PDVM_DECL void workers::take_part(std::unique_lock<std::mutex>& lock) {
  shared& all = *shared_;
  all.inside.fetch_add(1, std::memory_order_relaxed);
  lock.unlock();
  all.take_parts();
  all.inside.fetch_sub(1, std::memory_order_release);
  linger();
  lock.lock();
}

P2PDVM_DECL void workers::linger() {
  const std::uint64_t before = shares_.load(std::memory_order_acquire);
  const auto begun = std::chrono::steady_clock::now();
  while (shares_.load(std::memory_order_acquire) == before && waiting_.load(std::memory_order_relaxed) == 0 &&
         std::chrono::steady_clock::now() - begun < detail::linger_max) {
  }
}

P2PDVM_DECL void workers::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !brief_.empty() || !long_.empty() || shares(); });
    if (stopping_) return;
    awake_.fetch_add(1, std::memory_order_relaxed);
    if (shares()) {
      take_part(lock);
    } else {
      job next = take(brief_.empty() ? long_ : brief_);
      lock.unlock();
      next.work();
      next.work = nullptr;
      // The handler belongs to whoever runs the context, with all that it holds.
      asio::post(io_, [alive = alive_, done = std::move(next.done), guard = std::move(next.guard)] {
        if (*alive) done();
      });
      lock.lock();
    }
    awake_.fetch_sub(1, std::memory_order_relaxed);
  }
}

}  // namespace p2pdvm::native

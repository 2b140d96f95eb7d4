#pragma once

#include <p2pdvm/host/native/workers.hpp>

#include <asio/post.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::native {

P2PDVM_DECL workers::workers(asio::io_context& io)
    : io_(io), count_(std::max(std::thread::hardware_concurrency(), 2u) - 1) {}

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

P2PDVM_DECL void workers::run(length takes, std::function<void()> work, std::function<void()> done) {
  {
    const std::lock_guard lock(mutex_);
    (takes == length::brief ? brief_ : long_).push_back({std::move(work), std::move(done), asio::make_work_guard(io_)});
    waiting_.store(brief_.size(), std::memory_order_relaxed);
    if (threads_.size() < count_ && threads_.size() < brief_.size() + long_.size()) threads_.emplace_back([this] { loop(); });
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

P2PDVM_DECL void workers::loop() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stopping_ || !brief_.empty() || !long_.empty(); });
    if (stopping_) return;
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
}

}  // namespace p2pdvm::native

/// Operations that go on while the rank computes.
#pragma once

#include <p2pdvm/peal/mpi/context.hpp>

#include <concepts>
#include <memory>
#include <span>
#include <utility>
#include <vector>

namespace p2pdvm::mpi {

/// Of `isend` or `irecv`. The memory that an `irecv` names is written by `wait` and must
/// live until then; what arrives before is kept elsewhere, so a request may be dropped at any
/// time, which withdraws it. An `isend` is complete at once: its
/// data was copied; `wait` waits only while the destination is megabytes behind. A safe point is refused while a request has matched and was not awaited.
class request {
 public:
  request() = default;

  /// Precondition: valid, once. Throws what the receive would have thrown.
  task<status> wait() {
    peal::operation pending = std::move(pending_);
    const std::shared_ptr<detail::group> in = std::move(in_);
    if (!pending.valid()) {
      co_await room_;
      co_return done_;
    }
    const peal::message m = co_await pending.wait();
    co_return in->deliver(call_, into_, m);
  }
  /// Whether it is complete.
  [[nodiscard]] bool test() const { return !pending_.valid() || pending_.test(); }
  [[nodiscard]] bool valid() const noexcept { return in_ != nullptr; }

 private:
  friend class point_to_point;
  friend task<> wait_all(std::span<request> requests);
  /// Complete at once: it needs no share of `in`, which only says that this is valid.
  request(const std::shared_ptr<detail::group>& in, const status& done, const peal::sending& room)
      : in_(std::shared_ptr<detail::group>(), in.get()), done_(done), room_(room) {}
  request(std::shared_ptr<detail::group> in, const detail::call& c, const detail::target& into,
          peal::operation pending)
      : in_(std::move(in)), call_(c), into_(into), pending_(std::move(pending)) {}

  /// `wait` without a coroutine, when it would not wait.
  void finish() {
    const std::shared_ptr<detail::group> in = std::move(in_);
    if (pending_.valid()) in->deliver(call_, into_, pending_.take());
  }

  std::shared_ptr<detail::group> in_;
  detail::call call_{detail::operation::message, std::source_location()};
  detail::target into_;
  status done_;
  peal::sending room_;
  peal::operation pending_;
};

/// Waits for every valid one of them; the requests live until it returns.
inline task<> wait_all(std::span<request> requests) {
  for (request& r : requests) {
    if (!r.valid()) continue;
    if (r.room_.done() && r.test()) {
      r.finish();
    } else {
      (void)co_await r.wait();
    }
  }
}
inline task<> wait_all(std::vector<request>& requests) {
  return wait_all(std::span<request>(requests));
}
template <class... Requests>
  requires(std::same_as<Requests, request> && ...)
task<> wait_all(request& first, Requests&... others) {
  if (first.valid()) (void)co_await first.wait();
  if constexpr (sizeof...(others) > 0) co_await wait_all(others...);
}

}  // namespace p2pdvm::mpi

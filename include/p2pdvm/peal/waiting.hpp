/// One coroutine of a rank waiting for one thing, in a way that a rollback can end.
#pragma once

#include <p2pdvm/async/suspension.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <list>

namespace p2pdvm::peal::detail {

/// Lives in the waiting coroutine's frame or in an `operation`. All members but `wait` are
/// called with the token held.
class waiting {
 public:
  explicit waiting(rank& owner) : rank_(owner), gate_(owner.services().ready()) {}
  waiting(const waiting&) = delete;
  waiting& operator=(const waiting&) = delete;

  /// Suspends until `complete` or `cancel`, then throws if it was the latter.
  task<> wait();
  [[nodiscard]] bool completed() const noexcept { return gate_.released(); }
  void cancel();

 protected:
  virtual ~waiting() = default;
  /// Throws when the rank is cancelled already.
  void begin();
  void complete();
  void end();
  virtual void withdraw() = 0;
  rank& rank_;
  suspension gate_;

 private:
  std::list<waiting*>::iterator place_;
  bool linked_ = false;
};

class receive_wait final : public waiting, public messaging::receiver {
 public:
  receive_wait(rank& owner, const messaging::pattern& wanted, bool only_probe = false,
               bool standing = false);
  ~receive_wait() override;
  /// Call without the token: posts, and suspends when nothing matches yet.
  task<> run();
  void post();
  void on_message() override;
  [[nodiscard]] peal::message take();

 private:
  void withdraw() override;
  bool standing_;
};

class room_wait final : public waiting, public messaging::room_waiter {
 public:
  room_wait(rank& owner, rank_number destination) : waiting(owner), destination_(destination) {}
  ~room_wait() override;
  void post();
  void on_room() override { complete(); }

 private:
  void withdraw() override;
  rank_number destination_;
};

class sleep_wait final : public waiting {
 public:
  explicit sleep_wait(rank& owner) : waiting(owner) {}
  ~sleep_wait() override;
  void post(duration delay);

 private:
  void withdraw() override;
};

[[noreturn]] void throw_cancelled();
[[noreturn]] void throw_misuse(const std::string& sentence);

}  // namespace p2pdvm::peal::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/impl/waiting.ipp>
#endif

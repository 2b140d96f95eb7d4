/// One coroutine of a rank waiting for one thing, in a way that a rollback can end.
#pragma once

#include <p2pdvm/async/suspension.hpp>
#include <p2pdvm/base/spare_blocks.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <mutex>
#include <optional>

namespace p2pdvm::peal::detail {

/// Lives in the waiting coroutine's frame or in an `operation`. All members but `suspend`, `hold`, `resumed` and
/// `completed` are called with the token held. The coroutine that waits does, without the token:
///
///     if (!wait.completed()) co_await wait.suspend();
///     wait.resumed();
class waiting : public list_link<waiting> {
 public:
  waiting(rank& owner, const call_site& site) : rank_(owner), site_(site), gate_(owner.ready_) {}
  waiting(const waiting&) = delete;
  waiting& operator=(const waiting&) = delete;

  /// To be awaited: until `complete` or `cancel`.
  [[nodiscard]] auto suspend() { return gate_.wait(rank_.token_); }
  /// The same for what is awaited in place.
  void hold(p2pdvm::detail::frame_pointer frame) {
    const std::lock_guard lock(rank_.token_);
    if (!completed()) gate_.hold(frame);
  }
  /// Throws if it was cancelled.
  void resumed() const {
    if (rank_.cancelled()) throw_cancelled();
  }
  [[nodiscard]] bool completed() const noexcept { return gate_.released(); }
  void cancel();
  /// A coroutine is suspended for it; an `operation` that nobody awaits yet is not.
  [[nodiscard]] bool suspended() const noexcept { return gate_.holds(); }
  [[nodiscard]] wait_state state() const;

 protected:
  virtual ~waiting() = default;
  /// Throws when the rank is cancelled already.
  void begin() {
    rank_.throw_if_cancelled();
    number_ = ++rank_.waits_begun_;
    rank_.waits_.push_back(*this);
  }
  void complete() {
    end();
    gate_.release();
  }
  void end() { intrusive_list<waiting>::erase(*this); }
  virtual void withdraw() = 0;
  virtual void describe(wait_state& s) const = 0;
  rank& rank_;
  call_site site_;
  suspension gate_;

 private:
  std::uint64_t number_ = 0;
};

class receive_wait : public waiting, public messaging::receiver {
 public:
  /// Its pattern is still to be filled.
  receive_wait(rank& owner, const call_site& site) : waiting(owner, site) {}
  receive_wait(rank& owner, const messaging::pattern& wanted, const call_site& site,
               bool only_probe = false, bool standing = false)
      : waiting(owner, site), standing_(standing) {
    pattern = wanted;
    probe = only_probe;
  }
  ~receive_wait() override {
    if (!completed()) give_up();
  }
  /// Call without the token: posts; true when something matched at once.
  [[nodiscard]] bool run() {
    const std::lock_guard lock(rank_.token_);
    post();
    return completed();
  }
  void post() {
    begin();
    if (standing_) rank_.services().stand(true);
    if (rank_.endpoint_.post(*this)) on_message();
  }
  void on_message() override {
    // From here on the message is no longer in the mailbox: a snapshot would miss it.
    if (standing_) rank_.services().stand(false);
    complete();
  }
  [[nodiscard]] peal::message take();

 private:
  void give_up();
  void withdraw() override;
  void describe(wait_state& s) const override;
  bool standing_ = false;
};

/// A standing receive that waits for so long at most.
class timed_receive_wait final : public receive_wait {
 public:
  timed_receive_wait(rank& owner, const messaging::pattern& wanted, const call_site& site)
      : receive_wait(owner, wanted, site, false, true) {}
  ~timed_receive_wait() override { (void)finish(); }
  /// As of `receive_wait`; true too when there is nothing to wait for.
  [[nodiscard]] bool run(duration limit);
  void on_message() override {
    arrived_ = true;
    receive_wait::on_message();
  }
  /// The message, if there is one; no other comes after that. Call without the token.
  [[nodiscard]] std::optional<peal::message> finish();

 private:
  void withdraw() override;
  bool posted_ = false, arrived_ = false;
};

/// A receive that is awaited where it was made.
class receiving {
 public:
  receiving(const port& from, int source, std::int64_t tag, std::uint32_t space, const call_site& site)
      : from_(from), tag_(tag), source_(source), space_(space), site_(site) {}
  receiving(receiving&& other) noexcept
      : receiving(other.from_, other.source_, other.tag_, other.space_, other.site_) {}
  receiving& operator=(receiving&&) = delete;

  [[nodiscard]] bool begin() {
    receive_wait& wait = wait_.emplace(from_.rank(), site_);
    from_.fill(wait.pattern, source_, tag_, space_);
    return wait.run();
  }
  void suspend(p2pdvm::detail::frame_pointer frame) { wait_->hold(frame); }

 protected:
  ~receiving() = default;
  [[nodiscard]] peal::message taken() {
    wait_->resumed();
    return wait_->take();
  }

 private:
  port from_;
  std::int64_t tag_;
  int source_;
  std::uint32_t space_;
  call_site site_;
  std::optional<receive_wait> wait_;
};

class message_receiving : public receiving {
 public:
  using result_type = message;
  using receiving::receiving;
  [[nodiscard]] message end() { return taken(); }
};

/// What an `operation` is: posted while it lives, and known to its rank.
class posted_receive final : public receive_wait, public list_link<posted_receive> {
 public:
  posted_receive(rank& owner, const messaging::pattern& wanted, const call_site& at)
      : receive_wait(owner, wanted, at) {
    const std::lock_guard lock(rank_.token_);
    post();
    rank_.operations_.push_back(*this);
  }
  ~posted_receive() override {
    const std::lock_guard lock(rank_.token_);
    intrusive_list<posted_receive>::erase(*this);
  }
  static void* operator new(std::size_t) { return spare_blocks<sizeof(posted_receive)>::take(); }
  static void operator delete(void* block) noexcept { spare_blocks<sizeof(posted_receive)>::give(block); }
};

/// A sender that waits for room at a destination, or for the return of what it lent. Its rank owns it: what the program awaits is gone sooner.
class room_wait final : public waiting, public messaging::room_waiter {
 public:
  room_wait(rank& owner, rank_number destination, const call_site& site)
      : waiting(owner, site), destination_(destination) {}
  room_wait(rank& owner, rank_number destination, std::uint64_t loan, const call_site& site)
      : waiting(owner, site), destination_(destination), loan_(loan) {}
  /// Suspends the coroutine until there is room or the rank is cancelled, which its next call finds
  /// out. Call without the token.
  static void suspend(rank& owner, rank_number destination, p2pdvm::detail::frame_pointer frame);
  /// The same until this loan is over.
  static void suspend(rank& owner, rank_number destination, std::uint64_t loan,
                      p2pdvm::detail::frame_pointer frame);
  void on_room() override { complete(); }

 private:
  void withdraw() override;
  void describe(wait_state& s) const override;
  [[nodiscard]] static call_site site_of(rank& owner, rank_number destination);
  rank_number destination_;
  std::optional<std::uint64_t> loan_;
};

class sleep_wait final : public waiting {
 public:
  sleep_wait(rank& owner, const call_site& site) : waiting(owner, site) {}
  ~sleep_wait() override;
  void post(duration delay);

 private:
  void withdraw() override;
  void describe(wait_state& s) const override;
};

}  // namespace p2pdvm::peal::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/impl/waiting.ipp>
#endif

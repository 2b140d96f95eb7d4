#pragma once

#include <p2pdvm/runtime/rank_runner.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <asio/co_spawn.hpp>

#include <mutex>

namespace p2pdvm::runtime {

namespace detail {

inline result<messaging::endpoint_state> messages_of(const peal::snapshot& start) {
  const peal::snapshot::piece* piece = start.find("messages");
  return wire::decode<messaging::endpoint_state>(piece == nullptr ? byte_view() : piece->whole().view());
}

}  // namespace detail

P2PDVM_DECL rank_runner::rank_runner(rank_runner_owner& owner, messaging::endpoint_host& host,
                                     driver_token& token, queue_context& context,
                                     host::clock& clock, const setting& s)
    : owner_(owner),
      token_(token),
      context_(context),
      clock_(clock),
      setting_(s),
      messages_(s.start ? std::optional(detail::messages_of(*s.start).value()) : std::nullopt),
      endpoint_(host, s.self, s.ranks, s.epoch, s.floor, messages_ ? &*messages_ : nullptr),
      rank_(*this, s.self, s.ranks, s.seed) {
  messages_.reset();
  if (rank_.finished()) (void)endpoint_.end_prelude();
}

P2PDVM_DECL rank_runner::~rank_runner() {
  P2PDVM_ASSERT(!alive_);
  for (const auto& [gate, timer] : sleeps_) clock_.cancel(timer);
}

P2PDVM_DECL result<> rank_runner::check(const peal::snapshot& start, std::uint32_t ranks) {
  const auto state = detail::messages_of(start);
  if (!state.ok() || !state->fits(ranks))
    return error(errc::corrupted, "the messages in it are not those of this job");
  return {};
}

P2PDVM_DECL void rank_runner::spawn(peal::program::body_type body) {
  alive_ = true;
  asio::co_spawn(context_.get_executor(), body(rank_), [this](std::exception_ptr failure) {
    const std::lock_guard lock(token_);
    alive_ = false;
    owner_.rank_ended(*this, std::move(failure));
  });
}

P2PDVM_DECL void rank_runner::cancel() { rank_.cancel(); }

P2PDVM_DECL peal::verdict rank_runner::arrive(std::uint64_t safe_point) {
  P2PDVM_ASSERT(safe_point == rank_.safe_points() + 1);
  return owner_.rank_arrives(*this);
}

P2PDVM_DECL peal::verdict rank_runner::arrive_together(std::uint64_t safe_point,
                                                       epoch_number wished) {
  P2PDVM_ASSERT(safe_point == rank_.safe_points() + 1);
  return owner_.rank_arrives_together(*this, wished);
}

P2PDVM_DECL void rank_runner::captured(epoch_number epoch, peal::snapshot taken) {
  owner_.rank_captured(*this, epoch, std::move(taken));
}

P2PDVM_DECL void rank_runner::stand(bool standing) { owner_.rank_stands(*this, standing); }

P2PDVM_DECL void rank_runner::release_after(duration delay, suspension& gate) {
  sleeps_[&gate] = clock_.call_at(clock_.now() + delay, [this, &gate] {
    sleeps_.erase(&gate);
    gate.release();
  });
}

P2PDVM_DECL void rank_runner::forget_release(suspension& gate) {
  const auto found = sleeps_.find(&gate);
  if (found == sleeps_.end()) return;
  clock_.cancel(found->second);
  sleeps_.erase(found);
}

}  // namespace p2pdvm::runtime

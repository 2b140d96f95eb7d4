#pragma once

#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/waiting.hpp>

#include <mutex>

namespace p2pdvm::peal {

P2PDVM_DECL operation::operation(std::unique_ptr<detail::posted_receive> posted)
    : posted_(std::move(posted)) {}
P2PDVM_DECL operation::operation() = default;
P2PDVM_DECL operation::operation(operation&&) noexcept = default;
P2PDVM_DECL operation& operation::operator=(operation&&) noexcept = default;
P2PDVM_DECL operation::~operation() = default;

P2PDVM_DECL bool operation::test() const {
  posted_->resumed();
  return posted_->completed();
}

P2PDVM_DECL task<message> operation::wait() {
  const std::unique_ptr<detail::posted_receive> posted = std::move(posted_);
  if (!posted->completed()) co_await posted->suspend();
  posted->resumed();
  co_return posted->take();
}

P2PDVM_DECL message operation::take() {
  const std::unique_ptr<detail::posted_receive> posted = std::move(posted_);
  P2PDVM_ASSERT(posted->completed());
  posted->resumed();
  return posted->take();
}

[[noreturn]] P2PDVM_DECL void port::refuse_destination(int destination) const {
  detail::throw_misuse("rank " + std::to_string(rank_->id()) + " names rank " +
                       std::to_string(destination) + ", but the job has ranks 0 to " +
                       std::to_string(rank_->size() - 1));
}

[[gnu::cold]] P2PDVM_DECL sending port::no_room(rank_number destination,
                                               std::source_location where) {
  rank_->full_[destination] = where;
  return sending(*rank_, destination);
}

P2PDVM_DECL sending port::send(int destination, std::int64_t tag, payload body,
                               std::uint32_t space, std::source_location where) {
  check_destination(destination);
  const rank_number to(static_cast<std::uint32_t>(destination));
  const std::lock_guard lock(rank_->token_);
  rank_->throw_if_cancelled();
  const bool room = rank_->endpoint_.send(to, whole(space), tag, std::move(body));
  return room ? sending() : no_room(to, where);
}

P2PDVM_DECL sending port::send_parts(int destination, std::int64_t tag, const two_parts& body,
                                     std::uint32_t space, std::source_location where) {
  check_destination(destination);
  const rank_number to(static_cast<std::uint32_t>(destination));
  const std::lock_guard lock(rank_->token_);
  rank_->throw_if_cancelled();
  const bool room = rank_->endpoint_.send(to, whole(space), tag, body);
  return room ? sending() : no_room(to, where);
}

P2PDVM_DECL void detail::sending_room::suspend(p2pdvm::detail::frame_pointer frame) const {
  room_wait::suspend(*rank_, rank_number(static_cast<std::uint32_t>(destination_)), frame);
}

P2PDVM_DECL void detail::lending_room::suspend(p2pdvm::detail::frame_pointer frame) {
  const rank_number to(static_cast<std::uint32_t>(destination_));
  const std::uint64_t loan = std::exchange(loan_, nothing);
  if (loan == nothing) return room_wait::suspend(*rank_, to, frame);
  room_wait::suspend(*rank_, to, loan, frame);
}

P2PDVM_DECL void detail::lending_room::copy_lent() {
  rank_->take_back(rank_number(static_cast<std::uint32_t>(destination_)), std::exchange(loan_, nothing));
  rank_ = nullptr;
}

P2PDVM_DECL detail::lending_room::operator task<detail::sending_room>() && {
  take_back();
  task<sending_room> plain;
  static_cast<sending_room&>(plain) = *this;
  return plain;
}

P2PDVM_DECL lending port::lend_parts(int destination, std::int64_t tag, const two_parts& body,
                                     std::uint32_t space, std::source_location where) {
  check_destination(destination);
  const rank_number to(static_cast<std::uint32_t>(destination));
  {
    const std::lock_guard lock(rank_->token_);
    rank_->throw_if_cancelled();
    if (const auto lent = rank_->endpoint_.lend(to, whole(space), tag, body)) {
      rank_->full_[to] = where;
      return lending(*rank_, to, *lent);
    }
  }
  return send_parts(destination, tag, body, space, where);
}

P2PDVM_DECL receiving port::receive(int source, std::int64_t tag, std::uint32_t space, call_site at) {
  return receiving(*this, source, tag, space, at);
}

P2PDVM_DECL task<envelope> port::receive_into(byte_span into, int source, std::int64_t tag,
                                              std::uint32_t space, call_site at) {
  detail::receive_wait wait(*rank_, pattern_of(source, tag, space), at);
  if (!wait.run()) co_await wait.suspend();
  wait.resumed();
  const message received = wait.take();
  if (received.body().size() > into.size()) {
    throw std::system_error(
        make_error_code(errc::too_large),
        "rank " + std::to_string(rank_->id()) + " receives " + std::to_string(into.size()) +
            " bytes, but rank " + std::to_string(received.source()) + " sent " +
            std::to_string(received.body().size()) + " (tag " + std::to_string(received.tag()) +
            ", " + std::string(file_part(at.where.file_name())) + ":" +
            std::to_string(at.where.line()) + ")");
  }
  if (!received.body().empty()) std::memcpy(into.data(), received.body().data(), received.body().size());
  co_return received.head();
}

P2PDVM_DECL operation port::post_receive(int source, std::int64_t tag, std::uint32_t space,
                                         call_site at) {
  return operation(std::make_unique<detail::posted_receive>(*rank_, pattern_of(source, tag, space), at));
}

P2PDVM_DECL std::optional<envelope> port::probe(int source, std::int64_t tag,
                                                std::uint32_t space) {
  const std::lock_guard lock(rank_->token_);
  rank_->throw_if_cancelled();
  const messaging::rank_message* found =
      rank_->endpoint_.peek(pattern_of(source, tag, space));
  if (found == nullptr) return std::nullopt;
  return envelope{static_cast<int>(found->source.value()), found->tag, found->body.size()};
}

P2PDVM_DECL task<envelope> port::wait_probe(int source, std::int64_t tag, std::uint32_t space,
                                            call_site at) {
  detail::receive_wait wait(*rank_, pattern_of(source, tag, space), at, true);
  if (!wait.run()) co_await wait.suspend();
  wait.resumed();
  co_return wait.take().head();
}

}  // namespace p2pdvm::peal

#pragma once

#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/peal/waiting.hpp>

#include <mutex>

namespace p2pdvm::peal {

class operation::posted {
 public:
  posted(rank& owner, const messaging::pattern& pattern) : wait_(owner, pattern), owner_(owner) {
    const std::lock_guard lock(owner_.services().token());
    wait_.post();
    place_ = owner_.operations_.insert(owner_.operations_.end(), &wait_);
  }
  ~posted() {
    const std::lock_guard lock(owner_.services().token());
    owner_.operations_.erase(place_);
  }
  detail::receive_wait wait_;
  rank& owner_;
  std::list<const detail::receive_wait*>::iterator place_;
};

P2PDVM_DECL operation::operation(std::unique_ptr<posted> state) : state_(std::move(state)) {}
P2PDVM_DECL operation::operation() = default;
P2PDVM_DECL operation::operation(operation&&) noexcept = default;
P2PDVM_DECL operation& operation::operator=(operation&&) noexcept = default;
P2PDVM_DECL operation::~operation() = default;

P2PDVM_DECL bool operation::test() {
  const std::lock_guard lock(state_->owner_.services().token());
  state_->owner_.throw_if_cancelled();
  return state_->wait_.completed();
}

P2PDVM_DECL task<message> operation::wait() {
  const std::unique_ptr<posted> state = std::move(state_);
  bool waits = false;
  {
    const std::lock_guard lock(state->owner_.services().token());
    state->owner_.throw_if_cancelled();
    waits = !state->wait_.completed();
  }
  if (waits) co_await state->wait_.wait();
  co_return state->wait_.take();
}

P2PDVM_DECL messaging::pattern port::pattern_of(int source, std::int64_t tag,
                                                std::uint32_t space) const {
  messaging::pattern p;
  p.space = std::uint64_t{number_} << 32 | space;
  if (source != any_source) {
    check_destination(source);
    p.source = rank_number(static_cast<std::uint32_t>(source));
  }
  if (tag != any_tag) p.tag = tag;
  return p;
}

P2PDVM_DECL void port::check_destination(int destination) const {
  if (destination >= 0 && destination < rank_->size()) return;
  detail::throw_misuse("rank " + std::to_string(rank_->id()) + " names rank " +
                       std::to_string(destination) + ", but the job has ranks 0 to " +
                       std::to_string(rank_->size() - 1));
}

P2PDVM_DECL task<> port::send(int destination, std::int64_t tag, payload body,
                              std::uint32_t space) {
  check_destination(destination);
  const rank_number to(static_cast<std::uint32_t>(destination));
  std::optional<detail::room_wait> room;
  {
    const std::lock_guard lock(rank_->services().token());
    rank_->throw_if_cancelled();
    messaging::endpoint& endpoint = rank_->services().endpoint();
    if (endpoint.send(to, std::uint64_t{number_} << 32 | space, tag, std::move(body))) co_return;
    room.emplace(*rank_, to);
    room->post();
  }
  co_await room->wait();
}

P2PDVM_DECL task<> port::send(int destination, std::int64_t tag, byte_view bytes,
                              std::uint32_t space) {
  return send(destination, tag, payload::copy_of(bytes), space);
}

P2PDVM_DECL void port::post_send(int destination, std::int64_t tag, payload body,
                                 std::uint32_t space) {
  check_destination(destination);
  const std::lock_guard lock(rank_->services().token());
  rank_->throw_if_cancelled();
  (void)rank_->services().endpoint().send(rank_number(static_cast<std::uint32_t>(destination)),
                                          std::uint64_t{number_} << 32 | space, tag,
                                          std::move(body));
}

P2PDVM_DECL task<message> port::receive(int source, std::int64_t tag, std::uint32_t space) {
  detail::receive_wait wait(*rank_, pattern_of(source, tag, space));
  co_await wait.run();
  co_return wait.take();
}

P2PDVM_DECL task<envelope> port::receive_into(byte_span into, int source, std::int64_t tag,
                                              std::uint32_t space) {
  detail::receive_wait wait(*rank_, pattern_of(source, tag, space));
  co_await wait.run();
  const message received = wait.take();
  if (received.body().size() > into.size()) {
    throw std::system_error(
        make_error_code(errc::too_large),
        "rank " + std::to_string(rank_->id()) + " receives " + std::to_string(into.size()) +
            " bytes, but rank " + std::to_string(received.source()) + " sent " +
            std::to_string(received.body().size()) + " (tag " + std::to_string(received.tag()) +
            ")");
  }
  if (!received.body().empty()) std::memcpy(into.data(), received.body().data(), received.body().size());
  co_return received.head();
}

P2PDVM_DECL operation port::post_receive(int source, std::int64_t tag, std::uint32_t space) {
  return operation(
      std::make_unique<operation::posted>(*rank_, pattern_of(source, tag, space)));
}

P2PDVM_DECL std::optional<envelope> port::probe(int source, std::int64_t tag,
                                                std::uint32_t space) {
  const std::lock_guard lock(rank_->services().token());
  rank_->throw_if_cancelled();
  const messaging::rank_message* found =
      rank_->services().endpoint().peek(pattern_of(source, tag, space));
  if (found == nullptr) return std::nullopt;
  return envelope{static_cast<int>(found->source.value()), found->tag, found->body.size()};
}

P2PDVM_DECL task<envelope> port::wait_probe(int source, std::int64_t tag, std::uint32_t space) {
  detail::receive_wait wait(*rank_, pattern_of(source, tag, space), true);
  co_await wait.run();
  co_return wait.take().head();
}

}  // namespace p2pdvm::peal

#pragma once

#include <p2pdvm/link/connection.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::link {

P2PDVM_DECL connection::connection(host::clock& clock, std::unique_ptr<host::stream> stream,
                                   link::handshake opening, connection_handler& handler,
                                   traffic& count, std::optional<node_id> relay, record_crew* crew)
    : clock_(clock),
      stream_(std::move(stream)),
      opening_(std::move(opening)),
      handler_(handler),
      count_(count),
      timer_(clock),
      relay_(relay),
      crew_(crew),
      heard_(clock.now()) {}

P2PDVM_DECL void connection::start() {
  wait_until(opening_.deadline());
  stream_->start(*this);
  write(opening_.take_output());
}

P2PDVM_DECL void connection::wait_until(time_point deadline) {
  timer_.at(deadline, [this] {
    end(error(errc::timed_out, "the peer did not complete the handshake in time"));
  });
}

P2PDVM_DECL void connection::on_open() { wait_until(clock_.now() + limits::handshake_time_max); }

P2PDVM_DECL void connection::confirm() {
  confirmed_ = true;
  timer_.cancel();
}

P2PDVM_DECL void connection::close() {
  timer_.cancel();
  stream_.reset();
}

P2PDVM_DECL void connection::end(const error& why) {
  const auto self = shared_from_this();
  const error reason = refusal_.value_or(why);  // `why` may belong to the stream
  close();
  handler_.on_ended(*this, reason);
}

/// Ends, but only when the answer that `feed` may have produced has been sent.
P2PDVM_DECL void connection::refuse(const error& why) {
  byte_vector answer = opening_.take_output();
  if (answer.empty()) return end(why);
  refusal_ = why;
  write(std::move(answer));
  timer_.after(refusal_linger_max, [this] { end(*refusal_); });
}

P2PDVM_DECL void connection::write(byte_vector bytes) {
  if (bytes.empty()) return;
  count_.sent += bytes.size();
  stream_->write(std::move(bytes));
}

P2PDVM_DECL record_sender& connection::sender() {
  if (remote_->sender.bare()) remote_->sender.reuse(stream_->spare());
  return remote_->sender;
}

P2PDVM_DECL void connection::finish_record(std::size_t to_come) {
  const bool shared = crew_ != nullptr && to_come >= 2 * shared_record_bytes_min;
  const std::size_t hands = shared ? 1 + crew_->workers.idle() : 1;
  remote_->sender.finish(hands > 1);
  // Towards the end in small writes again: the remote opens the last one while nothing is sealed.
  if (remote_->sender.finished() >= std::clamp(to_come / 4, write_bytes_min, hands * write_bytes_max)) flush();
}

P2PDVM_DECL void connection::flush() {
  remote_->sender.finish();
  if (remote_->sender.finished() > 0) write(remote_->sender.take(crew_));
}

P2PDVM_DECL std::size_t connection::unsent() const {
  return (remote_ ? remote_->sender.finished() : 0) + (stream_ ? stream_->unsent() : 0);
}

P2PDVM_DECL void connection::open_up(byte_view& bytes) {
  if (auto fed = opening_.feed(bytes); !fed) return refuse(fed.error());
  write(opening_.take_output());
  if (!opening_.finished()) return;
  remote_ = opening_.take_result();
  if (initiator()) wait_until(heard_ + limits::handshake_time_max);
  handler_.on_authenticated(*this);
}

P2PDVM_DECL void connection::on_data(byte_view bytes) {
  const auto self = shared_from_this();
  heard_ = clock_.now();
  count_.received += bytes.size();
  if (refusal_) return;
  if (!remote_) open_up(bytes);
  while (stream_ && remote_) {
    auto record = remote_->receiver.next(bytes, this, crew_);
    if (!record) return end(record.error());
    if (!record->has_value()) {
      if (remote_->receiver.partial()) handler_.on_partial_record(*this);
      return;
    }
    handler_.on_record(*this, **record);
  }
}

P2PDVM_DECL void connection::on_drained() {
  const auto self = shared_from_this();
  if (remote_) handler_.on_drained(*this);
}

P2PDVM_DECL void connection::on_closed(const error& why) { end(why); }

}  // namespace p2pdvm::link

/// The two ends of a message.
#include "request.hpp"

#include <p2pdvm/base/limits.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <cstring>
#include <mutex>

namespace p2pdvm::c_mpi {

namespace {

constexpr int cancelled_mark = 1;
/// What peers take of a message, less what they put in front of it.
constexpr std::size_t message_bytes_max = limits::session_message_bytes_max - 4096;

constexpr peal::call_note receive_note{"MPI_Recv"}, synchronous_note{"MPI_Ssend"};

}  // namespace

void fill(MPI_Status* status, int source, int tag, MPI_Count bytes) noexcept {
  if (status == MPI_STATUS_IGNORE) return;
  status->MPI_SOURCE = source;
  status->MPI_TAG = tag;
  std::memcpy(status->MPI_internal, &bytes, sizeof bytes);
  status->MPI_internal[2] = 0;
}

void set_empty(MPI_Status* status) noexcept {
  if (status == MPI_STATUS_IGNORE) return;
  fill(status, MPI_ANY_SOURCE, MPI_ANY_TAG, 0);
  status->MPI_ERROR = MPI_SUCCESS;
}

MPI_Count bytes_in(const MPI_Status& status) noexcept {
  MPI_Count bytes = 0;
  std::memcpy(&bytes, status.MPI_internal, sizeof bytes);
  return bytes;
}

void set_cancelled(MPI_Status* status, bool cancelled) noexcept {
  if (status != MPI_STATUS_IGNORE) status->MPI_internal[2] = cancelled ? cancelled_mark : 0;
}
bool is_cancelled(const MPI_Status& status) noexcept { return status.MPI_internal[2] == cancelled_mark; }

receiving::receiving(communicator& over, void* buffer, MPI_Count count, const datatype& type, int source, int tag)
    : receive_wait(here().rank(), peal::call_site(std::source_location(), &receive_note)), over_(over), buffer_(buffer), count_(count), type_(type) {
  pattern.space = over.space();
  if (source != MPI_ANY_SOURCE) pattern.source = rank_number(static_cast<std::uint32_t>(over.job_rank(source)));
  if (tag != MPI_ANY_TAG) pattern.tag = tag;
  if (!type.solid()) return;
  place.head = std::as_writable_bytes(std::span(&head_, 1));
  place.body = {static_cast<std::byte*>(buffer) + type.true_lower(), static_cast<std::size_t>(type.bytes_of(count))};
}

void receiving::on_message() {
  if (!place.done && message.body.size() >= sizeof head_) std::memcpy(&head_, message.body.data(), sizeof head_);
  if (head_.synchronous != 0) here().owe(static_cast<int>(message.source.value()), head_.serial);
  complete();
}

std::size_t receiving::deliver() {
  if (place.done) return place.bytes;
  if (message.body.size() < sizeof head_) fail(MPI_ERR_INTERN, "a message is damaged");
  const byte_view data = message.body.view().subspan(sizeof head_);
  const auto room = static_cast<std::size_t>(type_.bytes_of(count_));
  type_.unpack(data.first(std::min(data.size(), room)), buffer_, count_);
  return data.size();
}

void receiving::finish(MPI_Status* status) {
  resumed();
  const auto room = static_cast<std::size_t>(type_.bytes_of(count_));
  const std::size_t bytes = deliver();
  const int source = over_.peer_of(static_cast<int>(message.source.value()));
  fill(status, source, static_cast<int>(message.tag), static_cast<MPI_Count>(std::min(bytes, room)));
  if (bytes > room)
    fail(MPI_ERR_TRUNCATE, fmt::format("rank {} sent {} bytes with tag {}, but the receive has room for {}", source, bytes, message.tag, room));
}

void sending::begin(communicator& over, const void* buffer, MPI_Count count, const datatype& type, int destination, int tag, send_mode mode) {
  process& p = here();
  message_head head;
  destination_ = rank_number(static_cast<std::uint32_t>(over.job_rank(destination)));
  if (mode == send_mode::synchronous) {
    head = {1, p.next_serial()};
    met_.emplace(p.rank(), peal::call_site(std::source_location(), &synchronous_note));
    met_->pattern.space = p.space(acknowledgement_space);
    met_->pattern.source = destination_;
    met_->pattern.tag = head.serial;
    (void)met_->run();
  }
  byte_view data;
  if (type.solid()) {
    const auto bytes = static_cast<std::size_t>(type.bytes_of(count));
    data = {static_cast<const std::byte*>(buffer) + (bytes > 0 ? type.true_lower() : 0), bytes};
  } else {
    data = data_.emplace(buffer, count, type).view();
  }
  if (data.size() > message_bytes_max) fail(MPI_ERR_COUNT, "one message has at most 2 GiB");
  const two_parts body{bytes_of(head), data};
  const std::lock_guard held(p.token());
  p.check();
  messaging::endpoint& from = p.endpoint();
  if (mode != send_mode::buffered && data.size() > host::lane_copied_bytes_max) {
    loan_ = from.lend(destination_, over.space(), tag, body);
    if (loan_) {
      if (from.wait_for_return(destination_, *loan_, *this)) return free_.store(false, std::memory_order_relaxed);
      loan_.reset();
      return;
    }
  }
  const bool room = from.send(destination_, over.space(), tag, body);
  if (!room && mode != send_mode::buffered && from.wait_for_room(destination_, *this)) free_.store(false, std::memory_order_relaxed);
}

sending::~sending() {
  if (free_.load(std::memory_order_acquire)) return;
  process& p = here();
  const std::lock_guard held(p.token());
  if (loan_) {
    p.endpoint().take_back(destination_, *loan_);
  } else {
    p.endpoint().stop_waiting(*this);
  }
}

}  // namespace p2pdvm::c_mpi

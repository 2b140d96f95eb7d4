/// Requests, and the two ends of a message below them.
#pragma once

#include "communicator.hpp"
#include "datatype.hpp"
#include "object.hpp"

#include <p2pdvm/peal/waiting.hpp>

#include <atomic>
#include <functional>
#include <optional>

namespace p2pdvm::c_mpi {

/// In front of the data of each message.
struct message_head {
  std::uint32_t synchronous = 0;  ///< 1: its sender waits until it is met, and is told by `serial`
  std::uint32_t serial = 0;
};
static_assert(sizeof(message_head) == 8);

/// What a call asked to be sent or received.
struct message_spec {
  ref<communicator> over;
  void* buffer = nullptr;
  MPI_Count count = 0;
  ref<datatype> type;
  int peer = MPI_PROC_NULL;
  int tag = 0;
};

void set_empty(MPI_Status* status) noexcept;
/// Status of what has `bytes` bytes.
void fill(MPI_Status* status, int source, int tag, MPI_Count bytes) noexcept;
[[nodiscard]] MPI_Count bytes_in(const MPI_Status& status) noexcept;
void set_cancelled(MPI_Status* status, bool cancelled) noexcept;
[[nodiscard]] bool is_cancelled(const MPI_Status& status) noexcept;

/// A posted receive. Done when `completed()`; then `finish` says what came of it.
class receiving final : public peal::detail::receive_wait {
 public:
  /// Of the program's memory, which must stay, as must what else is named.
  receiving(communicator& over, void* buffer, MPI_Count count, const datatype& type, int source, int tag);
  /// Takes the message, if it is there. Call once, without the token.
  void begin() { (void)run(); }
  /// Throws when it was too long.
  void finish(MPI_Status* status);
  /// What came is in the program's memory after this, as far as it has room. Precondition: `completed()`.
  std::size_t deliver();
  void on_message() override;

 private:
  communicator& over_;
  void* buffer_;
  MPI_Count count_;
  const datatype& type_;
  message_head head_;
};

enum class send_mode { standard, buffered, synchronous, ready };

/// A message that was sent. Done when the program's memory is no longer needed, and in synchronous mode when it was met.
class sending final : private messaging::room_waiter {
 public:
  sending() = default;
  sending(const sending&) = delete;
  sending& operator=(const sending&) = delete;
  ~sending();
  void begin(communicator& over, const void* buffer, MPI_Count count, const datatype& type, int destination, int tag, send_mode mode);
  [[nodiscard]] bool done() const noexcept {
    return free_.load(std::memory_order_acquire) && (!met_ || met_->completed());
  }

 private:
  void on_room() override { free_.store(true, std::memory_order_release); }
  std::atomic<bool> free_{true};
  std::optional<std::uint64_t> loan_;
  rank_number destination_;
  std::optional<packed> data_;
  std::optional<peal::detail::receive_wait> met_;
};

/// What a handle of a request stands for.
class request : public object {
 public:
  /// Whether `finish` may be called. Changes as `process::wait` wants it.
  [[nodiscard]] virtual bool complete() = 0;
  /// Ends it; throws what went wrong. A persistent one is inactive then, and can be started again.
  virtual void finish(MPI_Status* status) = 0;
  /// Of a persistent one.
  virtual void start() { fail(MPI_ERR_REQUEST, "the request is not persistent"); }
  virtual void cancel() {}
  /// As MPI_Request_get_status: what `finish` would say, which can be asked again.
  virtual void peek(MPI_Status* status) { set_empty(status); }
  /// What was received goes into the program's memory, if it is not there. Precondition: it is complete.
  virtual void deliver() {}
  [[nodiscard]] virtual bool persistent() const noexcept { return false; }
  [[nodiscard]] virtual bool active() const noexcept { return true; }
  /// The program has given up its handle.
  virtual void forget() { release(); }
  [[nodiscard]] virtual communicator* over() noexcept { return nullptr; }
};
[[nodiscard]] request& request_of(MPI_Request handle);
[[nodiscard]] inline MPI_Request handle_of(request& r) noexcept { return reinterpret_cast<MPI_Request>(&r); }

}  // namespace p2pdvm::c_mpi

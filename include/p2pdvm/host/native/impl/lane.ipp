#pragma once

#include <p2pdvm/host/native/descriptor.hpp>
#include <p2pdvm/host/native/lane.hpp>
#include <p2pdvm/host/native/ring.hpp>

#include <asio/buffer.hpp>
#include <asio/error.hpp>
#include <asio/local/stream_protocol.hpp>
#include <asio/posix/stream_descriptor.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>

#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <string>
#include <utility>

namespace p2pdvm::native {

namespace detail {

/// How long the two sides may take to find each other.
inline constexpr auto lane_setup_max = std::chrono::seconds(5);
/// Pieces of a large body where the system does not let a process read another's memory.
inline constexpr std::size_t ring_slice_bytes = 16 * 1024;
/// Records handled in one turn before others get theirs.
inline constexpr int records_per_turn_max = 64;
/// What a whole message may have in the end.
inline constexpr std::size_t lane_body_bytes_max = std::size_t{4} << 30;

/// What the two processes share.
struct lane_memory {
  struct side {
    alignas(ring_unit) std::atomic<std::uint32_t> asleep;
    std::atomic<std::uint64_t> probe;  ///< where a number stands that the other side tries to read,
    std::atomic<std::uint64_t> number;
    std::atomic<std::int64_t> process;
    std::atomic<std::uint32_t> reads;  ///< 1: this side can read the other's memory
    std::atomic<std::uint32_t> fences;  ///< 1: this side, about to sleep, has the other's cores make a fence
  };
  /// What is lent at the moment, by number: the receiver makes it 0 when it has read all, the owner when it may not be
  /// read any more. Who comes second finds another number there.
  struct lent_numbers {
    static constexpr std::size_t count = 64;
    alignas(ring_unit) std::atomic<std::uint64_t> numbers[count];
  };
  side sides[2];
  ring_memory rings[2];  ///< the n-th is written by side n
  lent_numbers lent[2];  ///< likewise
};

/// The descriptors of a lane: its memory, and for each side what wakes it.
struct lane_descriptors {
  descriptor memory, bells[2];
};

inline error system_error_of(const char* what) {
  return error(errc::io, std::string(what) + ": " + std::strerror(errno));
}

inline result<lane_descriptors> make_lane() {
  lane_descriptors made;
  made.memory = descriptor(::memfd_create("p2pdvm lane", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made.memory.ok() || ::ftruncate(made.memory.get(), sizeof(lane_memory)) != 0)
    return system_error_of("cannot make memory to share");
  // Who shrinks a file that another has mapped kills it.
  if (::fcntl(made.memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return system_error_of("cannot seal memory to share");
  for (descriptor& bell : made.bells) {
    bell = descriptor(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!bell.ok()) return system_error_of("cannot make an event");
  }
  return made;
}

/// A process of this very user?
inline bool same_user(int socket) {
  ucred other{};
  socklen_t size = sizeof other;
  return ::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &other, &size) == 0 && other.uid == ::geteuid();
}

inline bool send_descriptors(int socket, const lane_descriptors& lane) {
  const int fds[3] = {lane.memory.get(), lane.bells[0].get(), lane.bells[1].get()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  char byte = 1;
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  cmsghdr* const head = CMSG_FIRSTHDR(&message);
  head->cmsg_level = SOL_SOCKET;
  head->cmsg_type = SCM_RIGHTS;
  head->cmsg_len = CMSG_LEN(sizeof fds);
  std::memcpy(CMSG_DATA(head), fds, sizeof fds);
  return ::sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

inline result<lane_descriptors> receive_descriptors(int socket) {
  int fds[3] = {-1, -1, -1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof fds)] = {};
  char byte = 0;
  iovec data{&byte, 1};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  if (::recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1)
    return error(errc::closed, "the other process closed the lane before it was made");
  const cmsghdr* const head = CMSG_FIRSTHDR(&message);
  if (head == nullptr || head->cmsg_type != SCM_RIGHTS || head->cmsg_len != CMSG_LEN(sizeof fds))
    return error(errc::malformed, "the other process sent no memory for the lane");
  std::memcpy(fds, CMSG_DATA(head), sizeof fds);
  lane_descriptors got;
  got.memory = descriptor(fds[0]);
  got.bells[0] = descriptor(fds[1]);
  got.bells[1] = descriptor(fds[2]);
  // The other side has the same right to this memory, but shall not be able to take it away.
  const int seals = ::fcntl(got.memory.get(), F_GET_SEALS);
  if (seals < 0 || (seals & F_SEAL_SHRINK) == 0 ||
      ::lseek(got.memory.get(), 0, SEEK_END) < static_cast<off_t>(sizeof(lane_memory)))
    return error(errc::malformed, "the other process sent memory that is no lane");
  return got;
}

class mapped_lane {
 public:
  explicit mapped_lane(const descriptor& memory) {
    void* const at = ::mmap(nullptr, sizeof(lane_memory), PROT_READ | PROT_WRITE, MAP_SHARED,
                            memory.get(), 0);
    if (at != MAP_FAILED) memory_ = static_cast<lane_memory*>(at);
  }
  mapped_lane(const mapped_lane&) = delete;
  mapped_lane& operator=(const mapped_lane&) = delete;
  ~mapped_lane() {
    if (memory_ != nullptr) ::munmap(static_cast<void*>(memory_), sizeof(lane_memory));
  }
  [[nodiscard]] lane_memory* get() const noexcept { return memory_; }

 private:
  lane_memory* memory_ = nullptr;
};

using unix_socket = asio::local::stream_protocol::socket;

/// Kinds of records. The kind in the ring's word has above it how long the message's head is, which comes first in the
/// record: a short message fits into one line of the cache, with its word.
enum lane_record : std::uint32_t { record_whole = 1, record_lent = 2, record_slice = 3, record_last = 4 };
inline constexpr unsigned record_head_shift = 8;
inline constexpr std::uint32_t kind_mask = (1u << record_head_shift) - 1;
static_assert(host::lane_head_bytes_max < 256);

/// Instead of a body that stays where it is. What follows it in the record comes before that.
struct lent_body {
  std::uint64_t address;
  std::uint64_t bytes;
  std::uint64_t number = 0;  ///< none: it is kept until it is acknowledged
  std::uint64_t place = 0;   ///< of the number
};
/// In front of the first slice of a body.
struct slices_begin {
  std::uint64_t bytes;  ///< of the whole
};

/// A body in the ring.
class near_body final : public host::lane_body {
 public:
  explicit near_body(byte_view bytes) : bytes_(bytes) {}
  [[nodiscard]] std::size_t size() const noexcept override { return bytes_.size(); }
  [[nodiscard]] bool copy(byte_span first, byte_span second) override {
    copy_lines(first.data(), bytes_.data(), first.size());
    copy_lines(second.data(), bytes_.data() + first.size(), second.size());
    return true;
  }

 private:
  byte_view bytes_;
};

/// A body in the memory of the process that sent it, maybe after a beginning that is in the ring.
class far_body final : public host::lane_body {
 public:
  far_body(pid_t process, std::uint64_t at, std::size_t bytes, byte_view begin = {},
           std::atomic<std::uint64_t>* lent = nullptr, std::uint64_t number = 0)
      : process_(process), address_(at), bytes_(bytes), begin_(begin), lent_(lent), number_(number) {}
  [[nodiscard]] std::size_t size() const noexcept override { return begin_.size() + bytes_; }
  [[nodiscard]] bool copy(byte_span first, byte_span second) override {
    const std::size_t near_first = std::min(begin_.size(), first.size());
    const std::size_t near_second = std::min(begin_.size() - near_first, second.size());
    copy_few(first.data(), begin_.data(), near_first);
    copy_few(second.data(), begin_.data() + near_first, near_second);
    if (!read(first.subspan(near_first), 0) || !read(second.subspan(near_second), first.size() - near_first))
      return false;
    return lent_ == nullptr || lent_->compare_exchange_strong(number_, 0);  // else its owner may have changed it meanwhile
  }

 private:
  bool read(byte_span into, std::size_t offset) const {
    while (!into.empty()) {
      const iovec here{into.data(), into.size()};
      const iovec there{reinterpret_cast<void*>(address_ + offset), into.size()};  // NOLINT
      const ssize_t got = ::process_vm_readv(process_, &here, 1, &there, 1, 0);
      if (got <= 0) return false;
      into = into.subspan(static_cast<std::size_t>(got));
      offset += static_cast<std::size_t>(got);
    }
    return true;
  }
  pid_t process_;
  std::uint64_t address_;
  std::size_t bytes_;
  byte_view begin_;
  std::atomic<std::uint64_t>* lent_;
  std::uint64_t number_;
};

class shared_lane final : public host::lane, public pollable {
 public:
  /// `side`: which of the two this process is. `socket` shows that the other lives.
  shared_lane(asio::io_context& io, poll_group& polled, std::size_t side, lane_descriptors made,
              std::unique_ptr<mapped_lane> mapped, unix_socket socket)
      : polled_(polled),
        mapped_(std::move(mapped)),
        mine_(mapped_->get()->sides[side]),
        theirs_(mapped_->get()->sides[1 - side]),
        lent_(mapped_->get()->lent[side]),
        their_lent_(mapped_->get()->lent[1 - side]),
        out_(mapped_->get()->rings[side]),
        in_(mapped_->get()->rings[1 - side]),
        their_bell_(std::move(made.bells[1 - side])),
        bell_(std::make_shared<waker>(io, std::move(made.bells[side]), std::move(socket), *this)) {
    // Drawn, so that no other process can have it where this one has it: process numbers mean
    // something else in another container.
    if (::getrandom(&number_, sizeof number_, 0) != static_cast<ssize_t>(sizeof number_)) return;
    if (fence_across_available()) mine_.fences.store(1, std::memory_order_relaxed);
    mine_.number.store(number_, std::memory_order_relaxed);
    last_lent_ += number_ >> 2;  // a number of another lane means nothing here; the highest bit is never set
    mine_.process.store(::getpid(), std::memory_order_relaxed);
    mine_.probe.store(reinterpret_cast<std::uint64_t>(&number_), std::memory_order_release);  // NOLINT
  }
  ~shared_lane() override {
    take_all_back();
    polled_.remove(*this);
    bell_->end();
  }

  void start(host::lane_handler& handler) override {
    handler_ = &handler;
    polled_.add(*this);
    bell_->start();
  }

  void send(byte_view head, const payload& body) override {
    P2PDVM_ASSERT(head.size() <= host::lane_head_bytes_max);
    if (ended_) return;
    if (!waiting_.empty() || !put(head, body)) {
      waiting_.push_back({to_vector(head), body, 0});
      push_waiting();
    }
    ring_bell();
  }

  [[nodiscard]] std::uint64_t lend(byte_view head, const two_parts& body) override {
    P2PDVM_ASSERT(head.size() <= host::lane_head_bytes_max);
    if (ended_ || !waiting_.empty()) return 0;
    if (body.size() <= host::lane_copied_bytes_max) {
      if (!put_record(record_whole, head, body.first, body.second)) return 0;
      ring_bell();
      return nothing_lent;
    }
    if (!may_lend() || body.first.size() > ring_slice_bytes) return 0;
    const auto place = std::find(mine_lent_.begin(), mine_lent_.end(), 0u);
    if (place == mine_lent_.end()) return 0;
    const auto n = static_cast<std::size_t>(place - mine_lent_.begin());
    const lent_body where{reinterpret_cast<std::uint64_t>(body.second.data()), body.second.size(),  // NOLINT
                          last_lent_ + 1, n};
    lent_.numbers[n].store(where.number, std::memory_order_relaxed);
    if (!put_record(record_lent, head, bytes_of(where), body.first)) return 0;
    *place = ++last_lent_;
    ring_bell();
    return last_lent_;
  }
  void take_back(std::uint64_t number) override {
    const auto place = std::find(mine_lent_.begin(), mine_lent_.end(), number);
    if (number == 0 || place == mine_lent_.end()) return;
    *place = 0;
    lent_.numbers[place - mine_lent_.begin()].compare_exchange_strong(number, 0);
  }

  bool poll() override {
    if (in_.empty()) runs_ = false;
    return (!in_.empty() || !waiting_.empty() || reads_ == unknown) && !ended_ && look();
  }

  bool doze() override {
    if (ended_) return false;
    mine_.asleep.store(1, std::memory_order_relaxed);
    return true;
  }
  bool dozes() override { return ended_ || (in_.empty() && (waiting_.empty() || !push_waiting())); }
  void wake() override {
    if (mine_.asleep.load(std::memory_order_relaxed) != 0)
      mine_.asleep.store(0, std::memory_order_relaxed);
  }

 private:
  [[gnu::noinline]] bool look() {
    if (reads_ == unknown) static_cast<void>(may_read_theirs());
    bool found = false;
    if (!waiting_.empty()) found = push_waiting();
    answers_ = false;
    // Behind a single message there is a line that the other core has just written. To look there would cost more than all
    // else, and a rank waits for what is here.
    const int most = std::exchange(runs_, true) ? records_per_turn_max : 1;
    for (int n = 0; n < most && !ended_; ++n) {
      const auto record = in_.peek();
      if (!record) break;
      answers_ = n == 0;
      // What came before may let a rank go on and say where it wants this one.
      if (n > 0 && (record->kind & kind_mask) == record_lent) break;
      found = true;
      if (!handle(*record)) return end(), true;
      if (in_.pop()) ring_bell();  // the other side may wait for room
    }
    if (in_.broken()) end();
    return found;
  }

  /// Belongs to the handlers of Asio, which may come after the lane.
  class waker : public std::enable_shared_from_this<waker> {
   public:
    waker(asio::io_context& io, descriptor bell, unix_socket socket, shared_lane& of)
        : bell_(io, bell.release()), socket_(std::move(socket)), lane_(&of) {}
    void start() {
      asio::post(bell_.get_executor(), [self = shared_from_this()] { self->look(); });
      wait_for_bell();
      socket_.async_read_some(asio::buffer(&byte_, 1),
                              [self = shared_from_this()](const asio::error_code&, std::size_t) {
                                if (self->lane_ != nullptr) self->lane_->end();
                              });
    }
    void end() {
      lane_ = nullptr;
      asio::error_code ignored;
      bell_.close(ignored);
      socket_.close(ignored);
    }

   private:
    /// A driver looks at the ring as soon as it is awake; without one it must be done here.
    void look() {
      while (lane_ != nullptr && !lane_->polled_.driven()) {
        lane_->wake();
        if (lane_->poll() || lane_ == nullptr) continue;
        if (lane_->doze()) fence_across();
        if (lane_->dozes()) return;
      }
    }
    void wait_for_bell() {
      bell_.async_wait(asio::posix::stream_descriptor::wait_read,
                       [self = shared_from_this()](const asio::error_code& ec) {
                         if (ec || self->lane_ == nullptr) return;
                         std::uint64_t count = 0;
                         static_cast<void>(::read(self->bell_.native_handle(), &count, sizeof count) < 0);
                         self->look();
                         if (self->lane_ != nullptr) self->wait_for_bell();
                       });
    }
    asio::posix::stream_descriptor bell_;
    unix_socket socket_;
    shared_lane* lane_;
    char byte_ = 0;
  };

  struct outgoing {
    byte_vector head;
    payload body;
    std::size_t sent;
  };

  /// Whether this process may read the other's memory: found out once, on a number of its own.
  [[nodiscard]] bool may_read_theirs() {
    if (reads_ != unknown) return reads_ == yes;
    const std::uint64_t at = theirs_.probe.load(std::memory_order_acquire);
    if (at == 0) return false;
    their_process_ = static_cast<pid_t>(theirs_.process.load(std::memory_order_relaxed));
    std::uint64_t number = 0;
    far_body there(their_process_, at, sizeof number);
    const bool read = there.copy(std::as_writable_bytes(std::span(&number, 1)), {});
    reads_ = read && number == theirs_.number.load(std::memory_order_relaxed) ? yes : no;
    mine_.reads.store(reads_ == yes ? 1 : 0, std::memory_order_release);
    return reads_ == yes;
  }
  /// The other side has found that it can read this one's memory. What one side can the other need not: a
  /// system may let a parent read its child only.
  [[nodiscard]] bool may_lend() const {
    return theirs_.reads.load(std::memory_order_acquire) == 1;
  }

  /// Writes a message as one record, if it can be one and there is room.
  bool put(byte_view head, const payload& body) {
    if (body.size() <= host::lane_copied_bytes_max) return put_record(record_whole, head, {}, body.view());
    if (!may_lend()) return false;
    const lent_body where{reinterpret_cast<std::uint64_t>(body.data()), body.size()};  // NOLINT
    return put_record(record_lent, head, {}, bytes_of(where));
  }
  bool put_record(lane_record kind, byte_view head, byte_view front, byte_view bytes) {
    const std::size_t size = head.size() + front.size() + bytes.size();
    std::byte* const at = out_.reserve(size);
    if (at == nullptr) return false;
    copy_few(at, head.data(), head.size());
    copy_few(at + head.size(), front.data(), front.size());
    copy_lines(at + head.size() + front.size(), bytes.data(), bytes.size());
    out_.publish(size, kind | static_cast<std::uint32_t>(head.size()) << record_head_shift, std::exchange(answers_, false));
    return true;
  }
  /// The next slice of a body that cannot be lent.
  bool put_slice(outgoing& o) {
    const std::size_t bytes = std::min(ring_slice_bytes, o.body.size() - o.sent);
    const byte_view part = o.body.view().subspan(o.sent, bytes);
    const bool last = o.sent + bytes == o.body.size();
    const slices_begin front{o.body.size()};
    const bool put = o.sent == 0 ? put_record(record_slice, o.head, bytes_of(front), part)
                                 : put_bare(last ? record_last : record_slice, part);
    if (put) o.sent += bytes;
    return put;
  }
  bool put_bare(lane_record kind, byte_view bytes) {
    std::byte* const at = out_.reserve(bytes.size());
    if (at == nullptr) return false;
    copy_lines(at, bytes.data(), bytes.size());
    out_.publish(bytes.size(), kind);
    return true;
  }

  bool push_waiting() {
    bool pushed = false;
    while (!waiting_.empty()) {
      outgoing& o = waiting_.front();
      const bool whole = o.body.size() <= host::lane_copied_bytes_max || (o.sent == 0 && may_lend());
      if (whole ? !put(o.head, o.body) : !put_slice(o)) break;
      pushed = true;
      if (whole || o.sent == o.body.size()) waiting_.pop_front();
    }
    if (pushed) ring_bell();
    return pushed;
  }

  void ring_bell() {
    if (theirs_.fences.load(std::memory_order_relaxed) == 1 && fences_) {
      std::atomic_signal_fence(std::memory_order_seq_cst);  // and theirs, in `doze`
    } else {
      std::atomic_thread_fence(std::memory_order_seq_cst);
    }
    if (theirs_.asleep.load(std::memory_order_relaxed) == 0 || theirs_.asleep.exchange(0) == 0) return;
    const std::uint64_t one = 1;
    static_cast<void>(::write(their_bell_.get(), &one, sizeof one) < 0);
  }

  /// False when the record is nonsense.
  bool handle(const ring_consumer::record& r) {
    if (slicing_) return handle_slice(r);
    const std::size_t head_bytes = r.kind >> record_head_shift;
    const std::uint32_t kind = r.kind & kind_mask;
    if (head_bytes > std::min(r.bytes.size(), host::lane_head_bytes_max)) return false;
    // A copy: the other process could change it while it is read.
    copy_few(head_, r.bytes.data(), head_bytes);
    const byte_view head(head_, head_bytes);
    const byte_view bytes = r.bytes.subspan(head_bytes);
    if (kind == record_whole) {
      near_body body(bytes);
      return tell(head, body);
    }
    if (kind == record_lent) {
      lent_body where{};
      if (bytes.size() < sizeof where || !may_read_theirs()) return false;
      std::memcpy(&where, bytes.data(), sizeof where);
      if (where.bytes > lane_body_bytes_max) return false;
      if (where.place >= lane_memory::lent_numbers::count) return false;
      far_body body(their_process_, where.address, static_cast<std::size_t>(where.bytes), bytes.subspan(sizeof where),
                    where.number != 0 ? &their_lent_.numbers[where.place] : nullptr, where.number);
      return tell(head, body);
    }
    slices_begin front{};
    if (kind != record_slice || bytes.size() < sizeof front) return false;
    std::memcpy(&front, bytes.data(), sizeof front);
    const byte_view part = bytes.subspan(sizeof front);
    if (front.bytes > lane_body_bytes_max || front.bytes <= part.size()) return false;
    slicing_ = true;
    head_bytes_ = head_bytes;
    slices_ = static_cast<std::size_t>(front.bytes);
    sliced_.clear();
    sliced_.reserve(std::min(slices_, std::size_t{1} << 20));
    append(sliced_, part);
    return true;
  }
  bool handle_slice(const ring_consumer::record& r) {
    if (r.bytes.size() > slices_ - sliced_.size()) return false;
    append(sliced_, r.bytes);
    const bool last = sliced_.size() == slices_;
    if ((r.kind == record_last) != last || (!last && r.kind != record_slice)) return false;
    if (!last) return true;
    slicing_ = false;
    near_body body(sliced_);
    return tell(byte_view(head_, head_bytes_), body);
  }
  bool tell(byte_view head, host::lane_body& body) {
    handler_->on_lane_message(head, body);
    return true;
  }

  void take_all_back() {
    for (std::size_t n = 0; n < mine_lent_.size(); ++n) {
      std::uint64_t number = std::exchange(mine_lent_[n], 0);
      if (number != 0) lent_.numbers[n].compare_exchange_strong(number, 0);
    }
  }
  void end() {
    if (std::exchange(ended_, true)) return;
    take_all_back();
    waiting_.clear();
    handler_->on_lane_ended();
  }

  poll_group& polled_;
  std::unique_ptr<mapped_lane> mapped_;
  lane_memory::side& mine_;
  lane_memory::side& theirs_;
  lane_memory::lent_numbers& lent_;
  lane_memory::lent_numbers& their_lent_;
  static constexpr std::uint64_t nothing_lent = 1;
  std::uint64_t last_lent_ = nothing_lent;
  std::array<std::uint64_t, lane_memory::lent_numbers::count> mine_lent_{};  ///< the numbers in use
  ring_producer out_;
  ring_consumer in_;
  descriptor their_bell_;
  std::shared_ptr<waker> bell_;
  host::lane_handler* handler_ = nullptr;
  std::deque<outgoing> waiting_;
  std::byte head_[host::lane_head_bytes_max];
  std::size_t head_bytes_ = 0;
  byte_vector sliced_;
  std::size_t slices_ = 0;
  bool slicing_ = false;
  bool runs_ = false;  ///< messages come one after another
  bool answers_ = false;  ///< one message came since the last one went: the other side is likely to wait for this one
  bool ended_ = false;
  const bool fences_ = fence_across_available();
  enum { unknown, yes, no } reads_ = unknown;
  pid_t their_process_ = 0;
  std::uint64_t number_ = 0;
};

inline std::uint32_t usable_cores() noexcept {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  if (::sched_getaffinity(0, sizeof cores, &cores) != 0) return 0;  // there are more than this can count
  return static_cast<std::uint32_t>(CPU_COUNT(&cores));
}

/// One side on its way to a lane.
class lane_attempt : public std::enable_shared_from_this<lane_attempt> {
 public:
  lane_attempt(asio::io_context& io, poll_group& polled, host::neighbourhood::done call)
      : io_(io), polled_(polled), acceptor_(io), socket_(io), deadline_(io), call_(std::move(call)) {}

  result<> offer(const host::lane_name& name) {
    asio::error_code ec;
    acceptor_.open(asio::local::stream_protocol(), ec);
    if (!ec) acceptor_.bind(endpoint_of(name), ec);
    if (!ec) acceptor_.listen(1, ec);
    if (ec) return error(errc::io, "cannot wait for a lane: " + ec.message());
    ::fcntl(acceptor_.native_handle(), F_SETFD, FD_CLOEXEC);
    acceptor_.async_accept(socket_, [self = shared_from_this()](const asio::error_code& failed) {
      if (failed) return self->fail(error(errc::io, "no lane: " + failed.message()));
      self->accepted();
    });
    begin_deadline();
    return {};
  }

  void join(const host::lane_name& name) {
    asio::error_code ec;
    socket_.open(asio::local::stream_protocol(), ec);
    if (!ec) socket_.connect(endpoint_of(name), ec);  // a socket of this machine answers at once
    const bool trusted = !ec && same_user(socket_.native_handle());
    if (!trusted) {
      asio::post(io_, [self = shared_from_this()] {
        self->fail(error(errc::unreachable, "the other process is not one of this machine and user"));
      });
      return;
    }
    ::fcntl(socket_.native_handle(), F_SETFD, FD_CLOEXEC);
    socket_.async_wait(unix_socket::wait_read, [self = shared_from_this()](const asio::error_code& failed) {
      if (failed) return self->fail(error(errc::io, "no lane: " + failed.message()));
      auto got = receive_descriptors(self->socket_.native_handle());
      self->finish(1, std::move(got));
    });
    begin_deadline();
  }

  void end() {
    call_ = nullptr;
    close();
  }

 private:
  /// In the abstract space of names: nothing is left in a folder.
  static asio::local::stream_protocol::endpoint endpoint_of(const host::lane_name& name) {
    return asio::local::stream_protocol::endpoint(std::string(1, '\0') + "p2pdvm-" + to_hex(name));
  }
  void begin_deadline() {
    deadline_.expires_after(lane_setup_max);
    deadline_.async_wait([self = shared_from_this()](const asio::error_code& ec) {
      if (!ec) self->fail(error(errc::timed_out, "the other process did not come to the lane"));
    });
  }
  void accepted() {
    asio::error_code ignored;
    acceptor_.close(ignored);
    if (!same_user(socket_.native_handle()))
      return fail(error(errc::unreachable, "another user came to the lane"));
    auto made = make_lane();
    if (made.ok() && !send_descriptors(socket_.native_handle(), *made))
      made = error(errc::closed, "the other process left the lane before it was made");
    finish(0, std::move(made));
  }
  void finish(std::size_t side, result<lane_descriptors> made) {
    if (!call_) return;
    if (!made.ok()) return fail(made.error());
    auto mapped = std::make_unique<mapped_lane>(made->memory);
    if (mapped->get() == nullptr) return fail(error(errc::io, "cannot map the memory of a lane"));
    deadline_.cancel();
    auto lane = std::make_unique<shared_lane>(io_, polled_, side, std::move(*made), std::move(mapped),
                                              std::move(socket_));
    std::exchange(call_, nullptr)(std::unique_ptr<host::lane>(std::move(lane)));
  }
  void fail(const error& why) {
    close();
    if (const auto call = std::exchange(call_, nullptr)) call(why);
  }
  void close() {
    asio::error_code ignored;
    acceptor_.close(ignored);
    socket_.close(ignored);
    deadline_.cancel();
  }

  asio::io_context& io_;
  poll_group& polled_;
  asio::local::stream_protocol::acceptor acceptor_;
  unix_socket socket_;
  asio::steady_timer deadline_;
  host::neighbourhood::done call_;
};

}  // namespace detail

P2PDVM_DECL neighbourhood::neighbourhood(asio::io_context& io, poll_group& polled)
    : io_(io), polled_(polled), cores_(detail::usable_cores()) {}

P2PDVM_DECL neighbourhood::~neighbourhood() {
  for (const auto& attempt : attempts_) {
    if (const auto a = attempt.lock()) a->end();
  }
}

P2PDVM_DECL std::shared_ptr<detail::lane_attempt> neighbourhood::begin(done call) {
  std::erase_if(attempts_, [](const auto& a) { return a.expired(); });
  auto attempt = std::make_shared<detail::lane_attempt>(io_, polled_, std::move(call));
  attempts_.push_back(attempt);
  return attempt;
}

P2PDVM_DECL result<host::lane_name> neighbourhood::offer(done call) {
  host::lane_name name;
  if (::getrandom(name.data(), name.size(), 0) != static_cast<ssize_t>(name.size()))
    return detail::system_error_of("cannot draw a name for a lane");
  const auto offered = begin(std::move(call))->offer(name);
  if (!offered.ok()) return offered.error();
  return name;
}

P2PDVM_DECL void neighbourhood::join(const host::lane_name& name, done call) {
  begin(std::move(call))->join(name);
}

}  // namespace p2pdvm::native

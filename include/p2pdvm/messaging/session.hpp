/// The reliable session of two peers: messages in order, none lost and none twice, across any
/// number of connections, as long as both sides keep their session.
///
/// A message is sent as one or more frames (slices). Frames are numbered from 1 in the order in
/// which they are first handed to a connection; the number is implicit, because a connection
/// delivers in order. When a connection opens, each side says hello: which session it is, which
/// session of the other it knows, and how many frames it has from it; the rest is sent again.
/// A side that shows a new session number has restarted (or has forgotten this one): whatever
/// was sent and not acknowledged is dropped, and numbering starts again. On its very first connection
/// a session need not wait for the other's hello, since nothing can have arrived yet: frames follow its own at once, which
/// says so. Should a later connection have overtaken this one, the other side leaves out what it has.
///
/// Messages of one priority arrive in order. Between slices of a large message, messages of
/// another priority pass.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/ring_queue.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/link/record.hpp>
#include <p2pdvm/messaging/landing.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <array>
#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace p2pdvm::messaging {

/// More urgent first.
enum class priority : std::uint8_t { control = 0, normal = 1, bulk = 2 };
inline constexpr std::size_t priorities = 3;

/// An acknowledgement waits at most this long for something that takes it along…
inline constexpr duration acknowledgement_delay = std::chrono::milliseconds(25);
/// …and is sent alone after so many frames or bytes.
inline constexpr std::uint64_t acknowledgement_frames = 1024;
inline constexpr std::uint64_t acknowledgement_bytes = 256 * 1024;
/// What a frame is reckoned to cost beyond its bytes, so that empty messages count too.
inline constexpr std::size_t frame_cost_bytes = 64;
/// Encoded size of a frame without its bytes, at most.
inline constexpr std::size_t frame_head_bytes_max = 16;
/// Messages up to this are encoded where they are queued, one after the other in bundles of at most so many
/// bytes, which are handed to a connection as they are.
inline constexpr std::size_t bundled_message_bytes_max = 2 * 1024;
inline constexpr std::size_t bundle_bytes_max = 16 * 1024;
/// Bundles that were acknowledged and whose memory is used again.
inline constexpr std::size_t spare_bundles_max = 16;
/// Room that reassembly takes before the bytes of a large message have come.
inline constexpr std::size_t reassembly_reserve_bytes_max = 4 * 1024 * 1024;

/// A message as it arrives.
struct arrived_message {
  byte_view view;  ///< valid during the call that gets this
  /// Of one that came in slices: what `view` shows; whoever needs it longer may take it.
  payload* assembled = nullptr;
  /// What follows `view`, of one for which there was a landing: it lies there.
  byte_view landed{};
};

/// What `session::receive` found.
struct session_event {
  enum class kind : std::uint8_t {
    up,       ///< the first hello of the remote; nothing was lost
    resumed,  ///< the same two sessions on another connection
    reset,    ///< the remote lost its session: unacknowledged messages are dropped
    message,
  };
  kind what = kind::message;
  messaging::priority priority = messaging::priority::normal;
  std::uint8_t channel = 0;
  /// The message, valid as long as the record that it came in, or as this event.
  byte_view view;
  payload assembled;  ///< what `view` shows of a message that came in slices,
  byte_vector front;  ///< or of one that has landed,
  byte_view landed;   ///< of which this is the rest
};

/// A message that came whole in one frame.
struct whole_message {
  messaging::priority priority = messaging::priority::normal;
  std::uint8_t channel = 0;
  byte_view view;  ///< valid as long as the record that it came in
};

class session {
 public:
  /// `number` is drawn at random, not 0, and differs from every earlier session of this peer.
  explicit session(std::uint64_t number);

  // --- the user's side ---
  /// Queues header and body as one message, without copying the body. Precondition: together at
  /// most `limits::session_message_bytes_max`.
  void send(priority p, std::uint8_t channel, byte_view header, payload body = {}) {
    send(p, channel, header, std::move(body), 0);
  }
  /// The same for what is copied at once. Precondition: both together at most `bundled_message_bytes_max`.
  void send_small(priority p, std::uint8_t channel, byte_view header, byte_view body) {
    queued_ += header.size() + body.size() + frame_cost_bytes;
    send_bundled(p, channel, header, body);
  }
  /// The same with a body that is somebody else's until `take_back` of this number, which is not 0.
  void lend(priority p, std::uint8_t channel, byte_view header, byte_view body, std::uint64_t number) {
    P2PDVM_ASSERT(number != 0);
    send(p, channel, header, payload::lent(body), number);
  }
  /// Copies what is still needed of what was lent.
  void take_back(std::uint64_t number);
  /// The same when all of it, `lent`, has been copied to `copy` already.
  void take_back(std::uint64_t number, byte_view lent, const payload& copy);
  /// More than a window is waiting; the user should slow down.
  [[nodiscard]] bool congested() const noexcept {
    return unacknowledged() > limits::session_window_bytes_max;
  }
  /// Bytes sent or queued and not known to have arrived, with a cost for each message.
  [[nodiscard]] std::size_t unacknowledged() const noexcept { return queued_ + in_flight_bytes_; }
  /// The part of them that was not handed to a connection yet.
  [[nodiscard]] std::size_t queued() const noexcept { return queued_; }
  /// Larger messages of the remote are refused; what has begun to arrive is not cut off.
  void limit_messages(std::size_t bytes_max) noexcept { message_bytes_max_ = bytes_max; }

  // --- the connection's side ---
  /// A new connection takes over; the hello is the first output.
  void attach();
  void detach();
  [[nodiscard]] bool attached() const noexcept { return attached_; }
  /// Both sides have said hello on this connection.
  [[nodiscard]] bool established() const noexcept { return established_; }
  /// Takes frames from the front of `record` up to the next event; nothing when it is used up.
  /// Errors end the connection: `malformed`, `too_large`.
  [[nodiscard]] result<std::optional<session_event>> receive(time_point now, byte_view& record,
                                                             landing_places* places = nullptr);
  /// The memory that `receive` has moved a record to, and in which the rest of it lies; empty: it is where it was.
  [[nodiscard]] byte_vector take_displaced() noexcept { return std::exchange(displaced_, {}); }
  /// Takes a whole message of less than 16 KiB from the front of `record`, when that is what is next and nothing
  /// is in the way: what `receive` finds as well, in a fraction of the time.
  [[nodiscard]] bool receive_whole(time_point now, byte_view& record, whole_message& message);
  /// Whether a whole message at the front of `record` is of this channel; others may seem to be.
  [[nodiscard]] static bool is_of(byte_view record, std::uint8_t channel) noexcept {
    return record.size() > 1 && record[1] == static_cast<std::byte>(channel);
  }
  /// Between two slices of a large message the next record is most likely the next slice and nothing else.
  /// Then: where in the message it goes, with what is in front of it. The memory is in use until the record is
  /// received, or the session detached.
  [[nodiscard]] byte_span place(std::size_t record_bytes, landing_places* places = nullptr);
  /// Leaves all landings. Precondition: nobody writes into what `place` gave any more.
  void move_out();
  /// Adds frames to the open record as far as there is room; false when there was nothing to add.
  bool fill(time_point now, link::record_sender& out);
  /// `fill` would add nothing.
  [[nodiscard]] bool silent(time_point now) const noexcept {
    return established_ && said_hello_ && !ping_ && acknowledge_at_ > now && sent_ == in_flight_.size() && queued_ == 0;
  }
  /// When `fill` will have something to say (an acknowledgement) though nothing happens.
  [[nodiscard]] time_point deadline() const noexcept {
    return established_ ? acknowledge_at_ : time_point_never;
  }
  /// Asks the remote for a sign of life.
  void ping() noexcept { ping_ = true; }
  /// Gives one, though nothing new has arrived.
  void answer(time_point now) noexcept { acknowledge_at_ = now; }
  /// Since when something that was sent on this connection awaits an answer.
  [[nodiscard]] time_point waiting_since() const noexcept { return waiting_since_; }

 private:
  /// A large message, or a bundle of small ones, waiting.
  struct outgoing {
    std::uint8_t channel = 0;
    byte_vector header;
    payload body;
    std::size_t total = 0;
    std::size_t taken = 0;  ///< bytes already in frames
    byte_vector bundle;     ///< whole frames, in its first
    std::size_t bundle_bytes = 0;
    std::uint32_t frames = 0;
    std::uint64_t lent = 0;  ///< the number of the body
  };
  /// A slice of a large message, or a bundle, handed to a connection and not acknowledged.
  struct frame {
    std::uint8_t head = 0;
    std::uint8_t channel = 0;
    std::size_t total = 0;  ///< of the message
    byte_vector header;
    payload body;
    byte_vector bundle;
    std::uint32_t frames = 1;        ///< in it
    std::uint32_t acknowledged = 0;  ///< of these
    std::size_t cost = 0;            ///< what it takes of the window
    std::uint64_t lent = 0;          ///< the number of the body
    bool bulk = false;
    [[nodiscard]] std::size_t bytes() const noexcept { return header.size() + body.size(); }
    [[nodiscard]] std::size_t left() const noexcept { return frames - acknowledged; }
  };
  struct assembly {
    bool open = false;
    std::uint8_t channel = 0;
    std::size_t total = 0;
    payload bytes;
    landing place;     ///< instead of `bytes`, for all that is not in `front`
    byte_vector front;
    byte_span memory;  ///< of `bytes` or `place`,
    std::size_t base = 0;    ///< from this byte of the message on,
    std::size_t filled = 0;  ///< as far as it has come
    [[nodiscard]] std::byte* end() const noexcept { return memory.data() + (filled - base); }
    void reserve(std::size_t size);
    void add(byte_view slice);
    /// Asks for a landing. `begin`: what there is of it.
    void land(byte_view begin, landing_places* places);
    void move_out();
  };
  /// A slice that is expected where it belongs. What is in front of it lies over the message's bytes before,
  /// which are kept here so long.
  struct placed_slice {
    static constexpr std::size_t head_bytes_max = 4;
    std::size_t assembly = 0;
    std::size_t bytes = 0;  ///< 0: none is expected
    std::size_t head_bytes = 0;
    std::array<std::byte, head_bytes_max> head{}, covered{};
  };
  struct hello;

  void send(priority p, std::uint8_t channel, byte_view header, payload body, std::uint64_t lent);
  template <class F>
  void each_lent(std::uint64_t number, F&& owned);
  void write_hello(link::record_sender& out);
  void write_acknowledgement(link::record_sender& out);
  void write_frames(link::record_sender& out);
  /// The most urgent queue that the window lets go on; null when there is none.
  [[nodiscard]] ring_queue<outgoing>* next_queue() noexcept;
  void take_frame(ring_queue<outgoing>& queue);
  void send_bundled(priority p, std::uint8_t channel, byte_view header, byte_view body);
  void write_frame(const frame& f, link::record_sender& out);
  static void drop_acknowledged(frame& f);
  [[nodiscard]] result<session_event> on_hello(wire::reader& r, bool early);
  [[nodiscard]] result<> on_acknowledgement(std::uint64_t received, std::uint64_t frames_max);
  [[nodiscard]] result<std::optional<session_event>> on_data(time_point now, std::uint8_t head,
                                                             wire::reader& r, landing_places* places);
  [[nodiscard]] result<> skip_frame(bool first, bool last, wire::reader& r);
  [[nodiscard]] result<> begin_message(assembly& a, wire::reader& r);
  [[nodiscard]] bool took_place(byte_view& record);
  void uncover();
  [[nodiscard]] std::optional<session_event> end_slice(time_point now, std::size_t priority_of,
                                                       std::size_t bytes, bool last);
  void count_arrival(time_point now, std::size_t bytes);
  void drop_everything();

  std::uint64_t mine_;
  std::uint64_t theirs_ = 0;  ///< 0 until the remote has said hello once
  std::size_t message_bytes_max_ = limits::session_message_bytes_max;

  std::array<ring_queue<outgoing>, priorities> queues_;
  std::size_t queued_ = 0;
  ring_queue<frame> in_flight_;  ///< taken; the first not acknowledged is number acknowledged_ + 1
  std::size_t in_flight_bytes_ = 0;
  std::size_t bulk_in_flight_bytes_ = 0;
  std::uint64_t in_flight_frames_ = 0;  ///< not acknowledged
  std::uint64_t acknowledged_ = 0;
  std::size_t sent_ = 0;           ///< of in_flight_, handed to this connection,
  std::uint64_t sent_frames_ = 0;  ///< with so many frames that are not acknowledged
  std::vector<byte_vector> spare_bundles_;

  std::uint64_t received_ = 0;
  std::uint64_t said_received_ = 0;
  std::uint64_t repeated_ = 0;  ///< frames of this connection that have come by a later one, still to be left out
  std::uint64_t unsaid_bytes_ = 0;
  time_point acknowledge_at_ = time_point_never;
  std::array<assembly, priorities> assemblies_;
  std::size_t assembling_ = 0;  ///< whose slice came last
  placed_slice placed_;
  byte_vector displaced_;  ///< a record that was not what was expected

  bool attached_ = false;
  bool untried_ = true;  ///< no frame was ever handed to a connection,
  bool early_ = false;   ///< when this one was attached
  bool said_hello_ = false;
  bool established_ = false;
  bool ping_ = false;
  time_point waiting_since_ = time_point_never;
};

}  // namespace p2pdvm::messaging

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/messaging/impl/session.ipp>
#endif

#pragma once

#include <p2pdvm/messaging/session.hpp>

#include <algorithm>
#include <cstring>
#include <utility>

namespace p2pdvm::messaging {

namespace detail {

// First byte of a frame. Data frames add their priority and these two bits.
inline constexpr std::uint8_t frame_hello = 0;
inline constexpr std::uint8_t frame_acknowledgement = 1;
inline constexpr std::uint8_t frame_ping = 2;
inline constexpr std::uint8_t frame_early_hello = 3;
inline constexpr std::uint8_t frame_data = 0x10;
inline constexpr std::uint8_t frame_first = 0x04;
inline constexpr std::uint8_t frame_last = 0x08;
inline constexpr std::uint8_t frame_priority = 0x03;

static_assert(limits::slice_bytes_max + frame_head_bytes_max <= limits::record_bytes_max);

/// How much of the window each priority may fill: urgent messages need not wait for bulk.
inline constexpr std::array<std::size_t, priorities> window_bytes = {
    limits::session_window_bytes_max, limits::session_window_bytes_max / 8 * 7,
    limits::session_window_bytes_max / 4 * 3};
/// What bulk may have on its way while others fill the window: less urgent, but not for ever.
inline constexpr std::size_t bulk_share_bytes = limits::session_window_bytes_max / 8;

/// As `wire::writer::size`; how many bytes it took, ten at most.
inline std::size_t write_size(std::byte* to, std::size_t size) noexcept {
  std::size_t n = 0;
  for (; size >= 0x80; size >>= 7) to[n++] = static_cast<std::byte>((size & 0x7f) | 0x80);
  to[n++] = static_cast<std::byte>(size);
  return n;
}

/// The first bytes of a frame that is neither first nor whole: its head, and how many bytes follow.
inline std::size_t write_slice_head(std::byte* to, std::uint8_t head, std::size_t size) noexcept {
  to[0] = static_cast<std::byte>(head);
  return 1 + write_size(to + 1, size);
}

/// A message goes in several pieces, so that the remote opens one while this side seals the next.
inline constexpr std::size_t slice_bytes_min = 24 * 1024;
inline std::size_t slice_bytes(std::size_t total) noexcept {
  return std::clamp(total / 4 + frame_head_bytes_max, slice_bytes_min, limits::slice_bytes_max);
}

inline error session_error(const char* what) {
  return error(errc::malformed, std::string("the peer broke the session protocol: ") + what);
}

}  // namespace detail

struct session::hello {
  std::uint64_t number = 0;    ///< the sender's session
  std::uint64_t known = 0;     ///< the receiver's session as the sender knows it
  std::uint64_t received = 0;  ///< frames of the known session
  template <class F>
  void fields(F&& f) {
    f(number), f(known), f(received);
  }
};

P2PDVM_DECL session::session(std::uint64_t number) : mine_(number) { P2PDVM_ASSERT(number != 0); }

P2PDVM_DECL void session::send(priority p, std::uint8_t channel, byte_view header,
                               payload body, std::uint64_t lent) {
  P2PDVM_ASSERT(header.size() <= limits::session_message_bytes_max);
  P2PDVM_ASSERT(body.size() <= limits::session_message_bytes_max - header.size());
  const std::size_t total = header.size() + body.size();
  queued_ += total + frame_cost_bytes;
  if (total <= bundled_message_bytes_max) return send_bundled(p, channel, header, body.view());
  outgoing message;
  message.channel = channel;
  message.total = total;
  if (header.size() > limits::slice_bytes_max) {  // a header is never sliced
    message.body = payload::copy_of(header, body.view());
  } else {
    append(message.header, header);
    message.body = std::move(body);
    message.lent = lent;
  }
  queues_[static_cast<std::size_t>(p)].push_back(std::move(message));
}

P2PDVM_DECL void session::take_back(std::uint64_t number) {
  each_lent(number, [](const payload& body) { return payload::copy_of(body.view()); });
}

P2PDVM_DECL void session::take_back(std::uint64_t number, byte_view lent, const payload& copy) {
  P2PDVM_ASSERT(copy.size() == lent.size());
  each_lent(number, [&](const payload& body) {
    return copy.slice(static_cast<std::size_t>(body.data() - lent.data()), body.size());
  });
}

template <class F>
void session::each_lent(std::uint64_t number, F&& owned) {
  P2PDVM_ASSERT(number != 0);
  const auto own = [&](auto& of) {
    if (of.lent != number) return;
    of.body = owned(of.body);
    of.lent = 0;
  };
  for (std::size_t n = 0; n < in_flight_.size(); ++n) own(in_flight_[n]);
  for (auto& queue : queues_) {
    for (std::size_t n = 0; n < queue.size(); ++n) own(queue[n]);
  }
}

P2PDVM_DECL void session::send_bundled(priority p, std::uint8_t channel, byte_view header,
                                       byte_view body) {
  ring_queue<outgoing>& queue = queues_[static_cast<std::size_t>(p)];
  const std::size_t bytes = frame_head_bytes_max + header.size() + body.size();
  if (queue.empty() || queue.back().frames == 0 ||
      queue.back().bundle_bytes + bytes > bundle_bytes_max) {
    outgoing fresh;
    if (!spare_bundles_.empty()) {
      fresh.bundle = std::move(spare_bundles_.back());
      spare_bundles_.pop_back();
    }
    queue.push_back(std::move(fresh));
  }
  outgoing& o = queue.back();
  ++o.frames;
  o.total += header.size() + body.size();
  const std::size_t size = header.size() + body.size();
  static_assert(bundled_message_bytes_max < (1 << 14));  // the size takes two bytes at most
  const bool short_size = size < 0x80;
  const std::size_t n = short_size ? 3 : 4;
  const std::uint32_t encoded_size = static_cast<std::uint32_t>(short_size ? size : (size & 0x7f) | 0x80 | size >> 7 << 8);
  const std::uint32_t front = detail::frame_data | detail::frame_first | detail::frame_last |
                              static_cast<std::uint32_t>(p) | std::uint32_t{channel} << 8 | encoded_size << 16;
  const std::size_t at = std::exchange(o.bundle_bytes, o.bundle_bytes + n + size);
  if (o.bundle.size() < at + sizeof front + size) o.bundle.resize(2 * (at + sizeof front + size));
  std::byte* const to = o.bundle.data() + at;
  std::memcpy(to, &front, sizeof front);
  copy_few(to + n, header.data(), header.size());
  copy_few(to + n + header.size(), body.data(), body.size());
}

P2PDVM_DECL void session::attach() {
  detach();
  attached_ = true;
  early_ = untried_;
  repeated_ = 0;
  if (!in_flight_.empty()) drop_acknowledged(in_flight_.front());
}

/// What was acknowledged of a bundle is not sent again.
P2PDVM_DECL void session::drop_acknowledged(frame& f) {
  wire::reader r(f.bundle);
  for (; f.acknowledged > 0; --f.acknowledged, --f.frames) {
    std::uint8_t head = 0, channel = 0;
    r(head), r(channel);
    static_cast<void>(r.raw(static_cast<std::size_t>(r.size(bundled_message_bytes_max))));
  }
  P2PDVM_ASSERT(r.ok());
  f.bundle.erase(f.bundle.begin(), f.bundle.end() - static_cast<std::ptrdiff_t>(r.remaining()));
}

P2PDVM_DECL void session::detach() {
  uncover();
  attached_ = false;
  said_hello_ = false;
  established_ = false;
  sent_ = 0;
  sent_frames_ = 0;
  ping_ = false;
  waiting_since_ = time_point_never;
}

P2PDVM_DECL void session::drop_everything() {
  placed_ = {};
  for (auto& queue : queues_) queue.clear();
  for (auto& a : assemblies_) a = assembly();
  in_flight_.clear();
  queued_ = 0;
  in_flight_bytes_ = 0;
  bulk_in_flight_bytes_ = 0;
  in_flight_frames_ = 0;
  acknowledged_ = 0;
  sent_ = 0;
  sent_frames_ = 0;
  received_ = 0;
}

// --- output ---

P2PDVM_DECL void session::write_hello(link::record_sender& out) {
  const hello h{mine_, theirs_, received_};
  byte_vector bytes = {static_cast<std::byte>(early_ ? detail::frame_early_hello : detail::frame_hello)};
  append(bytes, wire::encode(h));
  out.add(bytes);
  said_hello_ = true;
  said_received_ = received_;
  unsaid_bytes_ = 0;
  acknowledge_at_ = time_point_never;
}

P2PDVM_DECL void session::write_acknowledgement(link::record_sender& out) {
  out.add(bytes_of(detail::frame_acknowledgement));
  out.add(bytes_of(received_));
  said_received_ = received_;
  unsaid_bytes_ = 0;
  acknowledge_at_ = time_point_never;
}

P2PDVM_DECL ring_queue<session::outgoing>* session::next_queue() noexcept {
  for (std::size_t p = 0; p < priorities; ++p) {
    if (!queues_[p].empty() && in_flight_bytes_ < detail::window_bytes[p]) return &queues_[p];
  }
  auto& bulk = queues_[static_cast<std::size_t>(priority::bulk)];
  const bool has_share = !bulk.empty() && bulk_in_flight_bytes_ < detail::bulk_share_bytes &&
                         in_flight_bytes_ < limits::session_window_bytes_max;
  return has_share ? &bulk : nullptr;
}

P2PDVM_DECL void session::take_frame(ring_queue<outgoing>& queue) {
  outgoing& message = queue.front();
  frame f;
  if (message.frames > 0) {
    f.bundle = std::move(message.bundle);
    f.bundle.resize(message.bundle_bytes);
    f.frames = message.frames;
    f.cost = message.total + message.frames * frame_cost_bytes;
    queued_ -= f.cost;
    static_cast<void>(queue.pop_front());
  } else {
    const std::size_t slice = std::max(detail::slice_bytes(message.total), message.header.size());
    const std::size_t size = std::min(slice, message.total - message.taken);
    const bool first = message.taken == 0;
    const bool last = message.taken + size == message.total;
    f.head = static_cast<std::uint8_t>(detail::frame_data | (first ? detail::frame_first : 0) |
                                       (last ? detail::frame_last : 0) | (&queue - queues_.data()));
    f.channel = message.channel;
    f.total = message.total;
    if (first) f.header = std::move(message.header);
    // The header travels whole in the first frame, so body offsets are counted from the end.
    const std::size_t body_left = message.total - message.taken - f.header.size();
    f.body = message.body.slice(message.body.size() - body_left, size - f.header.size());
    f.lent = message.lent;
    f.cost = size + frame_cost_bytes;
    message.taken += size;
    queued_ -= size;
    if (last) {
      queued_ -= frame_cost_bytes;
      static_cast<void>(queue.pop_front());
    }
  }
  in_flight_bytes_ += f.cost;
  f.bulk = &queue == &queues_[static_cast<std::size_t>(priority::bulk)];
  if (f.bulk) bulk_in_flight_bytes_ += f.cost;
  in_flight_frames_ += f.frames;
  in_flight_.push_back(std::move(f));
}

P2PDVM_DECL void session::write_frames(link::record_sender& out) {
  for (;; ++sent_) {
    if (sent_ == in_flight_.size()) {
      ring_queue<outgoing>* queue = next_queue();
      if (queue == nullptr) return;
      take_frame(*queue);
    }
    const frame& f = in_flight_[sent_];
    if (frame_head_bytes_max + f.bytes() + f.bundle.size() > out.room()) return;
    untried_ = false;
    write_frame(f, out);
    sent_frames_ += f.left();
    if (f.bytes() < detail::slice_bytes_min) continue;
    ++sent_;  // it has a record of its own, which can be on its way while the next is sealed
    return;
  }
}

P2PDVM_DECL void session::write_frame(const frame& f, link::record_sender& out) {
  if (!f.bundle.empty()) return out.add(f.bundle);
  std::byte head[frame_head_bytes_max + 10];
  std::size_t n = 0;
  head[n++] = static_cast<std::byte>(f.head);
  if ((f.head & detail::frame_first) != 0) {
    head[n++] = static_cast<std::byte>(f.channel);
    if ((f.head & detail::frame_last) == 0) n += detail::write_size(head + n, f.total);
  }
  n += detail::write_size(head + n, f.bytes());
  P2PDVM_ASSERT(n <= frame_head_bytes_max);
  out.add(byte_view(head, n));
  out.add(f.header);
  if (f.bytes() < detail::slice_bytes_min) return out.add(f.body.view());
  out.add_last(f.body);
}

P2PDVM_DECL bool session::fill(time_point now, link::record_sender& out) {
  P2PDVM_ASSERT(attached_);
  const std::size_t room = out.room();
  if (room < 2 * frame_head_bytes_max + sizeof(hello)) return false;
  if (!said_hello_) {  // in a record of its own: on a slow link a full one would come too late
    write_hello(out);
    return true;
  }
  if (established_) {
    const bool frames = sent_ < in_flight_.size() || next_queue() != nullptr;
    if (acknowledge_at_ <= now || (frames && received_ != said_received_))
      write_acknowledgement(out);
  }
  const bool asks = established_ && std::exchange(ping_, false);
  if (asks) out.add(bytes_of(detail::frame_ping));
  if (established_ || early_) write_frames(out);
  if ((asks || sent_ > 0) && waiting_since_ == time_point_never) waiting_since_ = now;
  return out.room() != room;
}

// --- input ---

P2PDVM_DECL result<std::optional<session_event>> session::receive(time_point now, byte_view& record,
                                                                  landing_places* places) {
  P2PDVM_ASSERT(attached_);
  if (placed_.bytes > 0 && took_place(record)) {
    waiting_since_ = sent_ > 0 ? now : time_point_never;
    const assembly& a = assemblies_[assembling_];
    const std::size_t bytes = record.size();
    record = {};
    return end_slice(now, assembling_, bytes, a.filled + bytes == a.total);
  }
  while (!record.empty()) {
    wire::reader r(record);
    std::uint8_t head = 0;
    r(head);
    std::optional<session_event> event;
    if (head == detail::frame_hello || head == detail::frame_early_hello) {
      auto up = on_hello(r, head == detail::frame_early_hello);
      if (!up) return up.error();
      event = std::move(*up);
    } else if (!established_) {
      return detail::session_error("it did not begin with a hello");
    } else if (head == detail::frame_acknowledgement) {
      std::uint64_t received = 0;
      r(received);
      if (auto done = on_acknowledgement(received, sent_frames_); !done) return done.error();
    } else if (head == detail::frame_ping) {
      acknowledge_at_ = now;
    } else {
      auto data = on_data(now, head, r, places);
      if (!data) return data.error();
      event = std::move(*data);
    }
    if (!r.ok()) return detail::session_error("a frame is cut short");
    waiting_since_ = sent_ > 0 ? now : time_point_never;
    record = record.last(r.remaining());
    if (event) return event;
  }
  return std::optional<session_event>();
}

P2PDVM_DECL bool session::receive_whole(time_point now, byte_view& record, whole_message& message) {
  constexpr std::uint8_t whole = detail::frame_data | detail::frame_first | detail::frame_last;
  constexpr std::size_t head_bytes = 4;
  if (record.size() < head_bytes || !established_ || repeated_ > 0 || placed_.bytes > 0) return false;
  const auto byte = [&](std::size_t at) { return std::to_integer<std::uint8_t>(record[at]); };
  const std::size_t p = byte(0) & detail::frame_priority;
  if ((byte(0) & ~detail::frame_priority) != whole || p >= priorities || assemblies_[p].open) return false;
  std::size_t size = byte(2);
  std::size_t head = head_bytes - 1;
  if (size >= 0x80) {  // two bytes, of which the second is not 0: the shortest form
    if (byte(3) == 0 || byte(3) >= 0x80) return false;
    size = (size & 0x7f) | static_cast<std::size_t>(byte(3)) << 7;
    ++head;
  }
  if (size > record.size() - head || size > message_bytes_max_) return false;
  message.priority = static_cast<priority>(p);
  message.channel = byte(1);
  message.view = record.subspan(head, size);
  record = record.subspan(head + size);
  waiting_since_ = sent_ > 0 ? now : time_point_never;
  count_arrival(now, size);
  return true;
}

P2PDVM_DECL result<session_event> session::on_hello(wire::reader& r, bool early) {
  hello h;
  r(h);
  if (!r.ok() || h.number == 0 || established_)
    return detail::session_error("its hello is invalid");
  session_event event;
  event.what = theirs_ == 0          ? session_event::kind::up
               : theirs_ == h.number ? session_event::kind::resumed
                                     : session_event::kind::reset;
  if (event.what == session_event::kind::reset) drop_everything();
  theirs_ = h.number;
  established_ = true;
  repeated_ = early ? received_ : 0;
  // A remote that does not know this session has nothing of it. Who says less than it has acknowledged said so before:
  // a later connection has overtaken this one, by whatever way it came.
  const std::uint64_t received = std::max(h.known == mine_ ? h.received : 0, acknowledged_);
  if (auto done = on_acknowledgement(received, in_flight_frames_); !done) return done.error();
  if (sent_ == 0 && !in_flight_.empty()) drop_acknowledged(in_flight_.front());
  return event;
}

P2PDVM_DECL result<> session::on_acknowledgement(std::uint64_t received, std::uint64_t frames_max) {
  if (received < acknowledged_ || received - acknowledged_ > frames_max)
    return detail::session_error("it acknowledges what was not sent");
  std::uint64_t more = received - acknowledged_;
  acknowledged_ = received;
  in_flight_frames_ -= more;
  sent_frames_ -= std::min(sent_frames_, more);
  while (more > 0) {
    frame& f = in_flight_.front();
    if (more < f.left()) {
      f.acknowledged += static_cast<std::uint32_t>(more);
      return {};
    }
    more -= f.left();
    in_flight_bytes_ -= f.cost;
    if (f.bulk) bulk_in_flight_bytes_ -= f.cost;
    if (sent_ > 0) --sent_;
    if (f.bundle.capacity() > 0 && spare_bundles_.size() < spare_bundles_max) {
      spare_bundles_.push_back(std::move(f.bundle));
    }
    static_cast<void>(in_flight_.pop_front());
  }
  return {};
}

P2PDVM_DECL result<> session::skip_frame(bool first, bool last, wire::reader& r) {
  std::uint8_t channel = 0;
  std::uint64_t size = 0;
  if (first) {
    r(channel);
    size = r.size(limits::session_message_bytes_max);
  }
  if (!first || !last) size = r.count();
  static_cast<void>(r.raw(static_cast<std::size_t>(size)));
  if (!r.ok()) return detail::session_error("a frame is cut short");
  --repeated_;
  return {};
}

P2PDVM_DECL result<> session::begin_message(assembly& a, wire::reader& r) {
  if (a.open) return detail::session_error("a message begins inside another");
  a = assembly();
  a.open = true;
  r(a.channel);
  // Encoded total, or for a whole message the size that follows anyway.
  a.total = static_cast<std::size_t>(r.size(limits::session_message_bytes_max));
  if (!r.ok()) return detail::session_error("a message has an impossible size");
  if (a.total > message_bytes_max_)
    return error(errc::too_large, "the peer sends a message of " + std::to_string(a.total) +
                                      " bytes; it may send " +
                                      std::to_string(message_bytes_max_));
  return {};
}

P2PDVM_DECL result<std::optional<session_event>> session::on_data(time_point now,
                                                                  std::uint8_t head,
                                                                  wire::reader& r,
                                                                  landing_places* places) {
  const std::size_t p = head & detail::frame_priority;
  const bool first = (head & detail::frame_first) != 0;
  const bool last = (head & detail::frame_last) != 0;
  if ((head & 0xf0) != detail::frame_data || p >= priorities)
    return detail::session_error("a frame is of an unknown kind");
  if (repeated_ > 0) {
    if (auto skipped = skip_frame(first, last, r); !skipped) return skipped.error();
    return std::optional<session_event>();
  }
  assembly& a = assemblies_[p];
  if (first) {
    if (auto begun = begin_message(a, r); !begun) return begun.error();
  }
  if (!a.open) return detail::session_error("a message has no beginning");
  const std::size_t size = first && last ? a.total : static_cast<std::size_t>(r.count());
  const byte_view bytes = r.raw(size);
  if (!r.ok()) return detail::session_error("a frame is cut short");
  const std::size_t left = a.total - a.filled;
  if (size > left || (size == left) != last || (size == 0 && !last))
    return detail::session_error("a message's slices do not add up");
  if (!first || !last) {
    if (first) a.land(bytes, places);
    if (!first || !a.place) a.add(bytes);
    assembling_ = p;
    return end_slice(now, p, size, last);
  }
  count_arrival(now, size);
  session_event event;
  event.priority = static_cast<priority>(p);
  event.channel = a.channel;
  event.view = bytes;
  a = assembly();
  return std::optional<session_event>(std::move(event));
}

P2PDVM_DECL void session::assembly::reserve(std::size_t size) {
  if (size <= base + memory.size()) return;
  P2PDVM_ASSERT(!place);
  byte_span more;
  const std::size_t least = memory.empty() ? reassembly_reserve_bytes_max : 2 * memory.size();
  payload larger = payload::unwritten(std::min(total, std::max(size, least)), more);
  if (filled > 0 && !memory.empty()) std::memcpy(more.data(), memory.data(), filled);
  bytes = std::move(larger);
  memory = more;
}

P2PDVM_DECL void session::assembly::add(byte_view slice) {
  if (slice.empty()) return;
  reserve(filled + slice.size());
  std::memcpy(end(), slice.data(), slice.size());
}

P2PDVM_DECL void session::assembly::land(byte_view begin, landing_places* places) {
  if (places == nullptr || place) return;
  landing there = places->land(channel, begin, total);
  if (!there) return;
  P2PDVM_ASSERT(there.memory().size() <= total);
  const std::size_t front_bytes = total - there.memory().size();
  if (front_bytes > begin.size()) return;
  front.assign(begin.begin(), begin.begin() + static_cast<std::ptrdiff_t>(front_bytes));
  const byte_view rest = begin.subspan(front_bytes);
  if (!rest.empty()) std::memcpy(there.memory().data(), rest.data(), rest.size());
  place = std::move(there);
  memory = place.memory();
  base = front_bytes;
  bytes = payload();
}

P2PDVM_DECL void session::assembly::move_out() {
  if (!place) return;
  const byte_view rest = byte_view(memory).first(filled - base);
  const landing before = std::move(place);
  memory = {};
  base = 0;
  reserve(filled);
  if (!front.empty()) std::memcpy(memory.data(), front.data(), front.size());
  if (!rest.empty()) std::memcpy(memory.data() + front.size(), rest.data(), rest.size());
  front.clear();
}

P2PDVM_DECL void session::move_out() {
  uncover();
  for (assembly& a : assemblies_) a.move_out();
}

/// `bytes` more are where they belong.
P2PDVM_DECL std::optional<session_event> session::end_slice(time_point now, std::size_t priority_of,
                                                            std::size_t bytes, bool last) {
  assembly& a = assemblies_[priority_of];
  a.filled += bytes;
  count_arrival(now, bytes);
  if (!last) return std::nullopt;
  session_event event;
  event.priority = static_cast<priority>(priority_of);
  event.channel = a.channel;
  if (a.place) {
    event.front = std::move(a.front);
    event.view = event.front;
    event.landed = a.memory;
  } else {
    event.assembled = std::move(a.bytes);
    event.view = event.assembled.view();
  }
  a = assembly();
  return event;
}

P2PDVM_DECL byte_span session::place(std::size_t record_bytes, landing_places* places) {
  uncover();
  assembly& a = assemblies_[assembling_];
  if (!a.open || !established_ || repeated_ > 0) return {};
  a.land(byte_view(a.memory).first(a.filled - a.base), places);  // the receive may have been posted meanwhile
  placed_slice slice;
  slice.assembly = assembling_;
  const std::size_t left = a.total - a.filled;
  std::byte head[1 + 10];
  // How long the head is depends on the size behind it.
  for (std::size_t n = 2; n <= placed_slice::head_bytes_max && n < record_bytes; ++n) {
    const std::size_t size = record_bytes - n;
    const auto kind = static_cast<std::uint8_t>(detail::frame_data | (size == left ? detail::frame_last : 0) |
                                                assembling_);
    if (detail::write_slice_head(head, kind, size) != n) continue;
    slice.bytes = size;
    slice.head_bytes = n;
    std::copy_n(head, n, slice.head.begin());
  }
  if (slice.bytes == 0 || slice.bytes > left || slice.head_bytes > a.filled - a.base) return {};
  a.reserve(a.filled + slice.bytes);
  std::byte* const begin = a.end() - slice.head_bytes;
  std::copy_n(begin, slice.head_bytes, slice.covered.begin());
  placed_ = slice;
  return byte_span(begin, record_bytes);
}

/// Puts back what the head of an expected slice lies on.
P2PDVM_DECL void session::uncover() {
  if (placed_.bytes == 0) return;
  const assembly& a = assemblies_[placed_.assembly];
  std::copy_n(placed_.covered.begin(), placed_.head_bytes, a.end() - placed_.head_bytes);
  placed_ = {};
}

/// Whether the record is the slice that was expected, and lies where it belongs: then `record` is that slice.
/// Else it is moved out of the way.
P2PDVM_DECL bool session::took_place(byte_view& record) {
  const placed_slice expected = placed_;
  const assembly& a = assemblies_[expected.assembly];
  const byte_view head = byte_view(expected.head).first(expected.head_bytes);
  const bool there = record.data() + expected.head_bytes == a.end();
  const bool right = there && record.size() == expected.head_bytes + expected.bytes &&
                     equal(record.first(expected.head_bytes), head);
  if (there && !right) {
    displaced_.assign(record.begin(), record.end());
    record = displaced_;
  }
  uncover();
  if (right) record = record.subspan(expected.head_bytes);
  return right;
}

P2PDVM_DECL void session::count_arrival(time_point now, std::size_t bytes) {
  ++received_;
  unsaid_bytes_ += bytes;
  const bool enough = received_ - said_received_ >= acknowledgement_frames ||
                      unsaid_bytes_ >= acknowledgement_bytes;
  if (enough) {
    acknowledge_at_ = std::min(acknowledge_at_, now);
  } else if (acknowledge_at_ == time_point_never) {
    acknowledge_at_ = now + acknowledgement_delay;
  }
}

}  // namespace p2pdvm::messaging

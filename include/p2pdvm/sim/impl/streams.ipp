#pragma once

#include <p2pdvm/sim/streams.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::sim::detail {

class simulated_stream final : public host::stream {
 public:
  simulated_stream(streams& owner, endpoint_id id, const address& local, const address& remote)
      : owner_(owner), id_(id), local_(local), remote_(remote) {}
  simulated_stream(const simulated_stream&) = delete;
  simulated_stream& operator=(const simulated_stream&) = delete;
  ~simulated_stream() override { owner_.destroy(id_); }
  [[nodiscard]] address local() const override { return local_; }
  [[nodiscard]] address remote() const override { return remote_; }
  void start(host::stream_handler& handler) override { owner_.start(id_, handler); }
  void write(byte_vector bytes) override { owner_.write(id_, std::move(bytes)); }
  [[nodiscard]] std::size_t unsent() const override { return owner_.unsent(id_); }
  void pause(bool paused) override { owner_.pause(id_, paused); }

 private:
  streams& owner_;
  endpoint_id id_;
  address local_;
  address remote_;
};

class simulated_listener final : public host::listener {
 public:
  simulated_listener(streams& owner, std::uint32_t machine, std::uint64_t serial,
                     const address& local)
      : owner_(owner), machine_(machine), serial_(serial), local_(local) {}
  simulated_listener(const simulated_listener&) = delete;
  simulated_listener& operator=(const simulated_listener&) = delete;
  ~simulated_listener() override { owner_.close_listener(machine_, serial_); }
  [[nodiscard]] address local() const override { return local_; }

 private:
  streams& owner_;
  std::uint32_t machine_;
  std::uint64_t serial_;
  address local_;
};

P2PDVM_DECL byte_vector byte_queue::take(std::size_t max) {
  byte_vector out;
  if (offset_ == 0 && front_size() <= max && (bytes_ == front_size() || front_size() == max)) {
    out = std::move(parts_[head_]);
    bytes_ -= out.size();
    offset_ = out.size();
    drop_front();
    return out;
  }
  out.reserve(std::min(max, bytes_));
  while (out.size() < max && bytes_ > 0) {
    const std::size_t count = std::min(max - out.size(), front_size());
    append(out, byte_view(parts_[head_]).subspan(offset_, count));
    offset_ += count;
    bytes_ -= count;
    if (offset_ == parts_[head_].size()) drop_front();
  }
  return out;
}

P2PDVM_DECL void byte_queue::drop_front() {
  constexpr std::size_t dead_max = 64;
  parts_[head_++] = byte_vector();
  offset_ = 0;
  if (head_ == parts_.size()) {
    parts_.clear();
    head_ = 0;
  } else if (head_ > dead_max && head_ > parts_.size() / 2) {
    parts_.erase(parts_.begin(), parts_.begin() + static_cast<std::ptrdiff_t>(head_));
    head_ = 0;
  }
}

P2PDVM_DECL endpoint* streams::find(endpoint_id id) const {
  const auto slot = static_cast<std::uint32_t>(id) - 1;
  if (slot >= slots_.size() || !slots_[slot] || slots_[slot]->id != id) return nullptr;
  return slots_[slot].get();
}

P2PDVM_DECL endpoint& streams::make(std::uint32_t machine) {
  if (free_.empty()) {
    free_.push_back(static_cast<std::uint32_t>(slots_.size()));
    slots_.emplace_back();
    generations_.push_back(0);
  }
  const std::uint32_t slot = free_.back();
  free_.pop_back();
  slots_[slot] = std::make_unique<endpoint>();
  endpoint& e = *slots_[slot];
  e.id = (endpoint_id{++generations_[slot]} << 32) | (endpoint_id{slot} + 1);
  e.machine = machine;
  fabric_.sites[machine]->endpoints.push_back(e.id);
  return e;
}

P2PDVM_DECL void streams::free(endpoint& e) {
  const auto slot = static_cast<std::uint32_t>(e.id) - 1;
  std::erase(site_of(e).endpoints, e.id);
  slots_[slot].reset();
  free_.push_back(slot);
}

P2PDVM_DECL std::unique_ptr<host::stream> streams::handle_of(const endpoint& e) {
  return std::make_unique<simulated_stream>(*this, e.id, e.local, e.remote);
}

P2PDVM_DECL result<std::unique_ptr<host::listener>> streams::listen(
    site& s, const address& local, host::listen_handler& handler) {
  const auto port = fabric_.bind(s, s.listeners, local, handler, "listen on");
  if (!port) return port.error();
  return std::unique_ptr<host::listener>(
      std::make_unique<simulated_listener>(*this, s.index, port->serial, port->local));
}

P2PDVM_DECL void streams::close_listener(std::uint32_t machine, std::uint64_t serial) {
  std::erase_if(fabric_.sites[machine]->listeners,
                [serial](const auto& p) { return p.serial == serial; });
}

P2PDVM_DECL std::unique_ptr<host::stream> streams::connect(site& s, const address& remote) {
  endpoint& e = make(s.index);
  e.outgoing = true;
  e.remote = remote;
  e.local = fabric::source_for(s, remote, fabric::next_ephemeral(s));
  e.connect_deadline = fabric_.now + fabric_.net.conditions.connect_timeout.count();
  send_request(e, 0);
  return handle_of(e);
}

P2PDVM_DECL void streams::start(endpoint_id id, host::stream_handler& handler) {
  endpoint* e = find(id);
  if (e == nullptr) return;
  e->handler = &handler;
  notify(*e, fabric_.now);
}

P2PDVM_DECL void streams::write(endpoint_id id, byte_vector bytes) {
  endpoint* e = find(id);
  if (e == nullptr || e->failure || bytes.empty()) return;
  e->unsent.push(std::move(bytes));
  pump(*e);
  e->drain_wanted = !e->unsent.empty();
}

P2PDVM_DECL void streams::pause(endpoint_id id, bool paused) {
  endpoint* e = find(id);
  if (e == nullptr || e->paused == paused) return;
  e->paused = paused;
  if (!paused) notify(*e, fabric_.now);
}

P2PDVM_DECL std::size_t streams::unsent(endpoint_id id) const {
  const endpoint* e = find(id);
  return e == nullptr ? 0 : e->unsent.size();
}

/// As the kernel closes a socket: what was sent still arrives, and unread bytes make it a reset.
P2PDVM_DECL void streams::destroy(endpoint_id id) {
  endpoint* e = find(id);
  if (e == nullptr) return;
  if (e->peer != 0 && !e->failure)
    send(e->received.empty() ? event_kind::finish : event_kind::reset, *e, e->peer);
  free(*e);
}

P2PDVM_DECL bool streams::path_blocked(const endpoint& e) const {
  return e.remote_machine && fabric_.net.blocked(e.machine, *e.remote_machine, fabric_.now);
}

P2PDVM_DECL bool streams::way_back_blocked(const endpoint& e) const {
  return e.remote_machine && fabric_.net.blocked(*e.remote_machine, e.machine, fabric_.now);
}

P2PDVM_DECL bool streams::may_send(const endpoint& e) const {
  return e.open && e.peer != 0 && !e.failure && !e.unsent.empty() &&
         e.in_flight < fabric_.net.conditions.stream_window_bytes;
}

P2PDVM_DECL bool streams::uplink_shared(const endpoint& e) const {
  return *e.remote_machine != e.machine && fabric_.net.uplink_limited(e.machine);
}

P2PDVM_DECL void streams::pump(endpoint& e) {
  if (may_send(e)) {
    if (path_blocked(e) || way_back_blocked(e)) watch(e);
    if (path_blocked(e)) return;
    const bool shared = uplink_shared(e);
    if (shared && !site_of(e).uplink_waiters.empty()) {
      join_uplink(e);
      return;
    }
    while (may_send(e)) {
      if (shared && fabric_.net.uplink_ready(e.machine) > fabric_.now) {
        join_uplink(e);
        return;
      }
      send_segment(e);
    }
  }
  if (e.drain_wanted && e.unsent.empty()) notify(e, fabric_.now);
}

P2PDVM_DECL void streams::send_segment(endpoint& e) {
  const std::size_t room = fabric_.net.conditions.stream_window_bytes - e.in_flight;
  const std::size_t most = uplink_shared(e) ? segment_bytes_max_limited : segment_bytes_max;
  byte_vector bytes = e.unsent.take(std::min(room, most));
  e.in_flight += bytes.size();
  const tick arrival =
      fabric_.net.stream_arrival(e.machine, *e.remote_machine, bytes.size(), fabric_.now);
  e.last_arrival = std::max(e.last_arrival, arrival);
  event& sent = fabric_.schedule(e.last_arrival, event_kind::segment, *e.remote_machine);
  sent.origin = e.machine;
  sent.to = e.peer;
  sent.from = e.id;
  sent.bytes = std::move(bytes);
}

/// Streams that wait for a busy uplink take turns.
P2PDVM_DECL void streams::join_uplink(endpoint& e) {
  site& s = site_of(e);
  if (!e.uplink_waiting) s.uplink_waiters.push_back(e.id);
  e.uplink_waiting = true;
  if (s.uplink_pending) return;
  s.uplink_pending = true;
  const tick when = std::max(fabric_.now, fabric_.net.uplink_ready(s.index));
  fabric_.schedule(when, event_kind::uplink, s.index);
}

P2PDVM_DECL void streams::on_uplink(site& s) {
  s.uplink_pending = false;
  while (!s.uplink_waiters.empty() && fabric_.net.uplink_ready(s.index) <= fabric_.now) {
    endpoint* e = find(s.uplink_waiters.front());
    s.uplink_waiters.pop_front();
    if (e == nullptr) continue;
    e->uplink_waiting = false;
    if (may_send(*e) && path_blocked(*e)) watch(*e);
    if (may_send(*e) && !path_blocked(*e)) {
      send_segment(*e);
      e->uplink_waiting = may_send(*e);
      if (e->uplink_waiting) s.uplink_waiters.push_back(e->id);
    }
    if (e->drain_wanted && e->unsent.empty()) notify(*e, fabric_.now);
  }
  if (s.uplink_waiters.empty()) return;
  s.uplink_pending = true;
  fabric_.schedule(fabric_.net.uplink_ready(s.index), event_kind::uplink, s.index);
}

/// In quarters of the window, to save events.
P2PDVM_DECL void streams::give_credit(endpoint& e) {
  if (e.consumed < fabric_.net.conditions.stream_window_bytes / 4 || e.peer == 0 || e.failure)
    return;
  if (send(event_kind::credit, e, e.peer, e.consumed) != nullptr) e.consumed = 0;
}

P2PDVM_DECL event* streams::send(event_kind kind, endpoint& from, endpoint_id to,
                                 std::uint64_t amount) {
  if (!from.remote_machine || path_blocked(from)) return nullptr;
  const tick arrival =
      fabric_.net.stream_arrival(from.machine, *from.remote_machine, 0, fabric_.now);
  from.last_arrival = std::max(from.last_arrival, arrival);
  event& sent = fabric_.schedule(from.last_arrival, kind, *from.remote_machine);
  sent.origin = from.machine;
  sent.to = to;
  sent.from = from.id;
  sent.amount = amount;
  return &sent;
}

P2PDVM_DECL void streams::send_reset(std::uint32_t from, std::uint32_t to, endpoint_id id) {
  if (fabric_.net.blocked(from, to, fabric_.now)) return;
  const tick arrival = fabric_.net.stream_arrival(from, to, 0, fabric_.now);
  event& sent = fabric_.schedule(arrival, event_kind::reset, to);
  sent.origin = from;
  sent.to = id;
}

P2PDVM_DECL void streams::send_request(endpoint& e, std::uint64_t attempt) {
  const auto way =
      fabric_.route_of(site_of(e), e.local.port(), e.remote, traffic::stream);
  if (way) e.remote_machine = way->target;
  if (event* request = way ? send(event_kind::connect, e, 0, attempt) : nullptr) {
    request->source = way->source;
    request->destination = e.remote;
  }
  const tick delay = request_retry << std::min<std::uint64_t>(attempt, 6);
  const tick when = std::min(fabric_.now + delay, std::max(fabric_.now, e.connect_deadline));
  event& retry = fabric_.schedule(when, event_kind::retry, e.machine);
  retry.to = e.id;
  retry.amount = attempt + 1;
}

P2PDVM_DECL void streams::crash(site& s, crash_mode mode) {
  for (const endpoint_id id : std::vector<endpoint_id>(s.endpoints)) {
    endpoint& e = *find(id);
    if (mode == crash_mode::reset && e.peer != 0 && !e.failure) send(event_kind::reset, e, e.peer);
    free(e);
  }
  s.listeners.clear();
  s.uplink_waiters.clear();
}

P2PDVM_DECL void streams::restarted(site& s) {
  for (const auto& e : slots_)
    if (e && e->unanswered && e->remote_machine == s.index) send_reset(s.index, e->machine, e->id);
}

P2PDVM_DECL void streams::resume_all() {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    if (!slots_[i]) continue;
    endpoint& e = *slots_[i];
    if (!e.unanswered && !path_blocked(e) && !way_back_blocked(e)) e.silent_since = tick_never;
    pump(e);
    give_credit(e);
  }
}

}  // namespace p2pdvm::sim::detail

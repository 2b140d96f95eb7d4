/// A tiny in-memory host for tests of the exchange: one latency, faults on demand.
#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/host/host.hpp>

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <stdexcept>
#include <utility>
#include <vector>

namespace fake {

using namespace p2pdvm;

class stream;
class machine;

/// Virtual time, all machines, and what is wrong with the network.
class world {
 public:
  time_point now{std::chrono::seconds(1)};
  duration latency = std::chrono::milliseconds(10);
  /// Stream bytes until the connection that carries them breaks; then it is rearmed by hand.
  std::size_t bytes_until_cut = ~std::size_t{0};
  /// Machines that hear nothing and of which nothing is heard, without any error.
  std::set<const machine*> silent;
  /// Machines whose writes stay where they are; they still hear.
  std::set<const machine*> stuck;
  std::map<address, machine*> machines;
  std::map<address, host::listen_handler*> listeners;
  std::map<address, host::datagram_handler*> sockets;
  std::vector<std::pair<address, byte_vector>> datagrams;  ///< all that were sent

  std::uint64_t call_at(time_point when, std::function<void()> action) {
    const std::uint64_t id = ++last_id_;
    times_[id] = std::max(when, now);
    events_[{times_[id], id}] = std::move(action);
    return id;
  }
  void cancel(std::uint64_t id) {
    const auto found = times_.find(id);
    if (found == times_.end()) return;
    events_.erase({found->second, id});
    times_.erase(found);
  }
  void run_for(duration span) {
    const time_point end = now + span;
    while (!events_.empty() && events_.begin()->first.first <= end) step();
    now = end;
  }
  /// False when it did not come true within `span`.
  bool run_until(const std::function<bool()>& done, duration span = std::chrono::seconds(100)) {
    const time_point end = now + span;
    while (!done()) {
      if (events_.empty() || events_.begin()->first.first > end) return false;
      step();
    }
    return true;
  }

 private:
  void step() {
    auto event = events_.extract(events_.begin());
    now = event.key().first;
    times_.erase(event.key().second);
    event.mapped()();
  }
  std::map<std::pair<time_point, std::uint64_t>, std::function<void()>> events_;
  std::map<std::uint64_t, time_point> times_;
  std::uint64_t last_id_ = 0;
};

/// The two ends of one connection; an end is null once it is destroyed or broken.
struct cable {
  stream* ends[2] = {nullptr, nullptr};
  machine* hosts[2] = {nullptr, nullptr};
  /// Hosts may be gone; only their addresses are looked at.
  [[nodiscard]] bool silent(const world& w) const {
    return w.silent.count(hosts[0]) + w.silent.count(hosts[1]) > 0;
  }
};

class stream final : public host::stream {
 public:
  stream(fake::world& w, std::shared_ptr<cable> c, int side, const address& local,
         const address& remote)
      : world_(w), cable_(std::move(c)), side_(side), local_(local), remote_(remote) {
    cable_->ends[side_] = this;
  }
  ~stream() override;
  [[nodiscard]] address local() const override { return local_; }
  [[nodiscard]] address remote() const override { return remote_; }
  void start(host::stream_handler& handler) override { handler_ = &handler; }
  void write(byte_vector bytes) override;
  [[nodiscard]] std::size_t unsent() const override { return unsent_; }
  void pause(bool) override {}

  void open() {
    if (handler_) handler_->on_open();
  }
  void deliver(byte_view bytes);
  void fail(errc code) {
    cable_->ends[side_] = nullptr;
    if (handler_) std::exchange(handler_, nullptr)->on_closed(error(code));
  }

 private:
  fake::world& world_;
  std::shared_ptr<cable> cable_;
  int side_;
  address local_;
  address remote_;
  host::stream_handler* handler_ = nullptr;
  std::size_t unsent_ = 0;
};

class machine final : public host::machine,
                      private host::clock,
                      private host::entropy,
                      private host::network {
 public:
  machine(fake::world& w, std::uint8_t last_byte)
      : world(w), ip(address::v4(10, 0, 0, last_byte, 0)), random_(last_byte) {
    world.machines[ip] = this;
  }
  fake::world& world;
  const address ip;
  std::vector<std::weak_ptr<cable>> cables;

  [[nodiscard]] bool silent() const { return world.silent.count(this) > 0; }
  /// All connections of this machine break, as when its address changes.
  void break_connections() {
    for (const auto& weak : std::exchange(cables, {})) {
      if (const auto c = weak.lock()) break_cable(*c);
    }
  }
  static void break_cable(cable& c) {
    for (const int side : {0, 1}) {
      if (c.ends[side]) c.ends[side]->fail(errc::io);
    }
  }

  host::clock& clock() override { return *this; }
  host::entropy& entropy() override { return *this; }
  host::network& network() override { return *this; }
  host::disk& disk() override { throw std::logic_error("no disk here"); }

 private:
  struct listener final : host::listener {
    listener(fake::world& w, const address& a) : world(w), where(a) {}
    ~listener() override { world.listeners.erase(where); }
    [[nodiscard]] address local() const override { return where; }
    fake::world& world;
    address where;
  };
  struct socket final : host::datagram_socket {
    socket(machine& m, const address& a) : owner(m), where(a) {}
    ~socket() override { owner.world.sockets.erase(where); }
    [[nodiscard]] address local() const override { return where; }
    void send(const address& to, byte_view bytes) override {
      fake::world& w = owner.world;
      w.datagrams.emplace_back(to, to_vector(bytes));
      if (owner.silent()) return;
      w.call_at(w.now + w.latency, [&w, to, from = where, copy = to_vector(bytes)] {
        const auto at = w.sockets.find(to);
        if (at != w.sockets.end()) at->second->on_datagram(from, copy);
      });
    }
    machine& owner;
    address where;
  };

  [[nodiscard]] time_point now() const override { return world.now; }
  [[nodiscard]] unix_seconds wall() const override { return 0; }
  host::timer_id call_at(time_point when, std::function<void()> action) override {
    return world.call_at(when, std::move(action));
  }
  void cancel(host::timer_id id) override { world.cancel(id); }
  void fill(byte_span out) override {
    for (auto& b : out) b = static_cast<std::byte>(random_());
  }
  address place(const address& wanted) {
    return ip.with_port(wanted.port() != 0 ? wanted.port() : ++next_port_);
  }
  result<std::unique_ptr<host::datagram_socket>> open_datagrams(
      const address& wanted, host::datagram_handler& handler) override {
    const address where = place(wanted);
    if (!world.sockets.emplace(where, &handler).second) return error(errc::address_in_use);
    return std::unique_ptr<host::datagram_socket>(new socket(*this, where));
  }
  result<std::unique_ptr<host::listener>> listen(const address& wanted,
                                                 host::listen_handler& handler) override {
    const address where = place(wanted);
    if (!world.listeners.emplace(where, &handler).second) return error(errc::address_in_use);
    return std::unique_ptr<host::listener>(new listener(world, where));
  }
  std::unique_ptr<host::stream> connect(const address& remote) override;
  [[nodiscard]] std::vector<address> interfaces() const override { return {ip}; }

  random_generator random_;
  std::uint16_t next_port_ = 40000;
};

inline void stream::deliver(byte_view bytes) {
  if (!handler_ || cable_->silent(world_)) return;
  fake::world& w = world_;
  const std::size_t count = std::min(bytes.size(), w.bytes_until_cut);
  const bool cut = count < bytes.size();
  const auto keep = cable_;  // the handler may destroy this stream
  if (w.bytes_until_cut != ~std::size_t{0}) w.bytes_until_cut -= count;
  if (cut) w.bytes_until_cut = ~std::size_t{0};
  if (count > 0) handler_->on_data(bytes.first(count));
  if (cut) machine::break_cable(*keep);
}

inline void stream::write(byte_vector bytes) {
  const auto keep = cable_;
  const int mine = side_;
  fake::world& w = world_;
  unsent_ += bytes.size();
  if (w.stuck.count(cable_->hosts[side_]) > 0) return;
  w.call_at(w.now + std::chrono::milliseconds(1), [keep, mine, size = bytes.size()] {
    stream* self = keep->ends[mine];
    if (!self) return;
    self->unsent_ -= size;
    if (self->unsent_ == 0 && self->handler_) self->handler_->on_drained();
  });
  if (cable_->silent(world_)) return;
  w.call_at(w.now + w.latency, [keep, mine, bytes = std::move(bytes)] {
    if (stream* other = keep->ends[1 - mine]) other->deliver(bytes);
  });
}

inline stream::~stream() {
  if (cable_->ends[side_] == this) cable_->ends[side_] = nullptr;
  if (cable_->silent(world_)) return;
  fake::world& w = world_;
  w.call_at(w.now + w.latency, [keep = cable_, other = 1 - side_] {
    if (keep->ends[other]) keep->ends[other]->fail(errc::closed);
  });
}

inline std::unique_ptr<host::stream> machine::connect(const address& remote) {
  auto c = std::make_shared<cable>();
  const address mine = ip.with_port(++next_port_);
  auto client = std::make_unique<stream>(world, c, 0, mine, remote);
  c->hosts[0] = this;
  cables.push_back(c);
  if (silent()) return client;
  world.call_at(world.now + world.latency, [this, c, mine, remote] {
    if (!c->ends[0]) return;
    const auto at = world.listeners.find(remote);
    if (at == world.listeners.end()) return c->ends[0]->fail(errc::unreachable);
    c->hosts[1] = world.machines.at(remote.with_port(0));
    c->hosts[1]->cables.push_back(c);
    at->second->on_accept(std::make_unique<stream>(world, c, 1, remote, mine));
    world.call_at(world.now + world.latency, [c] {
      if (c->ends[0]) c->ends[0]->open();
    });
  });
  return client;
}

}  // namespace fake

#pragma once

#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/sim/machine.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::sim {

namespace detail {

inline std::uint64_t mix_seed(std::uint64_t seed, std::uint64_t a, std::uint64_t b) {
  random_generator mixer(seed ^ (a * 0x9e3779b97f4a7c15ull) ^ (b * 0xd1342543de82ef95ull));
  return mixer();
}

/// What a stream or file of a past life turns into: it accepts calls and does nothing.
class dead_stream final : public host::stream {
 public:
  explicit dead_stream(const address& remote) : remote_(remote) {}
  [[nodiscard]] address local() const override { return {}; }
  [[nodiscard]] address remote() const override { return remote_; }
  void start(host::stream_handler&) override {}
  void write(byte_vector) override {}
  [[nodiscard]] std::size_t unsent() const override { return 0; }
  void pause(bool) override {}

 private:
  address remote_;
};

/// The host interfaces of one life of a machine.
class life final : public host::clock, public host::entropy, public host::network {
 public:
  life(world& w, site& s, const machine_options& how, disk_image& storage)
      : world_(w),
        site_(s),
        number_(s.life),
        offset_(how.clock_offset.count()),
        drift_(how.clock_drift),
        wall_offset_(how.wall_offset),
        random_(mix_seed(w.seed, s.index + 1, s.life)),
        disk_(storage.mount()) {}

  [[nodiscard]] time_point now() const override {
    return time_point(duration(local_of(world_.core.now)));
  }
  [[nodiscard]] unix_seconds wall() const override {
    return world_.wall_start + wall_offset_ + local_of(world_.core.now) / second;
  }
  host::timer_id call_at(time_point when, std::function<void()> action) override {
    if (!alive()) return ~host::timer_id{0};
    const tick at = std::max(world_.core.now, global_of(when.time_since_epoch().count()));
    const event_queue::slot slot = world_.core.queue.add(at, event_kind::timer, site_.index);
    event& e = world_.core.queue[slot];
    e.life = number_;
    e.action = std::move(action);
    return (host::timer_id{e.generation} << 32) | (host::timer_id{slot} + 1);
  }
  void cancel(host::timer_id timer) override {
    const auto slot = static_cast<event_queue::slot>(timer) - 1;
    if (!world_.core.queue.holds(slot)) return;
    const event& e = world_.core.queue[slot];
    const bool same = e.kind == event_kind::timer && e.machine == site_.index &&
                      e.life == number_ && e.generation == static_cast<std::uint32_t>(timer >> 32);
    if (same) world_.core.queue.cancel(slot);
  }

  void fill(byte_span out) override {
    while (!out.empty()) {
      const std::uint64_t word = random_();
      const std::size_t count = std::min(out.size(), sizeof word);
      std::memcpy(out.data(), &word, count);
      out = out.subspan(count);
    }
  }

  result<std::unique_ptr<host::datagram_socket>> open_datagrams(
      const address& local, host::datagram_handler& handler) override {
    if (!alive()) return crashed();
    return world_.udp.open(site_, local, handler);
  }
  result<std::unique_ptr<host::listener>> listen(const address& local,
                                                 host::listen_handler& handler) override {
    if (!alive()) return crashed();
    return world_.tcp.listen(site_, local, handler);
  }
  std::unique_ptr<host::stream> connect(const address& remote) override {
    if (!alive()) return std::make_unique<dead_stream>(remote);
    return world_.tcp.connect(site_, remote);
  }
  [[nodiscard]] std::vector<address> interfaces() const override {
    return {site_.ip, address::loopback(0)};
  }

  [[nodiscard]] host::disk& disk() noexcept { return *disk_; }

 private:
  static constexpr std::int64_t second = 1'000'000'000;

  [[nodiscard]] bool alive() const noexcept { return site_.up && site_.life == number_; }
  [[nodiscard]] error crashed() const { return error(errc::io, site_.name + " has crashed"); }

  [[nodiscard]] std::int64_t local_of(tick global) const noexcept {
    if (drift_ == 0) return global + offset_;
    __extension__ using wide = __int128;
    return global + offset_ + static_cast<std::int64_t>(wide{global} * drift_ / second);
  }
  /// The first tick at which the local clock shows at least `local`.
  [[nodiscard]] tick global_of(std::int64_t local) const noexcept {
    __extension__ using wide = __int128;
    const wide since = wide{local} - offset_;
    wide global = drift_ == 0 ? since : since * second / (second + drift_);
    if (global <= 0) return 0;
    if (global >= tick_never - 2) return tick_never;
    while (local_of(static_cast<tick>(global)) < local) ++global;
    return static_cast<tick>(global);
  }

  world& world_;
  site& site_;
  std::uint32_t number_;
  std::int64_t offset_;
  std::int64_t drift_;
  std::int64_t wall_offset_;
  random_generator random_;
  std::unique_ptr<host::disk> disk_;
};

inline void give_public_ip(fabric& core, site& s, const address& wanted) {
  s.ip = wanted.with_port(0);
  std::uint32_t n = s.index;
  while (s.ip.is_any() || (wanted.is_any() && core.has_ip(s.ip))) {
    ++n;
    s.ip = address::v4(10, static_cast<std::uint8_t>(n >> 16), static_cast<std::uint8_t>(n >> 8),
                       static_cast<std::uint8_t>(n), 0);
  }
  core.add_ip(s.ip, s.index);
}

/// Gives the machine whose site it shares.
inline std::optional<std::uint32_t> enter_nat(nat_box& nat, site& s, const machine_options& how) {
  P2PDVM_ASSERT(how.address.is_any());
  const std::optional<std::uint32_t> neighbour = nat.first_machine();
  s.nat = &nat;
  s.ip = nat.admit(s.index);
  for (const std::uint16_t port : how.forwarded_ports) nat.forward({s.index, port});
  return neighbour;
}

inline site& new_site(world& w, const machine_options& how) {
  fabric& core = w.core;
  auto s = std::make_unique<site>();
  s->index = static_cast<std::uint32_t>(core.sites.size());
  s->name = how.name.empty() ? "machine " + std::to_string(s->index) : how.name;
  std::optional<std::uint32_t> neighbour;
  if (how.nat) {
    neighbour = enter_nat(*core.nats[*how.nat], *s, how);
  } else {
    give_public_ip(core, *s, how.address);
  }
  core.net.add_machine(how, neighbour);
  core.sites.push_back(std::move(s));
  return *core.sites.back();
}

}  // namespace detail

P2PDVM_DECL machine::machine(detail::world& w, const machine_options& how)
    : world_(w),
      site_(detail::new_site(w, how)),
      options_(how),
      storage_(site_.name, how.disk_bytes, detail::mix_seed(w.seed, site_.index + 1, 0),
               [this](duration delay, std::function<void()> action) {
                 detail::fabric& core = world_.core;
                 detail::event& e = core.schedule(core.now + delay.count(),
                                                  detail::event_kind::disk, site_.index);
                 e.life = site_.life;
                 e.action = std::move(action);
               }) {
  P2PDVM_ASSERT(how.clock_drift > -500'000'000);
  storage_.set_time([this] { return time_point(duration(world_.core.now)); });
  begin_life();
}

P2PDVM_DECL machine::~machine() = default;

P2PDVM_DECL host::clock& machine::clock() { return *life_; }
P2PDVM_DECL host::entropy& machine::entropy() { return *life_; }
P2PDVM_DECL host::network& machine::network() { return *life_; }
P2PDVM_DECL host::disk& machine::disk() { return life_->disk(); }

P2PDVM_DECL void machine::begin_life() {
  lives_.push_back(std::make_unique<detail::life>(world_, site_, options_, storage_));
  life_ = lives_.back().get();
}

P2PDVM_DECL void machine::prefetch_life() const noexcept { prefetch(life_, sizeof(detail::life)); }

P2PDVM_DECL void machine::crash(crash_mode mode) {
  if (!site_.up) return;
  site_.up = false;
  site_.silent = mode == crash_mode::silent;
  ++site_.life;
  site_.stalled_until = 0;
  world_.tcp.crash(site_, mode);
  site_.sockets.clear();
  detail::fabric::sockets_changed(site_);
  storage_.crash(time_point(duration(world_.core.now)));
}

P2PDVM_DECL void machine::restart() {
  if (site_.up) return;
  site_.up = true;
  begin_life();
  world_.tcp.restarted(site_);
}

P2PDVM_DECL void machine::stall(duration how_long) {
  site_.stalled_until = std::max(site_.stalled_until, world_.core.now + how_long.count());
}

}  // namespace p2pdvm::sim

#include "messaging/session_run.hpp"

#include "support/test.hpp"

#include <p2pdvm/host/delayed_network.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <deque>
#include <functional>
#include <memory>

namespace p2pdvm::test {
namespace {

using namespace messaging;
using namespace std::chrono_literals;

constexpr std::size_t places = 3;  ///< machines of one peer
constexpr std::uint16_t port = 4000;
constexpr std::size_t size_max = 512 * 1024;
constexpr std::size_t fates_max = 40;  ///< streams with a fate in one run
constexpr duration end_max = 24h;      ///< for what is under way when the faults are over

struct planned_message {
  messaging::priority priority = priority::normal;
  std::uint8_t channel = 0;
  std::size_t header = 0;  ///< of its bytes
  byte_view bytes;         ///< a part of `pattern`
};

const byte_vector& pattern() {
  static const byte_vector bytes = [] {
    random_generator random(7);
    byte_vector b(3 * size_max);
    for (auto& x : b) x = static_cast<std::byte>(random());
    return b;
  }();
  return bytes;
}

constexpr std::size_t relay_identity = 2;

const crypto::identity& identity_of(std::size_t i) {
  static const std::array<crypto::identity, 3> known = [] {
    const auto of = [](std::string_view name) {
      return crypto::identity(crypto::secret_key(crypto::hash(as_bytes(name)).bytes()));
    };
    return std::array{of("one"), of("two"), of("relay")};
  }();
  return known[i];
}

exchange_options options_of(bool aes) {
  exchange_options o;
  o.swarm = link::swarm_id(crypto::hash(as_bytes("swarm")).bytes());
  o.allow_aes = aes;
  return o;
}

/// A third peer, connected with both; where it is there, they may reach each other through it.
class relay final : public exchange_handler {
 public:
  relay(sim::machine& where, bool aes)
      : machine(where), x(machine, identity_of(relay_identity), options_of(aes), *this) {
    REQUIRE(x.listen(address::v4(0, 0, 0, 0, port)).ok());
    for (const std::size_t i : {0u, 1u}) x.trust(identity_of(i).id());
  }
  [[nodiscard]] contact here() const {
    return {identity_of(relay_identity).key(), {machine.address().with_port(port)}};
  }
  void on_message(const node_id&, std::uint8_t, arrived_message) override {}

  sim::machine& machine;
  exchange x;
};

/// One peer: sends what it is told to, as its session lets it, and checks what it hears.
class side final : public exchange_handler {
 public:
  side(std::vector<sim::machine*> where, const crypto::identity& who, const node_id& other,
       bool aes, faulty_network::draw fate)
      : machines(std::move(where)),
        network(machines[0]->clock(), networks_of(machines), std::move(fate)),
        self(who),
        other_(other),
        machine_(*machines[0], network),
        x(machine_, self, options_of(aes), *this) {
    REQUIRE(x.listen(address::v4(0, 0, 0, 0, port)).ok());
    x.trust(other);
  }

  [[nodiscard]] contact here() const {
    return {self.key(), {machines[network.place()]->address().with_port(port)}};
  }
  void send(const std::vector<planned_message>& burst, side& to) {
    for (const planned_message& m : burst) {
      backlog_.push_back(m);
      to.expected_[static_cast<std::size_t>(m.priority)].push_back(m);
    }
    pump();
  }
  [[nodiscard]] bool complete() const {
    for (const auto& queue : expected_)
      if (!queue.empty()) return false;
    return failure.empty();
  }
  [[nodiscard]] std::size_t to_come() const {
    return expected_[0].size() + expected_[1].size() + expected_[2].size();
  }
  void fail(std::string why) {
    if (failure.empty()) failure = std::move(why);
  }

  void be_relayed(const relay& by) {
    REQUIRE(x.learn(by.here()).ok());
    x.trust(by.x.self().id());
    relay_ = by.x.self().id();
    x.keep(*relay_);
  }
  [[nodiscard]] const std::optional<node_id>& relay() const { return relay_; }
  std::vector<node_id> relays_to(const node_id&) override {
    return relay_ ? std::vector{*relay_} : std::vector<node_id>();
  }
  void on_path(const node_id& node, const std::optional<node_id>& by) override {
    if (node == other_) tell(by ? "goes by the relay" : "goes directly");
  }

  /// A posted receive that takes a message, and may be withdrawn before it has come.
  landing land(const node_id& from, std::uint8_t, byte_view begin, std::size_t total, landing_guest& guest) override {
    std::erase_if(grounds_, [](const auto& g) { return g->site.guest == nullptr; });
    if (from != other_ || !whims.chance(0.4)) return {};
    const std::size_t front = whims.chance(0.1) ? whims.below(total + 1) : whims.below(std::min<std::size_t>(begin.size(), 60) + 1);
    const auto g = std::make_shared<ground>(total - front);
    if (whims.chance(0.6))
      call_later([g] {
        g->site.clear();
        g->spoil();
      });
    grounds_.push_back(g);
    return landing(g->site, guest, g->memory);
  }

  void on_message(const node_id&, std::uint8_t channel, arrived_message message) override {
    byte_vector joined;
    if (!message.landed.empty()) {
      const auto lies = [&](const auto& g) { return g->memory.data() == message.landed.data(); };
      if (std::find_if(grounds_.begin(), grounds_.end(), lies) == grounds_.end()) fail("a message lies where it may not");
      joined = to_vector(message.view);
      append(joined, message.landed);
      message.view = joined;
    }
    ++heard;
    // A message does not tell its priority; its channel does.
    auto& queue = expected_[channel % priorities];
    if (queue.empty()) return fail(fmt::format("message {} is one too many", heard));
    const planned_message m = queue.front();
    queue.pop_front();
    if (channel != m.channel || !equal(message.view, m.bytes))
      fail(fmt::format("message {} has {} bytes on channel {}; the next one has {} on {}", heard,
                       message.view.size(), channel, m.bytes.size(), m.channel));
  }
  void on_peer_up(const node_id& who) override {
    if (who != other_) return;
    tell("up");
    if (++ups_ > 1) fail("the other peer came up twice");
  }
  void on_peer_reset(const node_id& who) override {
    if (who == other_) fail("the session was reset: " + last_lost_);
  }
  void on_connection_lost(const node_id& who, const error& why) override {
    if (who != other_) return;
    last_lost_ = why.message();
    tell("lost: " + last_lost_);
  }
  void on_writable(const node_id&) override { pump(); }

  std::function<void(const std::string&)> tell;
  std::vector<sim::machine*> machines;
  faulty_network network;
  const crypto::identity& self;

 private:
  static std::vector<host::network*> networks_of(const std::vector<sim::machine*>& from) {
    std::vector<host::network*> all;
    for (sim::machine* m : from) all.push_back(&m->network());
    return all;
  }
  void pump() {
    while (!backlog_.empty() && !x.congested(other_)) {
      const planned_message m = backlog_.front();
      backlog_.pop_front();
      const byte_view header = m.bytes.first(m.header), body = m.bytes.subspan(m.header);
      if (m.priority == priority::normal && whims.chance(0.3)) {
        const auto g = std::make_shared<ground>(0);
        g->memory = to_vector(body);
        const std::uint64_t number = ++loans_;
        x.lend(other_, m.channel, header, g->memory, number);
        const bool copied = whims.chance(0.5);
        const auto take_back = [this, g, number, copied] {
          if (copied) {
            x.take_back(other_, number, g->memory, payload::copy_of(g->memory));
          } else {
            x.take_back(other_, number);
          }
          g->spoil();
        };
        if (copied && whims.chance(0.5)) {
          take_back();
        } else {
          call_later(take_back);
        }
      } else {
        x.send(other_, m.channel, header, payload::copy_of(body), m.priority);
      }
      if (x.unacknowledged(other_) > limits::session_window_bytes_max + size_max + frame_cost_bytes)
        fail("a session keeps more than its window");
    }
  }

  /// Memory of a program.
  struct ground {
    explicit ground(std::size_t bytes) : memory(bytes) {}
    void spoil() { std::fill(memory.begin(), memory.end(), std::byte{0xee}); }
    byte_vector memory;
    landing_site site;
  };
  void call_later(std::function<void()> action) {
    const duration after = 1us * static_cast<std::int64_t>(whims.below(std::uint64_t{16} << whims.below(18)));
    machines[0]->clock().call_at(machines[0]->clock().now() + after, std::move(action));
  }

  node_id other_;
  host::machine_with_network machine_;
  std::vector<std::shared_ptr<ground>> grounds_;
  std::uint64_t loans_ = 0;
  std::deque<planned_message> backlog_;
  std::array<std::deque<planned_message>, priorities> expected_;
  std::string last_lost_;
  int ups_ = 0;
  std::optional<node_id> relay_;

 public:
  std::string failure;
  random_generator whims{0};  ///< of the program
  std::uint64_t heard = 0;
  exchange x;
};

class session_run {
 public:
  session_run(std::uint64_t seed, const session_plan& plan)
      : plan_(plan), random_(seed), fates_(seed + 1), simulation_(how(seed)) {
    const bool swap = random_.chance(0.5);
    const bool aes = random_.chance(0.5);
    for (const std::size_t i : {0u, 1u}) {
      std::vector<sim::machine*> machines;
      for (std::size_t m = 0; m < places; ++m) machines.push_back(&simulation_.add_machine(machine_how()));
      sides_[i] = std::make_unique<side>(
          machines, identity_of(swap ? 1 - i : i), identity_of(swap ? i : 1 - i).id(), aes,
          [this, i] { return draw_fate(i); });
      sides_[i]->whims = random_generator(seed + 3 + i);
      sides_[i]->tell = [this, i](const std::string& what) { print(i, what); };
    }
    if (!plan_.only && random_generator(seed + 2).chance(0.5)) {
      relay_ = std::make_unique<relay>(simulation_.add_machine(machine_how()), aes);
      for (auto& s : sides_) s->be_relayed(*relay_);
    }
    fate_share_ = plan_.only ? 0 : std::array{0.0, 0.3, 0.8, 1.0}[random_.below(4)];
  }
  ~session_run() {
    sides_ = {};
    relay_.reset();
  }

  session_outcome to_end() {
    plan_messages();
    if (!plan_.only) plan_faults();
    simulation_.run_until(calm_);
    be_calm();
    const auto complete = [this] { return a().complete() && b().complete(); };
    const bool failed = !a().failure.empty() || !b().failure.empty();
    if (!failed && !simulation_.run_until(complete, calm_ + end_max)) a().fail("messages are missing");
    check_idle();
    return outcome();
  }

 private:
  [[nodiscard]] side& a() { return *sides_[0]; }
  [[nodiscard]] side& b() { return *sides_[1]; }
  void print(std::size_t i, const std::string& what) const {
    if (plan_.print)
      fmt::print("{:10.3f} s, peer {} with {} to come: {}\n", to_seconds(simulation_.now().time_since_epoch()), i,
                 sides_[i]->to_come(), what);
  }
  [[nodiscard]] side& other(side& s) { return &s == &a() ? b() : a(); }

  sim::options how(std::uint64_t seed) {
    using sim::latency_profile;
    constexpr std::array profiles = {latency_profile::loopback, latency_profile::lan,
                                     latency_profile::planetlab, latency_profile::residential};
    sim::options o;
    o.seed = seed;
    o.profile = profiles[random_.below(profiles.size())];
    o.conditions = sim::conditions_of(o.profile);
    o.conditions->partial_reads = random_.unit();
    o.conditions->stream_window_bytes = std::size_t{4096} << random_.below(9);
    return o;
  }

  [[nodiscard]] sim::machine_options machine_how() const {
    sim::machine_options o;
    o.up = plan_.bits_per_second;
    return o;
  }

  // --- what is sent ---

  /// From 1 to 2 to the power of `doublings` of `least`; each doubling is as likely.
  duration drawn(duration least, std::uint64_t doublings) {
    const auto base = least.count() << random_.below(doublings);
    return duration(base + static_cast<std::int64_t>(random_.below(static_cast<std::uint64_t>(base))));
  }
  time_point drawn_time() {
    const auto end = static_cast<std::uint64_t>(calm_.time_since_epoch().count());
    return time_point(duration(static_cast<std::int64_t>(random_.below(end))));
  }

  planned_message draw_message(double large) {
    std::size_t size = random_.below(64);
    if (random_.chance(0.3)) size = random_.below(1024);
    if (random_.chance(0.05)) size = random_.below(16 * 1024);
    if (random_.chance(large)) size = random_.below(size_max + 1);
    if (random_.chance(0.1)) size = 0;
    planned_message m;
    m.priority = random_.chance(0.7) ? priority::normal : static_cast<priority>(random_.below(3));
    m.channel = static_cast<std::uint8_t>(random_.below(80) * priorities + static_cast<std::size_t>(m.priority));
    const std::size_t offset = random_.below(pattern().size() - size_max);
    m.bytes = byte_view(pattern()).subspan(offset, size);
    m.header = random_.below(std::min<std::size_t>(size, random_.chance(0.99) ? 40 : size_max) + 1);
    return m;
  }

  void plan_messages() {
    const double share = std::array{0.0, 0.1, 0.5, 0.5, 0.9, 1.0}[random_.below(6)];
    const double large = plan_.only ? 0.05 : std::array{0.001, 0.003, 0.006, 0.05}[random_.chance(0.03) ? 3 : random_.below(3)];
    const std::uint64_t burst_max = std::array{5, 50, 500}[random_.below(3)];
    time_point at = simulation_.now();
    for (std::size_t left = plan_.messages; left > 0;) {
      const std::size_t count = std::min<std::size_t>(left, 1 + random_.below(burst_max));
      left -= count;
      side& from = random_.chance(share) ? a() : b();
      std::vector<planned_message> burst;
      for (std::size_t i = 0; i < count; ++i) burst.push_back(draw_message(large));
      simulation_.call_at(at, [this, &from, burst = std::move(burst)] { from.send(burst, other(from)); });
      // Now and then so long that an idle connection is closed.
      at += random_.chance(0.01) ? drawn(20s, 4) : random_.chance(0.5) ? duration(1us) : drawn(1ms, 10);
    }
    calm_ = at + 1s;
    const bool both_know = random_.chance(0.8);
    side& caller = share > 0.5 ? a() : b();
    know(caller, other(caller));
    if (both_know) know(other(caller), caller);
    caller.x.keep(other(caller).self.id(), !both_know || random_.chance(0.5));
    if (both_know && random_.chance(0.5)) other(caller).x.keep(caller.self.id());
  }
  static void know(side& who, const side& whom) { REQUIRE(who.x.learn(whom.here()).ok()); }

  // --- what goes wrong ---

  stream_end draw_end() { return static_cast<stream_end>(fates_.below(stream_ends)); }
  stream_fate draw_fate(std::size_t of) {
    if (plan_.only) {
      if (of != 0) return {};
      const std::size_t n = fates_drawn_++;
      if (n == (plan_.of_second ? 1u : 0u)) return *plan_.only;
      stream_fate first;
      if (n == 0) first.life = 300ms;
      return first;
    }
    stream_fate f;
    if (is_calm_ || fates_drawn_ >= fates_max || !fates_.chance(fate_share_)) return f;
    ++fates_drawn_;
    // A handshake, some hellos, some records, much.
    const std::size_t bytes = fates_.below(std::array{400, 2000, 100'000, 1'000'000}[fates_.below(4)]) + 1;
    switch (fates_.below(3)) {
      case 0: f.read_max = bytes; break;
      case 1: f.write_max = bytes; break;
      default: f.life = duration(static_cast<std::int64_t>(fates_.below(10'000'000'000ull >> fates_.below(14))));
    }
    f.end = draw_end();
    f.linger = duration(static_cast<std::int64_t>(fates_.below(60'000'000'000ull >> fates_.below(10))));
    return f;
  }

  void plan_faults() {
    const std::size_t count = std::array{0, 3, 10, 30}[random_.below(4)];
    const time_point end = calm_;
    for (std::size_t i = 0; i < count; ++i) {
      const time_point at = drawn_time();
      const duration span = drawn(1ms, 18);
      calm_ = std::max(calm_, at + span);
      const std::uint64_t kind = random_.below(6);
      side& who = random_.chance(0.5) ? a() : b();
      const std::uint64_t way = random_.below(3);
      simulation_.call_at(at, [this, kind, &who, way, span] { happen(kind, who, way, span); });
    }
    calm_ = std::max(calm_, end);
  }
  void happen(std::uint64_t kind, side& who, std::uint64_t way, duration span) {
    constexpr std::array names = {"cut", "cut both", "partition", "stall", "move", "keep"};
    who.tell(fmt::format("{} {} for {:.3f} s", names[kind], way, to_seconds(span)));
    switch (kind) {
      case 0: return who.network.cut_all(static_cast<stream_end>(way), span);
      case 1:  // both learn at once
        who.network.cut_all(stream_end::one, span);
        return other(who).network.cut_all(stream_end::one, span);
      case 2: return partition(who, way, span);
      case 3:
        ++tally_.stalls;
        for (sim::machine* m : who.machines) m->stall(span);
        return;
      case 4: return move(who, static_cast<stream_end>(way), span);
      default: who.x.keep(other(who).self.id(), way == 0);
    }
  }
  void partition(side& who, std::uint64_t way, duration span) {
    ++tally_.partitions;
    const std::vector<const sim::machine*> from(who.machines.begin(), who.machines.end());
    side& whom = other(who);
    const std::vector<const sim::machine*> to(whom.machines.begin(), whom.machines.end());
    const sim::fault_id id =
        simulation_.partition(from, to, way == 0 ? sim::direction::both : sim::direction::forward);
    simulation_.call_at(simulation_.now() + span, [this, id] { simulation_.heal(id); });
  }
  /// The other side hears of the new address when the peer calls, or after a while.
  void move(side& who, stream_end how, duration span) {
    ++tally_.moves;
    const std::size_t place = (who.network.place() + 1 + random_.below(places - 1)) % places;
    REQUIRE(who.network.move(place, how, span).ok());
    simulation_.call_at(simulation_.now() + span, [this, &who] { know(other(who), who); });
  }
  void be_calm() {
    print(0, "no more faults");
    is_calm_ = true;
    simulation_.heal();
    know(a(), b());
    know(b(), a());
  }

  // --- how it ends ---

  void check_idle() {
    for (side* s : {&a(), &b()}) {
      s->x.keep(other(*s).self.id(), false);
      if (s->relay()) s->x.keep(*s->relay(), false);
      // It would call for ever who has moved and does not need it any more.
      if (relay_) relay_->x.forget(s->self.id());
    }
    const auto idle = [this] { return simulation_.pending() == 0; };
    if (!simulation_.run_until(idle, simulation_.now() + end_max)) a().fail("it never comes to rest");
    for (side* s : {&a(), &b()}) {
      if (!s->failure.empty()) continue;
      const node_id them = other(*s).self.id();
      if (s->x.unacknowledged(them) != 0) s->fail("something is unacknowledged in the end");
      if (s->x.connected(them) || s->network.streams() != 0) s->fail("a connection is left over");
      if (s->x.half_open() != 0) s->fail("a handshake is left over");
      if (s->network.streams_max() > places * limits::half_open_per_source_max + 2)
        s->fail("too many streams at once");
      if (s->network.unsent_max() > write_ahead_bytes + link::record_wire_bytes_max)
        s->fail("too much was written ahead");
    }
  }
  session_outcome outcome() {
    session_outcome o;
    for (side* s : {&a(), &b()}) {
      if (o.failure.empty() && !s->failure.empty())
        o.failure = fmt::format("peer {}: {}", s == &a() ? 0 : 1, s->failure);
      for (std::size_t i = 0; i < stream_ends; ++i) tally_.cuts[i] += s->network.cuts()[i];
      tally_.connections += s->x.statistics().connections;
      tally_.handshakes_failed += s->x.statistics().handshakes_failed;
      tally_.detours += s->x.statistics().detours;
      tally_.messages += s->heard;
    }
    o.digest = simulation_.digest();
    o.tally = tally_;
    return o;
  }

  session_plan plan_;
  random_generator random_;
  random_generator fates_;
  sim::simulation simulation_;
  std::unique_ptr<relay> relay_;
  std::array<std::unique_ptr<side>, 2> sides_;
  double fate_share_ = 0;
  std::size_t fates_drawn_ = 0;
  bool is_calm_ = false;
  time_point calm_;
  fault_tally tally_;
};

}  // namespace

void fault_tally::add(const fault_tally& more) {
  for (std::size_t i = 0; i < stream_ends; ++i) cuts[i] += more.cuts[i];
  partitions += more.partitions;
  stalls += more.stalls;
  moves += more.moves;
  connections += more.connections;
  handshakes_failed += more.handshakes_failed;
  detours += more.detours;
  messages += more.messages;
}

std::string fault_tally::text() const {
  return fmt::format(
      "{} messages; connections cut: {} for both sides, {} for one, {} for none; {} partitions, {} stalls, "
      "{} moves; {} sides of connections established, {} of them through a relay, {} handshakes failed",
      messages, cuts[0], cuts[1], cuts[2], partitions, stalls, moves, connections, detours, handshakes_failed);
}

session_outcome run_session(std::uint64_t seed, const session_plan& plan) {
  session_run run(seed, plan);
  return run.to_end();
}

}  // namespace p2pdvm::test

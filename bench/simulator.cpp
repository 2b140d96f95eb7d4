/// simulator: events per second and how much faster than real time, for swarms and whole jobs.
#include "suites.hpp"

#include <p2pdvm/overlay/node.hpp>
#include <p2pdvm/peal/mpi.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/simulated_cluster.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace p2pdvm::bench {

namespace {

using std::chrono::milliseconds;

struct network {
  std::string name;
  sim::options options;
};

/// What the simulator did in a stretch of virtual time.
struct run_cost {
  double virtual_seconds = 0;
  double seconds = 0;
  std::uint64_t events = 0;
};

/// A peer of the swarm: an overlay node on datagrams in clear, which carry the sender's key.
class swarm_peer final : public overlay::overlay_transport, public host::datagram_handler {
 public:
  explicit swarm_peer(sim::machine& machine)
      : machine_(machine), who_(seed_of(machine)), random_(machine.entropy().next()) {
    auto opened = machine.network().open_datagrams(machine.address().with_port(4000), *this);
    if (!opened.ok()) throw std::runtime_error(opened.error().message());
    socket_ = std::move(*opened);
    node_.emplace(who_, overlay::node_options(), random_, *this);
    node_->set_wall_clock(now(), machine.clock().wall());
  }
  [[nodiscard]] overlay::contact contact() const { return {who_.key(), socket_->local()}; }
  void join(const overlay::contact& through) {
    node_->join(now(), {through});
    arm();
  }
  void lookup(const node_id& target) {
    node_->lookup(now(), target, [](const overlay::lookup_result&) {});
    arm();
  }
  [[nodiscard]] const node_id& id() const { return node_->id(); }

 private:
  static crypto::secret_key seed_of(sim::machine& machine) {
    crypto::secret_key seed;
    machine.entropy().fill(seed.mutable_bytes());
    return seed;
  }
  [[nodiscard]] time_point now() { return machine_.clock().now(); }
  void send(const overlay::contact& to, byte_view datagram) override {
    byte_vector bytes = to_vector(who_.key().bytes());
    append(bytes, datagram);
    socket_->send(to.where, bytes);
  }
  void on_datagram(const address& from, byte_view bytes) override {
    const public_key key(bytes.first(public_key::size));
    node_->on_datagram(now(), {key, from}, bytes.subspan(public_key::size));
    arm();
  }
  void arm() {
    const time_point next = node_->next_timer();
    if (next == time_point_never || next >= armed_) return;
    if (timer_ != 0) machine_.clock().cancel(timer_);
    armed_ = next;
    timer_ = machine_.clock().call_at(next, [this] {
      timer_ = 0;
      armed_ = time_point_never;
      node_->on_timer(now());
      arm();
    });
  }

  sim::machine& machine_;
  crypto::identity who_;
  random_generator random_;
  std::unique_ptr<host::datagram_socket> socket_;
  std::optional<overlay::node> node_;
  host::timer_id timer_ = 0;
  time_point armed_ = time_point_never;
};

/// Everybody joins through the first peer; then each looks another one up every ten seconds.
run_cost swarm_cost(const sim::options& how, std::size_t peers, double virtual_seconds) {
  sim::simulation world(how);
  std::vector<std::unique_ptr<swarm_peer>> swarm;
  for (std::size_t i = 0; i < peers; ++i) {
    swarm.push_back(std::make_unique<swarm_peer>(world.add_machine()));
    if (i > 0) swarm[i]->join(swarm[0]->contact());
    world.run_for(milliseconds(20));
  }
  random_generator random(how.seed);
  run_cost cost;
  const time_point begin = world.now();
  const std::uint64_t events = world.events();
  const time_point end = begin + from_seconds(virtual_seconds);
  cost.seconds = time_of([&] {
    while (world.now() < end) {
      swarm[random.below(peers)]->lookup(swarm[random.below(peers)]->id());
      world.run_for(from_seconds(10.0 / static_cast<double>(peers)));
    }
  });
  cost.virtual_seconds = to_seconds(world.now() - begin);
  cost.events = world.events() - events;
  swarm.clear();
  return cost;
}

/// Halo exchange with both neighbours, a reduction, a safe point: what most jobs do.
task<> job_body(peal::rank& rank) {
  mpi::communicator world(rank);
  const int steps = rank.option<int>("steps");
  int step = 0;
  std::vector<double> halo(128, rank.id());
  rank.state("step", step);
  rank.region("halo", halo);
  co_await rank.restore();
  const int next = (rank.id() + 1) % rank.size();
  const int before = (rank.id() + rank.size() - 1) % rank.size();
  while (step < steps) {
    std::vector<double> theirs(halo.size());
    co_await world.sendrecv(halo, next, theirs, before);
    co_await world.sendrecv(halo, before, theirs, next);
    halo[0] = co_await world.allreduce(theirs[0]) / rank.size();
    ++step;
    co_await rank.safe_point();
  }
}

run_cost job_cost(const sim::options& how, std::uint32_t peers, int steps) {
  const peal::program program = peal::program("job", job_body).option("steps", "1", "to do");
  runtime::simulated_cluster::options o;
  o.peers = peers;
  o.network = how;
  o.job.ranks = peers;
  o.job.options["steps"] = std::to_string(steps);
  run_cost cost;
  cost.seconds = time_of([&] {
    runtime::simulated_cluster cluster(program, std::move(o));
    if (!cluster.run(std::chrono::hours(24)))
      throw std::runtime_error("a simulated job of " + std::to_string(peers) +
                               " peers, seed " + std::to_string(how.seed) +
                               ", has not ended after a day of virtual time");
    cost.virtual_seconds = to_seconds(cluster.network().now().time_since_epoch());
    cost.events = cluster.network().events();
  });
  return cost;
}

class simulator_suite {
 public:
  simulator_suite(const settings& how, report& out) : how_(how), out_(out) {}

  void measure(const network& on) {
    const std::vector<std::size_t> swarms = how_.quick ? std::vector<std::size_t>{10}
                                                       : std::vector<std::size_t>{100, 500};
    for (const std::size_t peers : swarms) {
      const double span = how_.quick ? 1 : 60;
      add("swarm", on, peers, [&](const sim::options& o) { return swarm_cost(o, peers, span); });
    }
    const std::vector<std::uint32_t> jobs = how_.quick ? std::vector<std::uint32_t>{2}
                                                       : std::vector<std::uint32_t>{4, 8, 16};
    for (const std::uint32_t peers : jobs) {
      const int steps = how_.quick ? 2 : 50;
      add("job", on, peers, [&](const sim::options& o) { return job_cost(o, peers, steps); });
    }
  }

 private:
  template <class Cost>
  void add(const char* path, const network& on, std::size_t peers, const Cost& cost) {
    std::vector<double> rates, speedups;
    const int repetitions = how_.quick ? 1 : 3;
    for (int r = 0; r < repetitions; ++r) {
      sim::options o = on.options;
      o.seed = static_cast<std::uint64_t>(r) + 1;
      const run_cost c = cost(o);
      rates.push_back(static_cast<double>(c.events) / c.seconds);
      speedups.push_back(c.virtual_seconds / c.seconds);
    }
    measurement m;
    m.benchmark = "simulator";
    m.system = "p2pdvm";
    m.profile = on.name;
    m.parameters["path"] = path;
    m.parameters["peers"] = peers;
    m.parameters["processes"] = 1;
    m.metric = "event_rate";
    m.unit = rate_unit;
    m.value = median(rates);
    out_.add(m);
    m.metric = "speedup";  // virtual over real time
    m.unit = fraction_unit;
    m.value = median(speedups);
    out_.add(m);
  }

  const settings& how_;
  report& out_;
};

}  // namespace

void run_simulator(const settings& how, report& out) {
  simulator_suite suite(how, out);
  network planetlab{"planetlab", {}};
  planetlab.options.profile = sim::latency_profile::planetlab;
  suite.measure(planetlab);
  if (how.latency_matrix.empty()) return;
  auto matrix = sim::latency_matrix::load(
      how.latency_matrix, how.matrix_in_seconds ? sim::latency_unit::seconds : sim::latency_unit::milliseconds);
  if (!matrix.ok()) throw std::runtime_error(matrix.error().message());
  const std::size_t slash = how.latency_matrix.find_last_of('/');
  network measured{how.latency_matrix.substr(slash == std::string::npos ? 0 : slash + 1), {}};
  measured.options.matrix = std::move(*matrix);
  suite.measure(measured);
}

}  // namespace p2pdvm::bench

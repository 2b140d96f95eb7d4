#pragma once

#include <p2pdvm/runtime/simulated_cluster.hpp>

#include <mutex>
#include <tuple>
#include <utility>

namespace p2pdvm::runtime {

P2PDVM_DECL simulated_cluster::simulated_cluster(const peal::program& program, options how,
                                                 observer watch)
    : program_(program),
      options_(std::move(how)),
      watch_(std::move(watch)),
      simulation_(options_.network) {
  options_.job.peers = options_.peers;
  for (std::uint32_t i = 0; i < options_.peers + options_.spares; ++i) add_node();
  start(*nodes_[0], beginning::make);
}

P2PDVM_DECL simulated_cluster::~simulated_cluster() {
  kill_all();
}

P2PDVM_DECL void simulated_cluster::kill_all() {
  for (auto& n : nodes_) end_process(*n);
}

P2PDVM_DECL simulated_cluster::node& simulated_cluster::add_node() {
  node& n = *nodes_.emplace_back(std::make_unique<node>());
  n.index = nodes_.size() - 1;
  sim::machine_options how;
  if (options_.hidden.contains(static_cast<std::uint32_t>(n.index))) how.nat = simulation_.add_nat(options_.nat);
  n.machine = &simulation_.add_machine(how);
  n.ranks.queue().on_ready([this, &n] { ready_.push_back(&n); });
  return n;
}

P2PDVM_DECL void simulated_cluster::start(node& n, beginning how) {
  // A process begins in an event of its own, like everything else that it does.
  simulation_.call_at(simulation_.now(), [this, &n, how] { begin(n, how); });
}

P2PDVM_DECL void simulated_cluster::begin(node& n, beginning how) {
  const std::lock_guard lock(n.token);
  peer_setting setting;
  if (options_.peers + options_.spares > 1) setting.listen = n.machine->address().with_port(4000);
  setting.failure_domain =
      n.index < options_.failure_domains.size() ? options_.failure_domains[n.index] : n.machine->name();
  setting.checkpoint_interval = options_.checkpoint_interval;
  setting.detector = options_.detector;
  setting.hang_after = options_.hang_after;
  if (options_.uncompressed.contains(static_cast<std::uint32_t>(n.index))) setting.compression = store::compression::off;
  if (options_.outputs) n.outputs = options_.outputs(n.index);
  setting.outputs = n.outputs.get();
  if (options_.adjust) options_.adjust(n.index, setting);
  n.may_go = false;
  n.outcome.reset();
  peer::callbacks call;
  call.event = [this, &n](const event& e) { on_event(n, e); };
  call.ended = [this, &n](const result<job_results>& r) {
    n.outcome = r;
    attention_ = true;
  };
  call.may_go = [this, &n] {
    n.may_go = true;
    attention_ = true;
  };
  n.process = std::make_unique<peer>(*n.machine, n.ranks, n.token, program_, setting, call);
  auto begun = n.process->open();
  if (begun.ok()) {
    n.id = n.process->identity().id();
    begun = how == beginning::make   ? n.process->make_job(options_.job)
            : how == beginning::join ? n.process->join(*ticket_)
                                     : n.process->resume();
  }
  if (begun.ok()) return;
  n.outcome = begun.error();
  n.may_go = attention_ = true;
}

P2PDVM_DECL void simulated_cluster::on_event(node& n, const event& e) {
  if (e.kind == event_kind::ticket && !ticket_) {
    ticket_ = *ticket::parse(e.text);
    for (std::uint32_t i = 1; i < options_.peers; ++i) start(*nodes_[i], beginning::join);
  }
  if (e.kind == event_kind::started && !std::exchange(spares_called_, true)) {
    for (std::size_t i = options_.peers; i < nodes_.size(); ++i) start(*nodes_[i], beginning::join);
  }
  n.has_job |= e.kind == event_kind::joined;
  if (watch_) watch_(n.index, e);
}

P2PDVM_DECL void simulated_cluster::crash(std::size_t peer, sim::crash_mode mode) {
  nodes_[peer]->crash_next = true;
  nodes_[peer]->how = mode;
  attention_ = true;
}

P2PDVM_DECL void simulated_cluster::restart(std::size_t peer) {
  node& n = *nodes_[peer];
  n.machine->restart();
  // As a person does whose peer went before it was let in.
  const bool outside = !n.has_job && ticket_;
  start(n, outside ? beginning::join : beginning::resume);
}

P2PDVM_DECL void simulated_cluster::rejoin(std::size_t peer) {
  P2PDVM_ASSERT(ticket_.has_value());
  nodes_[peer]->machine->restart();
  start(*nodes_[peer], beginning::join);
}

P2PDVM_DECL void simulated_cluster::leave(std::size_t peer) {
  node& n = *nodes_[peer];
  simulation_.call_at(simulation_.now(), [&n] {
    const std::lock_guard lock(n.token);
    if (n.process) n.process->leave();
  });
}

P2PDVM_DECL void simulated_cluster::wish(std::size_t peer) {
  node& n = *nodes_[peer];
  simulation_.call_at(simulation_.now(), [&n] {
    const std::lock_guard lock(n.token);
    if (n.process) n.process->wish();
  });
}

P2PDVM_DECL void simulated_cluster::end_process(node& n) {
  if (!n.process) return;
  const std::lock_guard lock(n.token);
  n.process.reset();
  if (!n.outcome) n.outputs.reset();
}

/// Runs ranks that can go on, and carries out crashes and exits, until nothing is left to do now.
P2PDVM_DECL void simulated_cluster::settle() {
  for (bool more = true; more;) {
    more = false;
    for (node* n : std::exchange(ready_, {})) more |= n->ranks.queue().drain(1u << 20) > 0;
    if (!std::exchange(attention_, false)) continue;
    for (auto& n : nodes_) {
      const bool crashes = std::exchange(n->crash_next, false);
      if (crashes) n->machine->crash(n->how);
      if (crashes || n->may_go) {
        n->may_go = false;
        end_process(*n);
      }
    }
    more = true;
  }
}

P2PDVM_DECL bool simulated_cluster::step() {
  settle();
  const bool did = simulation_.step();
  settle();
  return did;
}

P2PDVM_DECL bool simulated_cluster::run_until(const std::function<bool()>& condition,
                                              duration limit) {
  const time_point end = simulation_.now() + limit;
  while (!condition()) {
    if (simulation_.now() >= end || !step()) return false;
  }
  return true;
}

P2PDVM_DECL bool simulated_cluster::run(duration limit) {
  return run_until(
      [this] {
        bool any = false;
        for (const auto& n : nodes_) {
          if (n->process && !n->outcome) return false;
          any |= n->outcome.has_value();
        }
        return any;
      },
      limit);
}

P2PDVM_DECL std::optional<std::size_t> simulated_cluster::index_of(const node_id& id) const {
  for (const auto& n : nodes_) {
    if (n->id == id) return n->index;
  }
  return std::nullopt;
}

P2PDVM_DECL const checkpoint::job_record* newest_record(simulated_cluster& cluster,
                                                        std::optional<std::size_t> except) {
  const auto age = [](const checkpoint::job_record& r) {
    return std::tuple(r.incarnation, r.roster, r.keeper_version, r.committed.epoch);
  };
  const checkpoint::job_record* newest = nullptr;
  for (std::size_t i = 0; i < cluster.size(); ++i) {
    if (!cluster.alive(i) || i == except) continue;
    const job* j = cluster.at(i).current_job();
    if (j != nullptr && (newest == nullptr || age(j->record()) > age(*newest)))
      newest = &j->record();
  }
  return newest;
}

}  // namespace p2pdvm::runtime

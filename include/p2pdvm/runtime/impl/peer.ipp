#pragma once

#include <p2pdvm/base/byte_size.hpp>
#include <p2pdvm/runtime/peer.hpp>
#include <p2pdvm/runtime/peer_identity.hpp>
#include <p2pdvm/store/segment_log.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

P2PDVM_DECL digest256 digest_of(const job_results& results) {
  crypto::hasher h;
  for (const auto& [name, bytes] : results) {
    const std::uint64_t sizes[] = {name.size(), bytes.size()};
    h.add(std::as_bytes(std::span(sizes))).add(as_bytes(name)).add(bytes);
  }
  return h.finish();
}

P2PDVM_DECL peer::peer(host::machine& machine, queue_context& ranks, driver_token& token,
                       const peal::program& program, peer_setting setting, callbacks call)
    : machine_(machine),
      setting_(std::move(setting)),
      call_(std::move(call)),
      program_(program),
      ranks_(ranks),
      token_(token),
      node_timer_(machine.clock()),
      linger_timer_(machine.clock()),
      publish_timer_(machine.clock()),
      compact_timer_(machine.clock()),
      admit_timer_(machine.clock()) {}

P2PDVM_DECL peer::~peer() {
  *alive_ = false;
  job_.reset();
}

// --- beginnings ---

P2PDVM_DECL result<> peer::open() {
  auto identity = open_identity(machine_.disk(), machine_.entropy());
  if (!identity.ok()) return identity.error();
  identity_ = std::move(*identity);
  auto how = store::segment_log::options::within(setting_.store_bytes_max);
  how.salt = machine_.entropy().next();
  auto log = store::segment_log::open(machine_.disk(), "store", how);
  if (!log.ok()) return log.error();
  (*log)->drop_unpinned();
  disk_log_ = log->get();
  log_.emplace(machine_.clock(), std::move(*log), setting_.memory_bytes_max);
  folder_.emplace(machine_.disk(), *log_);
  folder_->keep_quota(setting_.store_bytes_max);
  if (setting_.listen) {
    if (auto r = open_network(); !r.ok()) return r;
  }
  context_.emplace(peer_context{machine_, ranks_, token_, *log_, *identity_, program_, setting_,
                                exchange_.get(), call_.event});
  if (exchange_) tell_listening();
  return {};
}

P2PDVM_DECL void peer::tell_listening() {
  event e;
  e.kind = event_kind::listening;
  e.node = identity_->id();
  e.text = exchange_->local().text();
  context_->tell(std::move(e));
}

P2PDVM_DECL result<> peer::open_network() {
  messaging::exchange_options o;
  o.swarm = setting_.swarm;
  o.clear_datagrams = setting_.clear_datagrams;
  messaging::exchange_handler& handler = *this;
  exchange_ = std::make_unique<messaging::exchange>(machine_, *identity_, o, handler);
  if (auto r = listen(); !r.ok()) return r;
  overlay::overlay_transport& transport = *this;
  node_ = std::make_unique<overlay::node>(*identity_, setting_.overlay,
                                          random_generator(machine_.entropy().next()), transport);
  node_->set_wall_clock(machine_.clock().now(), machine_.clock().wall());
  std::vector<overlay::contact> known;
  for (const auto& c : folder_->contacts()) {
    (void)exchange_->learn(c);
    for (const address& a : c.addresses) known.push_back({c.key, a});
  }
  if (known.empty()) return {};
  node_->join(machine_.clock().now(), known);
  arm_node();
  return {};
}

/// On the port of the last time, if the host may choose: others remember it.
P2PDVM_DECL result<> peer::listen() {
  const std::uint16_t last = folder_->port();
  const bool free_choice = setting_.listen->port() == 0;
  auto listening = exchange_->listen(free_choice ? setting_.listen->with_port(last) : *setting_.listen);
  if (!listening.ok() && free_choice && last != 0) listening = exchange_->listen(*setting_.listen);
  if (!listening.ok()) return listening;
  return folder_->keep_port(exchange_->local().port());
}

P2PDVM_DECL messaging::contact peer::own_contact() const {
  messaging::contact own{identity_->key(), {}};
  const address local = exchange_->local();
  if (!local.is_any()) {
    own.addresses.push_back(local);
    return own;
  }
  for (const address& a : machine_.network().interfaces()) {
    if (a.is_v4() == local.is_v4() && own.addresses.size() < messaging::contact_addresses_max)
      own.addresses.push_back(a.with_port(local.port()));
  }
  return own;
}

P2PDVM_DECL result<> peer::make_job(job_request request) {
  P2PDVM_ASSERT(job_ == nullptr);
  if (auto r = folder_->vacant(); !r.ok()) return r;
  job_identity who;
  for (std::uint64_t& word : who.spec.nonce) word = machine_.entropy().next();
  machine_.entropy().fill(who.secret.mutable_bytes());
  who.spec.program = program_.name();
  who.spec.executable = setting_.executable;
  who.spec.platform = setting_.platform;
  who.spec.ranks = request.ranks;
  who.spec.peers = request.peers;
  who.spec.replicas = request.replicas;
  who.spec.receipts = request.receipts;
  who.spec.issuer = identity_->key();
  who.spec.options = std::move(request.options);
  auto inputs = folder_->seal_inputs(request.inputs, who.secret, setting_.compression);
  if (!inputs.ok()) return inputs.error();
  who.spec.inputs = std::move(*inputs);
  who.spec.id = who.spec.derived_id();

  checkpoint::member founder;
  founder.node = identity_->id();
  if (exchange_) founder.addresses = own_contact().addresses;
  founder.failure_domain = setting_.failure_domain;
  auto first = checkpoint::found_job(who.spec.id, crypto::hash(wire::encode(who.spec)),
                                     request.ranks, request.replicas, std::move(founder));
  if (!first.ok()) return first.error();
  checkpoint::acceptor acceptor(who.spec.id, *identity_);
  byte_vector persist;
  const auto known = acceptor.found(std::move(*first), persist);
  const record_update newest{*known.record, known.proof, {}};
  if (auto r = folder_->keep(identity_->id(), who, newest, persist); !r.ok()) return r;
  if (auto r = folder_->pin_inputs(who.spec); !r.ok()) return r;
  log_->sync([this, alive = alive_, who, newest, acceptor = std::move(acceptor)](const result<>& synced) {
    if (!*alive) return;
    if (!synced.ok()) return finish(synced.error());
    begin(who, newest, acceptor);
    first_record_ = newest;
    job_->begin();
    if (exchange_) tell_ticket();  // also when it begins alone: others may hold for it
    maybe_start();
  });
  return {};
}

P2PDVM_DECL void peer::tell_ticket() {
  event e;
  e.kind = event_kind::ticket;
  e.text = make_ticket().value().text();
  context_->tell(std::move(e));
}

P2PDVM_DECL void peer::begin(job_identity who, record_update newest,
                             std::optional<checkpoint::acceptor> acceptor) {
  job_owner& owner = *this;
  log_->receipts_from_memory(who.spec.receipts == receipts_from::memory);
  job_ = std::make_unique<job>(owner, *context_, std::move(who), std::move(newest),
                               std::move(acceptor));
  reception_.emplace();
  for (const auto& [follower, wish] : std::exchange(early_followers_, {})) {
    if (wish == job_->spec().id) job_->be_followed_by(follower);
  }
  compact_later();
}

P2PDVM_DECL result<> peer::resume() {
  P2PDVM_ASSERT(job_ == nullptr);
  auto kept = folder_->load(setting_.storage_only ? std::optional<std::string>() : program_.name(), *identity_);
  if (!kept.ok()) return kept.error();
  const checkpoint::job_record& record = kept->newest.record;
  if (const auto* me = record.find(identity_->id()); me != nullptr && me->is_storage_only() != setting_.storage_only)
    return error(errc::wrong_job, machine_.disk().describe("") +
                                      (setting_.storage_only
                                           ? " is the folder of a peer that runs ranks of '" + kept->who.spec.program +
                                                 "'; go on there with that program and --resume, or choose another folder with --data"
                                           : " is the folder of a peer without ranks; go on there with p2pdvm peer --resume, or choose "
                                             "another folder with --data"));
  // A job of several peers needs the network, where none was asked for too.
  if (!exchange_ && kept->who.spec.peers > 1) {
    setting_.listen = address::v4(0, 0, 0, 0, 0);
    if (auto r = open_network(); !r.ok()) return r;
    context_->exchange = exchange_.get();
    tell_listening();
  }
  const bool away = record.state != checkpoint::job_state::done && !record.is_live(identity_->id());
  const bool own = record.find(identity_->id()) != nullptr || folder_->kept_by(identity_->id());
  if (away && (!exchange_ || !own))
    return error(errc::authentication,
                 "the identity in " + machine_.disk().describe("identity") + " has no part in the job "
                 "kept there; put the job's own identity back, or remove the folder and join again");
  warn_of_another_build(kept->who.spec);
  begin(std::move(kept->who), std::move(kept->newest), std::move(kept->acceptor));
  job_->begin_resumed();
  // Others were not let in yet: a job that stopped early, or one that goes on from a checkpoint of another.
  const bool forming = job_->record().state == checkpoint::job_state::forming;
  if (forming && job_->spec().peers > 1 && job_->spec().issuer == identity_->key()) tell_ticket();
  if (away) on_evicted();  // it stopped before it could come back, or in
  maybe_start();
  return {};
}

/// It may be a mistake that was mended; nobody but the user can know.
P2PDVM_DECL void peer::warn_of_another_build(const job_spec& spec) {
  if (setting_.storage_only) return;
  const bool build = spec.executable != setting_.executable;
  if (!build && spec.platform == setting_.platform) return;
  event e;
  e.kind = event_kind::warning;
  e.text = build ? "this is another build of " + spec.program + " than the one that the job began with; all peers must go on with the same one, or results may differ"
                 : "this platform computes other floating-point results than the one that the job began on; results may differ";
  context_->tell(std::move(e));
}

P2PDVM_DECL peer::holdings peer::held() const {
  return {log_->live_bytes(), disk_log_->used_bytes(), setting_.store_bytes_max, job_ ? job_->bytes_given() : 0};
}

P2PDVM_DECL event peer::holds_event() const {
  const holdings h = held();
  event e;
  e.kind = event_kind::holds;
  e.at = machine_.clock().now();
  e.node = identity_->id();
  e.count = h.chunk_bytes;
  if (job_) e.epoch = job_->record().committed.epoch;
  e.text = "this peer holds " + byte_size_text(h.chunk_bytes) + " of chunks";
  if (job_) e.text += " of job " + job_->spec().id.brief() + " (" + job_->spec().program + ")";
  e.text += ", on disk " + byte_size_text(h.disk_bytes) + " of its quota of " + byte_size_text(h.quota_bytes) + "; it gave others " +
            byte_size_text(h.given_bytes);
  return e;
}

// --- the end ---

P2PDVM_DECL void peer::wish() {
  if (job_) job_->wish();
}

P2PDVM_DECL void peer::leave() {
  if (!job_ || ended_) return on_left();
  job_->leave();
}

P2PDVM_DECL void peer::stop() {
  if (!job_ || ended_ || job_->record().state != checkpoint::job_state::running) return on_left();
  stop_at_ = job_->record().committed.epoch;
  job_->hold_still();
  if (job_->lacks_majority()) return on_left();  // there will be no last checkpoint
  job_->wish();
  linger_timer_.after(std::chrono::seconds(5), [this] { call_.may_go(); });
}

P2PDVM_DECL void peer::on_left() {
  going_ = true;
  linger_timer_.after(std::chrono::seconds(2), [this] { call_.may_go(); });
  check_may_go();
}

P2PDVM_DECL void peer::on_end(const result<job_results>& results) {
  event e;
  e.kind = results.ok() ? event_kind::done : event_kind::failed;
  if (!results.ok()) {
    e.text = results.error().message();
  } else if (!(*results).empty()) {
    e.text = digest_of(*results).hex();
  }
  context_->tell(std::move(e));
  finish(results);
}

P2PDVM_DECL void peer::finish(const result<job_results>& results) {
  if (std::exchange(ended_, true)) return;
  going_ = true;
  if (call_.ended) call_.ended(results);
  linger_timer_.after(setting_.linger_max, [this] { call_.may_go(); });
  machine_.clock().call_at(machine_.clock().now(), [this, alive = alive_] {
    if (*alive) check_may_go();
  });
}

P2PDVM_DECL void peer::on_end_seen(const node_id&) {
  if (ended_) check_may_go();
}

P2PDVM_DECL void peer::check_may_go() {
  if (!going_) return;
  if (exchange_ && job_ && job_->is_member()) {
    const auto state = job_->record().state;
    const bool over = state == checkpoint::job_state::done || state == checkpoint::job_state::failed;
    if (over && !job_->end_seen_by_all()) return;
  }
  // What is still queued for others must go out first.
  linger_timer_.after(std::chrono::milliseconds(exchange_ ? 200 : 0), [this] { call_.may_go(); });
}

}  // namespace p2pdvm::runtime

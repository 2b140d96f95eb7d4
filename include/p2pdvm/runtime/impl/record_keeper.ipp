#pragma once

#include <p2pdvm/runtime/record_keeper.hpp>

#include <algorithm>
#include <set>
#include <utility>

namespace p2pdvm::runtime {

P2PDVM_DECL record_keeper::record_keeper(record_owner& owner, host::machine& machine,
                                         store::chunk_log& log, const crypto::identity& self,
                                         record_update known,
                                         std::optional<checkpoint::acceptor> acceptor)
    : owner_(owner),
      machine_(machine),
      log_(log),
      self_(self),
      random_(machine.entropy().next()),
      proposer_(self.id(), random_, certified(known), std::move(known.links)),
      last_(proposer_.known().record),
      acceptor_(std::move(acceptor)),
      timer_(machine.clock()) {
  // A keeper's state begins when it first promises something.
  if (!acceptor_) acceptor_.emplace(newest().job, self_);
}

P2PDVM_DECL record_keeper::~record_keeper() { *alive_ = false; }

P2PDVM_DECL record_update record_keeper::update() const {
  return {newest(), proposer_.known().proof, proposer_.links()};
}

P2PDVM_DECL void record_keeper::propose(checkpoint::proposer::transition change, write_done done) {
  auto number = proposer_.propose(machine_.clock().now(), std::move(change));
  if (!number.ok()) {
    if (done) done(number.error());
    return;
  }
  if (done) writes_.emplace(*number, std::move(done));
  pump();
}

P2PDVM_DECL void record_keeper::on_request(const node_id& from,
                                           const checkpoint::register_request& request) {
  carry_out(from, acceptor_->on_request(from, request));
}

P2PDVM_DECL void record_keeper::carry_out(const node_id& from,
                                          checkpoint::acceptor::outcome outcome) {
  if (outcome.persist) ++changes_;
  if (!outcome.reply) return;
  // A repeated request changes nothing, but what it asks for may not be durable yet, or the disk
  // refused it. A refusal promises nothing.
  const bool refuses = std::holds_alternative<checkpoint::refused_reply>(*outcome.reply);
  if (refuses || durable_ == changes_) return reply(from, std::move(*outcome.reply));
  const auto put = log_.put_value(acceptor_name, acceptor_->persistent());
  if (!put.ok()) return disk_failed(put.error());
  log_.sync_values([this, alive = alive_, from, now = changes_,
             answer = std::move(*outcome.reply)](result<> synced) {
    if (!*alive) return;
    if (!synced.ok()) return disk_failed(synced.error());
    disk_failed_ = false;
    durable_ = std::max(durable_, now);
    reply(from, answer);
  });
}

/// No reply is given for what is not durable, so the others see a keeper that is silent, and one
/// that is back once there is space again.
P2PDVM_DECL void record_keeper::disk_failed(const error& why) {
  if (!std::exchange(disk_failed_, true)) owner_.on_keeper_failed(why);
}

P2PDVM_DECL void record_keeper::reply(const node_id& to, checkpoint::register_reply answer) {
  if (to == self_.id()) {
    on_reply(to, answer);
  } else {
    owner_.send(to, std::move(answer));
  }
}

P2PDVM_DECL void record_keeper::on_reply(const node_id& from,
                                         const checkpoint::register_reply& answer) {
  proposer_.on_reply(machine_.clock().now(), from, answer);
  pump();
}

P2PDVM_DECL result<bool> record_keeper::learn(const record_update& update) {
  auto news =
      proposer_.learn(machine_.clock().now(), update.record, update.proof, update.links);
  pump();
  return news;
}

P2PDVM_DECL result<bool> record_keeper::learn(record_difference difference) {
  if (difference.proof.statement.ballot <= ballot()) return false;
  auto record = checkpoint::apply(newest(), std::move(difference.change));
  if (!record.ok()) return record.error();
  // A lie and a base that is not known here look the same.
  if (record->digest() != difference.proof.statement.digest)
    return error(errc::not_found, "a change of the job record is to one that is not known here");
  return learn(record_update{std::move(*record), std::move(difference.proof), std::move(difference.links)});
}

P2PDVM_DECL void record_keeper::pump() {
  if (std::exchange(pumping_, true)) {
    pump_again_ = true;
    return;
  }
  do {
    pump_again_ = false;
    pump_once();
  } while (pump_again_);
  pumping_ = false;
  timer_.at(proposer_.next_timer(), [this] {
    proposer_.on_timer(machine_.clock().now());
    pump();
  });
}

P2PDVM_DECL void record_keeper::pump_once() {
  adopted();
  for (auto& [to, request] : proposer_.take_messages()) {
    if (to == self_.id()) {
      on_request(to, request);
      pump_again_ = true;
    } else {
      owner_.send(to, std::move(request));
    }
  }
  for (auto& event : proposer_.take_events()) {
    pump_again_ = true;
    if (const auto* chosen = std::get_if<checkpoint::chosen_event>(&event)) {
      adopted();
      owner_.on_chosen();
      if (auto write = writes_.extract(chosen->operation)) write.mapped()(result<>());
    } else if (const auto* rejected = std::get_if<checkpoint::rejected_event>(&event)) {
      if (auto write = writes_.extract(rejected->operation)) write.mapped()(rejected->why);
    } else if (const auto* silent = std::get_if<checkpoint::no_majority_event>(&event)) {
      owner_.on_no_majority(silent->silent, silent->asked);
    }
  }
}

P2PDVM_DECL void record_keeper::adopted() {
  const auto newest = proposer_.known().record;
  if (newest == last_) return;
  const auto previous = std::exchange(last_, newest);
  note_date(*previous);
  // Not synced: a keeper's own promise is what must be durable; this only helps to resume.
  const auto put = log_.put_value(record_name, wire::encode(update()));
  if (!put.ok()) disk_failed(put.error());
  owner_.on_record(*previous);
}

/// Before the record: whatever a crash leaves of the log, it has a date for what it has.
P2PDVM_DECL void record_keeper::note_date(const checkpoint::job_record& previous) {
  if (newest().committed.epoch <= previous.committed.epoch) return;
  using dates = std::map<epoch_number, unix_seconds>;
  dates known;
  if (const auto bytes = log_.get_value(dates_name); bytes.ok()) {
    if (auto decoded = wire::decode<dates>(*bytes); decoded.ok()) known = std::move(*decoded);
  }
  std::erase_if(known, [&](const auto& d) { return d.first != newest().previous.epoch; });
  known[newest().committed.epoch] = machine_.clock().wall();
  (void)log_.put_value(dates_name, wire::encode(known));
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/checkpoint/acceptor.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <utility>

namespace p2pdvm::checkpoint {

P2PDVM_DECL keeper_signature acceptor::sign(const job_record& record, const ballot& at) const {
  const auto statement = accept_statement::of(record, state_.record, at);
  return {self_->key(), self_->sign(statement.signed_bytes())};
}

P2PDVM_DECL certified_record acceptor::found(job_record first, byte_vector& persist) {
  P2PDVM_ASSERT(first.job == job_);
  P2PDVM_ASSERT(state_.accepted.counter == 0);
  state_.record = wire::encode(first);
  state_.accepted = ballot{1, self_->id(), 0};
  if (state_.promised < state_.accepted) state_.promised = state_.accepted;
  digest_ = crypto::hash(state_.record);
  keeper_version_ = first.keeper_version;
  persist = wire::encode(state_);
  certificate proof{accept_statement::of(first, state_.record, state_.accepted), {}};
  proof.signatures.push_back(sign(first, state_.accepted));
  return {std::make_shared<const job_record>(std::move(first)), std::move(proof)};
}

P2PDVM_DECL result<acceptor> acceptor::restore(const job_id& job, const crypto::identity& self,
                                               byte_view persisted) {
  const auto damaged = [] {
    return error(errc::corrupted, "the stored state of a keeper does not decode");
  };
  auto state = wire::decode<persistent_state>(persisted);
  if (!state) return damaged();
  acceptor restored(job, self);
  if (state->accepted.counter != 0) {
    const auto record = decode_record(state->record);
    if (!record || record->job != job) return damaged();
    restored.digest_ = crypto::hash(state->record);
    restored.keeper_version_ = record->keeper_version;
  }
  restored.state_ = std::move(*state);
  return restored;
}

P2PDVM_DECL byte_vector acceptor::persistent() const { return wire::encode(state_); }

P2PDVM_DECL acceptor::outcome acceptor::on_request(const node_id& from,
                                                   const register_request& request) {
  return std::visit(
      [&](const auto& r) -> outcome {
        if (r.job != job_ || r.ballot.node != from || r.ballot.counter == 0) return {};
        if (r.ballot.counter - 1 > state_.promised.counter + ballot_step_max) return {};
        if constexpr (std::is_same_v<std::decay_t<decltype(r)>, prepare_request>) {
          return on_prepare(r);
        } else {
          return on_accept(r);
        }
      },
      request);
}

P2PDVM_DECL std::optional<register_reply> acceptor::refusal(const ballot& asked,
                                                            std::uint64_t version) const {
  if (asked >= state_.promised && version >= keeper_version_) return std::nullopt;
  return refused_reply{asked, state_.promised, keeper_version_};
}

P2PDVM_DECL acceptor::outcome acceptor::on_prepare(const prepare_request& request) {
  outcome out;
  if ((out.reply = refusal(request.ballot, request.keeper_version))) return out;
  if (state_.promised != request.ballot) {  // else a repeated request
    state_.promised = request.ballot;
    out.persist = wire::encode(state_);
  }
  promise_reply promise{request.ballot, state_.accepted, digest_, {}};
  if (digest_ != request.known) promise.record = state_.record;
  out.reply = std::move(promise);
  return out;
}

P2PDVM_DECL acceptor::outcome acceptor::on_accept(const accept_request& request) {
  outcome out;
  if ((out.reply = refusal(request.ballot, request.keeper_version))) return out;
  const result<job_record> record = decode_record(request.record);
  if (!record || record->job != job_) return {};
  if (state_.accepted != request.ballot) {
    state_.promised = request.ballot;
    state_.accepted = request.ballot;
    state_.record = request.record;
    digest_ = crypto::hash(state_.record);
    keeper_version_ = record->keeper_version;
    out.persist = wire::encode(state_);
  } else if (state_.record != request.record) {
    return {};  // a second value in one ballot comes from no honest proposer
  }
  out.reply = accepted_reply{request.ballot, sign(*record, request.ballot)};
  return out;
}

}  // namespace p2pdvm::checkpoint

#pragma once

#include <p2pdvm/peal/actors/system.hpp>

namespace p2pdvm::actors {

P2PDVM_DECL void system::refuse(const std::string& sentence, const detail::letter& l) {
  const std::string by = l.line == 0 ? "" : " (rank " + std::to_string(l.from) + ", " + rank_.place_text(l.from, l.file, l.line) + ")";
  throw std::system_error(make_error_code(errc::misuse), sentence + by);
}

P2PDVM_DECL void system::post(std::int64_t tag, const address& to, const char* type, byte_vector body, const std::source_location& where) {
  const detail::letter l{to, type, rank_.file_number(where.file_name()), where.line(), rank_.id(), payload(std::move(body))};
  if (!rank_.restored()) refuse("actors are created or sent to before restore()", l);
  if (state_.inside && !active_) refuse("the job goes on in the middle of a run, and something new is begun: ask running() before", l);
  if (to.rank < 0 || to.rank >= rank_.size()) refuse("there is no rank " + std::to_string(to.rank) + " for actors", l);
  port_.post_send(to.rank, tag, payload(wire::encode(l)), state_.run);
  ++state_.mine[0];
}

P2PDVM_DECL task<> system::run(std::source_location where) {
  if (!rank_.restored() || active_) refuse("actors are run before restore(), or while they run");
  if (!std::exchange(state_.inside, true) && rank_.id() == 0) port_.post_send(0, ask_tag, payload(), state_.run);
  active_ = true;
  const peal::call_note note{"run of actors", state_.run, 0, true, {}};
  for (int n = 1; !ended_; ++n) {
    on_message(co_await rank_.safe_wait(port_, peal::any_source, peal::any_tag, state_.run, peal::call_site(where, &note)));
    if (n % messages_per_turn == 0) co_await rank_.sleep(duration::zero());
  }
  active_ = ended_ = state_.inside = false;
  state_.mine = state_.last = counts();
  state_.missing = 0;
  state_.dead_letters += std::exchange(state_.early, {}).size();
  ++state_.run;
}

P2PDVM_DECL void system::on_message(const peal::message& m) {
  const bool is_letter = m.tag() == letter_tag || m.tag() == create_tag;
  const auto l = is_letter ? wire::decode<detail::letter>(m.body().view()) : detail::letter();
  const auto below = m.tag() == answer_tag ? wire::decode<counts>(m.body().view()) : counts();
  if (!l.ok() || !below.ok()) refuse("a message of actors from rank " + std::to_string(m.source()) + " is damaged");
  if (is_letter) ++state_.mine[1];
  if (m.tag() == letter_tag) deliver(*l);
  if (m.tag() == create_tag) {
    place(*l);
    state_.created[m.source()] = l->to.number + 1;
    for (const detail::letter& e : std::exchange(state_.early, {})) deliver(e);
  }
  if (m.tag() == answer_tag) add(state_.sum, *below), --state_.missing;
  if (m.tag() == ask_tag || m.tag() == end_tag) {
    for (int r = 2 * rank_.id() + 1; r < rank_.size() && r <= 2 * rank_.id() + 2; ++r, ++state_.missing)
      port_.post_send(r, m.tag(), payload(), state_.run);
    (m.tag() == ask_tag ? state_.asked : ended_) = true;
  }
  // This rank has nothing to do, and all below it in the tree have answered. Twice the same counts, as many received as sent: there was
  // nothing on its way when the first of the two waves ended (F. Mattern, "Algorithms for distributed termination detection",
  // Distributed Computing 2, 1987).
  if (!state_.asked || state_.missing > 0 || port_.probe(peal::any_source, peal::any_tag, state_.run)) return;
  state_.asked = false;
  add(state_.sum, state_.mine);
  const counts sum = std::exchange(state_.sum, {});
  if (rank_.id() != 0) return port_.post_send((rank_.id() - 1) / 2, answer_tag, payload(wire::encode(sum)), state_.run);
  const bool quiet = sum[0] == sum[1] && sum == std::exchange(state_.last, sum);
  port_.post_send(0, quiet ? end_tag : ask_tag, payload(), state_.run);
}

P2PDVM_DECL void system::place(const detail::letter& l) {
  const auto type = types_.find(l.type);
  if (type == types_.end()) refuse("an actor is created of a type that is not registered", l);
  auto actor = type->second.second();
  actor->type = l.type;
  if (!actor->load(l.body.view())) refuse("an actor of type '" + type->second.first + "' cannot be read", l);
  actors_.emplace(l.to, std::move(actor));
}

P2PDVM_DECL void system::deliver(const detail::letter& l) {
  const auto found = actors_.find(l.to);
  // A letter may be here before its actor, where the two come from different ranks.
  const bool to_come = l.to.number >= state_.created[l.to.creator];
  if (found == actors_.end()) return to_come ? state_.early.push_back(l) : void(++state_.dead_letters);
  self_ = l.to;
  if (const char* wrong = found->second->receive(*this, l))
    refuse("an actor of type '" + types_[found->second->type].first + "' on rank " + std::to_string(rank_.id()) + " " + wrong, l);
  self_ = address();
  if (std::exchange(stops_, false)) actors_.erase(found);
}

P2PDVM_DECL byte_vector system::save() const {
  saved_state s = state_;
  for (const auto& [at, a] : actors_) s.actors.push_back({at, a->type, 0, 0, rank_.id(), payload(a->save())});
  return wire::encode(s);
}

P2PDVM_DECL void system::load(byte_view saved) {
  auto read = wire::decode<saved_state>(saved);
  if (!read.ok()) refuse("the snapshot's actors cannot be read");
  state_ = std::move(*read);
  for (const detail::letter& l : std::exchange(state_.actors, {})) place(l);
}

}  // namespace p2pdvm::actors

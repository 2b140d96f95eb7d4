#pragma once

#include <p2pdvm/overlay/node.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::overlay {

P2PDVM_DECL void node::on_timer(time_point now) {
  for (std::size_t i = 0; i < rpcs_max; ++i) {
    if (deadlines_.empty() || deadlines_.begin()->first > now) break;
    on_timeout(now, deadlines_.begin()->second);
  }
  upkeep(now);
}

P2PDVM_DECL time_point node::next_timer() const {
  const time_point upkeep_at = next_upkeep();
  return deadlines_.empty() ? upkeep_at : std::min(upkeep_at, deadlines_.begin()->first);
}

P2PDVM_DECL time_point node::next_store() const {
  time_point due = store_.next_due();
  for (const auto& [name, own] : own_) due = std::min(due, own.due);
  return due == time_point_never ? due : std::max(due, stores_not_before_);
}

P2PDVM_DECL time_point node::next_upkeep() const {
  time_point next = std::min({next_check_, next_exchange_, next_refresh_, next_store()});
  const bool lost = table_.size() == 0 && (!bootstrap_.empty() || !remembered_.empty());
  return lost ? std::min(next, next_rejoin_) : next;
}

/// Between 7/8 and 9/8 of `d`, so that peers that started together drift apart.
P2PDVM_DECL duration node::jittered(duration d) {
  if (d < duration(8)) return d;
  const auto spread = static_cast<std::uint64_t>(d.count() / 4);
  return d - d / 8 + duration(static_cast<std::int64_t>(random_.below(spread)));
}

P2PDVM_DECL void node::upkeep(time_point now) {
  store_.expire(wall(now));
  std::erase_if(own_, [&](const auto& own) { return own.second.r.expiry <= wall(now); });
  if (next_check_ <= now) {
    check_somebody(now);
    next_check_ = now + jittered(check_interval_);
  }
  if (next_exchange_ <= now) exchange(now);
  if (next_refresh_ <= now) refresh(now);
  if (next_store() <= now) store_again(now);
  if (table_.size() == 0 && next_rejoin_ <= now) rejoin(now);
}

/// Mostly the peer not heard for longest. Now and then one that the table has lost or never
/// took: that is how the two halves of a divided swarm find each other again.
P2PDVM_DECL void node::check_somebody(time_point now) {
  if (random_.below(8) == 0) {
    const std::size_t choices = remembered_.size() + bootstrap_.size();
    if (choices == 0) return;
    const std::size_t i = random_.below(choices);
    const contact& c = i < remembered_.size() ? remembered_[i] : bootstrap_[i - remembered_.size()];
    if (table_.find(crypto::node_id_of(c.key)) == nullptr) ask(now, c, message{}, 0);
    return;
  }
  if (const auto quiet = table_.quietest(now - options_.check_idle)) {
    ask(now, *quiet, message{}, 0);
  } else {
    check_interval_ = std::min(options_.check_interval_max, check_interval_ / 4 * 5);
  }
}

/// One sibling tells whom it knows near us, as in the leaf sets of Bamboo (Rhea et al., 2004):
/// so the siblings come right in few rounds, also when two swarms meet. Often after a sibling
/// appeared, half as often after each round.
P2PDVM_DECL void node::exchange(time_point now) {
  next_exchange_ = now + jittered(exchange_interval_);
  exchange_interval_ = std::min(options_.exchange_interval_max, exchange_interval_ * 2);
  if (table_.siblings().empty()) return;
  const peer_entry& one = table_.siblings()[random_.below(table_.siblings().size())];
  message q;
  q.kind = message_kind::find_node;
  q.target = self_;
  ask(now, one.peer, std::move(q), 0);
}

/// Twice as often while lookups bring new peers, half as often while they do not.
P2PDVM_DECL void node::refresh(time_point now) {
  const bool changing = met_ > met_at_refresh_;
  met_at_refresh_ = met_;
  refresh_interval_ = changing
                          ? std::max(options_.refresh_interval_min, refresh_interval_ / 2)
                          : std::min(options_.refresh_interval_max, refresh_interval_ * 2);
  next_refresh_ = now + jittered(refresh_interval_);
  if (operations_.size() >= upkeep_operations_max || table_.size() == 0) return;
  refresh_self_ = !refresh_self_;
  if (refresh_self_ && !explored_.empty()) {
    // From peers that the table need not know: a lookup for ourselves that starts from our own
    // neighbours would never leave our half of two swarms that have only partly met.
    const std::vector<contact> seeds = std::exchange(explored_, {});
    return start(now, make_operation(now, goal::nodes, self_, seeds));
  }
  const node_id target = table_.random_id_in(table_.stalest_bucket(), random_);
  const std::size_t width = options_.lookups.width;
  operation op = make_operation(now, goal::nodes, target,
                                table_.closest(target, width, routing_table::include::all));
  op.on_lookup = [this](const lookup_result& r) { explore(r.nearest); };
  start(now, std::move(op));
}

/// Keeps some peers of a lookup's end, at random, as the start of the next one for ourselves.
P2PDVM_DECL void node::explore(std::vector<contact> found) {
  explored_.clear();
  while (!found.empty() && explored_.size() < options_.lookups.parallelism) {
    const std::size_t i = random_.below(found.size());
    explored_.push_back(found[i]);
    found.erase(found.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

/// Stores again what is due: our own records first, then one kept for others, if we are still
/// among those who should have it.
P2PDVM_DECL void node::store_again(time_point now) {
  stores_not_before_ = now + upkeep_store_pause;
  if (operations_.size() >= upkeep_operations_max || table_.size() == 0) return;
  std::optional<record> what;
  for (auto& [name, own] : own_) {
    if (own.due > now) continue;
    own.due = now + jittered(options_.republish_interval);
    what = own.r;
    break;
  }
  const bool own = what.has_value();
  if (!what) what = store_.take_due(now, jittered(options_.replicate_interval));
  if (!what) return;
  const std::vector<contact> near =
      table_.closest(what->target, options_.lookups.width, routing_table::include::all);
  const bool ours = own || near.size() < options_.lookups.width ||
                    nearer(what->target, self_, crypto::node_id_of(near.back().key));
  if (!ours) return;
  operation op = make_operation(now, goal::publish, what->target, near);
  op.subject = std::move(what);
  start(now, std::move(op));
}

/// Everybody fell silent: ask some of those once known, less and less often.
P2PDVM_DECL void node::rejoin(time_point now) {
  std::vector<contact> choices = bootstrap_;
  choices.insert(choices.end(), remembered_.begin(), remembered_.end());
  next_rejoin_ = now + jittered(rejoin_interval_);
  rejoin_interval_ = std::min(options_.rejoin_interval_max, rejoin_interval_ * 2);
  if (choices.empty()) return;
  const std::size_t count = std::min(rejoin_contacts_max, choices.size());
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t j = i + random_.below(choices.size() - i);
    std::swap(choices[i], choices[j]);
  }
  choices.resize(count);
  ++statistics_.rejoins;
  refresh_interval_ = options_.refresh_interval_min;
  start(now, make_operation(now, goal::nodes, self_, choices));
}

}  // namespace p2pdvm::overlay

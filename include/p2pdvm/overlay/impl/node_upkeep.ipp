#pragma once

#include <p2pdvm/overlay/node.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::overlay {

P2PDVM_DECL void node::on_timer(time_point now) {
  for (std::size_t i = 0; i < rpcs_max; ++i) {
    const auto due = std::min_element(
        pending_.begin(), pending_.end(),
        [](const pending& a, const pending& b) { return a.deadline < b.deadline; });
    if (due == pending_.end() || due->deadline > now) break;
    on_timeout(now, due->base);
  }
  upkeep(now);
}

P2PDVM_DECL time_point node::next_timer() const {
  time_point next = next_upkeep();
  for (const pending& p : pending_) next = std::min(next, p.deadline);
  return next;
}

P2PDVM_DECL time_point node::next_store() const {
  time_point due = store_.next_due();
  for (const auto& [name, own] : own_) due = std::min(due, own.due);
  return due == time_point_never ? due : std::max(due, stores_not_before_);
}

P2PDVM_DECL time_point node::next_upkeep() const {
  time_point next = std::min({next_check_, next_exchange_, next_refresh_, next_explore_, next_store()});
  const bool lost = table_.size() == 0 && (!bootstrap_.empty() || !remembered_.empty());
  return lost ? std::min(next, next_rejoin_) : next;
}

P2PDVM_DECL duration node::republish_pause() {
  return jittered(std::min(options_.republish_interval, lifetime_.mean() / 2));
}

P2PDVM_DECL duration node::replicate_pause() {
  return jittered(std::min(options_.replicate_interval, lifetime_.mean()));
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
    next_check_ = now + jittered(check_pause());
  }
  if (next_exchange_ <= now) exchange(now);
  if (next_refresh_ <= now) refresh(now);
  if (next_explore_ <= now) explore(now);
  if (next_store() <= now) store_again(now);
  if (table_.size() == 0 && next_rejoin_ <= now) rejoin(now);
}

P2PDVM_DECL void node::note_absent(time_point now, const node_id& id) {
  absent_[next_absent_] = {detail::id_word(id, 0), now + lifetime_.trust()};
  next_absent_ = (next_absent_ + 1) % absent_.size();
}

P2PDVM_DECL bool node::is_absent(time_point now, const node_id& id) const {
  const std::uint64_t peer = detail::id_word(id, 0);
  return std::any_of(absent_.begin(), absent_.end(),
                     [&](const absence& a) { return a.peer == peer && a.until > now; });
}

P2PDVM_DECL time_point node::trusted_since(time_point now) const { return now - lifetime_.trust(); }

/// So that everybody who is kept checked is heard of in time.
P2PDVM_DECL duration node::check_pause() const {
  return std::clamp<duration>(lifetime_.trust() / static_cast<std::int64_t>(table_.checked()),
                              options_.check_interval_min, options_.check_interval_max);
}

/// Now and then one that the table has lost or never took: that is how the two halves of a
/// divided swarm find each other again.
P2PDVM_DECL void node::check_somebody(time_point now) {
  if (const auto doubtful = table_.most_doubtful(trusted_since(now))) {
    checked_ = now;
    ping(now, *doubtful);
    return;
  }
  if (now - checked_ < options_.check_interval_max) return;
  checked_ = now;
  const std::size_t choices = remembered_.size() + bootstrap_.size();
  if (random_.below(4) == 0 && choices > 0) {
    const std::size_t i = random_.below(choices);
    const contact& c = i < remembered_.size() ? remembered_[i] : bootstrap_[i - remembered_.size()];
    if (table_.find(crypto::node_id_of(c.key)) == nullptr) ping(now, c);
  } else if (const auto quiet = table_.quietest(now - options_.check_interval_max)) {
    ping(now, *quiet);
  }
}

/// One sibling tells whom it knows near us, as in the leaf sets of Bamboo (Rhea et al., 2004):
/// so the siblings come right in few rounds, also when two swarms meet. In a full view it is
/// asked every other time about another place, so that all come to know all.
P2PDVM_DECL void node::exchange(time_point now) {
  const duration longest = std::clamp<duration>(lifetime_.mean() / 8, options_.exchange_interval_min,
                                                options_.exchange_interval_max);
  exchange_interval_ = std::min(longest, exchange_interval_ * 2);
  next_exchange_ = now + jittered(exchange_interval_);
  if (table_.siblings().empty()) return;
  pending q;
  q.to = table_.siblings()[random_.below(table_.siblings().size())].peer;
  q.kind = message_kind::find_node;
  q.target = self_;
  if (table_.full_view() && random_.below(2) == 0) {
    const std::size_t bucket = random_.below(table_.depth());
    q.target = table_.random_id_in(bucket, random_);
  }
  q.wanted = limits::bucket_size;
  ask(now, q);
}

/// One peer of a bucket that needs some, else of the one not refreshed for longest, tells whom
/// it knows there.
P2PDVM_DECL void node::refresh(time_point now) {
  const time_point since = trusted_since(now);
  const auto needy = table_.neediest_bucket(since, now - lifetime_.trust() / 2);
  const duration pause = lifetime_.mean() / (needy ? 20 : 8);
  next_refresh_ = now + jittered(std::clamp<duration>(pause, options_.refresh_interval_min,
                                                      options_.refresh_interval_max));
  const node_id place = table_.random_id_in(needy.value_or(table_.stalest_bucket()), random_);
  const auto nearest = table_.closest(place, 1, routing_table::include::healthy, since);
  table_.refreshed(now, place);
  if (nearest.empty()) return;
  pending q;
  q.to = nearest.front();
  q.kind = message_kind::find_node;
  q.target = place;
  q.wanted = search_contacts;
  ask(now, q);
}

/// Twice as many new siblings as sessions that begin nearby.
P2PDVM_DECL bool node::is_merging(time_point now) const {
  const double sessions = to_seconds(now - explored_at_) / to_seconds(lifetime_.mean());
  const double expected = sessions * static_cast<double>(options_.routing.siblings);
  return static_cast<double>(new_siblings_) > 2 * expected + 2;
}

P2PDVM_DECL void node::explore(time_point now) {
  explore_interval_ = is_merging(now) ? options_.explore_interval_merging
                                      : std::min(options_.explore_interval_max, explore_interval_ * 2);
  new_siblings_ = 0;
  explored_at_ = now;
  next_explore_ = now + jittered(explore_interval_);
  if (operations_.size() >= upkeep_operations_max || table_.size() == 0) return;
  if (!explored_.empty()) {
    // From peers that the table need not know: a lookup for ourselves that starts from our own
    // neighbours would never leave our half of two swarms that have only partly met.
    const std::vector<contact> seeds = std::exchange(explored_, {});
    return start(now, make_upkeep(now, self_, seeds));
  }
  const node_id place = table_.random_id_in(0, random_);
  operation op = make_upkeep(now, place, seeds_for(place));
  op.on_lookup = [this](const lookup_result& r) { keep_explored(r.nearest); };
  start(now, std::move(op));
}

/// Keeps some peers of a lookup's end, at random, as the start of the next one for ourselves.
P2PDVM_DECL void node::keep_explored(std::vector<contact> found) {
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
    own.due = now + republish_pause();
    what = own.r;
    break;
  }
  const bool own = what.has_value();
  if (!what) what = store_.take_due(now, replicate_pause());
  if (!what) return;
  const std::vector<contact> near =
      table_.closest(what->target, options_.lookups.width, routing_table::include::all);
  const bool ours = own || near.size() < options_.lookups.width ||
                    nearer(what->target, self_, crypto::node_id_of(near.back().key));
  if (!ours) return;
  operation op = make_operation(now, goal::publish, what->target,
                                own ? seeds_for(what->target, options_.value_paths) : near);
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
  explore_interval_ = options_.explore_interval_min;
  next_explore_ = std::min(next_explore_, now + jittered(explore_interval_));
  start(now, make_upkeep(now, self_, choices));
}

}  // namespace p2pdvm::overlay

#pragma once

#include <p2pdvm/base/prefetch.hpp>
#include <p2pdvm/overlay/node.hpp>

#include <algorithm>

namespace p2pdvm::overlay {

P2PDVM_DECL node::node(const crypto::identity& self, const node_options& options,
                       random_generator random, overlay_transport& transport)
    : self_(self.id()),
      key_(self.key()),
      options_(options),
      random_(random),
      transport_(&transport),
      table_(self_, options.routing),
      store_(self_, options.records),
      prover_(self, random_()),
      exchange_interval_(options.exchange_interval_min),
      explore_interval_(options.explore_interval_min),
      rejoin_interval_(options.rejoin_interval_min) {
  P2PDVM_ASSERT(options.attempts > 0);
  P2PDVM_ASSERT(options.attempts <= attempts_max);
}

P2PDVM_DECL void node::set_wall_clock(time_point now, unix_seconds wall) {
  wall_at_ = now;
  wall_ = wall;
}

P2PDVM_DECL unix_seconds node::wall(time_point now) const {
  return wall_ + std::chrono::floor<std::chrono::seconds>(now - wall_at_).count();
}

/// What was sent again is no sample, as by Karn and Partridge (1987): the path was not as usual.
P2PDVM_DECL void node::note_place(const node_id& peer, const packed_coordinate& place,
                                  std::optional<duration> round_trip_time) {
  const result<coordinate> where = unpack(place);
  if (!where.ok()) {
    ++statistics_.malformed;
    return;
  }
  table_.keep_place(peer, place);
  if (round_trip_time) (void)tracker_.measured(peer, *where, *round_trip_time, random_);
}

P2PDVM_DECL std::optional<duration> node::predicted(const node_id& peer) const {
  const peer_entry* entry = table_.find(peer);
  if (entry == nullptr || !entry->place) return std::nullopt;
  const result<coordinate> where = unpack(*entry->place);
  P2PDVM_ASSERT(where.ok());
  return estimate(tracker_.own(), *where);
}

P2PDVM_DECL void node::nearest(time_point now, std::size_t wanted, nearest_callback done) {
  std::vector<contact> candidates;
  std::vector<coordinate> places;
  for (const peer_entry& e : table_.oldest_first()) {
    if (!e.place || e.failures > 0) continue;
    const result<coordinate> where = unpack(*e.place);
    P2PDVM_ASSERT(where.ok());
    candidates.push_back(e.peer);
    places.push_back(*where);
  }
  if (wanted == 0 || candidates.empty() || measurements_.size() >= nearest_queries_max)
    return done({});
  nearest_options how;
  how.wanted = std::min(wanted, nearest_shortlist_max / 4);
  how.shortlist = 4 * how.wanted;
  how.attempts = 1;  // a request is repeated anyway
  const std::array<coordinate, 1> here{tracker_.own()};
  const std::uint64_t number = next_operation_++;
  measurements_.emplace(number, measurement{nearest_query(places, here, how),
                                            std::move(candidates), std::move(done)});
  measure_next(now, number);
}

P2PDVM_DECL void node::measure_next(time_point now, std::uint64_t number) {
  const auto at = measurements_.find(number);
  if (at == measurements_.end()) return;
  nearest_query& query = at->second.query;
  while (const auto probe = query.next()) {
    pending q;
    q.to = at->second.candidates[probe->candidate];
    q.measurement = number;
    q.candidate = probe->candidate;
    if (!ask(now, q)) query.measured(*probe, std::nullopt);
  }
  if (!query.done()) return;
  const measurement over = std::move(at->second);
  measurements_.erase(at);
  std::vector<near_peer> found;
  for (const auto& best : over.query.best())
    found.push_back({over.candidates[best.candidate], best.round_trip});
  over.done(found);
}

P2PDVM_DECL void node::measured(time_point now, const pending& p,
                                std::optional<duration> round_trip_time) {
  const auto at = measurements_.find(p.measurement);
  if (at == measurements_.end()) return;
  at->second.query.measured({p.candidate, 0}, round_trip_time);
  measure_next(now, p.measurement);
}

P2PDVM_DECL void node::expect(unsigned stage) const noexcept {
  const auto fetch = [](const auto* first, const auto* last) {
    const auto* begin = reinterpret_cast<const std::byte*>(first);
    prefetch(begin, static_cast<std::size_t>(reinterpret_cast<const std::byte*>(last) - begin));
  };
  if (stage == 0) {  // all but the options and who is absent
    prefetch(&self_, sizeof self_);
    fetch(&random_, &absent_);
    fetch(&next_absent_, &stores_not_before_ + 1);
  } else if (stage == 1) {
    prefetch(pending_.data(), pending_.size() * sizeof(pending));
    table_.expect(0);
  } else {
    table_.expect(1);
    if (!operations_.empty()) prefetch(&operations_.begin()->second, sizeof(operation));
  }
}

P2PDVM_DECL void node::join(time_point now, const std::vector<contact>& through) {
  std::vector<contact> seeds;
  for (const contact& c : through) {
    if (seeds.size() == remembered_max) break;
    if (c.key != key_) seeds.push_back(c);
  }
  if (!seeds.empty()) bootstrap_ = seeds;
  next_check_ = std::min(next_check_, now + jittered(options_.check_interval_min));
  next_refresh_ = std::min(next_refresh_, now + jittered(options_.refresh_interval_min));
  explore_interval_ = options_.explore_interval_min;
  next_explore_ = std::min(next_explore_, now + jittered(explore_interval_));
  next_rejoin_ = now + 4 * options_.timeout_max;
  // Starting from these alone makes sure that they are asked, also by one that knows others.
  if (seeds.empty()) {
    seeds = table_.closest(self_, options_.lookups.width, routing_table::include::all);
  }
  start(now, make_upkeep(now, self_, seeds));
}

P2PDVM_DECL void node::lookup(time_point now, const node_id& target, lookup_callback done) {
  if (operations_.size() >= operations_max) return done(lookup_result{});
  operation op = make_operation(now, goal::nodes, target, seeds_for(target));
  op.on_lookup = std::move(done);
  start(now, std::move(op));
}

P2PDVM_DECL void node::find(time_point now, const node_id& target,
                            const std::optional<public_key>& publisher, find_callback done) {
  if (auto here = local(now, target, publisher)) return done(found_record{*here, 0, 0});
  if (operations_.size() >= operations_max) {
    return done(error(errc::refused, "too many searches of the overlay run at once"));
  }
  operation op = make_operation(now, goal::value, target, seeds_for(target, options_.value_paths));
  op.publisher = publisher;
  op.on_find = std::move(done);
  start(now, std::move(op));
}

P2PDVM_DECL void node::publish(time_point now, record r, publish_callback done) {
  if (auto valid = validate(r, wall(now)); !valid) return done(valid.error());
  if (operations_.size() >= operations_max) {
    return done(error(errc::refused, "too many searches of the overlay run at once"));
  }
  const record_key name{r.target, r.publisher};
  const auto old = own_.find(name);
  if (old != own_.end() && old->second.r != r && old->second.r.sequence >= r.sequence) {
    return done(error(errc::conflict, "a record with this or a higher sequence was published"));
  }
  if (old == own_.end() && own_.size() >= own_records_max) {
    return done(error(errc::no_space, "this peer already publishes as many records as it may"));
  }
  own_.insert_or_assign(name, own_record{r, now + republish_pause()});
  operation op = make_operation(now, goal::publish, r.target, seeds_for(r.target, options_.value_paths));
  op.subject = std::move(r);
  op.on_publish = std::move(done);
  start(now, std::move(op));
}

P2PDVM_DECL std::optional<record> node::local(time_point now, const node_id& target,
                                              const std::optional<public_key>& publisher) {
  for (auto own = own_.lower_bound(record_key{target, public_key()});
       own != own_.end() && own->first.target == target; ++own) {
    const bool meant = !publisher || *publisher == own->first.publisher;
    if (meant && own->second.r.expiry > wall(now)) return own->second.r;
  }
  return store_.get(target, publisher, wall(now), random_);
}

P2PDVM_DECL node::operation node::make_operation(time_point now, goal what, const node_id& target,
                                                 const std::vector<contact>& seeds) {
  table_.refreshed(now, target);
  ++statistics_.operations;
  lookup_options how = options_.lookups;
  if (what != goal::nodes) {
    // A liar fills the path that meets it with liars near the target: a record on one path would be
    // kept by liars alone. Each path is as wide as a single one; most searches end long before.
    how.paths = std::max(how.paths, options_.value_paths);
    how.width *= how.paths;
  }
  // Who knows everybody has only to hear that they live: all in one round.
  if (what != goal::value && table_.full_view()) how.parallelism = std::max(how.parallelism, how.width);
  return {.what = what,
          .search = iterative_lookup(self_, target, how, seeds),
          .publisher = {},
          .subject = {},
          .on_lookup = {},
          .on_find = {},
          .on_publish = {}};
}

P2PDVM_DECL node::operation node::make_upkeep(time_point now, const node_id& target,
                                              const std::vector<contact>& seeds) {
  lookup_options narrow = options_.lookups;
  narrow.width = std::min(narrow.width, upkeep_width);
  operation op = make_operation(now, goal::nodes, target, {});
  op.search = iterative_lookup(self_, target, narrow, seeds);
  op.upkeep = true;
  return op;
}

/// Those of the table; while it is empty, those through whom we are just entering.
P2PDVM_DECL std::vector<contact> node::seeds_for(const node_id& target, std::size_t paths) {
  const auto seeds = table_.starts(target, options_.lookups.width * paths, paths, random_);
  return seeds.empty() ? bootstrap_ : seeds;
}

P2PDVM_DECL void node::start(time_point now, operation op) {
  const std::uint64_t number = next_operation_++;
  operations_.emplace(number, std::move(op));
  drive(now, number);
}

/// Asks whom the search names, and goes on to its next phase when it is over.
P2PDVM_DECL void node::drive(time_point now, std::uint64_t number) {
  const auto at = operations_.find(number);
  if (at == operations_.end()) return;
  operation& op = at->second;
  if (!op.storing) {
    const node_id target = op.search.target();
    for (auto named = op.search.next(); !named.empty(); named = op.search.next()) {
      for (const contact& c : named) {
        pending q;
        q.to = c;
        q.kind = op.what == goal::value ? message_kind::find_value : message_kind::find_node;
        q.operation = number;
        q.target = target;
        q.wanted = search_contacts;
        if (!ask(now, q)) op.search.failed(crypto::node_id_of(c.key));
      }
    }
    if (!op.search.done()) return;
    if (op.what == goal::publish) begin_stores(now, number, op);
  }
  if (op.stores_open == 0) finish(number);
}

P2PDVM_DECL void node::begin_stores(time_point now, std::uint64_t number, operation& op) {
  op.storing = true;
  std::vector<contact> nearest = op.search.closest();
  nearest.resize(std::min(nearest.size(), options_.lookups.width));
  const node_id& target = op.search.target();
  const bool near = nearest.size() < options_.lookups.width ||
                    nearer(target, self_, crypto::node_id_of(nearest.back().key));
  if (near) {
    const time_point due = now + replicate_pause();
    if (store_.put(*op.subject, contact{key_, address::loopback(0)}, wall(now), due)) ++op.copies;
  }
  for (const contact& c : nearest) {
    pending q;
    q.to = c;
    q.kind = message_kind::store;
    q.operation = number;
    if (ask(now, q)) ++op.stores_open;
  }
}

P2PDVM_DECL void node::finish(std::uint64_t number) {
  const auto at = operations_.find(number);
  const operation op = std::move(at->second);
  operations_.erase(at);
  const bool alone = op.search.closest().empty();
  if (op.on_lookup) {
    op.on_lookup(lookup_result{op.search.closest(), op.search.hops(), op.search.queries()});
  }
  if (op.on_find && op.subject) {
    op.on_find(found_record{*op.subject, op.search.hops(), op.search.queries()});
  } else if (op.on_find && alone) {
    op.on_find(error(errc::unreachable, "no peer of the overlay answered; is this peer online?"));
  } else if (op.on_find) {
    op.on_find(error(errc::not_found, "no peer near its place has such a record"));
  }
  if (op.on_publish && op.copies > 0) {
    op.on_publish(op.copies);
  } else if (op.on_publish) {
    op.on_publish(error(alone ? errc::unreachable : errc::refused,
                        "no peer of the overlay took the record"));
  }
}

P2PDVM_DECL void node::answered(time_point now, const pending& p, const contact& from,
                                const message& reply) {
  if (p.operation == 0 && reply.kind == message_kind::nodes) {
    for (const contact& c : reply.nearest) {
      if (acceptable(c.where, from.where)) ping_back(now, c);
    }
    return;
  }
  const auto at = operations_.find(p.operation);
  if (at == operations_.end()) return;
  if (p.kind == message_kind::store) {
    return stored(now, p, reply.kind == message_kind::stored && reply.kept);
  }
  if (at->second.storing) return;
  searched(now, at->second, p, from, reply);
  drive(now, p.operation);
}

P2PDVM_DECL void node::stored(time_point now, const pending& p, bool kept) {
  operation& op = operations_.at(p.operation);
  P2PDVM_ASSERT(op.stores_open > 0);
  --op.stores_open;
  if (kept) ++op.copies;
  drive(now, p.operation);
}

P2PDVM_DECL void node::searched(time_point now, operation& op, const pending& p,
                                const contact& from, const message& reply) {
  if (reply.kind == message_kind::nodes) {
    std::vector<contact> told;
    for (const contact& c : reply.nearest) {
      if (acceptable(c.where, from.where)) told.push_back(c);
    }
    return op.search.replied(p.id(), told);
  }
  if (reply.kind != message_kind::value) return op.search.failed(p.id());
  if (!good_value(now, op, reply.what)) {
    ++statistics_.invalid_records;
    return op.search.failed(p.id());
  }
  op.subject = reply.what;
  op.search.found(p.id());
}

P2PDVM_DECL bool node::good_value(time_point now, const operation& op, const record& r) const {
  if (op.what != goal::value || r.target != op.search.target()) return false;
  if (op.publisher && *op.publisher != r.publisher) return false;
  return validate(r, wall(now)).ok();
}

P2PDVM_DECL void node::unanswered(time_point now, const pending& p) {
  if (p.measurement != 0) return measured(now, p, std::nullopt);
  const auto at = operations_.find(p.operation);
  if (at == operations_.end()) return;
  if (p.kind == message_kind::store) return stored(now, p, false);
  if (at->second.storing) return;
  at->second.search.failed(p.id());
  drive(now, p.operation);
}

P2PDVM_DECL std::vector<contact> node::known_contacts(std::size_t count) const {
  std::vector<contact> known;
  for (const peer_entry& e : table_.oldest_first()) {
    if (known.size() == count) return known;
    if (e.failures == 0) known.push_back(e.peer);
  }
  for (const contact& c : remembered_) {
    if (known.size() == count) return known;
    const bool there = std::any_of(known.begin(), known.end(),
                                   [&](const contact& k) { return k.key == c.key; });
    if (!there) known.push_back(c);
  }
  return known;
}

P2PDVM_DECL void node::remember(const contact& peer) {
  std::erase_if(remembered_, [&](const contact& c) { return c.key == peer.key; });
  if (remembered_.size() >= remembered_max) remembered_.pop_back();
  remembered_.insert(remembered_.begin(), peer);
}

}  // namespace p2pdvm::overlay

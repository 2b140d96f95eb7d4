#pragma once

#include <p2pdvm/store/replicator.hpp>

#include <algorithm>
#include <string_view>
#include <utility>

namespace p2pdvm::store {

namespace detail {

inline constexpr std::uint16_t stripe_bit(unsigned stripe) noexcept {
  return static_cast<std::uint16_t>(1u << stripe);
}

inline std::size_t domain_count(const std::vector<member>& members) {
  std::set<std::string_view> domains;
  for (const member& m : members) domains.insert(m.domain);
  return domains.size();
}

inline std::uint16_t stripes_used(const std::vector<placed_chunk>& chunks) {
  std::uint16_t used = 0;
  for (const placed_chunk& c : chunks)
    used = static_cast<std::uint16_t>(used | stripe_bit(c.stripe));
  return used;
}

/// What a receipt for these stripes must cover.
inline digest256 stripes_digest(const std::vector<placed_chunk>& chunks, std::uint16_t stripes) {
  std::vector<chunk_id> ids;
  for (const placed_chunk& c : chunks) {
    if ((stripes & stripe_bit(c.stripe)) != 0) ids.push_back(c.id);
  }
  return digest_of(std::move(ids));
}

}  // namespace detail

P2PDVM_DECL bool replica_map::has(const node_id& holder, const chunk_id& id) const {
  const auto found = holders_.find(holder);
  return found != holders_.end() && found->second.count(id) != 0;
}

P2PDVM_DECL void replica_map::add(const node_id& holder, const chunk_id& id, epoch_number epoch) {
  epoch_number& latest = holders_[holder][id];
  latest = std::max(latest, epoch);
}

P2PDVM_DECL void replica_map::remove(const node_id& holder, const chunk_id& id) {
  const auto found = holders_.find(holder);
  if (found != holders_.end()) found->second.erase(id);
}

P2PDVM_DECL void replica_map::expire(epoch_number oldest) {
  for (auto& [holder, chunks] : holders_)
    std::erase_if(chunks, [&](const auto& entry) { return entry.second < oldest; });
}

P2PDVM_DECL unsigned replicas_of(const replication& what, const std::vector<receipt>& receipts) {
  std::array<std::set<std::string_view>, limits::stripes_per_rank> domains;
  for (const receipt& r : receipts) {
    if (r.snapshot != what.snapshot || r.rank != what.rank) continue;
    const auto m = std::find_if(what.members.begin(), what.members.end(),
                                [&](const member& x) { return x.id == r.holder; });
    if (m == what.members.end()) continue;
    if (r.covered != detail::stripes_digest(what.chunks, r.stripes)) continue;
    if (!r.signed_by(m->key)) continue;
    for (unsigned s = 0; s < domains.size(); ++s) {
      if ((r.stripes & detail::stripe_bit(s)) != 0) domains.at(s).insert(m->domain);
    }
  }
  const std::uint16_t used = detail::stripes_used(what.chunks);
  std::size_t least = what.members.size();
  for (unsigned s = 0; s < domains.size(); ++s) {
    if ((used & detail::stripe_bit(s)) != 0) least = std::min(least, domains.at(s).size());
  }
  return static_cast<unsigned>(least);
}

P2PDVM_DECL bool covers(const replication& what, const std::vector<receipt>& receipts) {
  const std::size_t wanted =
      std::min<std::size_t>(what.replicas, detail::domain_count(what.members));
  return wanted > 0 && replicas_of(what, receipts) >= wanted;
}

P2PDVM_DECL replicator::replicator(replication what, replica_map& known, genuine_receipts& genuine,
                                   sealed_function sealed, emit_function emit, upload_budget* budget)
    : what_(std::move(what)),
      known_(known),
      genuine_(genuine),
      sealed_(std::move(sealed)),
      emit_(std::move(emit)),
      budget_(budget),
      targets_(what_.members.size()) {
  P2PDVM_ASSERT(!what_.chunks.empty());
  P2PDVM_ASSERT(what_.chunks.size() <= ids_per_put_max);
  for (chunk_index c = 0; c < what_.chunks.size(); ++c) {
    by_stripe_.at(what_.chunks[c].stripe).push_back(c);
    const bool first = index_.emplace(what_.chunks[c].id, c).second;
    P2PDVM_ASSERT(first);
  }
  for (std::size_t m = 0; m < what_.members.size(); ++m) by_node_[what_.members[m].id] = m;
}

P2PDVM_DECL void replicator::start(time_point now) {
  place();
  proceed(now);
}

P2PDVM_DECL void replicator::proceed(time_point now) {
  pump(now);
  check_finished();
}

/// Finds holders for every stripe that has too few. What holders have confirmed stays theirs.
P2PDVM_DECL void replicator::place() {
  std::vector<member> candidates;
  std::vector<std::size_t> index;
  for (std::size_t m = 0; m < targets_.size(); ++m) {
    if (targets_[m].state != standing::good) continue;
    candidates.push_back(what_.members[m]);
    index.push_back(m);
  }
  const placement places(what_.snapshot.job, what_.rank, candidates, what_.replicas);
  for (unsigned s = 0; s < by_stripe_.size(); ++s) {
    if (by_stripe_.at(s).empty()) continue;
    const stripe_mask bit = detail::stripe_bit(s);
    std::set<std::string_view> domains;
    for (std::size_t m = 0; m < targets_.size(); ++m) {
      const target& t = targets_[m];
      const bool counts = t.state == standing::good ? (t.assigned & bit) != 0
                                                    : (t.confirmed & bit) != 0;
      if (counts && t.state != standing::lost) domains.insert(what_.members[m].domain);
    }
    for (const std::uint32_t candidate : places.holders(s)) {
      if (domains.size() >= what_.replicas) break;
      const std::size_t m = index[candidate];
      if (domains.insert(what_.members[m].domain).second) assign(m, s);
    }
  }
}

P2PDVM_DECL void replicator::assign(std::size_t m, unsigned stripe) {
  target& t = targets_[m];
  t.assigned = static_cast<stripe_mask>(t.assigned | detail::stripe_bit(stripe));
  t.due = static_cast<stripe_mask>(t.due | detail::stripe_bit(stripe));
  for (const chunk_index c : by_stripe_.at(stripe)) {
    if (!known_.has(what_.members[m].id, what_.chunks[c].id)) t.queue.insert(c);
  }
}

P2PDVM_DECL void replicator::pump(time_point now) {
  held_back_ = false;
  // In turn, one put each, so that a sealed chunk goes to all its holders while it is cached.
  for (bool sent = true; sent && !finished_;) {
    sent = false;
    for (std::size_t i = 0, first = turn_; i < targets_.size() && !finished_; ++i) {
      const std::size_t m = (first + i) % targets_.size();
      if (targets_[m].state == standing::good && send_put(now, m)) sent = true;
    }
  }
}

P2PDVM_DECL bool replicator::send_put(time_point now, std::size_t m) {
  target& t = targets_[m];
  if (t.queue.empty() && t.due == 0) return false;
  const auto cost = [&](chunk_index c) { return what_.chunks[c].bytes + chunk_overhead_bytes; };
  const std::size_t room =
      put_bytes_in_flight_max - std::min(put_bytes_in_flight_max, t.bytes_in_flight);
  if (t.bytes_in_flight > 0 && !t.queue.empty() &&
      std::min(put_bytes_max, cost(*t.queue.begin())) > room)
    return false;
  const bool uploads = budget_ != nullptr && what_.members[m].id != what_.self;
  if (uploads && !t.queue.empty() && !budget_->ready(now)) {
    if (!std::exchange(held_back_, true)) turn_ = m;
    return false;
  }
  put_chunks put{what_.snapshot, what_.rank, next_sequence_, 0, {}, {}};
  outstanding_put out;
  std::vector<chunk_id> ids;
  std::size_t sent_bytes = 0;
  while (!t.queue.empty()) {
    const chunk_index c = *t.queue.begin();
    if (!put.chunks.empty() && out.bytes + cost(c) > std::min(put_bytes_max, room)) break;
    auto bytes = sealed(c);
    if (!bytes) {
      finished_ = result<replication_outcome>(bytes.error());
      return false;
    }
    t.queue.erase(t.queue.begin());
    out.bytes += cost(c);
    out.named.push_back(c);
    ids.push_back(what_.chunks[c].id);
    sent_bytes += bytes->size();
    put.chunks.push_back({what_.chunks[c].id, std::move(*bytes)});
  }
  if (uploads) budget_->spend(now, sent_bytes);
  if (t.queue.empty()) {
    put.stripes = out.stripes = std::exchange(t.due, stripe_mask{0});
    const std::set<chunk_index> sent(out.named.begin(), out.named.end());
    for (unsigned s = 0; s < by_stripe_.size(); ++s) {
      if ((out.stripes & detail::stripe_bit(s)) == 0) continue;
      for (const chunk_index c : by_stripe_.at(s)) {
        if (sent.count(c) != 0) continue;
        out.named.push_back(c);
        ids.push_back(what_.chunks[c].id);
        put.have.push_back(what_.chunks[c].id);
      }
    }
  }
  out.covered = digest_of(std::move(ids));
  if (t.puts.empty()) t.last_progress = now;
  t.bytes_in_flight += out.bytes;
  t.puts.emplace(next_sequence_++, std::move(out));
  emit_(what_.members[m].id, std::move(put));
  return true;
}

P2PDVM_DECL result<payload> replicator::sealed(chunk_index c) {
  if (const auto found = cache_.find(c); found != cache_.end()) return found->second;
  auto bytes = sealed_(what_.chunks[c].id);
  if (!bytes) return bytes;
  cache_bytes_ += bytes->size();
  cache_.emplace(c, *bytes);
  cache_order_.push_back(c);
  while (cache_bytes_ > sealed_cache_bytes_max && cache_order_.size() > 1) {
    const auto oldest = cache_.find(cache_order_.front());
    cache_bytes_ -= oldest->second.size();
    cache_.erase(oldest);
    cache_order_.pop_front();
  }
  return bytes;
}

P2PDVM_DECL void replicator::on_message(time_point now, const node_id& from,
                                        const store_message& message) {
  const auto found = by_node_.find(from);
  if (finished_ || found == by_node_.end()) return;
  const std::size_t m = found->second;
  if (targets_[m].state != standing::good) return;
  const auto ours = [&](const auto& answer) {
    return answer.snapshot == what_.snapshot && answer.rank == what_.rank &&
           targets_[m].puts.count(answer.sequence) != 0;
  };
  if (const auto* r = std::get_if<receipt>(&message); r != nullptr && ours(*r)) {
    on_receipt(now, m, *r);
  } else if (const auto* a = std::get_if<chunks_missing>(&message); a != nullptr && ours(*a)) {
    on_missing(now, m, *a);
  } else if (const auto* f = std::get_if<put_refused>(&message); f != nullptr && ours(*f)) {
    give_up(m, standing::given_up, "refused chunks: " + f->reason);
  } else {
    return;
  }
  proceed(now);
}

P2PDVM_DECL void replicator::on_receipt(time_point now, std::size_t m, const receipt& r) {
  target& t = targets_[m];
  const auto put = t.puts.find(r.sequence);
  if (r.stripes != put->second.stripes || r.covered != put->second.covered ||
      r.holder != what_.members[m].id || !genuine_.check(r, what_.members[m].key)) {
    give_up(m, standing::given_up, "gave a false receipt");
    return;
  }
  for (const chunk_index c : put->second.named)
    known_.add(r.holder, what_.chunks[c].id, what_.snapshot.epoch);
  t.confirmed = static_cast<stripe_mask>(t.confirmed | r.stripes);
  t.bytes_in_flight -= put->second.bytes;
  t.puts.erase(put);
  t.stalls = 0;
  t.last_progress = now;
  if (r.stripes != 0) outcome_.receipts.push_back(r);
}

P2PDVM_DECL void replicator::on_missing(time_point now, std::size_t m,
                                        const chunks_missing& answer) {
  target& t = targets_[m];
  if (++t.missing > put_missing_max) {
    give_up(m, standing::given_up, "keeps losing chunks");
    return;
  }
  const auto found = t.puts.find(answer.sequence);
  const outstanding_put put = std::move(found->second);
  t.puts.erase(found);
  t.bytes_in_flight -= put.bytes;
  t.stalls = 0;
  t.last_progress = now;
  const std::set<chunk_index> named(put.named.begin(), put.named.end());
  t.due = static_cast<stripe_mask>(t.due | put.stripes);
  for (const chunk_id& id : answer.ids) {
    const auto c = index_.find(id);
    if (c == index_.end() || named.count(c->second) == 0) continue;
    known_.remove(what_.members[m].id, id);
    t.queue.insert(c->second);
    t.due = static_cast<stripe_mask>(t.due | detail::stripe_bit(what_.chunks[c->second].stripe));
  }
}

P2PDVM_DECL void replicator::give_up(std::size_t m, standing state, const std::string& why) {
  target& t = targets_[m];
  t.state = state;
  t.queue.clear();
  t.puts.clear();
  t.due = 0;
  t.bytes_in_flight = 0;
  const node_id& id = what_.members[m].id;
  outcome_.troubles.push_back("peer " + id.brief() + " " + why);
  if (state == standing::lost)
    std::erase_if(outcome_.receipts, [&](const receipt& r) { return r.holder == id; });
  place();
}

P2PDVM_DECL void replicator::on_member_lost(time_point now, const node_id& lost) {
  const auto found = by_node_.find(lost);
  if (finished_ || found == by_node_.end()) return;
  if (targets_[found->second].state == standing::lost) return;
  give_up(found->second, standing::lost, "was lost");
  proceed(now);
}

P2PDVM_DECL time_point replicator::next_timer() const {
  time_point next = time_point_never;
  if (finished_) return next;
  if (held_back_) next = budget_->next();
  for (const target& t : targets_) {
    if (!t.puts.empty()) next = std::min(next, t.last_progress + put_stall_time);
  }
  return next;
}

P2PDVM_DECL void replicator::on_timer(time_point now) {
  if (finished_) return;
  for (std::size_t m = 0; m < targets_.size(); ++m) {
    target& t = targets_[m];
    if (t.puts.empty() || now < t.last_progress + put_stall_time) continue;
    t.last_progress = now;
    if (++t.stalls > put_stalls_max) {
      give_up(m, standing::given_up, "did not answer");
    } else {
      ask_again(m);
    }
  }
  proceed(now);
}

/// Names the unanswered puts' chunks instead of sending them again: a slow holder is spared, and
/// one that was restarted says what it misses.
P2PDVM_DECL void replicator::ask_again(std::size_t m) {
  for (const auto& [sequence, out] : targets_[m].puts) {
    put_chunks put{what_.snapshot, what_.rank, sequence, out.stripes, {}, {}};
    for (const chunk_index c : out.named) put.have.push_back(what_.chunks[c].id);
    emit_(what_.members[m].id, std::move(put));
  }
}

P2PDVM_DECL void replicator::check_finished() {
  if (finished_) return;
  for (const target& t : targets_) {
    if (!t.puts.empty() || !t.queue.empty() || t.due != 0) return;
  }
  std::size_t least = what_.replicas;
  for (unsigned s = 0; s < by_stripe_.size(); ++s) {
    if (by_stripe_.at(s).empty()) continue;
    std::set<std::string_view> domains;
    for (std::size_t m = 0; m < targets_.size(); ++m) {
      if (targets_[m].state != standing::lost &&
          (targets_[m].confirmed & detail::stripe_bit(s)) != 0)
        domains.insert(what_.members[m].domain);
    }
    least = std::min(least, domains.size());
  }
  outcome_.replicas = static_cast<unsigned>(least);
  finished_ = result<replication_outcome>(std::move(outcome_));
}

}  // namespace p2pdvm::store

#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/overlay/lookup.hpp>

#include <algorithm>

namespace p2pdvm::overlay {

P2PDVM_DECL iterative_lookup::iterative_lookup(const node_id& self, const node_id& target,
                                               const lookup_options& options,
                                               const std::vector<contact>& seeds)
    : self_(self), target_(target), options_(options) {
  P2PDVM_ASSERT(options.parallelism > 0);
  P2PDVM_ASSERT(options.width > 0);
  P2PDVM_ASSERT(options.paths > 0);
  for (std::size_t i = 0; i < seeds.size(); ++i) add(seeds[i], 1, i % options_.paths);
}

P2PDVM_DECL std::vector<iterative_lookup::candidate>::const_iterator iterative_lookup::place_of(
    const node_id& id, std::uint64_t distance) const {
  return std::lower_bound(candidates_.begin(), candidates_.end(), distance,
                          [&](const candidate& c, std::uint64_t to) {
                            return c.far != to ? c.far < to : nearer(target_, c.id(), id);
                          });
}

P2PDVM_DECL iterative_lookup::candidate* iterative_lookup::find(const node_id& id) {
  const auto at = place_of(id, far(id));
  if (at == candidates_.end() || at->id() != id) return nullptr;
  return &candidates_[static_cast<std::size_t>(at - candidates_.begin())];
}

P2PDVM_DECL void iterative_lookup::add(const contact& peer, unsigned hops, std::size_t path) {
  const node_id id = crypto::node_id_of(peer.key);
  if (id == self_) return;
  const std::uint64_t distance = far(id);
  const auto at = place_of(id, distance);
  if (at != candidates_.end() && at->id() == id) return;
  const network_prefix network = network_of(peer.where);
  if (network != network_prefix()) {
    const auto same = std::count(networks_.begin(), networks_.end(), network);
    if (static_cast<std::size_t>(same) >= lookup_per_network_max) return;
  }
  const auto index = at - candidates_.cbegin();
  if (candidates_.size() >= lookup_candidates_max) {
    // The farthest gives way; if that one was asked already, the newcomer does.
    if (at == candidates_.end() || candidates_.back().now != state::fresh) return;
    *std::find(networks_.begin(), networks_.end(), candidates_.back().network) = networks_.back();
    networks_.pop_back();
    candidates_.pop_back();
  }
  networks_.push_back(network);
  candidates_.insert(candidates_.begin() + index,
                     candidate{peer, network, hops, path, state::fresh, distance});
}

P2PDVM_DECL std::size_t iterative_lookup::width_per_path() const noexcept {
  return (options_.width + options_.paths - 1) / options_.paths;
}

template <class Candidates, class Visit>
void iterative_lookup::visit_front(Candidates& candidates, std::size_t path, Visit visit) const {
  std::size_t left = width_per_path();
  for (auto& c : candidates) {
    if (c.path != path || c.now == state::failed) continue;
    if (!visit(c) || --left == 0) return;
  }
}

P2PDVM_DECL std::vector<contact> iterative_lookup::next() {
  std::vector<contact> to_ask;
  if (value_found_) return to_ask;
  for (std::size_t path = 0; path < options_.paths; ++path) {
    std::size_t free = options_.parallelism;
    for (const candidate& c : candidates_) {
      if (c.path == path && c.now == state::asked && free > 0) --free;
    }
    if (free == 0) continue;
    visit_front(candidates_, path, [&](candidate& c) {
      if (free == 0 || queries_ >= lookup_queries_max) return false;
      if (c.now != state::fresh) return true;
      c.now = state::asked;
      to_ask.push_back(c.peer);
      ++queries_;
      --free;
      return true;
    });
  }
  return to_ask;
}

P2PDVM_DECL void iterative_lookup::replied(const node_id& who, const std::vector<contact>& told) {
  candidate* c = find(who);
  if (c == nullptr || (c->now != state::asked && c->now != state::slow)) return;
  c->now = state::replied;
  const unsigned hops = c->hops + 1;
  const std::size_t path = c->path;
  for (const contact& peer : told) add(peer, hops, path);
}

P2PDVM_DECL void iterative_lookup::slow(const node_id& who) {
  candidate* c = find(who);
  if (c != nullptr && c->now == state::asked) c->now = state::slow;
}

P2PDVM_DECL void iterative_lookup::failed(const node_id& who) {
  candidate* c = find(who);
  if (c != nullptr) c->now = state::failed;
}

P2PDVM_DECL void iterative_lookup::found(const node_id& who) {
  const candidate* c = find(who);
  value_hops_ = c == nullptr ? 0 : c->hops;
  value_found_ = true;
}

P2PDVM_DECL std::size_t iterative_lookup::rank(const node_id& who) const {
  std::size_t ahead = 0;
  for (const candidate& c : candidates_) {
    if (same(c.id(), who)) break;
    ahead += c.now == state::failed ? 0 : 1;
  }
  return ahead;
}

P2PDVM_DECL bool iterative_lookup::done() const {
  if (value_found_) return true;
  const bool spent = queries_ >= lookup_queries_max;
  bool open = false;
  for (std::size_t path = 0; path < options_.paths && !open; ++path) {
    visit_front(candidates_, path, [&](const candidate& c) {
      open = c.now == state::asked || c.now == state::slow || (c.now == state::fresh && !spent);
      return !open;
    });
  }
  return !open;
}

P2PDVM_DECL unsigned iterative_lookup::hops() const noexcept {
  if (value_found_) return value_hops_;
  for (const candidate& c : candidates_) {
    if (c.now == state::replied) return c.hops;
  }
  return 0;
}

P2PDVM_DECL std::vector<contact> iterative_lookup::closest() const {
  std::vector<contact> answered;
  for (const candidate& c : candidates_) {
    if (answered.size() == options_.width) break;
    if (c.now == state::replied) answered.push_back(c.peer);
  }
  return answered;
}

}  // namespace p2pdvm::overlay

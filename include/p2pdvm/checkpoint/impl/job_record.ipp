#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>
#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <set>

namespace p2pdvm::checkpoint {

namespace detail {

inline bool among(const std::vector<node_id>& set, const node_id& node) {
  return std::find(set.begin(), set.end(), node) != set.end();
}

inline error bad_record(std::string_view what) {
  return error(errc::malformed, fmt::format("a job record is malformed: {}", what));
}

inline result<> validate_members(const job_record& r) {
  if (r.members.empty()) return bad_record("it has no members");
  if (r.members.size() > limits::members_max) return bad_record("it has too many members");
  std::set<node_id> seen;
  for (const member& m : r.members) {
    if (!seen.insert(m.node).second) return bad_record("a member is listed twice");
    if (m.addresses.size() > member_addresses_max) return bad_record("too many addresses");
    if (m.failure_domain.size() > failure_domain_bytes_max)
      return bad_record("the name of a failure domain is too long");
    if (m.flags >= 2 * member::hidden) return bad_record("a member has unknown flags");
    if (!overlay::unpack(m.place).ok()) return bad_record("a member's coordinate is impossible");
  }
  return {};
}

inline result<> validate_keepers(const job_record& r, const std::vector<node_id>& keepers) {
  if (keepers.size() > limits::keepers_max) return bad_record("it has too many keepers");
  if (keepers.size() % 2 == 0) return bad_record("its number of keepers is even");
  for (std::size_t i = 0; i < keepers.size(); ++i) {
    if (r.find(keepers[i]) == nullptr) return bad_record("a keeper never was a member");
    if (std::find(keepers.begin(), keepers.begin() + static_cast<std::ptrdiff_t>(i), keepers[i]) !=
        keepers.begin() + static_cast<std::ptrdiff_t>(i))
      return bad_record("a keeper is listed twice");
  }
  return {};
}

inline result<> validate_placement(const job_record& r) {
  const bool placed = !r.host_of_rank.empty();
  if (placed && r.host_of_rank.size() != r.ranks) return bad_record("ranks without a host");
  if (!placed && (r.state == job_state::running || r.state == job_state::done))
    return bad_record("its ranks have no hosts");
  for (const std::uint32_t host : r.host_of_rank) {
    if (host >= r.members.size()) return bad_record("a rank's host is no member");
    if (r.state == job_state::running && !r.members[host].can_host())
      return bad_record("a rank's host is gone or cannot run ranks");
  }
  return {};
}

inline result<> validate_epochs(const job_record& r) {
  for (const epoch_manifests* e : {&r.committed, &r.previous}) {
    const std::size_t expected = e->epoch == epoch_number(0) ? 0 : r.ranks;
    if (e->manifests.size() != expected) return bad_record("an epoch lacks manifests");
  }
  if (r.previous.epoch > r.committed.epoch) return bad_record("its epochs are out of order");
  if (r.previous.epoch == r.committed.epoch && r.committed.epoch != epoch_number(0))
    return bad_record("its epochs are out of order");
  return {};
}

}  // namespace detail

P2PDVM_DECL std::optional<std::uint32_t> job_record::index_of(const node_id& node) const {
  for (std::uint32_t i = 0; i < members.size(); ++i) {
    if (members[i].node == node) return i;
  }
  return std::nullopt;
}

P2PDVM_DECL const member* job_record::find(const node_id& node) const {
  const auto index = index_of(node);
  return index ? &members[*index] : nullptr;
}

P2PDVM_DECL bool job_record::is_live(const node_id& node) const {
  const member* m = find(node);
  return m != nullptr && m->live();
}

P2PDVM_DECL bool job_record::is_live(const node_id& node, std::uint32_t place) const {
  if (place >= members.size()) return is_live(node);
  return members[place].node == node ? members[place].live() : is_live(node);
}

P2PDVM_DECL std::size_t job_record::live_count() const {
  return static_cast<std::size_t>(
      std::count_if(members.begin(), members.end(), [](const member& m) { return m.live(); }));
}

P2PDVM_DECL std::size_t job_record::host_count() const {
  return static_cast<std::size_t>(
      std::count_if(members.begin(), members.end(), [](const member& m) { return m.can_host(); }));
}

P2PDVM_DECL const member* job_record::host(rank_number rank) const {
  P2PDVM_ASSERT(rank.value() < ranks);
  return host_of_rank.empty() ? nullptr : &members[host_of_rank[rank.value()]];
}

P2PDVM_DECL std::vector<rank_number> job_record::ranks_of(const node_id& node) const {
  std::vector<rank_number> found;
  const auto index = index_of(node);
  for (std::uint32_t r = 0; index && r < host_of_rank.size(); ++r) {
    if (host_of_rank[r] == *index) found.emplace_back(r);
  }
  return found;
}

P2PDVM_DECL bool job_record::contains(const operation_id& operation) const {
  return std::find(operations.begin(), operations.end(), operation) != operations.end();
}

P2PDVM_DECL std::vector<node_id> job_record::wanted_keepers(const std::set<node_id>& newcomers) const {
  const auto eligible = [&](const member& m) { return m.live() && (newcomers.count(m.node) == 0 || detail::among(keepers, m.node)); };
  std::size_t count = std::min(limits::keepers_max, static_cast<std::size_t>(std::count_if(members.begin(), members.end(), eligible)));
  if (count % 2 == 0 && count > 0) --count;
  std::vector<node_id> chosen;
  std::set<std::string> domains;
  const auto take = [&](const member& m) {
    if (chosen.size() == count || !eligible(m) || detail::among(chosen, m.node)) return;
    chosen.push_back(m.node);
    domains.insert(m.failure_domain);
  };
  for (const node_id& keeper : keepers) {
    if (const member* m = find(keeper)) take(*m);
  }
  for (const member& m : members) {
    if (m.failure_domain.empty() || domains.count(m.failure_domain) == 0) take(m);
  }
  for (const member& m : members) take(m);
  return chosen;
}

P2PDVM_DECL bool job_record::is_kept_by(const node_id& node) const {
  return detail::among(keepers, node) || detail::among(previous_keepers, node);
}

P2PDVM_DECL bool job_record::needs_upkeep(const std::set<node_id>& newcomers) const {
  return !previous_keepers.empty() || (live_count() > 0 && wanted_keepers(newcomers) != keepers);
}

P2PDVM_DECL result<> job_record::validate() const {
  if (ranks == 0 || ranks > limits::ranks_max) return detail::bad_record("its number of ranks");
  if (replicas == 0 || replicas > replicas_max) return detail::bad_record("its replicas");
  if (incarnation == incarnation_number(0)) return detail::bad_record("incarnation 0");
  if (state > job_state::failed) return detail::bad_record("an unknown state");
  if (failure.size() > limits::error_text_max) return detail::bad_record("its failure text");
  if (operations.size() > operations_max) return detail::bad_record("too many operations");
  if (auto ok = detail::validate_members(*this); !ok) return ok;
  if (auto ok = detail::validate_keepers(*this, keepers); !ok) return ok;
  if (!previous_keepers.empty()) {
    if (auto ok = detail::validate_keepers(*this, previous_keepers); !ok) return ok;
  }
  if (auto ok = detail::validate_placement(*this); !ok) return ok;
  return detail::validate_epochs(*this);
}

P2PDVM_DECL digest256 job_record::digest() const { return crypto::hash(wire::encode(*this)); }

P2PDVM_DECL result<job_record> decode_record(byte_view bytes) {
  if (bytes.size() > record_bytes_max)
    return error(errc::too_large, "a job record is larger than its limit");
  result<job_record> record = wire::decode<job_record>(bytes);
  if (!record) return record;
  if (auto valid = record->validate(); !valid) return valid.error();
  return record;
}

P2PDVM_DECL bool has_majority(const std::vector<node_id>& set,
                              const std::vector<node_id>& voters) {
  const auto votes = std::count_if(set.begin(), set.end(), [&](const node_id& node) {
    return detail::among(voters, node);
  });
  return static_cast<std::size_t>(votes) * 2 > set.size();
}

}  // namespace p2pdvm::checkpoint

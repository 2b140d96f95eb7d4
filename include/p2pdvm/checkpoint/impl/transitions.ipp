#pragma once

#include <p2pdvm/checkpoint/impl/job_record.ipp>
#include <p2pdvm/checkpoint/transitions.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>
#include <utility>

namespace p2pdvm::checkpoint {

namespace detail {

enum class keeper_change { may_begin, only_end };

/// The last step of every transition.
inline result<job_record> completed(const job_record& from, job_record to, keeper_change change, const std::set<node_id>& newcomers = {}) {
  if (!from.previous_keepers.empty()) {
    to.previous_keepers.clear();
    to.keeper_version = from.keeper_version + 1;
  } else if (change == keeper_change::may_begin) {
    std::vector<node_id> wanted = to.wanted_keepers(newcomers);
    if (wanted != to.keepers) {
      to.previous_keepers = std::exchange(to.keepers, std::move(wanted));
      to.keeper_version = from.keeper_version + 1;
    }
  }
  const bool roster_changed = to.members != from.members ||
                              to.host_of_rank != from.host_of_rank ||
                              to.keeper_version != from.keeper_version;
  if (roster_changed) to.roster = from.roster.next();
  if (auto valid = to.validate(); !valid) return valid.error();
  return to;
}

inline result<> require_running(const job_record& r) {
  switch (r.state) {
    case job_state::running: return {};
    case job_state::forming: return error(errc::refused, "the job has not started yet");
    case job_state::done: return error(errc::conflict, "the job is already done");
    case job_state::failed: return error(errc::conflict, "the job has failed: " + r.failure);
  }
  return error(errc::malformed);
}

inline result<> require_incarnation(const job_record& r, incarnation_number seen) {
  if (r.incarnation == seen) return {};
  return error(errc::conflict, fmt::format("the job is in incarnation {}, not {}",
                                           r.incarnation.value(), seen.value()));
}

/// `epoch` is the outstanding one: not committed, not given up, not from the future.
inline result<> require_outstanding(const job_record& r, incarnation_number incarnation,
                                    epoch_number epoch) {
  if (auto ok = require_running(r); !ok) return ok;
  if (auto ok = require_incarnation(r, incarnation); !ok) return ok;
  if (epoch == r.next_epoch()) return {};
  const char* why = epoch <= r.committed.epoch ? "is already committed or older"
                    : epoch <= r.floor         ? "was given up"
                                               : "is not the next one";
  return error(errc::conflict, fmt::format("epoch {} {}", epoch.value(), why));
}

/// Whatever was outstanding will not commit, so its number is not used again.
inline void begin_incarnation(job_record& r) {
  r.floor = r.next_epoch();
  r.incarnation = r.incarnation.next();
}

/// Each rank of `homeless` to the member with the fewest ranks; ties go to the lower index.
inline result<> rehome(job_record& r, const std::vector<std::uint32_t>& homeless) {
  std::vector<std::uint32_t> load(r.members.size(), 0);
  for (const std::uint32_t host : r.host_of_rank) ++load[host];
  std::set<std::pair<std::uint32_t, std::uint32_t>> hosts;
  for (std::uint32_t i = 0; i < r.members.size(); ++i) {
    if (r.members[i].can_host()) hosts.emplace(load[i], i);
  }
  if (hosts.empty())
    return error(errc::lost,
                 "no member is left that can run the job's ranks; let another one join");
  for (const std::uint32_t rank : homeless) {
    const auto [ranks, host] = *hosts.begin();
    hosts.erase(hosts.begin());
    hosts.emplace(ranks + 1, host);
    r.host_of_rank[rank] = host;
  }
  return {};
}

inline result<> check_placement(const job_record& r, const std::vector<std::uint32_t>& placement) {
  if (placement.size() != r.ranks)
    return error(errc::invalid_argument, fmt::format("the placement names {} ranks, the job has {}",
                                                     placement.size(), r.ranks));
  for (const std::uint32_t host : placement) {
    if (host >= r.members.size() || !r.members[host].can_host())
      return error(errc::invalid_argument, "the placement names a host that cannot run ranks");
  }
  return {};
}

/// Whether `placement` gives each of `homeless` a host that can run it and no other rank another.
inline bool rehouses(const job_record& r, const std::vector<std::uint32_t>& homeless,
                     const std::vector<std::uint32_t>& placement) {
  if (!check_placement(r, placement).ok()) return false;
  std::size_t moved = 0;
  for (std::uint32_t rank = 0; rank < r.ranks; ++rank) moved += placement[rank] != r.host_of_rank[rank];
  return moved == homeless.size();
}

/// Blocks of consecutive ranks over those who asked for ranks, or else over the spares.
inline result<std::vector<std::uint32_t>> even_placement(const job_record& r) {
  std::vector<std::uint32_t> hosts;
  for (const bool spares : {false, true}) {
    for (std::uint32_t i = 0; i < r.members.size() && hosts.size() < r.ranks; ++i) {
      const member& m = r.members[i];
      if (m.can_host() && ((m.flags & member::spare) != 0) == spares) hosts.push_back(i);
    }
    if (!hosts.empty()) break;
  }
  if (hosts.empty()) return error(errc::refused, "no member can run ranks; let one join");
  std::vector<std::uint32_t> placement(r.ranks);
  for (std::uint64_t rank = 0; rank < r.ranks; ++rank)
    placement[rank] = hosts[rank * hosts.size() / r.ranks];
  return placement;
}

/// The entry for a joiner: its former one, a new one, or the oldest that nobody needs.
inline result<std::uint32_t> entry_for(job_record& r, const node_id& node) {
  if (const auto index = r.index_of(node)) {
    if (r.members[*index].live())
      return error(errc::conflict, "peer " + node.brief() + " is already a member of the job");
    return *index;
  }
  if (r.members.size() < limits::members_max) {
    r.members.emplace_back();
    return static_cast<std::uint32_t>(r.members.size() - 1);
  }
  for (std::uint32_t i = 0; i < r.members.size(); ++i) {
    const member& m = r.members[i];
    const bool needed = m.live() || among(r.keepers, m.node) || among(r.previous_keepers, m.node);
    const bool hosts =
        std::find(r.host_of_rank.begin(), r.host_of_rank.end(), i) != r.host_of_rank.end();
    if (!needed && !hosts) return i;
  }
  return error(errc::too_large, fmt::format("the job already has {} members, the most it may have",
                                            limits::members_max));
}

}  // namespace detail

P2PDVM_DECL result<job_record> found_job(const job_id& job, const digest256& specification,
                                         std::uint32_t ranks, std::uint32_t replicas,
                                         member founder) {
  job_record r;
  r.job = job;
  r.specification = specification;
  r.ranks = ranks;
  r.replicas = replicas;
  r.incarnation = incarnation_number(1);
  r.roster = roster_version(1);
  founder.flags &= member::spare | member::storage_only | member::hidden;
  founder.admitted = r.roster;
  r.keepers = {founder.node};
  r.keeper_version = 1;
  r.members.push_back(std::move(founder));
  if (auto valid = r.validate(); !valid) return valid.error();
  return r;
}

P2PDVM_DECL result<job_record> found_job_at(const job_id& job, const digest256& specification,
                                            std::uint32_t ranks, std::uint32_t replicas,
                                            member founder, epoch_manifests base) {
  auto first = found_job(job, specification, ranks, replicas, std::move(founder));
  if (!first) return first;
  first->committed = std::move(base);
  if (auto valid = first->validate(); !valid) return valid.error();
  return first;
}

P2PDVM_DECL result<job_record> admit(const job_record& record, const member& joiner) {
  return admit(record, std::vector<member>{joiner});
}

P2PDVM_DECL result<job_record> admit(const job_record& record, const std::vector<member>& joiners) {
  if (record.state == job_state::done || record.state == job_state::failed)
    return error(errc::refused, "the job has ended; nobody can join it any more");
  job_record next = record;
  bool any = false;
  std::optional<error> why;
  for (const member& joiner : joiners) {
    const result<std::uint32_t> entry = detail::entry_for(next, joiner.node);
    if (!entry) {
      why = entry.error();
      continue;
    }
    member& admitted = next.members[*entry];
    admitted = joiner;
    admitted.flags &= member::spare | member::storage_only | member::hidden;
    admitted.admitted = record.roster.next();
    any = true;
  }
  if (!any) return why.value_or(error(errc::conflict, "nobody is to be admitted"));
  // Newcomers answer only to members, and have yet to hear that they are some themselves.
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> evict(const job_record& record, const std::set<node_id>& lost,
                                     const std::vector<std::uint32_t>& placement) {
  job_record next = record;
  bool changed = false;
  for (member& m : next.members) {
    if (!m.live() || lost.count(m.node) == 0) continue;
    m.flags |= member::evicted;
    changed = true;
  }
  if (!changed) return error(errc::conflict, "all these peers are already gone from the job");
  if (next.live_count() == 0) return error(errc::refused, "a job cannot evict all its members");
  std::vector<std::uint32_t> homeless;
  if (record.state == job_state::running) {
    for (std::uint32_t rank = 0; rank < next.ranks; ++rank) {
      if (!next.members[next.host_of_rank[rank]].live()) homeless.push_back(rank);
    }
  }
  if (!homeless.empty()) {
    if (detail::rehouses(next, homeless, placement)) {
      next.host_of_rank = placement;
    } else if (auto ok = detail::rehome(next, homeless); !ok) {
      return ok.error();
    }
    detail::begin_incarnation(next);
  }
  return detail::completed(record, std::move(next), detail::keeper_change::may_begin);
}

P2PDVM_DECL result<job_record> start(const job_record& record,
                                     std::vector<std::uint32_t> placement) {
  if (record.state != job_state::forming)
    return error(errc::conflict, "the job has already started");
  job_record next = record;
  if (placement.empty()) {
    auto even = detail::even_placement(record);
    if (!even) return even.error();
    placement = std::move(*even);
  }
  if (auto ok = detail::check_placement(record, placement); !ok) return ok.error();
  next.host_of_rank = std::move(placement);
  next.state = job_state::running;
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> commit(const job_record& record, incarnation_number incarnation,
                                      epoch_number epoch, std::vector<chunk_id> manifests) {
  if (auto ok = detail::require_outstanding(record, incarnation, epoch); !ok) return ok.error();
  if (manifests.size() != record.ranks)
    return error(errc::invalid_argument,
                 fmt::format("epoch {} has {} manifests for {} ranks", epoch.value(),
                             manifests.size(), record.ranks));
  job_record next = record;
  next.previous = std::exchange(next.committed, epoch_manifests{epoch, std::move(manifests)});
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> finish(const job_record& record, incarnation_number incarnation,
                                      epoch_number epoch, std::vector<chunk_id> manifests) {
  result<job_record> next = commit(record, incarnation, epoch, std::move(manifests));
  if (next) next->state = job_state::done;
  return next;
}

P2PDVM_DECL result<job_record> raise_floor(const job_record& record,
                                           incarnation_number incarnation, epoch_number epoch) {
  if (auto ok = detail::require_outstanding(record, incarnation, epoch); !ok) return ok.error();
  job_record next = record;
  next.floor = epoch;
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> move_ranks(const job_record& record, incarnation_number incarnation,
                                          epoch_number epoch, std::vector<std::uint32_t> placement,
                                          const std::set<node_id>& leaving) {
  if (auto ok = detail::require_running(record); !ok) return ok.error();
  if (auto ok = detail::require_incarnation(record, incarnation); !ok) return ok.error();
  if (epoch != record.committed.epoch)
    return error(errc::conflict, fmt::format("ranks frozen in epoch {} cannot move: epoch {} is "
                                             "the committed one", epoch.value(),
                                             record.committed.epoch.value()));
  job_record next = record;
  for (member& m : next.members) {
    if (m.live() && leaving.count(m.node) != 0) m.flags |= member::left;
  }
  if (next.live_count() == 0) return error(errc::refused, "the last member cannot leave");
  if (auto ok = detail::check_placement(next, placement); !ok) return ok.error();
  next.host_of_rank = std::move(placement);
  return detail::completed(record, std::move(next), detail::keeper_change::may_begin);
}

P2PDVM_DECL result<job_record> spread_ranks(const job_record& record, incarnation_number incarnation,
                                            epoch_number epoch, std::vector<std::uint32_t> placement) {
  if (auto ok = detail::require_running(record); !ok) return ok.error();
  if (auto ok = detail::require_incarnation(record, incarnation); !ok) return ok.error();
  if (epoch != record.committed.epoch)
    return error(errc::conflict, fmt::format("epoch {} is not the committed one", epoch.value()));
  if (auto ok = detail::check_placement(record, placement); !ok) return ok.error();
  if (placement == record.host_of_rank) return error(errc::conflict, "no rank would move");
  job_record next = record;
  next.host_of_rank = std::move(placement);
  detail::begin_incarnation(next);
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> rollback(const job_record& record, incarnation_number seen) {
  if (auto ok = detail::require_running(record); !ok) return ok.error();
  if (auto ok = detail::require_incarnation(record, seen); !ok) return ok.error();
  job_record next = record;
  detail::begin_incarnation(next);
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> fall_back(const job_record& record, incarnation_number seen,
                                         epoch_number unreadable) {
  if (auto ok = detail::require_running(record); !ok) return ok.error();
  if (auto ok = detail::require_incarnation(record, seen); !ok) return ok.error();
  if (record.committed.epoch != unreadable)
    return error(errc::conflict, fmt::format("epoch {} is not the committed one", unreadable.value()));
  if (record.previous.epoch == epoch_number(0))
    return error(errc::lost, fmt::format("no checkpoint is kept before {}", unreadable.value()));
  job_record next = record;
  detail::begin_incarnation(next);
  next.committed = std::exchange(next.previous, epoch_manifests());
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> fail(const job_record& record, std::string sentence) {
  if (record.state != job_state::forming) {
    if (auto ok = detail::require_running(record); !ok) return ok.error();
  }
  job_record next = record;
  next.state = job_state::failed;
  next.failure = std::move(sentence);
  if (next.failure.size() > limits::error_text_max) next.failure.resize(limits::error_text_max);
  return detail::completed(record, std::move(next), detail::keeper_change::only_end);
}

P2PDVM_DECL result<job_record> upkeep(const job_record& record, const std::set<node_id>& newcomers) {
  if (!record.needs_upkeep(newcomers))
    return error(errc::conflict, "the keepers are already as they should be");
  return detail::completed(record, record, detail::keeper_change::may_begin, newcomers);
}

P2PDVM_DECL result<job_record> override_job(const job_record& record, const job_id& job,
                                            const node_id& survivor) {
  if (!record.is_live(survivor))
    return error(errc::refused, "only a member of the job can continue it under a new id");
  if (job == record.job) return error(errc::invalid_argument, "the new job needs an id of its own");
  job_record next = record;
  next.job = job;
  for (member& m : next.members) {
    if (m.live() && m.node != survivor) m.flags |= member::evicted;
  }
  if (next.state == job_state::running) {
    std::vector<std::uint32_t> all(next.ranks);
    for (std::uint32_t rank = 0; rank < next.ranks; ++rank) all[rank] = rank;
    if (auto ok = detail::rehome(next, all); !ok) return ok.error();
    detail::begin_incarnation(next);
  }
  next.roster = record.roster.next();
  next.keepers = {survivor};
  next.previous_keepers.clear();
  next.keeper_version = 1;
  next.operations.clear();
  if (auto valid = next.validate(); !valid) return valid.error();
  return next;
}

P2PDVM_DECL result<> check_keeper_step(const job_record& from, const job_record& to) {
  const auto wrong = [](const char* what) { return error(errc::invalid_argument, what); };
  if (from.job != to.job) return wrong("a write may not change the job's id");
  if (!from.previous_keepers.empty()) {
    if (!to.previous_keepers.empty() || to.keepers != from.keepers)
      return wrong("a write must end the change of keepers before another begins");
  } else if (to.previous_keepers.empty()) {
    if (to.keepers != from.keepers) return wrong("a change of keepers must name both sets");
    if (to.keeper_version != from.keeper_version) return wrong("the keepers did not change");
    return {};
  } else if (to.previous_keepers != from.keepers) {
    return wrong("a change of keepers must start from the present ones");
  }
  if (to.keeper_version != from.keeper_version + 1)
    return wrong("a change of keepers needs the next keeper version");
  return {};
}

}  // namespace p2pdvm::checkpoint

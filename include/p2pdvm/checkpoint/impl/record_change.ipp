#pragma once

#include <p2pdvm/checkpoint/record_change.hpp>

#include <utility>

namespace p2pdvm::checkpoint {

P2PDVM_DECL record_change change_between(const job_record& base, const job_record& next) {
  record_change change;
  change.members = static_cast<std::uint32_t>(next.members.size());
  for (std::uint32_t i = 0; i < next.members.size(); ++i) {
    if (i < base.members.size() && base.members[i] == next.members[i]) continue;
    change.places.push_back(i);
    change.entries.push_back(next.members[i]);
  }
  job_record& r = change.rest;
  r.job = next.job;
  r.specification = next.specification;
  r.ranks = next.ranks;
  r.replicas = next.replicas;
  r.incarnation = next.incarnation;
  r.roster = next.roster;
  r.committed = next.committed;
  r.previous = next.previous;
  r.floor = next.floor;
  r.host_of_rank = next.host_of_rank;
  r.keepers = next.keepers;
  r.previous_keepers = next.previous_keepers;
  r.keeper_version = next.keeper_version;
  r.state = next.state;
  r.failure = next.failure;
  r.operations = next.operations;
  return change;
}

P2PDVM_DECL result<job_record> apply(const job_record& base, record_change change) {
  const auto wrong = [](const char* what) { return error(errc::malformed, what); };
  const std::size_t known = base.members.size();
  if (change.members < known || change.members > limits::members_max)
    return wrong("a change of a job record has too few or too many members");
  if (change.places.size() != change.entries.size() || !change.rest.members.empty())
    return wrong("a change of a job record has places and entries that do not match");
  job_record next = std::move(change.rest);
  next.members = base.members;
  next.members.reserve(change.members);
  for (std::size_t i = 0; i < change.places.size(); ++i) {
    const std::uint32_t place = change.places[i];
    if (i > 0 && place <= change.places[i - 1])
      return wrong("a change of a job record names its places out of order");
    if (place < known) {
      next.members[place] = std::move(change.entries[i]);
    } else if (place == next.members.size() && place < change.members) {
      next.members.push_back(std::move(change.entries[i]));
    } else {
      return wrong("a change of a job record leaves members out");
    }
  }
  if (next.members.size() != change.members)
    return wrong("a change of a job record leaves members out");
  return next;
}

}  // namespace p2pdvm::checkpoint

#pragma once

#include <p2pdvm/runtime/saved_job.hpp>

#include <algorithm>
#include <set>
#include <utility>

namespace p2pdvm::runtime {

P2PDVM_DECL std::string text_of(const chunk_use& use) {
  if (use.epoch.value() == 0) return "input '" + use.part + "'";
  return "checkpoint " + std::to_string(use.epoch.value()) + ", rank " +
         std::to_string(use.rank.value()) + ", " + (use.part.empty() ? "its manifest" : use.part);
}

P2PDVM_DECL bool verification::sound() const {
  const bool whole = std::all_of(epochs.begin(), epochs.end(), [](const auto& e) { return e.whole; });
  return whole && inputs_whole && troubles.empty() && holder_troubles.empty();
}

P2PDVM_DECL std::optional<epoch_number> verification::restorable() const {
  for (const epoch_outcome& e : epochs) {
    if (e.whole && inputs_whole) return e.epoch;
  }
  return std::nullopt;
}

P2PDVM_DECL saved_job::saved_job(std::vector<job_holder*> holders, const held_job& job)
    : holders_(std::move(holders)), job_(&job), codec_(job.who.secret) {}

P2PDVM_DECL result<saved_job> saved_job::open(std::vector<job_holder*> holders) {
  const held_job* newest = nullptr;
  std::string from;
  for (const job_holder* h : holders) {
    if (!h->job().ok()) continue;
    const held_job& here = *h->job();
    if (newest != nullptr && here.who.spec.id != newest->who.spec.id)
      return error(errc::wrong_job, from + " and " + h->name() + " hold different jobs; name the holders of one");
    const auto& ballot = here.newest.proof.statement.ballot;
    if (newest != nullptr && ballot <= newest->newest.proof.statement.ballot) continue;
    newest = &here;
    from = h->name();
  }
  if (newest == nullptr)
    return holders.empty() ? error(errc::not_found, "no holder of a job was named") : holders.front()->job().error();
  return saved_job(std::move(holders), *newest);
}

P2PDVM_DECL std::vector<epoch_number> saved_job::epochs() const {
  std::vector<epoch_number> all;
  for (const auto* e : {&record().committed, &record().previous}) {
    if (e->epoch.value() != 0 && (!job_->only || job_->only == e->epoch)) all.push_back(e->epoch);
  }
  return all;
}

P2PDVM_DECL std::optional<unix_seconds> saved_job::date(epoch_number epoch) const {
  // Each noted when it heard of it; the first to hear was nearest to the truth.
  std::optional<unix_seconds> first;
  for (const job_holder* h : holders_) {
    if (!h->job().ok()) continue;
    const auto& dates = h->job()->dates;
    const auto found = dates.find(epoch);
    if (found != dates.end()) first = first ? std::min(*first, found->second) : found->second;
  }
  return first;
}

P2PDVM_DECL result<epoch_number> saved_job::choose(std::optional<epoch_number> wanted) const {
  const auto all = epochs();
  if (all.empty())
    return error(errc::not_found, "the job " + spec().id.brief() + " has no checkpoint yet");
  if (!wanted) return all.front();
  if (std::find(all.begin(), all.end(), *wanted) != all.end()) return *wanted;
  std::string there = std::to_string(all.front().value());
  if (all.size() > 1) there += " and " + std::to_string(all.back().value());
  return error(errc::not_found, "the job " + spec().id.brief() + " has no checkpoint " +
                                    std::to_string(wanted->value()) + " any more; kept are " + there);
}

P2PDVM_DECL const checkpoint::epoch_manifests& saved_job::manifests(epoch_number epoch) const {
  P2PDVM_ASSERT(epoch == record().committed.epoch || epoch == record().previous.epoch);
  return epoch == record().committed.epoch ? record().committed : record().previous;
}

P2PDVM_DECL const chunk_id& saved_job::manifest_id(epoch_number epoch, rank_number rank) const {
  return manifests(epoch).manifests.at(rank.value());
}

P2PDVM_DECL result<saved_job::good_copy> saved_job::find(const chunk_id& id) {
  std::optional<std::string> why;
  for (job_holder* h : holders_) {
    if (!h->contains(id)) continue;
    auto sealed = h->get(id);
    auto plain = sealed.ok() ? codec_.open(id, sealed->view()) : sealed;
    if (plain.ok()) return good_copy{std::move(*sealed), std::move(*plain)};
    if (!why) why = plain.error().message() + " in " + h->name();
  }
  const std::string chunk = "chunk " + to_hex(id.bytes().subspan(1, 4));
  if (why) return error(errc::lost, chunk + " has no good copy in what was named (" + *why + ")");
  return error(errc::lost, chunk + " is in none of the folders and files that were named; name those of the "
                                   "job's other peers, too");
}

P2PDVM_DECL result<store::manifest> saved_job::manifest(epoch_number epoch, rank_number rank) {
  const auto of_which = [&](const error& why) {
    return error(why.code(), "checkpoint " + std::to_string(epoch.value()) + " of rank " +
                                 std::to_string(rank.value()) + " cannot be read: " + why.message());
  };
  const auto copy = find(manifest_id(epoch, rank));
  if (!copy.ok()) return of_which(copy.error());
  auto m = store::read_manifest((*copy).plain.view());
  if (!m.ok()) return of_which(m.error());
  if (m->rank != rank) return of_which(error(errc::corrupted, "its manifest is another rank's"));
  return m;
}

P2PDVM_DECL epoch_summary saved_job::summarize(epoch_number epoch) {
  epoch_summary s;
  s.epoch = epoch;
  s.when = date(epoch);
  std::set<chunk_id> before;
  const epoch_number previous = record().previous.epoch;
  for (std::uint32_t r = 0; r < record().ranks && epoch == record().committed.epoch && previous.value() != 0; ++r) {
    before.insert(manifest_id(previous, rank_number(r)));
    const auto m = manifest(previous, rank_number(r));
    if (!m.ok()) continue;
    for (const auto& c : store::chunks_of(*m)) before.insert(c.id);
  }
  std::map<chunk_id, std::uint64_t> all;
  for (std::uint32_t r = 0; r < record().ranks; ++r) {
    all.emplace(manifest_id(epoch, rank_number(r)), 0);
    const auto m = manifest(epoch, rank_number(r));
    if (!m.ok()) {
      ++s.manifests_unreadable;
      continue;
    }
    for (const store::section& part : m->sections) s.bytes += part.bytes;
    for (const auto& c : store::chunks_of(*m)) all.emplace(c.id, c.bytes);
  }
  s.chunks = all.size();
  for (const auto& [id, bytes] : all) {
    const auto here = std::count_if(holders_.begin(), holders_.end(), [&](const auto* h) { return h->contains(id); });
    ++s.copies[static_cast<unsigned>(here)];
    const auto first = std::find_if(holders_.begin(), holders_.end(), [&](const auto* h) { return h->sealed_bytes(id) > 0; });
    if (first != holders_.end()) s.stored_bytes += (*first)->sealed_bytes(id);
    if (before.contains(id)) continue;
    ++s.new_chunks;
    s.new_bytes += bytes;
  }
  return s;
}

// --- verify ---

P2PDVM_DECL saved_job::uses_map saved_job::all_uses(verification& found) {
  uses_map uses;
  for (const epoch_number epoch : epochs()) {
    verification::epoch_outcome outcome{epoch, true, 0};
    std::set<chunk_id> chunks;
    for (std::uint32_t r = 0; r < record().ranks; ++r) {
      const chunk_use whose{epoch, rank_number(r), {}};
      uses[manifest_id(epoch, whose.rank)].push_back(whose);
      chunks.insert(manifest_id(epoch, whose.rank));
      const auto m = manifest(epoch, whose.rank);
      if (!m.ok()) {
        outcome.whole = false;
        continue;
      }
      for (const store::section& part : m->sections) {
        for (const auto& c : part.chunks) {
          auto& list = uses[c.id];
          chunk_use use{epoch, whose.rank, part.name};
          if (list.empty() || list.back() != use) list.push_back(std::move(use));
          chunks.insert(c.id);
        }
      }
    }
    outcome.chunks = chunks.size();
    found.epochs.push_back(outcome);
  }
  for (const auto& [name, input] : spec().inputs) {
    for (const chunk_id& id : input.chunks) uses[id].push_back({epoch_number(), rank_number(), name});
  }
  return uses;
}

P2PDVM_DECL void saved_job::check_holder(job_holder& holder, const uses_map& uses,
                                         std::map<chunk_id, unsigned>& good, verification& found) {
  if (std::string trouble = holder.trouble(); !trouble.empty()) found.holder_troubles.push_back(std::move(trouble));
  std::set<chunk_id> wanted;
  std::vector<epoch_number> all = epochs();
  all.emplace_back();  // the inputs
  for (const epoch_number epoch : all) {
    for (const chunk_id& id : holder.promised(spec().id, epoch)) wanted.insert(id);
  }
  for (const auto& [id, list] : uses) {
    if (holder.contains(id)) wanted.insert(id);
  }
  for (const chunk_id& id : wanted) {
    chunk_trouble t;
    auto sealed = holder.get(id);
    auto plain = sealed.ok() ? codec_.open(id, sealed->view()) : sealed;
    if (plain.ok()) {
      ++good[id];
      ++found.copies;
      found.bytes += sealed->size();
      continue;
    }
    t.what = plain.error().code() == errc::not_found ? chunk_trouble::kind::missing : chunk_trouble::kind::damaged;
    t.chunk = id;
    if (const auto known = uses.find(id); known != uses.end()) t.uses = known->second;
    t.holder = holder.name();
    // Damage is damage; anything else is worth its sentence.
    if (plain.error().code() != errc::corrupted && t.what == chunk_trouble::kind::damaged) t.why = plain.error().message();
    found.troubles.push_back(std::move(t));
  }
}

P2PDVM_DECL verification saved_job::verify() {
  verification found;
  const uses_map uses = all_uses(found);
  std::map<chunk_id, unsigned> good;
  for (job_holder* h : holders_) check_holder(*h, uses, good, found);
  for (const auto& [id, list] : uses) {
    if (good.contains(id)) continue;
    for (const chunk_use& use : list) {
      if (use.epoch.value() == 0) found.inputs_whole = false;
      for (auto& e : found.epochs) {
        if (e.epoch == use.epoch) e.whole = false;
      }
    }
    found.troubles.push_back({chunk_trouble::kind::lost, id, list, {}, {}});
  }
  return found;
}

// --- compare ---

P2PDVM_DECL result<byte_vector> saved_job::read_section(const store::section& s) {
  byte_vector laid;
  for (const store::chunk_reference& c : s.chunks) {
    const auto copy = find(c.id);
    if (!copy.ok()) return copy.error();
    if ((*copy).plain.size() != c.bytes)
      return error(errc::corrupted, "a chunk of '" + s.name + "' has not the size that its manifest says");
    append(laid, (*copy).plain.view());
  }
  laid.erase(laid.begin(), laid.begin() + static_cast<std::ptrdiff_t>(s.skip));
  laid.resize(static_cast<std::size_t>(s.bytes));
  return laid;
}

P2PDVM_DECL result<> saved_job::compare_rank(const store::manifest& before, const store::manifest& after,
                                             std::vector<part_change>& to) {
  std::set<chunk_id> old;
  for (const auto& c : store::chunks_of(before)) old.insert(c.id);
  const auto named = [](const store::manifest& m, const std::string& name) -> const store::section* {
    const auto at = std::find_if(m.sections.begin(), m.sections.end(), [&](const auto& s) { return s.name == name; });
    return at == m.sections.end() ? nullptr : &*at;
  };
  for (const store::section& now : after.sections) {
    part_change change;
    change.rank = after.rank;
    change.part = now.name;
    change.bytes_after = now.bytes;
    change.chunks = now.chunks.size();
    for (const auto& c : now.chunks) change.chunks_shared += old.contains(c.id) ? 1 : 0;
    const store::section* was = named(before, now.name);
    if (was != nullptr) change.bytes_before = was->bytes;
    if (was == nullptr) {
      change.bytes_changed = now.bytes;
    } else if (was->chunks != now.chunks || was->skip != now.skip || was->bytes != now.bytes) {
      const auto a = read_section(*was);
      if (!a.ok()) return a.error();
      const auto b = read_section(now);
      if (!b.ok()) return b.error();
      const std::size_t both = std::min((*a).size(), (*b).size());
      for (std::size_t i = 0; i < both; ++i) change.bytes_changed += (*a)[i] != (*b)[i] ? 1 : 0;
      change.bytes_changed += std::max((*a).size(), (*b).size()) - both;
    }
    to.push_back(std::move(change));
  }
  for (const store::section& was : before.sections) {
    if (named(after, was.name) != nullptr) continue;
    part_change gone;
    gone.rank = after.rank;
    gone.part = was.name;
    gone.bytes_before = gone.bytes_changed = was.bytes;
    to.push_back(std::move(gone));
  }
  return {};
}

P2PDVM_DECL result<std::vector<part_change>> saved_job::compare(epoch_number earlier, epoch_number later) {
  std::vector<part_change> all;
  for (const epoch_number epoch : {earlier, later}) {
    if (auto there = choose(epoch); !there.ok()) return there.error();
  }
  for (std::uint32_t r = 0; r < record().ranks; ++r) {
    const auto before = manifest(earlier, rank_number(r));
    if (!before.ok()) return before.error();
    const auto after = manifest(later, rank_number(r));
    if (!after.ok()) return after.error();
    if (auto done = compare_rank(*before, *after, all); !done.ok()) return done.error();
  }
  return all;
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/runtime/job_holder.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

namespace detail {

/// What one who was not there can check of a job's record: that it is whole, of this job, and
/// signed by the keepers that it names.
inline result<held_job> checked(held_job job, const std::string& where) {
  const checkpoint::job_record& record = job.newest.record;
  auto good = job.who.spec.validate();
  if (good.ok()) good = record.validate();
  if (good.ok()) good = checkpoint::verify(record, job.newest.proof, record.keepers);
  if (good.ok() && !job.who.spec.fits(record))
    good = error(errc::wrong_job, "its record is of another job than its specification");
  if (!good.ok())
    return error(good.error().code(), "the job in " + where + " cannot be believed: " + good.error().message());
  return job;
}

}  // namespace detail

P2PDVM_DECL result<std::unique_ptr<peer_files>> peer_files::open(host::disk& disk) {
  std::unique_ptr<peer_files> files(new peer_files(disk));
  const auto names = disk.list("store");
  if (!names.ok()) return names.error();
  if (std::none_of(names->begin(), names->end(), [](const auto& n) { return n.ends_with(".seg"); }))
    return error(errc::not_found, disk.describe("") + " is no folder of a peer: there is no store in it");
  auto log = store::segment_log::open(files->disk_, "store", {});
  if (!log.ok()) return log.error();
  files->log_ = std::move(*log);
  const job_folder folder(files->disk_, *files->log_);
  files->owner_ = folder.owner();
  auto stored = folder.read();
  if (stored.ok()) {
    files->job_ = detail::checked({std::move(stored->who), std::move(stored->newest), folder.dates(), {}},
                                  files->name());
  } else if (stored.error().code() == errc::not_found) {
    files->job_ = error(errc::not_found, "no job has begun in " + files->name());
  } else {
    files->job_ = stored.error();
  }
  return files;
}

P2PDVM_DECL std::string peer_files::trouble() const {
  if (!job_.ok()) return job_.error().message();
  if (!log_->damage_found()) return {};
  return "part of the log in " + disk_.describe("store") +
         " cannot be read; what it held is only known by what is missing";
}

P2PDVM_DECL std::vector<chunk_id> peer_files::promised(const job_id& job, epoch_number epoch) const {
  std::vector<chunk_id> all;
  for (const store::pin& p : log_->pins()) {
    if (p.job != job || p.epoch != epoch) continue;
    const auto ids = log_->pinned(p);
    all.insert(all.end(), ids.begin(), ids.end());
  }
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

P2PDVM_DECL std::map<std::pair<job_id, epoch_number>, peer_files::kept_epoch> peer_files::kept() const {
  std::map<std::pair<job_id, epoch_number>, kept_epoch> all;
  for (const store::pin& p : log_->pins()) {
    const auto key = std::pair(p.job, p.epoch);
    if (all.contains(key)) continue;  // another incarnation
    kept_epoch& e = all[key];
    for (const chunk_id& id : promised(p.job, p.epoch)) {
      ++e.chunks;
      e.bytes += log_->sealed_bytes(id);
    }
  }
  return all;
}

P2PDVM_DECL bool peer_files::contains(const chunk_id& id) const {
  return log_->contains(id) || spoilt_.contains(id);
}

P2PDVM_DECL result<payload> peer_files::get(const chunk_id& id) {
  if (const auto known = spoilt_.find(id); known != spoilt_.end()) return known->second;
  auto sealed = log_->get(id);
  if (!sealed.ok() && sealed.error().code() == errc::corrupted) spoilt_.emplace(id, sealed.error());
  return sealed;
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/chunk_survey.hpp>
#include <p2pdvm/store/holder.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::store {

namespace detail {

inline std::string given_up(epoch_number epoch) {
  return "epoch " + std::to_string(epoch.value()) + " was superseded or given up";
}

inline receipt receipt_for(const put_chunks& put) {
  receipt r;
  r.snapshot = put.snapshot;
  r.rank = put.rank;
  r.sequence = put.sequence;
  r.stripes = put.stripes;
  return r;
}

}  // namespace detail

P2PDVM_DECL holder::holder(chunk_log& log, const crypto::identity& self, emit_function emit,
                           notice_function notice, host::workers* workers)
    : log_(log), self_(self), emit_(std::move(emit)), notice_(std::move(notice)), workers_(workers) {
  if (workers_ != nullptr) signer_ = std::make_shared<const crypto::identity>(self_);
}

P2PDVM_DECL void holder::tell(disk_notice::kind what, std::string text) {
  if (notice_) notice_({what, std::move(text)});
}

P2PDVM_DECL void holder::note_put(const result<>& stored) {
  const bool refused_before = std::exchange(refuses_, !stored.ok());
  if (refuses_ && !refused_before) tell(disk_notice::kind::refuses, stored.error().message());
}

P2PDVM_DECL void holder::note_damage(const chunk_id& id, const error& why) {
  if (why.code() != errc::corrupted) return;
  if (damaged_.size() < damaged_chunks_max) damaged_.insert(id);
  tell(disk_notice::kind::damaged, why.message());
}

P2PDVM_DECL void holder::on_message(time_point, const node_id& from,
                                    const store_message& message) {
  if (const auto* put = std::get_if<put_chunks>(&message)) on_put(from, *put);
  if (const auto* get = std::get_if<get_chunks>(&message)) on_get(from, *get);
  if (const auto* question = std::get_if<compare_chunks>(&message)) on_compare(from, *question);
}

P2PDVM_DECL void holder::refuse(const node_id& to, const receipt& put, std::string reason) {
  emit_(to, put_refused{put.snapshot, put.rank, put.sequence, std::move(reason)});
}

/// Empty when chunks may be put for this snapshot.
P2PDVM_DECL std::string holder::why_not(const pin& snapshot) const {
  const auto kept = kept_.find(snapshot.job);
  if (kept == kept_.end()) return "it takes no part in job " + snapshot.job.brief();
  const epoch_number epoch = snapshot.epoch;
  if (epoch.value() == 0) return "epoch 0 is for inputs, which every peer stores by itself";
  if (!kept->second.keeps(epoch)) return detail::given_up(epoch);
  if (!kept->second.too_far(epoch)) return {};
  return "epoch " + std::to_string(epoch.value()) + " is far ahead of the job's record, which "
         "has committed " + std::to_string(kept->second.committed.value());
}

P2PDVM_DECL void holder::on_put(const node_id& from, const put_chunks& put) {
  compared_.reset();
  if (std::string reason = why_not(put.snapshot); !reason.empty()) {
    refuse(from, detail::receipt_for(put), std::move(reason));
    return;
  }
  if (waiting_.size() >= receipts_waiting_max) {
    refuse(from, detail::receipt_for(put), "its disk cannot keep up");
    return;
  }
  std::vector<chunk_id> missing;
  const auto stored = store(put, from == self_.id(), missing);
  note_put(stored);
  if (!stored) {
    refuse(from, detail::receipt_for(put), stored.error().message());
    return;
  }
  if (!missing.empty()) {
    emit_(from, chunks_missing{put.snapshot, put.rank, put.sequence, std::move(missing)});
    return;
  }
  await_durability(from, put);
}

/// Even of a put that fails, what is there gets pinned: a chunk without a pin would never be
/// collected.
P2PDVM_DECL result<> holder::store(const put_chunks& put, bool own, std::vector<chunk_id>& missing) {
  std::vector<chunk_id> there;
  result<> stored;
  for (const sealed_chunk& c : put.chunks) {
    if (!known_algorithm(c.id) || (!own && !chunk_codec::intact(c.sealed.view()))) {
      missing.push_back(c.id);
      continue;
    }
    stored = log_.put_shared(c.id, c.sealed);
    if (!stored) break;
    there.push_back(c.id);
    if (damaged_.erase(c.id) > 0) tell(disk_notice::kind::healed);
  }
  for (const chunk_id& id : put.have) (log_.contains(id) ? there : missing).push_back(id);
  const result<> pinned = there.empty() ? result<>() : log_.add_pin(put.snapshot, there);
  return stored.ok() ? pinned : stored;
}

P2PDVM_DECL void holder::await_durability(const node_id& from, const put_chunks& put) {
  std::vector<chunk_id> ids = put.have;
  for (const sealed_chunk& c : put.chunks) ids.push_back(c.id);
  waiting_receipt w{from, detail::receipt_for(put)};
  w.word.covered = digest_of(std::move(ids));
  const std::uint64_t ticket = next_ticket_++;
  if (workers_ != nullptr) sign(ticket, w.word);
  waiting_.emplace(ticket, std::move(w));
  log_.confirm([ticket, weak = std::weak_ptr(alive_)](const result<>& synced) {
    if (const auto self = weak.lock()) (*self)->on_durable(ticket, synced);
  });
}

/// A signature takes about half of what the driver has to do for a put.
P2PDVM_DECL void holder::sign(std::uint64_t ticket, const receipt& word) {
  const auto is_signed = std::make_shared<receipt>(word);
  workers_->run(
      host::workers::length::brief, [is_signed, self = signer_] { is_signed->sign(*self); },
      [ticket, is_signed, weak = std::weak_ptr(alive_)] {
        const auto self = weak.lock();
        if (!self) return;
        const auto found = (*self)->waiting_.find(ticket);
        if (found == (*self)->waiting_.end()) return;
        found->second.word = std::move(*is_signed);
        found->second.is_signed = true;
        if (found->second.durable) (*self)->on_durable(ticket, {});
      });
}

P2PDVM_DECL void holder::on_durable(std::uint64_t ticket, const result<>& synced) {
  const auto found = waiting_.find(ticket);
  if (found == waiting_.end()) return;  // its pin was dropped meanwhile
  found->second.durable = synced.ok();
  if (synced.ok() && workers_ != nullptr && !found->second.is_signed) return;
  waiting_receipt w = std::move(found->second);
  waiting_.erase(found);
  if (!synced) {
    note_put(synced);
    refuse(w.to, w.word, synced.error().message());
    return;
  }
  if (!w.is_signed) w.word.sign(self_);
  emit_(w.to, w.word);
}

P2PDVM_DECL void holder::on_get(const node_id& from, const get_chunks& get) {
  chunks_absent absent;
  const std::size_t count = std::min(get.ids.size(), ids_per_get_max);
  for (std::size_t i = 0; i < count; ++i) {
    const chunk_id& id = get.ids[i];
    auto sealed = log_.get(id);
    if (sealed.ok()) {
      emit_(from, chunk_data{{id, std::move(*sealed)}});
    } else {
      if (!sealed.ok()) note_damage(id, sealed.error());
      absent.ids.push_back(id);
    }
  }
  if (!absent.ids.empty()) emit_(from, std::move(absent));
}

P2PDVM_DECL void holder::on_compare(const node_id& from, const compare_chunks& question) {
  chunk_bitmap answer{question.snapshot, question.rank, question.manifest, question.sequence, {}};
  if (!why_not(question.snapshot).empty()) return emit_(from, std::move(answer));
  const pin& of = question.snapshot;
  if (!compared_ || compared_->job != of.job || compared_->epoch != of.epoch) {
    compared_.emplace(compared{of.job, of.epoch, {}});
    for (const pin& p : log_.pins()) {
      if (p.job != of.job || p.epoch != of.epoch) continue;
      for (const chunk_id& id : log_.pinned(p)) compared_->names.emplace_back(short_name(id), id);
    }
    std::sort(compared_->names.begin(), compared_->names.end());
  }
  const auto& names = compared_->names;
  const std::size_t count = std::min(question.names.size(), names_per_compare_max);
  answer.have.resize((count + 7) / 8);
  for (std::size_t i = 0; i < count; ++i) {
    const auto at = std::lower_bound(names.begin(), names.end(), std::pair(question.names[i], chunk_id()));
    const bool has = at != names.end() && at->first == question.names[i] && log_.contains(at->second);
    if (has) answer.have[i / 8] |= std::byte{1} << (i % 8);
  }
  emit_(from, std::move(answer));
}

P2PDVM_DECL std::size_t holder::scrub(std::size_t bytes) {
  std::size_t done = 0;
  const bool fresh = to_scrub_.empty();
  if (fresh) {
    std::set<chunk_id> all;
    for (const pin& p : log_.pins()) {
      const auto ids = log_.pinned(p);
      all.insert(ids.begin(), ids.end());
    }
    to_scrub_.assign(all.rbegin(), all.rend());
  }
  while (done < bytes && !to_scrub_.empty()) {
    const chunk_id id = to_scrub_.back();
    to_scrub_.pop_back();
    if (!log_.contains(id)) continue;
    const auto sealed = log_.get(id);
    if (sealed.ok()) {
      done += sealed->size();
    } else {
      note_damage(id, sealed.error());
    }
  }
  return done;
}

P2PDVM_DECL void holder::follow(const job_id& job, epoch_number committed,
                                epoch_number previous, epoch_number floor) {
  kept_[job] = {committed, previous, floor};
}

P2PDVM_DECL result<> holder::keep_only(const job_id& job, epoch_number committed,
                                       epoch_number previous, epoch_number floor) {
  follow(job, committed, previous, floor);
  const kept_epochs kept = kept_.at(job);
  return drop_pins(job, [kept](epoch_number e) { return kept.keeps(e); });
}

P2PDVM_DECL result<> holder::release(const job_id& job) {
  kept_.erase(job);
  return drop_pins(job, [](epoch_number) { return false; });
}

P2PDVM_DECL result<> holder::drop_pins(const job_id& job,
                                       const std::function<bool(epoch_number)>& keeps) {
  compared_.reset();
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const pin& snapshot = it->second.word.snapshot;
    if (snapshot.job != job || keeps(snapshot.epoch)) {
      ++it;
      continue;
    }
    const waiting_receipt w = std::move(it->second);
    it = waiting_.erase(it);
    refuse(w.to, w.word, detail::given_up(w.word.snapshot.epoch));
  }
  result<> outcome;
  for (const pin& p : log_.pins()) {
    if (p.job != job || keeps(p.epoch)) continue;
    if (auto dropped = log_.drop_pin(p); !dropped && outcome.ok()) outcome = dropped;
  }
  return outcome;
}

}  // namespace p2pdvm::store

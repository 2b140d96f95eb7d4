#pragma once

#include <p2pdvm/runtime/output_collector.hpp>

#include <algorithm>
#include <string_view>

namespace p2pdvm::runtime {

P2PDVM_DECL output_collector::output_collector(output_collector_owner& owner, peer_context& context, const job_id& job,
                                               const crypto::secret_key& secret)
    : owner_(owner),
      sink_(context.setting.outputs),
      restorer_(*this, context, job, secret),
      retry_timer_(context.machine.clock()) {
  if (sink_ == nullptr) return;
  for (const std::string& name : sink_->names()) files_[name];
}

P2PDVM_DECL void output_collector::committed(const checkpoint::job_record& record) {
  if (!wanted() || last_ || record.committed.epoch == epoch_number()) return;
  ranks_ = record.ranks;
  const epoch_number now = record.committed.epoch;
  if (now < std::max(collecting_, collected_)) forget_all();
  newest_ = record.committed;
  // What is being collected is kept for one epoch more.
  if (collecting_ == epoch_number() && !retry_timer_.armed() && now != collected_) begin();
}

P2PDVM_DECL void output_collector::finish(const checkpoint::epoch_manifests& last) {
  if (std::exchange(last_, true)) return;
  ranks_ = static_cast<std::uint32_t>(last.manifests.size());
  newest_ = last;
  restorer_.cancel_all();
  retries_ = 0;
  if (!wanted()) {
    over_ = true;
    return owner_.outputs_complete({});
  }
  begin();
}

/// An epoch that was in the file is none any more.
P2PDVM_DECL void output_collector::forget_all() {
  restorer_.cancel_all();
  collecting_ = collected_ = epoch_number();
  for (auto& [name, f] : files_) f = file();
}

P2PDVM_DECL void output_collector::begin() {
  retry_timer_.cancel();
  const checkpoint::epoch_manifests now = *newest_;
  collecting_ = now.epoch;
  for (auto& [name, f] : files_) {
    f.taken.resize(ranks_);
    f.collected.reset();
    f.parts.clear();
  }
  missing_.clear();
  for (std::uint32_t r = 0; r < ranks_; ++r) missing_.insert(rank_number(r));
  for (std::uint32_t r = 0; r < ranks_; ++r) {
    const rank_number rank(r);
    if (const auto here = owner_.snapshot_here(rank, now.epoch)) {
      take(rank, *here);
      missing_.erase(rank);
    } else {
      restorer_.start(rank, now.epoch, now.manifests[r], [this](rank_number of, store::manifest& m) { choose(of, m); });
    }
  }
  if (missing_.empty()) all_there();
}

P2PDVM_DECL bool output_collector::collects(const std::string& name, file& f) {
  if (!f.collected) f.collected = last_ || f.bytes > 0 || sink_->mine(name);
  return *f.collected;
}

/// What is in the file already need not come again, as far as it fills chunks.
P2PDVM_DECL void output_collector::choose(rank_number rank, store::manifest& m) {
  std::vector<store::section> wanted;
  for (store::section& s : m.sections) {
    const auto found = s.name.starts_with(peal::output_piece)
                           ? files_.find(s.name.substr(peal::output_piece.size()))
                           : files_.end();
    if (found == files_.end() || s.bytes > limits::output_bytes_max || !collects(found->first, found->second)) continue;
    file::part& part = found->second.parts[rank];
    const std::uint64_t taken = found->second.taken[rank.value()];
    std::size_t gone = 0;
    while (gone + 1 < s.chunks.size() && part.from + s.chunks[gone].bytes <= taken) part.from += s.chunks[gone++].bytes;
    s.chunks.erase(s.chunks.begin(), s.chunks.begin() + static_cast<std::ptrdiff_t>(gone));
    s.bytes -= part.from;
    wanted.push_back(std::move(s));
  }
  m.sections = std::move(wanted);
}

P2PDVM_DECL void output_collector::take(rank_number rank, const peal::snapshot& from) {
  for (const peal::snapshot::piece& p : from.pieces()) {
    if (!p.name.starts_with(peal::output_piece)) continue;
    const auto found = files_.find(p.name.substr(peal::output_piece.size()));
    if (found != files_.end() && collects(found->first, found->second)) found->second.parts[rank].bytes = p.parts;
  }
}

P2PDVM_DECL void output_collector::restored(rank_number rank, epoch_number epoch,
                                            std::shared_ptr<const peal::snapshot> snapshot, std::uint64_t) {
  if (epoch != collecting_) return;
  take(rank, *snapshot);
  missing_.erase(rank);
  if (missing_.empty()) all_there();
}

P2PDVM_DECL void output_collector::restore_failed(rank_number, epoch_number epoch, const error& why, const chunks_gone&) {
  if (epoch == collecting_) try_again(why);
}

P2PDVM_DECL void output_collector::try_again(const error& why) {
  restorer_.cancel_all();
  collecting_ = epoch_number();
  ++retries_;
  if (last_ && retries_ > retries_max) {
    over_ = true;
    return owner_.outputs_complete(error(why.code(), "the job's outputs cannot be read: " + why.message()));
  }
  if (retries_ == retries_silent_max) owner_.output_held_up("outputs are late: " + why.message());
  retry_timer_.after(retry_pause, [this] { begin(); });
}

/// The file's next bytes, of the new part of each rank's log.
P2PDVM_DECL result<byte_vector> output_collector::new_bytes(file& f) {
  std::vector<byte_vector> logs(ranks_);
  std::vector<std::vector<peal::output_frame>> frames(ranks_);
  std::vector<std::uint64_t> more(ranks_);
  for (const auto& [rank, part] : f.parts) {
    byte_vector& log = logs[rank.value()];
    std::uint64_t skip = f.taken[rank.value()] - part.from;
    for (const payload& p : part.bytes) {
      const auto gone = static_cast<std::size_t>(std::min<std::uint64_t>(skip, p.size()));
      append(log, p.view().subspan(gone));
      skip -= gone;
    }
    if (skip > 0) return error(errc::corrupted, "a rank's output has become shorter");
    auto read = peal::read_output_frames(log);
    if (!read.ok()) return read.error();
    if (!last_) std::erase_if(*read, [](const peal::output_frame& o) { return o.after == peal::at_the_end; });
    for (const peal::output_frame& o : *read) more[rank.value()] += o.log_bytes();
    frames[rank.value()] = std::move(*read);
  }
  byte_vector bytes = peal::merge_output(frames);
  for (std::uint32_t r = 0; r < ranks_; ++r) f.taken[r] += more[r];
  return bytes;
}

P2PDVM_DECL void output_collector::write(const std::string& name, file& f, byte_view bytes) {
  if (last_) return sink_->complete(name, f.bytes, bytes);
  if (bytes.empty()) return;
  if (const auto written = sink_->write(name, f.bytes, bytes); !written.ok()) {
    if (retries_++ == 0) owner_.output_held_up(written.error().message());
    f = file();  // all of it, the next time
    return;
  }
  retries_ = 0;
  f.bytes += bytes.size();
  owner_.output_written(name, collecting_, f.bytes);
}

P2PDVM_DECL void output_collector::all_there() {
  for (auto& [name, f] : files_) {
    if (!f.collected.value_or(false)) continue;
    auto bytes = new_bytes(f);
    if (!bytes.ok()) {
      f = file();
      return try_again(bytes.error());
    }
    write(name, f, *bytes);
    f.parts.clear();
  }
  collected_ = std::exchange(collecting_, epoch_number());
  if (last_) {
    over_ = true;
    return owner_.outputs_complete({});
  }
  if (newest_->epoch != collected_) begin();
}

}  // namespace p2pdvm::runtime

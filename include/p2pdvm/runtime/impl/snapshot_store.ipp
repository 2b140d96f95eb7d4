#pragma once

#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/runtime/snapshot_store.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <set>
#include <string_view>

namespace p2pdvm::runtime {

namespace detail {

/// Chunks hashed per turn of the driver, so that it does other things in between.
inline constexpr std::size_t chunks_per_turn = 4;
/// For other threads: bytes of one work, and works for each of them, for none to wait long for the last.
inline constexpr std::size_t measured_bytes_min = 128 * 1024, measured_bytes_max = 1024 * 1024;
inline constexpr std::size_t works_per_thread = 4;
/// Of all ranks here, sealed before anybody has asked for it.
inline constexpr std::size_t sealed_ahead_max = 64 * 1024 * 1024;

/// Whose put it answers.
inline rank_number rank_of(const store::store_message& answer) {
  return std::visit(
      [](const auto& m) {
        if constexpr (requires { m.rank; }) return rank_number(m.rank);
        return rank_number();
      },
      answer);
}

inline peal::snapshot with_late_log(const peal::snapshot& taken,
                                    const std::vector<messaging::rank_message>& late) {
  peal::snapshot whole;
  for (const auto& piece : taken.pieces()) {
    if (piece.name != "messages" || late.empty()) {
      whole.add(piece);
      continue;
    }
    auto state = wire::decode<messaging::endpoint_state>(piece.whole().view());
    P2PDVM_ASSERT(state.ok());
    (*state).absorb(late);
    whole.add(piece.name, payload(wire::encode(*state)));
  }
  return whole;
}

}  // namespace detail

P2PDVM_DECL snapshot_store::snapshot_store(snapshot_store_owner& owner, peer_context& context,
                                           const job_id& job, const crypto::secret_key& secret,
                                           receipts_from receipts)
    : owner_(owner),
      context_(context),
      job_(job),
      secret_(secret),
      receipts_(receipts),
      codec_(secret),
      holder_(context.log, context.self,
              [this](const node_id& to, store::store_message message) {
                if (const auto* given = std::get_if<store::receipt>(&message); given != nullptr && to == context_.self.id())
                  genuine_.add(*given, context_.self.key());
                if (const auto* data = std::get_if<store::chunk_data>(&message); data != nullptr && to != context_.self.id()) {
                  bytes_given_ += data->chunk.sealed.size();
                  uploads_.spend(now(), data->chunk.sealed.size());
                }
                outbox_.emplace_back(to, std::move(message));
                arm();  // receipts come from the disk's callbacks
              },
              [this](const store::disk_notice& notice) { owner_.disk_noticed(notice); }, context.machine.workers()),
      uploads_(context.setting.upload_rate),
      survey_timer_(context.machine.clock()),
      scrub_timer_(context.machine.clock()),
      timer_(context.machine.clock()) {
  scrub_later();
}

P2PDVM_DECL void snapshot_store::set_members(std::vector<store::member> members,
                                             unsigned replicas) {
  const bool same = std::equal(members_.begin(), members_.end(), members.begin(), members.end(),
                               [](const store::member& a, const store::member& b) { return a.id == b.id; });
  members_ = std::move(members);
  replicas_ = replicas;
  // What comes or goes makes other holders the right ones; who comes back has what it had.
  if (!same) survey_by(now() + survey_after_change);
  // Among other members, and failure domains, what was stored may be too little.
  for (auto& [rank, d] : drains_) {
    const store::pin snapshot{job_, d.incarnation, d.epoch};
    if (d.outcome && !sufficient(snapshot, rank, d.outcome->receipts)) replicate(rank, d);
  }
}

P2PDVM_DECL void snapshot_store::follow(const checkpoint::job_record& record) {
  committed_ = record.committed.epoch;
  incarnation_ = record.incarnation;
  const auto here = record.ranks_of(context_.self.id());
  std::erase_if(listed_, [&](const auto& l) {
    const auto& [rank, epoch] = l.first;
    const bool ours = std::find(here.begin(), here.end(), rank) != here.end();
    return !ours || (epoch != record.committed.epoch && epoch != record.previous.epoch && epoch <= std::max(record.committed.epoch, record.floor));
  });
  holder_.follow(job_, record.committed.epoch, record.previous.epoch, record.floor);
}

P2PDVM_DECL void snapshot_store::captured(rank_number rank, epoch_number epoch,
                                          incarnation_number incarnation, peal::snapshot taken) {
  drain d;
  d.epoch = epoch;
  d.incarnation = incarnation;
  d.open = std::move(taken);
  drains_.insert_or_assign(rank, std::move(d));
}

P2PDVM_DECL void snapshot_store::close(rank_number rank, epoch_number epoch,
                                       const std::vector<messaging::rank_message>& late) {
  const auto found = drains_.find(rank);
  if (found == drains_.end() || found->second.epoch != epoch || !found->second.open) return;
  drain& d = found->second;
  d.whole = std::make_shared<const peal::snapshot>(detail::with_late_log(*d.open, late));
  d.open.reset();
  if (context_.machine.workers() == nullptr) return begin_chunks(rank, d);
  // The rank goes on first.
  context_.machine.clock().call_at(now(), [this, alive = alive_, rank, epoch] {
    if (!*alive) return;
    const auto at = drains_.find(rank);
    if (at != drains_.end() && at->second.epoch == epoch && at->second.whole && !at->second.under_way && at->second.chunks.empty())
      begin_chunks(rank, at->second);
  });
}

P2PDVM_DECL void snapshot_store::begin_chunks(rank_number rank, drain& d) {
  const epoch_number epoch = d.epoch;
  std::vector<store::section_data> sections;
  for (const auto& piece : d.whole->pieces()) sections.push_back({piece.name, piece.parts, piece.bulk});
  if (const auto begun = chunker_of(rank)->start(epoch, std::move(sections)); !begun.ok())
    return owner_.drain_failed(rank, epoch, begun.error());
  if (context_.machine.workers() != nullptr) return measure(rank, d);
  d.chunking = true;
  step(rank, epoch);
}

/// A new one, which knows nothing, where workers still have the old one for an epoch that was dropped.
P2PDVM_DECL const std::shared_ptr<store::chunker>& snapshot_store::chunker_of(rank_number rank) {
  std::shared_ptr<store::chunker>& chunker = chunkers_[rank];
  if (chunker == nullptr || chunker.use_count() > 1)
    chunker = std::make_shared<store::chunker>(secret_, rank, context_.setting.compression);
  return chunker;
}

P2PDVM_DECL void snapshot_store::measure(rank_number rank, drain& d) {
  host::workers& workers = *context_.machine.workers();
  const auto m = std::make_shared<measuring>();
  m->chunker = chunkers_.at(rank);
  const std::size_t share = d.whole->bytes() / (workers.count() * detail::works_per_thread);
  const std::size_t work_bytes = std::clamp(share, detail::measured_bytes_min, detail::measured_bytes_max);
  std::size_t ahead = 0;
  for (const auto& [other, of] : drains_) ahead += of.sealed_ahead;
  m->slices = m->chunker->slices(work_bytes, detail::sealed_ahead_max - std::min(ahead, detail::sealed_ahead_max));
  for (const auto& s : m->slices) d.sealed_ahead += s.seals ? s.work : 0;
  m->measured.resize(m->slices.size());
  d.under_way = m;
  const auto run = [&](std::size_t first, std::size_t behind, std::size_t bytes) {
    ++m->left;
    const bool brief = bytes <= 2 * detail::measured_bytes_max;
    workers.run(
        brief ? host::workers::length::brief : host::workers::length::any,
        [m, first, behind] {
          try {
            for (std::size_t i = first; i < behind; ++i) m->measured[i] = m->chunker->measure(m->slices[i]);
          } catch (const std::bad_alloc&) {
            m->failed = true;
          }
        },
        [this, alive = alive_, rank, m] {
          if (*alive && --m->left == 0) measured(rank, m);
        });
  };
  std::size_t first = 0, bytes = 0;
  for (std::size_t i = 0; i < m->slices.size(); ++i) {
    bytes += m->slices[i].work;
    if (bytes < work_bytes && i + 1 < m->slices.size()) continue;
    run(first, i + 1, bytes);
    first = i + 1;
    bytes = 0;
  }
  if (!m->slices.empty()) return;
  d.under_way.reset();  // a state of nothing
  m->chunker->add({});
  chunked(rank, d, *m->chunker);
}

P2PDVM_DECL void snapshot_store::measured(rank_number rank, const std::shared_ptr<measuring>& m) {
  const auto found = drains_.find(rank);
  if (found == drains_.end() || found->second.under_way != m) return;
  drain& d = found->second;
  d.under_way.reset();
  if (m->failed) {  // for want of memory: then step by step
    d.chunking = true;
    return step(rank, d.epoch);
  }
  m->chunker->add(std::move(m->measured));
  chunked(rank, d, *m->chunker);
}

P2PDVM_DECL void snapshot_store::step(rank_number rank, epoch_number epoch) {
  const auto found = drains_.find(rank);
  if (found == drains_.end() || found->second.epoch != epoch || !found->second.chunking) return;
  drain& d = found->second;
  store::chunker& chunker = *chunkers_.at(rank);
  if (!chunker.step(detail::chunks_per_turn)) {
    context_.machine.clock().call_at(now(), [this, alive = alive_, rank, epoch] {
      if (*alive) step(rank, epoch);
    });
    return;
  }
  d.chunking = false;
  chunked(rank, d, chunker);
}

P2PDVM_DECL void snapshot_store::chunked(rank_number rank, drain& d, store::chunker& chunker) {
  store::chunked_snapshot cut = chunker.take();
  for (store::chunk_source& c : cut.chunks) {
    d.chunks.push_back(c.chunk);
    if (!c.sealed.empty()) d.sealed.emplace(c.chunk.id, std::move(c.sealed));
    d.plain.emplace(c.chunk.id, drain::plain_chunk{std::move(c.plain), c.how});
  }
  payload manifest(wire::encode(cut.manifest));
  d.manifest = codec_.id(manifest.view());
  d.chunks.push_back(
      {d.manifest, static_cast<std::uint32_t>(manifest.size()), store::manifest_stripe});
  // Most of it is ids, which look random.
  d.plain.emplace(d.manifest, drain::plain_chunk{std::move(manifest), store::packing::none});
  replicate(rank, d);
}

P2PDVM_DECL void snapshot_store::replicate(rank_number rank, drain& d) {
  store::replication what;
  what.snapshot = {job_, d.incarnation, d.epoch};
  what.rank = rank;
  what.chunks = d.chunks;
  what.members = members_;
  what.replicas = replicas_;
  what.self = context_.self.id();
  d.outcome.reset();
  d.replicator = std::make_unique<store::replicator>(
      std::move(what), known_[rank], genuine_,
      [this, rank](const chunk_id& id) -> result<payload> {
        const drain& of = drains_.at(rank);
        if (const auto ready = of.sealed.find(id); ready != of.sealed.end()) return ready->second;
        const auto at = of.plain.find(id);
        if (at == of.plain.end()) return error(errc::not_found);
        return codec_.seal(id, at->second.bytes.view(), at->second.how);
      },
      [this, rank](const node_id& to, store::store_message message) {
        if (const auto* put = std::get_if<store::put_chunks>(&message)) {
          for (const auto& c : put->chunks) drains_.at(rank).bytes_sent += c.sealed.size();
        }
        outbox_.emplace_back(to, std::move(message));
      },
      &uploads_);
  d.replicator->start(now());
  look_after(rank, d);
  arm();
}

P2PDVM_DECL void snapshot_store::look_after(rank_number rank, drain& d) {
  if (!d.replicator || !d.replicator->finished()) return;
  const auto finished = *d.replicator->finished();
  d.replicator.reset();
  if (!finished.ok()) return owner_.drain_failed(rank, d.epoch, finished.error());
  const store::replication_outcome& good = *finished;
  if (good.replicas == 0) {
    std::string text = "no peer can keep a copy of it";
    if (!good.troubles.empty()) text += " (" + good.troubles.front() + ")";
    return owner_.drain_failed(rank, d.epoch, error(errc::no_space, std::move(text)));
  }
  seal_proof proof;
  proof.replicas = good.replicas;
  proof.receipts = good.receipts;
  for (const auto& c : d.chunks) proof.stripes = static_cast<std::uint16_t>(proof.stripes | 1u << c.stripe);
  d.relied_on.clear();
  for (const auto& r : good.receipts) d.relied_on.push_back(r.holder);
  drain_outcome outcome;
  outcome.manifest = d.manifest;
  outcome.receipts = wire::encode(proof);
  outcome.bytes_sent = d.bytes_sent;
  outcome.replicas = good.replicas;
  std::set<std::string_view> domains;
  for (const auto& m : members_) domains.insert(m.domain);
  outcome.wanted = static_cast<unsigned>(std::min<std::size_t>(replicas_, domains.size()));
  if (!good.troubles.empty()) outcome.trouble = good.troubles.front();
  replicas_achieved_ = replicas_achieved_ == 0 ? good.replicas : std::min(replicas_achieved_, good.replicas);
  // The members may have changed since it began.
  if (!sufficient({job_, d.incarnation, d.epoch}, rank, outcome.receipts)) return replicate(rank, d);
  d.outcome = outcome;
  listed_[{rank, d.epoch}] = {d.manifest, d.chunks};
  d.sealed.clear();
  d.sealed_ahead = 0;
  kept_[rank][d.epoch] = d.whole;
  owner_.drained(rank, d.epoch, outcome);
}

P2PDVM_DECL void snapshot_store::look_after_all() {
  std::vector<rank_number> ranks;
  for (const auto& [rank, d] : drains_) ranks.push_back(rank);
  for (const rank_number rank : ranks) {
    const auto found = drains_.find(rank);
    if (found != drains_.end()) look_after(rank, found->second);
  }
  flush();
  arm();
}

P2PDVM_DECL void snapshot_store::ask_holder(const node_id& from, const store::get_chunks& get) {
  if (!uploads_.limited() || from == context_.self.id()) return holder_.on_message(now(), from, get);
  for (const chunk_id& id : get.ids) {
    if (asked_.size() < asked_chunks_max && asked_once_.emplace(from, id).second) asked_.emplace_back(from, id);
  }
  serve();
}

P2PDVM_DECL void snapshot_store::mend(const node_id& to, rank_number rank, epoch_number epoch, store::sealed_chunk chunk) {
  if (mends_in_memory_ < mends_waiting_max) {
    ++mends_in_memory_;
    mends_.push_back({to, rank, epoch, std::move(chunk)});
  }
  serve();
  arm();
}

/// What is for one holder goes together. The receipt that comes for it covers no stripe, and nobody waits for it.
P2PDVM_DECL void snapshot_store::send_mends() {
  while (!mends_.empty() && (mends_.front().to == context_.self.id() || uploads_.ready(now()))) {
    const node_id to = mends_.front().to;
    store::put_chunks put{{job_, incarnation_, mends_.front().epoch}, mends_.front().rank, 0, 0, {}, {}};
    std::size_t bytes = 0;
    while (!mends_.empty()) {
      waiting_mend& next = mends_.front();
      const bool in_memory = !next.chunk.sealed.empty();
      if (!in_memory) {
        auto sealed = context_.log.get(next.chunk.id);
        if (!sealed.ok()) {
          mends_.pop_front();
          continue;
        }
        next.chunk.sealed = std::move(*sealed);
        ++mends_in_memory_;
      }
      const bool fits = put.chunks.empty() || bytes + next.chunk.sealed.size() <= store::put_bytes_max;
      if (next.to != to || next.rank != put.rank || next.epoch != put.snapshot.epoch || !fits) break;
      bytes += next.chunk.sealed.size();
      put.chunks.push_back(std::move(next.chunk));
      mends_.pop_front();
      --mends_in_memory_;
    }
    if (put.chunks.empty()) continue;
    if (to != context_.self.id()) {
      bytes_given_ += bytes;
      uploads_.spend(now(), bytes);
    }
    outbox_.emplace_back(to, std::move(put));
  }
}

/// Each member may say so of what it hosts; who is to get it is one, too.
P2PDVM_DECL void snapshot_store::pass(const store::pass_chunks& order) {
  const bool member = std::any_of(members_.begin(), members_.end(), [&](const store::member& m) { return m.id == order.to; });
  if (!member || order.snapshot.job != job_) return;
  for (const chunk_id& id : order.ids) {
    if (mends_.size() < passes_waiting_max && context_.log.contains(id)) mends_.push_back({order.to, order.rank, order.snapshot.epoch, {id, {}}});
  }
  serve();
}

// --- anti-entropy ---

P2PDVM_DECL void snapshot_store::scrub_later() {
  scrub_timer_.after(scrub_all_read_ ? scrub_pass_pause : scrub_pause, [this] {
    scrub_all_read_ = holder_.scrub(scrub_bytes_per_turn) < scrub_bytes_per_turn;
    scrub_later();
  });
}

P2PDVM_DECL void snapshot_store::note_chunks(rank_number rank, epoch_number epoch, const chunk_id& manifest,
                                             std::vector<store::placed_chunk> chunks) {
  listed_[{rank, epoch}] = {manifest, std::move(chunks)};
  to_survey_.emplace_back(rank, epoch);  // the next commit need not send again what holders have
}

P2PDVM_DECL void snapshot_store::begin_survey_soon() {
  context_.machine.clock().call_at(now(), [this, alive = alive_] {
    if (*alive) begin_survey();
  });
}

P2PDVM_DECL void snapshot_store::survey_by(time_point when) {
  if (when >= survey_at_) return;
  survey_at_ = when;
  survey_timer_.at(when, [this] {
    survey_at_ = time_point_never;
    to_survey_.clear();
    for (const auto& [what, l] : listed_) {
      if (what.second <= committed_) to_survey_.push_back(what);
    }
    begin_survey();
    survey_by(now() + survey_interval);
  });
}

P2PDVM_DECL void snapshot_store::begin_survey() {
  while (!survey_ && !to_survey_.empty()) {
    const auto [rank, epoch] = to_survey_.back();
    to_survey_.pop_back();
    const auto found = listed_.find({rank, epoch});
    if (found == listed_.end() || members_.size() < 2) continue;
    store::chunk_survey::plan what{{job_, incarnation_, epoch}, rank, found->second.manifest, found->second.chunks, members_, replicas_};
    survey_.emplace(
        std::move(what),
        [this](const node_id& to, store::store_message m) {
          ++survey_messages_;
          outbox_.emplace_back(to, std::move(m));
        },
        [this, of = rank, at = epoch](const node_id& holder, const chunk_id& id, bool has) {
          if (has) {
            known_[of].add(holder, id, at);
          } else {
            known_[of].remove(holder, id);
          }
        });
    survey_->start(now());
    look_after_survey();
  }
  arm();
}

P2PDVM_DECL void snapshot_store::look_after_survey() {
  if (!survey_ || !survey_->finished()) return;
  const store::chunk_survey::outcome found = survey_->found();
  const rank_number rank = survey_->what().rank;
  const epoch_number epoch = survey_->what().snapshot.epoch;
  survey_.reset();
  if (found.nowhere > 0 && epoch == committed_) owner_.chunks_nowhere(rank, epoch, found.nowhere);
  begin_survey_soon();
}

P2PDVM_DECL void snapshot_store::serve() {
  while (!asked_.empty() && uploads_.ready(now())) {
    const auto [to, id] = asked_.front();
    asked_once_.erase(asked_.front());
    asked_.pop_front();
    store::get_chunks one;
    one.ids.push_back(id);
    holder_.on_message(now(), to, one);
  }
  send_mends();
}

P2PDVM_DECL void snapshot_store::flush() {
  for (auto& [to, message] : std::exchange(outbox_, {})) owner_.send_store(to, message);
}

P2PDVM_DECL void snapshot_store::arm() {
  time_point next = outbox_.empty() ? time_point_never : now();
  for (const auto& [rank, d] : drains_) {
    if (d.replicator) next = std::min(next, d.replicator->next_timer());
  }
  if (survey_) next = std::min(next, survey_->next_timer());
  if (!asked_.empty() || !mends_.empty()) next = std::min(next, std::max(now(), uploads_.next()));
  timer_.at(next, [this] {
    serve();
    if (survey_ && survey_->next_timer() <= now()) {
      survey_->on_timer(now());
      look_after_survey();
    }
    flush();
    for (auto& [rank, d] : drains_) {
      if (d.replicator && d.replicator->next_timer() <= now()) d.replicator->on_timer(now());
    }
    look_after_all();
  });
}

P2PDVM_DECL bool snapshot_store::on_message(const node_id& from,
                                            const store::store_message& message) {
  const bool asks = std::holds_alternative<store::put_chunks>(message) ||
                    std::holds_alternative<store::get_chunks>(message) ||
                    std::holds_alternative<store::compare_chunks>(message);
  const bool fetched = std::holds_alternative<store::chunk_data>(message) ||
                       std::holds_alternative<store::chunks_absent>(message);
  if (fetched) return false;
  if (const auto* get = std::get_if<store::get_chunks>(&message)) {
    ask_holder(from, *get);
  } else if (const auto* order = std::get_if<store::pass_chunks>(&message)) {
    pass(*order);
  } else if (std::holds_alternative<store::chunk_bitmap>(message)) {
    if (survey_) survey_->on_message(now(), from, message);
    look_after_survey();
  } else if (asks) {
    holder_.on_message(now(), from, message);
  } else if (const auto found = drains_.find(detail::rank_of(message)); found != drains_.end() && found->second.replicator) {
    found->second.replicator->on_message(now(), from, message);
    look_after(found->first, found->second);
  }
  flush();
  arm();
  return true;
}

P2PDVM_DECL void snapshot_store::on_member_lost(const node_id& node) {
  std::erase_if(asked_, [&](const auto& a) { return a.first == node; });
  std::erase_if(asked_once_, [&](const auto& a) { return a.first == node; });
  std::erase_if(mends_, [&](const waiting_mend& m) {
    if (m.to == node && !m.chunk.sealed.empty()) --mends_in_memory_;
    return m.to == node;
  });
  if (survey_) {
    survey_->on_member_lost(now(), node);
    look_after_survey();
  }
  for (auto& [rank, map] : known_) map.forget(node);
  for (auto& [rank, d] : drains_) {
    if (d.replicator) {
      d.replicator->on_member_lost(now(), node);
    } else if (d.outcome && std::count(d.relied_on.begin(), d.relied_on.end(), node) > 0) {
      std::erase_if(members_, [&](const store::member& m) { return m.id == node; });
      replicate(rank, d);
    }
  }
  look_after_all();
}

P2PDVM_DECL void snapshot_store::on_member_reset(const node_id& node) {
  for (auto& [rank, map] : known_) map.forget(node);
  if (receipts_ == receipts_from::disk) return;
  for (auto& [rank, d] : drains_) {
    if (d.replicator || std::count(d.relied_on.begin(), d.relied_on.end(), node) > 0) replicate(rank, d);
  }
  look_after_all();
}

P2PDVM_DECL void snapshot_store::drop(epoch_number epoch) {
  std::erase_if(drains_, [&](const auto& entry) { return entry.second.epoch <= epoch; });
  for (auto& [rank, snapshots] : kept_) {
    std::erase_if(snapshots, [&](const auto& s) { return s.first <= epoch && s.first > committed_; });
  }
  arm();
}

P2PDVM_DECL void snapshot_store::abandon_all() {
  drains_.clear();
  arm();
}

P2PDVM_DECL void snapshot_store::committed(const checkpoint::job_record& record) {
  const epoch_number now_committed = record.committed.epoch;
  std::erase_if(drains_, [&](const auto& entry) { return entry.second.epoch <= now_committed; });
  for (auto& [rank, snapshots] : kept_) {
    std::erase_if(snapshots, [&](const auto& s) { return s.first < now_committed; });
  }
  for (auto& [rank, map] : known_) map.expire(record.previous.epoch);
  replicas_achieved_ = 0;
  genuine_.clear();
  // A failure to collect garbage costs space, nothing else.
  (void)holder_.keep_only(job_, now_committed, record.previous.epoch, record.floor);
  survey_.reset();
  to_survey_.clear();
  survey_at_ = time_point_never;
  survey_by(now() + survey_interval);
  arm();
}

P2PDVM_DECL std::shared_ptr<const peal::snapshot> snapshot_store::kept(rank_number rank,
                                                                       epoch_number epoch) const {
  const auto snapshots = kept_.find(rank);
  if (snapshots == kept_.end()) return nullptr;
  const auto found = snapshots->second.find(epoch);
  return found == snapshots->second.end() ? nullptr : found->second;
}

P2PDVM_DECL std::shared_ptr<const peal::snapshot> snapshot_store::drained(
    rank_number rank, epoch_number epoch) const {
  const auto found = drains_.find(rank);
  return found == drains_.end() || found->second.epoch != epoch ? nullptr : found->second.whole;
}

P2PDVM_DECL bool snapshot_store::sufficient(const store::pin& snapshot, rank_number rank,
                                            byte_view bytes) {
  const auto proof = wire::decode<seal_proof>(bytes);
  if (!proof.ok() || ((*proof).stripes >> store::manifest_stripe & 1) == 0) return false;
  std::set<std::string> all_domains;
  for (const auto& m : members_) all_domains.insert(m.domain);
  const std::size_t needed = std::min<std::size_t>((*proof).replicas, all_domains.size());
  if (needed == 0) return false;
  std::array<std::set<std::string_view>, limits::stripes_per_rank> domains;
  for (const auto& r : (*proof).receipts) {
    if (r.snapshot != snapshot || r.rank != rank) continue;
    const auto who = std::find_if(members_.begin(), members_.end(),
                                  [&](const store::member& m) { return m.id == r.holder; });
    if (who == members_.end() || !genuine_.check(r, who->key)) continue;
    for (unsigned s = 0; s < domains.size(); ++s) {
      if ((r.stripes >> s & 1) != 0) domains.at(s).insert(who->domain);
    }
  }
  for (unsigned s = 0; s < domains.size(); ++s) {
    if (((*proof).stripes >> s & 1) != 0 && domains.at(s).size() < needed) return false;
  }
  return true;
}

P2PDVM_DECL bool snapshot_store::has_inputs(const std::map<std::string, job_input>& inputs) {
  bool all = true;
  for (const auto& [name, input] : inputs) {
    for (const chunk_id& id : input.chunks) {
      const auto sealed = context_.log.get(id);
      if (sealed.ok()) continue;
      all = false;
      if (sealed.error().code() == errc::corrupted)
        owner_.disk_noticed({store::disk_notice::kind::damaged, sealed.error().message()});
    }
  }
  return all;
}

P2PDVM_DECL result<byte_vector> snapshot_store::read_input(const job_input& input) {
  byte_vector whole;
  whole.reserve(input.bytes);
  for (const chunk_id& id : input.chunks) {
    auto sealed = context_.log.get(id);
    if (!sealed.ok()) return error(sealed.error().code(), "a piece of the job's input is lost here: " + sealed.error().message());
    auto plain = codec_.open(id, sealed->view());
    if (!plain.ok()) return plain.error();
    append(whole, plain->view());
  }
  if (whole.size() != input.bytes) return error(errc::corrupted, "the job's input has another size than its specification says");
  return whole;
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/runtime/restorer.hpp>

#include <algorithm>
#include <new>
#include <set>

namespace p2pdvm::runtime {

P2PDVM_DECL restorer::restorer(restorer_owner& owner, peer_context& context, const job_id& job,
                               const crypto::secret_key& secret)
    : owner_(owner), context_(context), job_(job), codec_(std::make_shared<store::chunk_codec>(secret)), timer_(context.machine.clock()) {}

P2PDVM_DECL std::unique_ptr<store::fetcher> restorer::fetch(
    rank_number rank, std::vector<store::placed_chunk> chunks, std::vector<store::member> members,
    store::fetcher::sink_function sink, std::optional<epoch_number> mends) {
  store::fetch_plan plan;
  plan.job = job_;
  plan.rank = rank;
  plan.chunks = std::move(chunks);
  plan.members = std::move(members);
  plan.replicas = replicas_;
  store::fetcher::mend_function mend;
  if (mends) {
    mend = [this, rank, epoch = *mends](const node_id& holder, const chunk_id& id, const payload& sealed) {
      if (mended_.size() < mends_kept_max) mended_.push_back({holder, rank, epoch, {id, sealed}});
    };
  }
  auto f = std::make_unique<store::fetcher>(
      std::move(plan), *codec_, std::move(sink),
      [this](const node_id& to, store::store_message m) { outbox_.emplace_back(to, std::move(m)); }, std::move(mend));
  f->start(now());
  return f;
}

P2PDVM_DECL void restorer::start(rank_number rank, epoch_number epoch, const chunk_id& manifest, chooser choose) {
  restoration& r = restorations_[rank];
  r = restoration();
  r.epoch = epoch;
  r.manifest_id = manifest;
  r.choose = std::move(choose);
  r.fetcher = fetch(rank, {{manifest, 0, store::manifest_stripe}}, members_,
                    [this, rank](const chunk_id&, payload plain) {
                      restorations_.at(rank).manifest_bytes = std::move(plain);
                    },
                    epoch);
  arm();
}

P2PDVM_DECL void restorer::fetch_pieces(rank_number rank, restoration& r) {
  auto manifest = store::read_manifest(r.manifest_bytes.view());
  if (!manifest.ok()) {
    r.trouble = manifest.error();
    return;
  }
  r.manifest = std::move(*manifest);
  std::vector<store::placed_chunk> chunks = store::chunks_of(*r.manifest);  // where they lie, by all of it
  std::vector<store::placed_chunk> all = chunks;
  all.push_back({r.manifest_id, static_cast<std::uint32_t>(r.manifest_bytes.size()), store::manifest_stripe});
  owner_.chunks_known(rank, r.epoch, r.manifest_id, all);
  if (r.choose) {
    r.choose(rank, *r.manifest);
    std::set<chunk_id> wanted;
    for (const store::section& s : r.manifest->sections) {
      for (const store::chunk_reference& c : s.chunks) wanted.insert(c.id);
    }
    std::erase_if(chunks, [&wanted](const store::placed_chunk& c) { return !wanted.contains(c.id); });
  }
  r.assembler.emplace(*r.manifest);
  r.fetcher = fetch(rank, std::move(chunks), members_,
                    [this, rank](const chunk_id& id, payload plain) {
                      restoration& here = restorations_.at(rank);
                      here.fetched += plain.size();
                      const auto added = here.assembler->add(id, plain);
                      if (!added.ok()) here.trouble = added.error();
                    },
                    r.epoch);
}

P2PDVM_DECL void restorer::finish(rank_number rank, restoration r) {
  if (r.trouble) return owner_.restore_failed(rank, r.epoch, *r.trouble, r.gone);
  auto snapshot = std::make_shared<peal::snapshot>();
  auto parts = r.assembler->take();
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const store::section& s = r.manifest->sections[i];
    snapshot->add({s.name, std::move(parts[i]), s.bulk});
  }
  owner_.restored(rank, r.epoch, std::move(snapshot), r.fetched);
}

P2PDVM_DECL void restorer::look_after_all() {
  std::vector<rank_number> ranks;
  for (const auto& [rank, r] : restorations_) ranks.push_back(rank);
  for (const rank_number rank : ranks) {
    const auto found = restorations_.find(rank);
    if (found == restorations_.end()) continue;
    restoration& r = found->second;
    while (!r.trouble && r.fetcher->finished()) {
      const auto finished = *r.fetcher->finished();
      if (!finished.ok()) {
        r.trouble = finished.error();
        r.gone = {r.fetcher->missing(), r.fetcher->chunks(), r.fetcher->all_denied()};
      } else if (!r.manifest) {
        fetch_pieces(rank, r);
      } else {
        break;
      }
    }
    if (!r.trouble && !(r.manifest && r.fetcher->finished())) continue;
    restoration whole = std::move(r);
    restorations_.erase(found);
    finish(rank, std::move(whole));
  }
  look_after_inputs();
  arm();
}

P2PDVM_DECL void restorer::fetch_inputs(std::vector<store::member> from,
                                        const std::map<std::string, job_input>& inputs,
                                        std::function<void(result<>)> done) {
  inputs_.emplace();
  inputs_->done = std::move(done);
  std::vector<store::placed_chunk> chunks;
  std::set<chunk_id> seen;
  for (const auto& [name, input] : inputs) {
    for (const chunk_id& id : input.chunks) {
      if (!seen.insert(id).second) continue;
      inputs_->all.push_back(id);
      if (!context_.log.contains(id))
        chunks.push_back({id, static_cast<std::uint32_t>(limits::chunk_bytes_large), 0});
    }
  }
  inputs_->fetcher = fetch(rank_number(), std::move(chunks), std::move(from),
                           [this](const chunk_id& id, payload plain) {
                             const store::packing how = store::probe_packing(context_.setting.compression, plain.view());
                             const auto put = context_.log.put_shared(id, codec_->seal(id, plain.view(), how));
                             if (!put.ok()) inputs_->trouble = put.error();
                           });
  look_after_all();
}

P2PDVM_DECL void restorer::look_after_inputs() {
  if (!inputs_ || !inputs_->fetcher || !inputs_->fetcher->finished()) return;
  auto fetched = *inputs_->fetcher->finished();
  inputs_->fetcher.reset();
  if (fetched.ok() && inputs_->trouble) fetched = *inputs_->trouble;
  if (fetched.ok() && !inputs_->all.empty())
    fetched = context_.log.add_pin({job_, incarnation_number(), epoch_number()}, inputs_->all);
  if (!fetched.ok()) return inputs_->done(fetched);
  context_.log.sync([this, alive = alive_](const result<>& synced) {
    if (*alive) inputs_->done(synced);
  });
}

P2PDVM_DECL std::optional<std::size_t> restorer::expected(const node_id& from, const chunk_id& id) const {
  std::optional<std::size_t> bytes;
  if (inputs_ && inputs_->fetcher) bytes = inputs_->fetcher->expects(from, id);
  for (auto r = restorations_.begin(); !bytes && r != restorations_.end(); ++r) bytes = r->second.fetcher->expects(from, id);
  return bytes;
}

/// To open a chunk takes about as long as to send it; meanwhile this thread takes the next one from the network.
P2PDVM_DECL void restorer::open(const node_id& from, const store::sealed_chunk& chunk, std::size_t bytes_max) {
  if (!opening_.emplace(from, chunk.id).second) return;
  constexpr std::size_t brief_bytes_max = std::size_t{1} << 20;  // a manifest may be longer
  const auto plain = std::make_shared<result<payload>>(error(errc::no_space, "there is no memory for a chunk"));
  context_.machine.workers()->run(
      chunk.sealed.size() > brief_bytes_max ? host::workers::length::any : host::workers::length::brief,
      [codec = codec_, chunk, plain, bytes_max] {
        try {
          *plain = codec->open(chunk.id, chunk.sealed.view(), bytes_max);
        } catch (const std::bad_alloc&) {
          // It says so already.
        }
      },
      [this, alive = alive_, from, chunk, plain] {
        if (*alive) opened(from, chunk, *plain);
      });
}

P2PDVM_DECL void restorer::opened(const node_id& from, const store::sealed_chunk& chunk, const result<payload>& plain) {
  opening_.erase({from, chunk.id});
  for (auto& [rank, r] : restorations_) r.fetcher->on_opened(now(), from, chunk.id, plain, chunk.sealed);
  if (inputs_ && inputs_->fetcher) inputs_->fetcher->on_opened(now(), from, chunk.id, plain, chunk.sealed);
  look_after_all();
}

P2PDVM_DECL void restorer::on_message(const node_id& from, const store::store_message& message) {
  const auto* const data = std::get_if<store::chunk_data>(&message);
  if (data != nullptr && context_.machine.workers() != nullptr) {
    if (const auto bytes_max = expected(from, data->chunk.id)) return open(from, data->chunk, *bytes_max);
  }
  for (auto& [rank, r] : restorations_) r.fetcher->on_message(now(), from, message);
  if (inputs_ && inputs_->fetcher) inputs_->fetcher->on_message(now(), from, message);
  look_after_all();
}

P2PDVM_DECL void restorer::on_member_lost(const node_id& node) {
  for (auto& [rank, r] : restorations_) r.fetcher->on_member_lost(now(), node);
  if (inputs_ && inputs_->fetcher) inputs_->fetcher->on_member_lost(now(), node);
  look_after_all();
}

P2PDVM_DECL void restorer::cancel_all() {
  restorations_.clear();
  arm();
}

P2PDVM_DECL void restorer::arm() {
  for (auto& [to, message] : std::exchange(outbox_, {})) owner_.send_store(to, message);
  // When members are lost others are wanted as holders, which lack much: not while ranks wait for what is on its way here.
  if (restorations_.empty()) {
    for (const mended& m : std::exchange(mended_, {})) owner_.mend(m.holder, m.rank, m.epoch, m.chunk);
  }
  time_point next = time_point_never;
  for (const auto& [rank, r] : restorations_) next = std::min(next, r.fetcher->next_timer());
  if (inputs_ && inputs_->fetcher) next = std::min(next, inputs_->fetcher->next_timer());
  timer_.at(next, [this] {
    for (auto& [rank, r] : restorations_) {
      if (r.fetcher->next_timer() <= now()) r.fetcher->on_timer(now());
    }
    if (inputs_ && inputs_->fetcher && inputs_->fetcher->next_timer() <= now())
      inputs_->fetcher->on_timer(now());
    look_after_all();
  });
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/checkpoint/acceptor.hpp>
#include <p2pdvm/checkpoint/transitions.hpp>
#include <p2pdvm/peal/distributed.hpp>
#include <p2pdvm/runtime/job_copy.hpp>
#include <p2pdvm/runtime/peer_identity.hpp>
#include <p2pdvm/store/chunker.hpp>

#include <set>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

/// "'--steps' and '--size'", for sentences.
template <class T>
std::string option_names(const std::map<std::string, T>& map) {
  std::string text;
  for (const auto& [name, value] : map) text += (text.empty() ? "--" : ", --") + name;
  return text.empty() ? "none" : text;
}

/// Chunks of one job, sealed again as another one's, in its log.
class chunk_mover {
 public:
  chunk_mover(saved_job& from, store::chunk_log& to, const crypto::secret_key& secret)
      : from_(from), to_(to), secret_(secret), codec_(secret) {}

  result<chunk_id> move(const chunk_id& old) {
    if (const auto known = moved_.find(old); known != moved_.end()) return known->second;
    auto copy = from_.find(old);
    if (!copy.ok()) return copy.error();
    auto fresh = put((*copy).plain.view());
    if (fresh.ok()) moved_.emplace(old, *fresh);
    return fresh;
  }
  result<chunk_id> put(byte_view plain) {
    const chunk_id id = codec_.id(plain);
    if (auto r = to_.put_shared(id, codec_.seal(id, plain, store::probe_packing(plain))); !r.ok()) return r.error();
    bytes_ += plain.size();
    return id;
  }
  /// The new manifest's id; everything of the rank is pinned.
  result<chunk_id> move_rank(epoch_number epoch, rank_number rank, const store::pin& snapshot) {
    auto m = from_.manifest(epoch, rank);
    if (!m.ok()) return m.error();
    std::vector<chunk_id> all;
    for (store::section& s : m->sections) {
      for (store::chunk_reference& c : s.chunks) {
        auto fresh = move(c.id);
        if (!fresh.ok())
          return error(fresh.error().code(), text_of({epoch, rank, s.name}) + " cannot be read: " + fresh.error().message());
        c.id = *fresh;
        all.push_back(*fresh);
      }
    }
    auto id = put(wire::encode(*m));
    if (!id.ok()) return id;
    all.push_back(*id);
    if (auto r = to_.add_pin(snapshot, all); !r.ok()) return r.error();
    return id;
  }
  /// Of a snapshot that no rank of the old job had.
  result<chunk_id> put_rank(epoch_number epoch, rank_number rank, const peal::snapshot& made, const store::pin& snapshot) {
    std::vector<store::section_data> sections;
    for (const auto& piece : made.pieces()) sections.push_back({piece.name, piece.parts, piece.bulk});
    store::chunker chunker(secret_, rank);
    if (auto begun = chunker.start(epoch, std::move(sections)); !begun.ok()) return begun.error();
    while (!chunker.step(64)) {
    }
    const store::chunked_snapshot cut = chunker.take();
    std::vector<chunk_id> all;
    for (const store::chunk_source& c : cut.chunks) {
      auto id = put(c.plain.view());
      if (!id.ok()) return id;
      all.push_back(*id);
    }
    auto id = put(wire::encode(cut.manifest));
    if (!id.ok()) return id;
    all.push_back(*id);
    if (auto r = to_.add_pin(snapshot, all); !r.ok()) return r.error();
    return id;
  }
  result<job_input> move_input(const std::string& name, const job_input& input) {
    job_input fresh;
    fresh.bytes = input.bytes;
    for (const chunk_id& old : input.chunks) {
      auto id = move(old);
      if (!id.ok())
        return error(id.error().code(), "the job's input '" + name + "' cannot be read: " + id.error().message());
      fresh.chunks.push_back(*id);
    }
    return fresh;
  }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  saved_job& from_;
  store::chunk_log& to_;
  crypto::secret_key secret_;
  store::chunk_codec codec_;
  std::map<chunk_id, chunk_id> moved_;
  std::uint64_t bytes_ = 0;
};

/// Nothing where the ranks stay as they are.
inline result<std::optional<peal::reshaping>> reshaped(saved_job& from, epoch_number epoch, const copy_request& what) {
  const std::uint32_t old = from.spec().ranks;
  if (!what.ranks || *what.ranks == old) return std::optional<peal::reshaping>();
  std::vector<store::manifest> manifests;
  for (std::uint32_t r = 0; r < old; ++r) {
    auto m = from.manifest(epoch, rank_number(r));
    if (!m.ok()) return error(m.error().code(), text_of({epoch, rank_number(r), ""}) + " cannot be read: " + m.error().message());
    manifests.push_back(std::move(*m));
  }
  auto planned = peal::reshaping::plan(std::move(manifests), *what.ranks, [&from](const store::section& s) { return from.read_section(s); });
  if (!planned.ok()) return planned.error();
  return std::optional(std::move(*planned));
}

}  // namespace detail

P2PDVM_DECL result<> check_copy(saved_job& from, const copy_request& what) {
  const auto chosen = from.choose(what.epoch);
  if (!chosen.ok()) return chosen.error();
  const epoch_number epoch = *chosen;
  const job_spec& spec = from.spec();
  if (what.ranks && (*what.ranks == 0 || *what.ranks > limits::ranks_max))
    return error(errc::invalid_argument, "a job has 1 to " + std::to_string(limits::ranks_max) + " ranks");
  if (what.peers == 0 || what.peers > limits::members_max)
    return error(errc::invalid_argument, "a job has 1 to " + std::to_string(limits::members_max) + " peers");
  for (const auto& [name, value] : what.options) {
    if (!spec.options.contains(name))
      return error(errc::invalid_argument, "the job of the program '" + spec.program + "' has no option '--" + name +
                                               "'; it has " + detail::option_names(spec.options));
  }
  for (const auto& [name, bytes] : what.inputs) {
    if (!spec.inputs.contains(name))
      return error(errc::invalid_argument, "the job of the program '" + spec.program + "' has no input '--" + name +
                                               "'; it has " + detail::option_names(spec.inputs));
  }
  const bool ended = from.record().state == checkpoint::job_state::done && epoch == from.record().committed.epoch;
  if (ended && !(what.options.empty() && what.inputs.empty()))
    return error(errc::invalid_argument,
                 "checkpoint " + std::to_string(epoch.value()) + " is the job's end, where its ranks have returned: "
                 "other options change nothing there; fork the checkpoint before, with --epoch " +
                     std::to_string(from.record().previous.epoch.value()));
  if (const auto other = detail::reshaped(from, epoch, what); !other.ok()) return other.error();
  return {};
}

P2PDVM_DECL result<copied_job> copy_job(saved_job& from, const copy_request& what, host::disk& to,
                                        host::entropy& entropy) {
  if (auto good = check_copy(from, what); !good.ok()) return good.error();
  const auto epoch = from.choose(what.epoch);
  const auto other = detail::reshaped(from, *epoch, what);
  if (!other.ok()) return other.error();
  auto self = open_identity(to, entropy);
  if (!self.ok()) return self.error();
  store::segment_log::options how;
  how.salt = entropy.next();
  auto log = store::segment_log::open(to, "store", how);
  if (!log.ok()) return log.error();
  job_folder folder(to, **log);
  if (auto free = folder.vacant(); !free.ok()) return free.error();

  job_identity who;
  who.spec = from.spec();
  for (std::uint64_t& word : who.spec.nonce) word = entropy.next();
  entropy.fill(who.secret.mutable_bytes());
  who.spec.issuer = self->key();
  who.spec.peers = what.peers;
  who.spec.ranks = what.ranks.value_or(who.spec.ranks);
  for (const auto& [name, value] : what.options) who.spec.options[name] = value;

  detail::chunk_mover mover(from, **log, who.secret);
  for (auto& [name, input] : who.spec.inputs) {
    if (what.inputs.contains(name)) continue;
    auto moved = mover.move_input(name, input);
    if (!moved.ok()) return moved.error();
    input = std::move(*moved);
  }
  auto replaced = folder.seal_inputs(what.inputs, who.secret);
  if (!replaced.ok()) return replaced.error();
  for (auto& [name, input] : *replaced) who.spec.inputs[name] = std::move(input);
  who.spec.id = who.spec.derived_id();

  checkpoint::epoch_manifests base{*epoch, {}};
  const store::pin snapshot{who.spec.id, incarnation_number(1), *epoch};
  for (std::uint32_t r = 0; r < who.spec.ranks; ++r) {
    const rank_number rank(r);
    auto manifest = [&]() -> result<chunk_id> {
      if (!*other) return mover.move_rank(*epoch, rank, snapshot);
      const auto made = (*other)->make(rank, who.spec.seed());
      if (!made.ok()) return error(made.error().code(), text_of({*epoch, rank, ""}) + " cannot be made: " + made.error().message());
      return mover.put_rank(*epoch, rank, *made, snapshot);
    }();
    if (!manifest.ok()) return manifest.error();
    base.manifests.push_back(*manifest);
  }
  checkpoint::member founder;
  founder.node = self->id();
  founder.failure_domain = what.failure_domain;
  auto first = checkpoint::found_job_at(who.spec.id, crypto::hash(wire::encode(who.spec)), who.spec.ranks,
                                        who.spec.replicas, std::move(founder), std::move(base));
  if (first.ok() && what.peers == 1) first = checkpoint::start(*first);
  if (!first.ok()) return first.error();
  checkpoint::acceptor acceptor(who.spec.id, *self);
  byte_vector persist;
  const auto known = acceptor.found(std::move(*first), persist);
  if (auto r = folder.keep(self->id(), who, {*known.record, known.proof, {}}, persist); !r.ok()) return r.error();
  if (auto r = folder.pin_inputs(who.spec); !r.ok()) return r.error();
  if (const auto when = from.date(*epoch)) folder.keep_dates({{*epoch, *when}});
  copied_job done;
  done.id = who.spec.id;
  done.epoch = *epoch;
  done.bytes = mover.bytes();
  done.log = std::move(*log);
  return done;
}

}  // namespace p2pdvm::runtime

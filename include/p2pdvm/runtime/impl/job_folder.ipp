#pragma once

#include <p2pdvm/runtime/job_folder.hpp>
#include <p2pdvm/runtime/record_keeper.hpp>
#include <p2pdvm/store/chunk.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr std::string_view spec_name = "job/spec";
inline constexpr std::string_view secret_name = "job/secret";
inline constexpr std::string_view peer_name = "job/peer";
inline constexpr std::string_view contacts_name = "contacts";
inline constexpr std::string_view port_name = "port";
inline constexpr std::string_view quota_name = "quota";

/// Nothing when it is not there or does not decode.
template <class T>
std::optional<T> value_of(store::chunk_log& log, std::string_view name) {
  auto bytes = log.get_value(name);
  if (!bytes.ok()) return std::nullopt;
  auto value = wire::decode<T>(*bytes);
  if (!value.ok()) return std::nullopt;
  return std::move(*value);
}

}  // namespace detail

/// A value that is not there may have been lost, too.
P2PDVM_DECL bool job_folder::damaged(const result<byte_vector>& value) const {
  return !value.ok() && (log_.damage_found() || value.error().code() != errc::not_found);
}

P2PDVM_DECL error job_folder::damage() const {
  return error(errc::corrupted,
               "what " + name() + " holds of a job is damaged; restore the folder from a copy, or "
               "remove it: where other peers of the job live, they go on without this one, and it "
               "can join again");
}

P2PDVM_DECL error job_folder::foreign() const {
  return error(errc::unsupported_version,
               name() + " holds a job of another version of p2pdvm; go on with that one, choose another folder with "
                        "--data, or remove the folder to give the job up");
}

P2PDVM_DECL result<> job_folder::vacant() const {
  for (const auto name : {detail::spec_name, record_keeper::record_name}) {
    if (damaged(log_.get_value(name))) return damage();
  }
  const auto spec = detail::value_of<job_spec>(log_, detail::spec_name);
  const auto update = detail::value_of<record_update>(log_, record_keeper::record_name);
  if (!spec && log_.get_value(detail::spec_name).ok()) return foreign();
  if (!spec || !update || !spec->fits(update->record) ||
      update->record.state == checkpoint::job_state::done ||
      update->record.state == checkpoint::job_state::failed)
    return {};
  return error(errc::wrong_job,
               name() + " holds an unfinished job (checkpoint " +
                   std::to_string(update->record.committed.epoch.value()) +
                   "); continue it with --resume, choose another folder with --data, or remove "
                   "the folder to give that job up");
}

P2PDVM_DECL std::optional<job_id> job_folder::job() const {
  const auto spec = detail::value_of<job_spec>(log_, detail::spec_name);
  if (!spec) return std::nullopt;
  return spec->id;
}

P2PDVM_DECL bool job_folder::lists(const node_id& peer) const {
  const auto saved = log_.get_value(record_keeper::record_name);
  if (!saved.ok()) return damaged(saved);  // then `load` says so
  const auto update = wire::decode<record_update>(*saved);
  return !update.ok() || update->record.find(peer) != nullptr;
}

P2PDVM_DECL result<job_folder::stored_job> job_folder::read() const {
  auto spec_bytes = log_.get_value(detail::spec_name);
  auto secret = log_.get_value(detail::secret_name);
  auto saved = log_.get_value(record_keeper::record_name);
  const auto promises = log_.get_value(record_keeper::acceptor_name);
  // Above all, a keeper that forgot what it promised must not promise again.
  for (const auto* value : {&std::as_const(spec_bytes), &std::as_const(secret), &std::as_const(saved), &promises}) {
    if (damaged(*value)) return damage();
  }
  // Where the log breaks off before the job, there was one, or was about to be.
  if (!spec_bytes.ok() || !secret.ok()) {
    if (log_.cut_short()) return damage();
    return error(errc::not_found, name() + " holds no job to resume; start one without --resume");
  }
  auto spec = wire::decode<job_spec>(*spec_bytes);
  if (!spec.ok()) return foreign();  // its bytes are as they were written
  if (secret->size() != crypto::secret_key::size) return damage();
  auto newest = saved.ok() ? wire::decode<record_update>(*saved) : result<record_update>(saved.error());
  if (saved.ok() && !newest.ok()) return damage();
  if (!saved.ok() || !spec->fits(newest->record))
    return error(errc::not_found, name() + " holds a job that never began; start it again without "
                                           "--resume");
  return stored_job{{std::move(*spec), crypto::secret_key(*secret)}, std::move(*newest)};
}

P2PDVM_DECL std::map<epoch_number, unix_seconds> job_folder::dates() const {
  using dates = std::map<epoch_number, unix_seconds>;
  return detail::value_of<dates>(log_, record_keeper::dates_name).value_or(dates());
}

P2PDVM_DECL void job_folder::keep_dates(const std::map<epoch_number, unix_seconds>& dates) {
  (void)log_.put_value(record_keeper::dates_name, wire::encode(dates));
}

P2PDVM_DECL result<job_folder::kept_job> job_folder::load(const std::optional<std::string>& program,
                                                          const crypto::identity& self) const {
  auto stored = read();
  if (!stored.ok()) return stored.error();
  const job_spec& spec = stored->who.spec;
  if (program && spec.program != *program)
    return error(errc::wrong_job, name() + " holds a job of the program '" + spec.program +
                                      "', not of '" + *program +
                                      "'; choose another folder with --data");
  if (stored->newest.record.state == checkpoint::job_state::failed)
    return error(errc::misuse, "the job in " + name() + " has failed: " + stored->newest.record.failure);
  kept_job kept{std::move(*stored), std::nullopt};
  const auto promises = log_.get_value(record_keeper::acceptor_name);
  if (promises.ok() && !promises->empty()) {
    auto acceptor = checkpoint::acceptor::restore(kept.who.spec.id, self, *promises);
    if (!acceptor.ok()) return acceptor.error();
    kept.acceptor = std::move(*acceptor);
  }
  return kept;
}

P2PDVM_DECL std::optional<node_id> job_folder::owner() const {
  return detail::value_of<node_id>(log_, detail::peer_name);
}

P2PDVM_DECL bool job_folder::kept_by(const node_id& peer) const {
  return owner() == peer;
}

P2PDVM_DECL result<> job_folder::keep(const node_id& peer, const job_identity& who,
                                      const record_update& newest, byte_view acceptor) {
  for (const store::pin& p : log_.pins()) {
    if (p.job == who.spec.id) continue;
    if (auto r = log_.drop_pin(p); !r.ok()) return r;
  }
  const std::pair<std::string_view, byte_vector> values[] = {
      {record_keeper::acceptor_name, to_vector(acceptor)},
      {record_keeper::record_name, wire::encode(newest)},
      {detail::peer_name, wire::encode(peer)},
      {detail::secret_name, to_vector(who.secret.bytes())},
      {detail::spec_name, wire::encode(who.spec)}};
  for (const auto& [name, value] : values) {
    if (auto r = log_.put_value(name, value); !r.ok()) return r;
  }
  return {};
}

P2PDVM_DECL result<std::map<std::string, job_input>> job_folder::seal_inputs(
    const std::map<std::string, byte_vector>& inputs, const crypto::secret_key& secret, store::compression compressing) {
  const store::chunk_codec codec(secret);
  std::map<std::string, job_input> kept;
  for (const auto& [name, bytes] : inputs) {
    job_input& input = kept[name];
    input.bytes = bytes.size();
    for (std::size_t at = 0; at < bytes.size(); at += limits::chunk_bytes_large) {
      const byte_view part = byte_view(bytes).subspan(
          at, std::min(limits::chunk_bytes_large, bytes.size() - at));
      const chunk_id chunk = codec.id(part);
      input.chunks.push_back(chunk);
      if (auto r = log_.put_shared(chunk, codec.seal(chunk, part, store::probe_packing(compressing, part))); !r.ok()) return r.error();
    }
  }
  return kept;
}

P2PDVM_DECL result<> job_folder::pin_inputs(const job_spec& spec) {
  std::vector<chunk_id> all;
  for (const auto& [name, input] : spec.inputs)
    all.insert(all.end(), input.chunks.begin(), input.chunks.end());
  if (all.empty()) return {};
  return log_.add_pin({spec.id, incarnation_number(), epoch_number()}, all);
}

P2PDVM_DECL std::uint16_t job_folder::port() const {
  return detail::value_of<std::uint16_t>(log_, detail::port_name).value_or(0);
}

P2PDVM_DECL result<> job_folder::keep_port(std::uint16_t port) {
  return log_.put_value(detail::port_name, wire::encode(port));
}

P2PDVM_DECL std::optional<std::uint64_t> job_folder::quota() const {
  return detail::value_of<std::uint64_t>(log_, detail::quota_name);
}

P2PDVM_DECL void job_folder::keep_quota(std::uint64_t bytes) {
  if (quota() != bytes) (void)log_.put_value(detail::quota_name, wire::encode(bytes));
}

P2PDVM_DECL std::vector<messaging::contact> job_folder::contacts() const {
  using list = std::vector<messaging::contact>;
  return detail::value_of<list>(log_, detail::contacts_name).value_or(list());
}

P2PDVM_DECL void job_folder::keep_contacts(const std::vector<messaging::contact>& list) {
  (void)log_.put_value(detail::contacts_name, wire::encode(list));
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/runtime/impl/job_holder.ipp>
#include <p2pdvm/runtime/job_file.hpp>

#include <algorithm>
#include <set>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr std::string_view job_file_magic = "p2pdvm job file\n";

/// Before the head: who reads it knows whether to go on.
struct job_file_preamble {
  std::array<std::byte, job_file_magic.size()> magic{};
  std::uint32_t version = job_file_version;
  std::uint32_t head_bytes = 0;
  template <class F>
  void fields(F&& f) {
    f(magic), f(version), f(head_bytes);
  }
  static constexpr std::size_t bytes = job_file_magic.size() + 8;
};

struct job_file_head {
  job_spec spec;
  crypto::secret_key secret;
  record_update newest;
  epoch_number epoch;  ///< whose chunks follow
  std::map<epoch_number, unix_seconds> dates;
  template <class F>
  void fields(F&& f) {
    f(spec), f(secret), f(newest), f(epoch), f(dates);
  }
};

/// Stands before each chunk, and once more before the code at the end.
struct job_file_entry {
  enum class kind : std::uint8_t { end, state, input };
  kind what = kind::end;
  chunk_id id;
  std::uint32_t bytes = 0;
  template <class F>
  void fields(F&& f) {
    f(what), f(id), f(bytes);
  }
  static constexpr std::size_t encoded_bytes = 1 + chunk_id::size + 4;
};

inline digest256 job_file_code(const crypto::secret_key& secret, crypto::hasher& all) {
  return crypto::keyed_hash(crypto::derive(secret, "p2pdvm job file 1"), all.finish().bytes());
}

/// Appends to a file and to the hash of all of it.
class job_file_writer {
 public:
  explicit job_file_writer(store::byte_sink& to) : to_(to) {}
  result<> add(byte_view bytes) {
    all_.add(bytes);
    return add_unhashed(bytes);
  }
  result<> add_unhashed(byte_view bytes) {
    bytes_ += bytes.size();
    return to_.add(bytes);
  }
  result<> add_chunk(job_file_entry::kind what, const chunk_id& id, byte_view sealed) {
    if (auto r = add(wire::encode(job_file_entry{what, id, static_cast<std::uint32_t>(sealed.size())})); !r.ok())
      return r;
    return add(sealed);
  }
  [[nodiscard]] crypto::hasher& all() noexcept { return all_; }
  [[nodiscard]] std::uint64_t bytes() const noexcept { return bytes_; }

 private:
  store::byte_sink& to_;
  std::uint64_t bytes_ = 0;
  crypto::hasher all_;
};

/// All of it, or `malformed` where the file ends before.
inline result<byte_vector> read_part(store::byte_source& file, std::uint64_t offset, std::size_t bytes) {
  if (offset > file.size() || file.size() - offset < bytes) return error(errc::malformed);
  byte_vector part(bytes);
  const auto got = file.read(offset, part);
  if (!got.ok()) return got.error();
  if (*got < bytes) return error(errc::malformed);
  return part;
}

}  // namespace detail

P2PDVM_DECL result<exported_job> export_job(saved_job& from, std::optional<epoch_number> wanted, store::byte_sink& to) {
  const auto epoch = from.choose(wanted);
  if (!epoch.ok()) return epoch.error();
  detail::job_file_head head{from.spec(), from.secret(), from.newest(), *epoch, {}};
  if (const auto when = from.date(*epoch)) head.dates[*epoch] = *when;
  const byte_vector encoded = wire::encode(head);
  if (encoded.size() > job_file_head_bytes_max)
    return error(errc::too_large, "the job has too many pieces of inputs and members for one file");
  detail::job_file_preamble first;
  std::copy_n(as_bytes(detail::job_file_magic).begin(), first.magic.size(), first.magic.begin());
  first.head_bytes = static_cast<std::uint32_t>(encoded.size());
  detail::job_file_writer out(to);
  if (auto r = out.add(wire::encode(first)); !r.ok()) return r.error();
  if (auto r = out.add(encoded); !r.ok()) return r.error();

  using kind = detail::job_file_entry::kind;
  std::set<chunk_id> there;
  const auto add = [&](kind what, const chunk_id& id) -> result<> {
    if (!there.insert(id).second) return {};
    const auto copy = from.find(id);
    if (!copy.ok()) return copy.error();
    return out.add_chunk(what, id, (*copy).sealed.view());
  };
  for (const auto& [name, input] : from.spec().inputs) {
    for (const chunk_id& id : input.chunks) {
      if (auto r = add(kind::input, id); !r.ok())
        return error(r.error().code(), "the job's input '" + name + "' cannot be read: " + r.error().message());
    }
  }
  for (std::uint32_t r = 0; r < from.spec().ranks; ++r) {
    const rank_number rank(r);
    const auto m = from.manifest(*epoch, rank);
    if (!m.ok()) return m.error();
    if (auto done = add(kind::state, from.manifest_id(*epoch, rank)); !done.ok()) return done.error();
    for (const store::section& s : (*m).sections) {
      for (const auto& c : s.chunks) {
        if (auto done = add(kind::state, c.id); !done.ok())
          return error(done.error().code(), text_of({*epoch, rank, s.name}) + " cannot be read: " + done.error().message());
      }
    }
  }
  if (auto r = out.add(wire::encode(detail::job_file_entry())); !r.ok()) return r.error();
  const digest256 code = detail::job_file_code(from.secret(), out.all());
  if (auto r = out.add_unhashed(code.bytes()); !r.ok()) return r.error();
  return exported_job{*epoch, there.size(), out.bytes()};
}

P2PDVM_DECL result<std::unique_ptr<job_file>> job_file::open(store::byte_source& file, std::string name) {
  using detail::job_file_preamble;
  std::unique_ptr<job_file> opened(new job_file(file, std::move(name)));
  const std::string& called = opened->name_;
  auto bytes = detail::read_part(file, 0, job_file_preamble::bytes);
  if (!bytes.ok() && bytes.error().code() != errc::malformed) return bytes.error();
  const auto first = bytes.ok() ? wire::decode<job_file_preamble>(*bytes) : error(errc::malformed);
  if (!first.ok() || as_text((*first).magic) != detail::job_file_magic)
    return error(errc::malformed, "'" + called + "' is no file that p2pdvm export has written, or it was cut off");
  if ((*first).version != job_file_version)
    return error(errc::unsupported_version,
                 "'" + called + "' was written in format " + std::to_string((*first).version) +
                     " by another p2pdvm (this one knows format " + std::to_string(job_file_version) +
                     "); use the version that wrote it");
  const auto damaged = [&] {
    return error(errc::corrupted, "'" + called + "' is damaged at its beginning, so that it does not tell which job it "
                                  "holds; export the job again, or copy the file again");
  };
  if ((*first).head_bytes > job_file_head_bytes_max) return damaged();
  crypto::hasher all;
  all.add(*bytes);
  bytes = detail::read_part(file, job_file_preamble::bytes, (*first).head_bytes);
  if (!bytes.ok()) return bytes.error().code() == errc::malformed ? damaged() : bytes.error();
  all.add(*bytes);
  auto head = wire::decode<detail::job_file_head>(*bytes);
  if (!head.ok()) return damaged();
  held_job held{{std::move(head->spec), head->secret}, std::move(head->newest), std::move(head->dates), head->epoch};
  auto believed = detail::checked(std::move(held), "'" + called + "'");
  if (!believed.ok()) return believed.error();
  const auto& record = (*believed).newest.record;
  if (head->epoch.value() == 0 || (head->epoch != record.committed.epoch && head->epoch != record.previous.epoch))
    return damaged();
  opened->job_ = std::move(believed);
  opened->read_chunks(job_file_preamble::bytes + (*first).head_bytes, all);
  return opened;
}

P2PDVM_DECL void job_file::read_chunks(std::uint64_t offset, crypto::hasher& all) {
  using detail::job_file_entry;
  const auto cut_off = [this](const error& why) {
    trouble_ = "'" + name_ + "' " +
               (why.code() == errc::malformed ? std::string("ends too early, or is damaged: copy it again, or export the job again")
                                              : "cannot be read to its end: " + why.message());
  };
  for (;;) {
    auto bytes = detail::read_part(file_, offset, job_file_entry::encoded_bytes);
    if (!bytes.ok()) return cut_off(bytes.error());
    all.add(*bytes);
    offset += bytes->size();
    const auto entry = wire::decode<job_file_entry>(*bytes);
    if (!entry.ok() || (*entry).what > job_file_entry::kind::input || (*entry).bytes > store::sealed_bytes_max)
      return cut_off(error(errc::malformed));
    if ((*entry).what == job_file_entry::kind::end) break;
    bytes = detail::read_part(file_, offset, (*entry).bytes);
    if (!bytes.ok()) return cut_off(bytes.error());
    all.add(*bytes);
    chunks_.emplace((*entry).id, place{offset, (*entry).bytes, (*entry).what == job_file_entry::kind::input});
    offset += (*entry).bytes;
  }
  const auto code = detail::read_part(file_, offset, digest256::size);
  if (!code.ok()) return cut_off(code.error());
  if (offset + digest256::size != file_.size() || digest256(*code) != detail::job_file_code((*job_).who.secret, all))
    trouble_ = "'" + name_ + "' is not as it was written: copy it again, or export the job again";
}

P2PDVM_DECL std::vector<chunk_id> job_file::promised(const job_id& job, epoch_number epoch) const {
  std::vector<chunk_id> ids;
  if ((*job_).who.spec.id != job) return ids;
  for (const auto& [id, where] : chunks_) {
    if (where.of_input ? epoch.value() == 0 : epoch == (*job_).only) ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

P2PDVM_DECL std::uint64_t job_file::sealed_bytes(const chunk_id& id) const {
  const auto found = chunks_.find(id);
  return found == chunks_.end() ? 0 : found->second.bytes;
}

P2PDVM_DECL result<payload> job_file::get(const chunk_id& id) {
  const auto found = chunks_.find(id);
  if (found == chunks_.end()) return error(errc::not_found, "the chunk is not in '" + name_ + "'");
  auto sealed = detail::read_part(file_, found->second.offset, found->second.bytes);
  if (!sealed.ok() && sealed.error().code() == errc::malformed)
    return error(errc::io, "'" + name_ + "' became shorter while it was read");
  if (!sealed.ok()) return sealed.error();
  return payload(std::move(*sealed));
}

}  // namespace p2pdvm::runtime

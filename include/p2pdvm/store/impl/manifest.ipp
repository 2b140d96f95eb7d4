#pragma once

#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/manifest.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <cstring>
#include <set>
#include <string_view>

namespace p2pdvm::store {

namespace detail {

inline result<> validate_section(const section& s) {
  const auto bad = [&](const char* what) {
    return error(errc::malformed, "a manifest's section '" + s.name.substr(0, 64) + "' " + what);
  };
  if (s.name.empty() || s.name.size() > section_name_bytes_max)
    return bad("has an empty name or one that is too long");
  std::uint64_t total = 0;
  for (const chunk_reference& c : s.chunks) {
    if (c.bytes == 0 || c.bytes > limits::chunk_bytes_large)
      return bad("has a chunk of a wrong size");
    if (!known_algorithm(c.id)) return bad("has a chunk of an unknown algorithm");
    total += c.bytes;
  }
  if (s.chunks.size() == 1) {
    if (s.bytes == 0 || s.bytes > total || s.skip > total - s.bytes)
      return bad("reaches beyond its chunk");
  } else if (s.skip != 0 || s.bytes != total) {
    return bad("has chunks whose sizes do not add up");
  }
  return {};
}

}  // namespace detail

P2PDVM_DECL result<> manifest::validate() const {
  if (rank.value() >= limits::ranks_max)
    return error(errc::malformed, "a manifest names a rank beyond the limit");
  if (sections.size() > sections_max)
    return error(errc::malformed, "a manifest has more than " + std::to_string(sections_max) +
                                      " sections");
  std::set<std::string_view> names;
  for (const section& s : sections) {
    if (auto valid = detail::validate_section(s); !valid) return valid;
    if (!names.insert(s.name).second)
      return error(errc::malformed, "a manifest has two sections named '" + s.name + "'");
  }
  return {};
}

P2PDVM_DECL result<manifest> read_manifest(byte_view encoded) {
  if (encoded.size() > manifest_bytes_max)
    return error(errc::too_large, "a manifest is larger than 16 MiB");
  auto m = wire::decode<manifest>(encoded);
  if (!m) return error(errc::malformed, "a manifest does not decode");
  if (auto valid = m->validate(); !valid) return valid.error();
  return m;
}

P2PDVM_DECL unsigned stripe_of(rank_number rank, std::size_t section, std::size_t chunk) noexcept {
  // Stripe 0 holds the manifest; start behind it. 5 and 7 are coprime to the number of stripes.
  static_assert(limits::stripes_per_rank == 16);
  return static_cast<unsigned>((1 + rank.value() * 7ull + section * 5 + chunk) %
                               limits::stripes_per_rank);
}

P2PDVM_DECL std::vector<placed_chunk> chunks_of(const manifest& m) {
  std::vector<placed_chunk> list;
  std::set<chunk_id> seen;
  for (std::size_t s = 0; s < m.sections.size(); ++s) {
    const std::vector<chunk_reference>& chunks = m.sections[s].chunks;
    for (std::size_t c = 0; c < chunks.size(); ++c) {
      if (!seen.insert(chunks[c].id).second) continue;
      list.push_back({chunks[c].id, chunks[c].bytes, stripe_of(m.rank, s, c)});
    }
  }
  return list;
}

P2PDVM_DECL assembler::assembler(const manifest& m) {
  for (std::size_t s = 0; s < m.sections.size(); ++s) {
    const section& part = m.sections[s];
    assembled& made = sections_.emplace_back();
    if (part.bulk && part.skip == 0) {
      made.parts.resize(part.chunks.size());
    } else if (part.bytes > 0) {
      made.parts.push_back(payload::unwritten(static_cast<std::size_t>(part.bytes), made.memory));
    }
    std::uint64_t to = 0;
    for (std::size_t n = 0; n < part.chunks.size(); ++n) {
      const chunk_reference& c = part.chunks[n];
      const std::uint64_t bytes = std::min<std::uint64_t>(c.bytes - part.skip, part.bytes - to);
      pieces_[c.id].uses.push_back({s, n, c.bytes, part.skip, to, bytes});
      to += bytes;
    }
  }
  missing_ = pieces_.size();
}

P2PDVM_DECL result<> assembler::add(const chunk_id& id, const payload& plain) {
  const auto found = pieces_.find(id);
  if (found == pieces_.end())
    return error(errc::invalid_argument, "a chunk is no part of the snapshot");
  piece& p = found->second;
  if (p.there) return {};
  for (const use& u : p.uses) {
    if (plain.size() != u.chunk_bytes)
      return error(errc::corrupted, "a chunk has not the size that its manifest says");
    assembled& to = sections_[u.section];
    if (to.memory.empty()) {
      to.parts[u.part] = plain.slice(static_cast<std::size_t>(u.from), static_cast<std::size_t>(u.bytes));
    } else {
      std::memcpy(to.memory.data() + u.to, plain.data() + u.from, static_cast<std::size_t>(u.bytes));
    }
  }
  p.there = true;
  --missing_;
  return {};
}

P2PDVM_DECL std::vector<std::vector<payload>> assembler::take() {
  P2PDVM_ASSERT(missing_ == 0);
  std::vector<std::vector<payload>> all;
  all.reserve(sections_.size());
  for (assembled& a : sections_) all.push_back(std::move(a.parts));
  sections_.clear();
  return all;
}

}  // namespace p2pdvm::store

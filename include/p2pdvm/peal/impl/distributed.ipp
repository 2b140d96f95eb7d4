#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/messaging/endpoint.hpp>
#include <p2pdvm/peal/distributed.hpp>
#include <p2pdvm/peal/output.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <set>
#include <tuple>

namespace p2pdvm::peal {

namespace detail {

inline bool listed(const std::vector<std::string>& names, std::string_view name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

/// "field" of "array/field".
inline std::string_view behind(std::string_view piece, std::string_view kind) {
  return piece.starts_with(kind) ? piece.substr(kind.size()) : std::string_view();
}

/// "mpi" of "adapter/0/mpi".
inline std::string_view adapter_name(std::string_view piece) {
  const std::string_view numbered = behind(piece, "adapter/");
  const auto slash = numbered.find('/');
  return slash == std::string_view::npos ? numbered : numbered.substr(slash + 1);
}

}  // namespace detail

P2PDVM_DECL block block_of(std::uint64_t elements, int rank, int ranks, std::uint64_t unit) {
  P2PDVM_ASSERT(rank >= 0 && rank < ranks);
  P2PDVM_ASSERT(unit > 0 && elements % unit == 0);
  const auto r = static_cast<std::uint64_t>(rank);
  const std::uint64_t units = elements / unit;
  const std::uint64_t each = units / static_cast<std::uint64_t>(ranks), more = units % static_cast<std::uint64_t>(ranks);
  return {(r * each + std::min(r, more)) * unit, (each + (r < more ? 1 : 0)) * unit};
}

P2PDVM_DECL bool shape_piece::array::valid() const noexcept {
  return unit > 0 && elements % unit == 0 && element_bytes > 0 && elements <= UINT64_MAX / 2 / element_bytes;
}

P2PDVM_DECL block shape_piece::array::bytes_of(std::uint32_t rank, std::uint32_t ranks) const {
  const block b = block_of(elements, static_cast<int>(rank), static_cast<int>(ranks), unit);
  return {b.first * element_bytes, b.count * element_bytes};
}

P2PDVM_DECL error reshaping::refusal(const std::string& why) const {
  const auto count = [](std::size_t n) { return std::to_string(n) + (n == 1 ? " rank" : " ranks"); };
  return error(errc::invalid_argument, "what " + count(old_.size()) + " have saved cannot go on with " + count(ranks_) + ": " + why);
}

P2PDVM_DECL const store::section* reshaping::find(std::size_t rank, std::string_view piece) const {
  for (const store::section& s : old_[rank].sections) {
    if (s.name == piece) return &s;
  }
  return nullptr;
}

/// Of a piece that has chunks of its own, only those that are needed.
P2PDVM_DECL result<byte_vector> reshaping::read_range(const store::section& s, std::uint64_t first, std::uint64_t count) const {
  store::section part;
  part.name = s.name;
  part.bulk = s.bulk;
  std::uint64_t at = 0, begin = 0;
  for (const store::chunk_reference& c : s.chunks) {
    if (at + c.bytes > first + s.skip && at < first + count + s.skip) {
      if (part.chunks.empty()) begin = at;
      part.chunks.push_back(c);
      part.bytes += c.bytes;
    }
    at += c.bytes;
  }
  auto bytes = read_(part);
  if (!bytes.ok()) return bytes;
  const std::uint64_t skip = first + s.skip - begin;
  if (bytes->size() < skip + count) return error(errc::corrupted, "'" + s.name + "' is shorter than its manifest says");
  bytes->erase(bytes->begin(), bytes->begin() + static_cast<std::ptrdiff_t>(skip));
  bytes->resize(static_cast<std::size_t>(count));
  return bytes;
}

P2PDVM_DECL result<reshaping> reshaping::plan(std::vector<store::manifest> old, std::uint32_t ranks, reader read) {
  P2PDVM_ASSERT(!old.empty() && ranks > 0);
  reshaping r;
  r.old_ = std::move(old);
  r.ranks_ = ranks;
  r.read_ = std::move(read);
  for (std::size_t rank = 0; rank < r.old_.size(); ++rank) {
    if (auto good = r.check_rank(rank); !good.ok()) return good.error();
  }
  if (auto empty = r.check_channels(); !empty.ok()) return empty.error();
  return r;
}

P2PDVM_DECL result<> reshaping::check_rank(std::size_t rank) {
  const std::string who = "rank " + std::to_string(rank);
  const store::section* const own = find(rank, "rank");
  if (own == nullptr) return error(errc::corrupted, "the snapshot of " + who + " is none");
  auto own_bytes = read_(*own);
  if (!own_bytes.ok()) return own_bytes.error();
  const auto mine = wire::decode<rank_piece>(*own_bytes);
  if (!mine.ok()) return error(errc::corrupted, "the snapshot of " + who + " is none");
  if (mine->finished) return refusal(who + " has returned in it; take the checkpoint before");
  const store::section* const shaped = find(rank, "shape");
  if (shaped == nullptr) return refusal("it is of an older version of p2pdvm");
  auto shape_bytes = read_(*shaped);
  if (!shape_bytes.ok()) return shape_bytes.error();
  const auto shape = wire::decode<shape_piece>(*shape_bytes);
  if (!shape.ok()) return error(errc::corrupted, "the snapshot of " + who + " has a malformed shape");
  for (const shape_piece::array& a : shape->arrays) {
    if (!a.valid()) return error(errc::corrupted, "the snapshot of " + who + " has a malformed shape");
  }
  if (shape->drew)
    return refusal(who + " has drawn random numbers (rank.random()), and each rank has its own");
  if (rank == 0) {
    own_ = *mine;
    shape_ = *shape;
  } else if (mine->safe_points != own_.safe_points) {
    return refusal("rank 0 and " + who + " are at different safe points");
  } else if (shape->arrays != shape_.arrays || shape->common != shape_.common) {
    return refusal("rank 0 and " + who + " have declared different arrays or common values");
  }
  for (const store::section& s : old_[rank].sections) {
    if (auto good = check_piece(rank, s, *shape); !good.ok()) return good;
  }
  return {};
}

P2PDVM_DECL result<> reshaping::check_piece(std::size_t rank, const store::section& s, const shape_piece& shape) {
  const std::string_view piece = s.name;
  if (piece == "rank" || piece == "shape" || piece == "messages" || piece.starts_with(output_piece)) return {};
  if (piece.starts_with("region/"))
    return refusal("'" + std::string(detail::behind(piece, "region/")) +
                   "' belongs to each rank (rank.region); only arrays that are declared by rank.distributed can be shared out again");
  if (piece.starts_with("adapter/")) {
    if (detail::listed(shape.adapters, piece)) return {};
    return refusal("the adapter '" + std::string(detail::adapter_name(piece)) + "' of rank " + std::to_string(rank) +
                   " holds something that belongs to it, as messages that it has not read yet");
  }
  if (piece.starts_with("state/")) {
    const std::string name(detail::behind(piece, "state/"));
    if (!detail::listed(shape.common, name))
      return refusal("'" + name + "' belongs to each rank (rank.state); a value that all ranks have alike is declared by rank.common");
    auto bytes = read_(s);
    if (!bytes.ok()) return bytes.error();
    if (rank == 0) {
      common_.emplace_back(s.name, std::move(*bytes));
      return {};
    }
    const auto first = std::find_if(common_.begin(), common_.end(), [&](const auto& c) { return c.first == s.name; });
    if (first == common_.end() || first->second != *bytes)
      return refusal("'" + name + "' is declared by rank.common, but is not the same on rank 0 and on rank " + std::to_string(rank));
    return {};
  }
  if (piece.starts_with(array_piece)) {
    const std::string_view name = detail::behind(piece, array_piece);
    for (const shape_piece::array& a : shape.arrays) {
      if (a.name != name) continue;
      const block b = a.bytes_of(static_cast<std::uint32_t>(rank), static_cast<std::uint32_t>(old_.size()));
      if (b.count == s.bytes) return {};
    }
    return error(errc::corrupted, "the snapshot of rank " + std::to_string(rank) + " has not its block of '" + std::string(name) + "'");
  }
  return refusal("nothing says how ranks would share '" + s.name + "'");
}

/// Whatever was sent was read.
P2PDVM_DECL result<> reshaping::check_channels() {
  std::vector<messaging::endpoint_state> ends;
  for (std::size_t rank = 0; rank < old_.size(); ++rank) {
    const store::section* const s = find(rank, "messages");
    auto bytes = s == nullptr ? result<byte_vector>(byte_vector()) : read_(*s);
    if (!bytes.ok()) return bytes.error();
    auto state = wire::decode<messaging::endpoint_state>(*bytes);
    if (!state.ok() || !state->fits(static_cast<std::uint32_t>(old_.size())))
      return error(errc::corrupted, "the messages in the snapshot of rank " + std::to_string(rank) + " are not those of this job");
    ends.push_back(std::move(*state));
  }
  const auto text = [](std::size_t source, std::size_t destination) {
    return "rank " + std::to_string(destination) + " has not read a message of rank " + std::to_string(source);
  };
  for (std::size_t to = 0; to < ends.size(); ++to) {
    if (!ends[to].mailbox.empty()) return refusal(text(ends[to].mailbox.front().source.value(), to) + " yet");
    for (std::size_t from = 0; from < ends.size(); ++from) {
      if (ends[from].pairs[to].next_sequence != ends[to].pairs[from].received)
        return refusal(text(from, to) + ", which was on its way");
    }
  }
  return {};
}

/// One rank has all that was written so far.
P2PDVM_DECL result<> reshaping::add_outputs(snapshot& to) const {
  std::set<std::string> names;
  for (const store::manifest& m : old_) {
    for (const store::section& s : m.sections) {
      if (s.name.starts_with(output_piece)) names.insert(s.name);
    }
  }
  for (const std::string& name : names) {
    std::vector<byte_vector> logs;
    std::vector<std::pair<output_frame, std::size_t>> all;  // with their places in rank order
    for (std::size_t rank = 0; rank < old_.size(); ++rank) {
      const store::section* const s = find(rank, name);
      auto bytes = s == nullptr ? result<byte_vector>(byte_vector()) : read_(*s);
      if (!bytes.ok()) return bytes.error();
      logs.push_back(std::move(*bytes));  // its memory stays where it is
      const auto frames = read_output_frames(logs.back());
      if (!frames.ok()) return frames.error();
      for (const output_frame& f : *frames) all.emplace_back(f, all.size());
    }
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) {
      return std::tie(a.first.after, a.first.step, a.second) < std::tie(b.first.after, b.first.step, b.second);
    });
    byte_vector whole;
    for (const auto& [f, place] : all) append_output_frame(whole, f);
    if (whole.size() > limits::output_bytes_max)
      return refusal("together they have written more into the output '" + name.substr(output_piece.size()) +
                     "' than one rank may have");
    to.add(name, payload(std::move(whole)), true);
  }
  return {};
}

P2PDVM_DECL result<snapshot> reshaping::make(rank_number rank, std::uint64_t seed) const {
  snapshot made;
  rank_piece own = own_;
  own.random = random_generator(seed + rank.value()).state();
  made.add("rank", payload(wire::encode(own)));
  made.add("shape", payload(wire::encode(shape_)));
  for (const auto& [name, bytes] : common_) made.add(name, payload(bytes));
  for (const shape_piece::array& a : shape_.arrays) {
    const std::string piece = std::string(array_piece) + a.name;
    const block mine = a.bytes_of(rank.value(), ranks_);
    byte_vector bytes;
    for (std::uint32_t r = 0; r < old_.size(); ++r) {
      const block theirs = a.bytes_of(r, static_cast<std::uint32_t>(old_.size()));
      const std::uint64_t first = std::max(mine.first, theirs.first);
      const std::uint64_t behind = std::min(mine.first + mine.count, theirs.first + theirs.count);
      if (first >= behind) continue;
      const store::section* const s = find(r, piece);
      if (s == nullptr) return error(errc::corrupted, "the snapshot of rank " + std::to_string(r) + " has no '" + piece + "'");
      const auto part = read_range(*s, first - theirs.first, behind - first);
      if (!part.ok()) return part.error();
      append(bytes, *part);
    }
    made.add(piece, payload(std::move(bytes)), true);
  }
  if (rank == rank_number(0)) {
    if (auto added = add_outputs(made); !added.ok()) return added.error();
  }
  messaging::endpoint_state silent;
  silent.pairs.resize(ranks_);
  made.add("messages", payload(wire::encode(silent)));
  return made;
}

}  // namespace p2pdvm::peal

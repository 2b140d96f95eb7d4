#pragma once

#include <p2pdvm/runtime/member_square.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

P2PDVM_DECL std::vector<node_id> member_square::links() const {
  std::vector<node_id> list;
  if (!self_) return list;
  for (std::uint32_t i = 0; i < record_.members.size(); ++i) {
    if (i != *self_ && in_line(i, *self_) && record_.members[i].live())
      list.push_back(record_.members[i].node);
  }
  return list;
}

P2PDVM_DECL bool member_square::is_link(const node_id& other) const {
  if (!self_ || !record_.is_live(other)) return false;
  const std::uint32_t i = *record_.index_of(other);
  return i != *self_ && in_line(i, *self_);
}

P2PDVM_DECL std::vector<node_id> member_square::cut_off() const {
  std::vector<node_id> list;
  if (!self_) return list;
  const auto lives = [&](std::uint32_t i) { return i < record_.members.size() && record_.members[i].live(); };
  for (std::uint32_t i = 0; i < record_.members.size(); ++i) {
    if (!lives(i) || i == *self_ || in_line(i, *self_)) continue;
    const std::uint32_t in_row = *self_ / width * width + i % width;
    const std::uint32_t in_column = i / width * width + *self_ % width;
    if (!lives(in_row) && !lives(in_column)) list.push_back(record_.members[i].node);
  }
  return list;
}

P2PDVM_DECL std::vector<member_square::recipient> member_square::recipients() const {
  const auto size = static_cast<std::uint32_t>(record_.members.size());
  std::vector<recipient> list;
  if (!self_) {
    for (const auto& m : record_.members) {
      if (m.live()) list.push_back({m.node, false});
    }
    return list;
  }
  const std::uint32_t row = *self_ / width * width;
  for (std::uint32_t column = 0; column < std::min(width, size); ++column) {
    // Its own column a member serves itself; any other the one in its row, or else the first.
    const bool own = row + column == *self_;
    std::optional<std::uint32_t> server;
    if (!own && row + column < size && record_.members[row + column].live()) server = row + column;
    std::size_t others = 0;
    for (std::uint32_t i = column; i < size; i += width) {
      if (i == *self_ || !record_.members[i].live()) continue;
      if (own) {
        list.push_back({record_.members[i].node, false});
      } else if (!server) {
        server = i;
      } else if (i != *server) {
        ++others;
      }
    }
    if (server) list.push_back({record_.members[*server].node, others > 0});
  }
  return list;
}

P2PDVM_DECL std::vector<node_id> member_square::column() const {
  std::vector<node_id> list;
  if (!self_) return list;
  for (std::uint32_t i = *self_ % width; i < record_.members.size(); i += width) {
    const auto& m = record_.members[i];
    if (i != *self_ && m.live()) list.push_back(m.node);
  }
  return list;
}

}  // namespace p2pdvm::runtime

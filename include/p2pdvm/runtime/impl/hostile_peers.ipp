#pragma once

#include <p2pdvm/runtime/hostile_peers.hpp>
#include <p2pdvm/runtime/job_messages.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

namespace detail {

/// Where the overlay's message begins in a clear datagram.
inline constexpr std::size_t clear_prefix_bytes =
    link::datagram_header_bytes + crypto::tag_bytes + 1;

enum class lie { false_peers, altered_values, silence };
inline lie lie_of(std::uint32_t machine) noexcept {
  return static_cast<lie>((machine * 0x9e3779b9u >> 16) % 3);
}

}  // namespace detail

P2PDVM_DECL hostile_peers::hostile_peers(simulated_swarm& swarm) : swarm_(swarm) {
  swarm.network().tamper([this](std::uint32_t from, std::uint32_t to, byte_vector& bytes) {
    return tamper(from, to, bytes);
  });
}

P2PDVM_DECL void hostile_peers::remember(std::uint32_t liar, const overlay::message& question) {
  if (asked_.size() >= remembered_max) asked_.erase(asked_.begin());
  asked_[{liar, question.transaction}] = question.target;
}

P2PDVM_DECL std::vector<overlay::contact> hostile_peers::liars_near(const node_id& target,
                                                                    std::size_t count) const {
  std::vector<std::size_t> liars;
  for (std::size_t i = 0; i < swarm_.size(); ++i) {
    if (swarm_.hostile(i) && swarm_.alive(i)) liars.push_back(i);
  }
  count = std::min(count, liars.size());
  std::partial_sort(liars.begin(), liars.begin() + static_cast<std::ptrdiff_t>(count),
                    liars.end(), [&](std::size_t a, std::size_t b) {
                      return overlay::nearer(target, swarm_.id(a), swarm_.id(b));
                    });
  std::vector<overlay::contact> near;
  for (std::size_t i = 0; i < count; ++i) near.push_back(swarm_.contact_of(liars[i]));
  return near;
}

P2PDVM_DECL bool hostile_peers::tamper(std::uint32_t from, std::uint32_t to, byte_vector& bytes) {
  using overlay::message_kind;
  const bool liar_asked = swarm_.hostile(to);
  if (!liar_asked && !swarm_.hostile(from)) return true;
  if (bytes.size() <= detail::clear_prefix_bytes) return true;
  if (bytes[detail::clear_prefix_bytes - 1] != datagram_kind::overlay)
    return true;
  auto m = wire::decode<overlay::message>(byte_view(bytes).subspan(detail::clear_prefix_bytes));
  if (!m.ok()) return true;
  const bool search = m->kind == message_kind::find_node || m->kind == message_kind::find_value;
  if (liar_asked && search) remember(to, *m);
  if (!swarm_.hostile(from)) return true;
  if (m->kind != message_kind::nodes && m->kind != message_kind::value) return true;
  const auto question = asked_.find({from, m->transaction});
  if (question == asked_.end()) return true;
  const node_id target = question->second;
  asked_.erase(question);
  const detail::lie what = detail::lie_of(from);
  if (what == detail::lie::silence) return false;
  if (m->kind == message_kind::value && what == detail::lie::altered_values) {
    if (!m->what.value.empty()) m->what.value.front() ^= std::byte{1};
  } else {
    const std::size_t count = m->kind == message_kind::nodes ? m->nearest.size() : 8;
    m->kind = message_kind::nodes;
    m->nearest = liars_near(target, count);
  }
  bytes.resize(detail::clear_prefix_bytes);
  append(bytes, wire::encode(*m));
  return true;
}

}  // namespace p2pdvm::runtime

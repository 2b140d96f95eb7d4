#pragma once

#include <p2pdvm/crypto/crypto.hpp>
#include <p2pdvm/runtime/reception.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

P2PDVM_DECL bool reception::is_gone(const guide& g, const checkpoint::job_record& record) {
  const checkpoint::member* const m = record.find(crypto::node_id_of(g.who.key));
  return m != nullptr && !m->live();
}

P2PDVM_DECL std::optional<messaging::contact> reception::guide_of(
    const messaging::contact& newcomer, const checkpoint::job_record& record, std::size_t wanted) {
  const node_id id = crypto::node_id_of(newcomer.key);
  const auto [known, fresh] = guides_.try_emplace(id, nobody);
  std::size_t& place = known->second;
  if (!fresh && place == nobody) return std::nullopt;
  if (fresh || is_gone(direct_[place], record)) {
    // `wanted` counts this peer too.
    const bool direct = guides_.size() <= direct_first || guides_.size() + direct_last >= wanted;
    place = direct ? nobody : least_busy(record);
    if (place == nobody) {
      if (fresh && guides_.size() <= direct_first) direct_.push_back({newcomer, 0});
      return std::nullopt;
    }
    ++direct_[place].served;
  }
  return direct_[place].who;
}

P2PDVM_DECL std::vector<messaging::contact> reception::others_than(const public_key& newcomer) const {
  std::vector<messaging::contact> others;
  for (const guide& g : direct_) {
    if (others.size() == others_max) break;
    if (g.who.key != newcomer) others.push_back(g.who);
  }
  return others;
}

/// Of equally busy ones who came first, and is nearest.
P2PDVM_DECL std::size_t reception::least_busy(const checkpoint::job_record& record) const {
  std::size_t best = nobody;
  for (std::size_t i = 0; i < direct_.size(); ++i) {
    const bool better = best == nobody || direct_[i].served < direct_[best].served;
    if (better && !is_gone(direct_[i], record)) best = i;
  }
  return best;
}

P2PDVM_DECL void reception::wrote(time_point now, std::size_t bytes, std::size_t keepers) {
  const std::uint64_t total = static_cast<std::uint64_t>(bytes) * keepers;
  const auto pause = std::chrono::nanoseconds(total * 1'000'000'000 / write_bytes_per_second);
  next_write_ = now + std::min<duration>(pause, write_pause_max);
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/store/memory_log.hpp>
#include <p2pdvm/store/segment_format.hpp>

namespace p2pdvm::store {

P2PDVM_DECL memory_log::~memory_log() {
  *alive_ = false;
  if (timer_ != 0) clock_.cancel(timer_);
}

P2PDVM_DECL result<> memory_log::claim(std::uint64_t bytes, std::uint64_t freed) const {
  if (live_bytes_ + value_bytes_ - freed + bytes <= quota_bytes_) return {};
  return error(errc::no_space, "the store in memory has used its quota of " +
                                   std::to_string(quota_bytes_) +
                                   " bytes; raise the quota or let old checkpoints go");
}

P2PDVM_DECL bool memory_log::contains(const chunk_id& id) const { return chunks_.contains(id); }

P2PDVM_DECL result<> memory_log::put_shared(const chunk_id& id, const payload& sealed) {
  if (contains(id)) return {};
  if (sealed.size() > log_chunk_bytes_max) {
    return error(errc::too_large, "a chunk of " + std::to_string(sealed.size()) +
                                      " bytes is over the limit of a store");
  }
  if (const auto claimed = claim(sealed.size(), 0); !claimed) return claimed.error();
  chunks_[id].sealed = sealed;
  live_bytes_ += sealed.size();
  return {};
}

P2PDVM_DECL result<payload> memory_log::get(const chunk_id& id) {
  const auto it = chunks_.find(id);
  if (it != chunks_.end()) return it->second.sealed;
  return error(errc::not_found, "chunk " + id.brief() + " is not stored here");
}

P2PDVM_DECL result<> memory_log::add_pin(const pin& p, const std::vector<chunk_id>& ids) {
  for (const chunk_id& id : ids) {
    if (!contains(id)) {
      return error(errc::not_found, "chunk " + id.brief() + " cannot be pinned: it is not here");
    }
  }
  auto& have = pins_[p];
  for (const chunk_id& id : ids) {
    if (have.insert(id).second) ++chunks_.at(id).pins;
  }
  return {};
}

P2PDVM_DECL result<> memory_log::drop_pin(const pin& p) {
  const auto it = pins_.find(p);
  if (it == pins_.end()) return {};
  for (const chunk_id& id : it->second) {
    const auto c = chunks_.find(id);
    P2PDVM_ASSERT(c != chunks_.end());
    if (--c->second.pins > 0) continue;
    live_bytes_ -= c->second.sealed.size();
    chunks_.erase(c);
  }
  pins_.erase(it);
  return {};
}

P2PDVM_DECL std::vector<pin> memory_log::pins() const {
  std::vector<pin> all;
  for (const auto& [p, ids] : pins_) all.push_back(p);
  return all;
}

P2PDVM_DECL std::vector<chunk_id> memory_log::pinned(const pin& p) const {
  const auto it = pins_.find(p);
  if (it == pins_.end()) return {};
  return {it->second.begin(), it->second.end()};
}

P2PDVM_DECL result<> memory_log::put_value(std::string_view name, byte_view value) {
  if (name.empty() || name.size() > log_name_bytes_max || value.size() > log_value_bytes_max) {
    return error(errc::too_large, "a value's name has 1 to 1024 bytes, and it 16 MiB at most");
  }
  const auto it = values_.find(name);
  const std::uint64_t old = it == values_.end() ? 0 : it->second.size();
  if (!value.empty()) {
    if (const auto claimed = claim(value.size(), old); !claimed) return claimed.error();
  }
  value_bytes_ += value.size() - old;
  if (!value.empty()) {
    values_[std::string(name)] = to_vector(value);
  } else if (it != values_.end()) {
    values_.erase(it);
  }
  return {};
}

P2PDVM_DECL result<byte_vector> memory_log::get_value(std::string_view name) {
  const auto it = values_.find(name);
  if (it != values_.end()) return it->second;
  return error(errc::not_found, "no value '" + std::string(name) + "' is stored here");
}

P2PDVM_DECL void memory_log::sync(std::function<void(result<>)> done) {
  waiting_.push_back(std::move(done));
  if (timer_ == 0) timer_ = clock_.call_at(clock_.now(), [this] { complete(); });
}

P2PDVM_DECL void memory_log::complete() {
  timer_ = 0;
  const auto callers = std::exchange(waiting_, {});
  const std::shared_ptr<bool> alive = alive_;
  for (const auto& done : callers) {
    done({});
    if (!*alive) return;
  }
}

}  // namespace p2pdvm::store

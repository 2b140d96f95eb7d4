#pragma once

#include <p2pdvm/runtime/early_messages.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::runtime {

P2PDVM_DECL bool early_messages::hold(const node_id& from, job_message message) {
  const bool repeated = std::holds_alternative<checkpoint::register_request>(message) ||
                        std::holds_alternative<checkpoint::register_reply>(message) ||
                        std::holds_alternative<record_request>(message) ||
                        std::holds_alternative<roll_request>(message) ||
                        std::holds_alternative<roll_answer>(message);
  const std::size_t bytes = repeated ? 0 : wire::encode(message).size();
  if (repeated || bytes > limits::early_bytes_max) return false;
  if (const auto known = held_.find(from); known != held_.end() &&
      (known->second.messages.size() >= limits::early_messages_max ||
       known->second.bytes + bytes > limits::early_bytes_max))
    return false;
  make_room(bytes, from);
  auto found = held_.find(from);
  if (found == held_.end()) found = held_.emplace(from, held{++senders_seen_, 0, {}}).first;
  held& of_sender = found->second;
  of_sender.bytes += bytes;
  bytes_ += bytes;
  of_sender.messages.push_back(std::move(message));
  return true;
}

P2PDVM_DECL void early_messages::make_room(std::size_t bytes, const node_id& for_whom) {
  const bool newcomer = !held_.contains(for_whom);
  while (!held_.empty() && (bytes_ + bytes > limits::early_total_bytes_max ||
                            (newcomer && held_.size() >= limits::early_senders_max))) {
    const auto oldest = std::min_element(held_.begin(), held_.end(), [](const auto& a, const auto& b) {
      return a.second.since < b.second.since;
    });
    bytes_ -= oldest->second.bytes;
    held_.erase(oldest);
  }
}

P2PDVM_DECL std::vector<node_id> early_messages::senders() const {
  std::vector<node_id> all;
  for (const auto& [from, unused] : held_) all.push_back(from);
  return all;
}

P2PDVM_DECL std::vector<job_message> early_messages::take(const node_id& from) {
  auto found = held_.extract(from);
  if (!found) return {};
  bytes_ -= found.mapped().bytes;
  return std::move(found.mapped().messages);
}

}  // namespace p2pdvm::runtime

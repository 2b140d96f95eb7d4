#pragma once

#include <p2pdvm/runtime/early_messages.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <utility>

namespace p2pdvm::runtime {

P2PDVM_DECL bool early_messages::hold(const node_id& from, job_message message) {
  const bool repeated = std::holds_alternative<checkpoint::register_request>(message) ||
                        std::holds_alternative<checkpoint::register_reply>(message) ||
                        std::holds_alternative<record_request>(message);
  const std::size_t bytes = repeated ? 0 : wire::encode(message).size();
  if (repeated || bytes > limits::early_bytes_max) return false;
  auto found = held_.find(from);
  if (found == held_.end()) {
    make_room();
    found = held_.emplace(from, held{++senders_seen_, 0, {}}).first;
  }
  held& of_sender = found->second;
  if (of_sender.messages.size() >= limits::early_messages_max ||
      of_sender.bytes + bytes > limits::early_bytes_max)
    return false;
  of_sender.bytes += bytes;
  of_sender.messages.push_back(std::move(message));
  return true;
}

P2PDVM_DECL void early_messages::make_room() {
  if (held_.size() < limits::early_senders_max) return;
  held_.erase(std::min_element(held_.begin(), held_.end(), [](const auto& a, const auto& b) {
    return a.second.since < b.second.since;
  }));
}

P2PDVM_DECL std::vector<node_id> early_messages::senders() const {
  std::vector<node_id> all;
  for (const auto& [from, unused] : held_) all.push_back(from);
  return all;
}

P2PDVM_DECL std::vector<job_message> early_messages::take(const node_id& from) {
  auto found = held_.extract(from);
  if (!found) return {};
  return std::move(found.mapped().messages);
}

}  // namespace p2pdvm::runtime

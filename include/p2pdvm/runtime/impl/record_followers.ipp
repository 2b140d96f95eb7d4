#pragma once

#include <p2pdvm/checkpoint/record_change.hpp>
#include <p2pdvm/runtime/record_followers.hpp>

namespace p2pdvm::runtime {

P2PDVM_DECL bool record_followers::add(const node_id& who) {
  remove(who);
  return keep(who);
}

P2PDVM_DECL bool record_followers::keep(const node_id& who) {
  if (told_.size() >= limits::followers_max && !contains(who)) return false;
  told_.try_emplace(who);
  return true;
}

P2PDVM_DECL bool record_followers::told(
    const node_id& who, const std::shared_ptr<const checkpoint::job_record>& record) const {
  const auto found = told_.find(who);
  return found != told_.end() && found->second == record;
}

P2PDVM_DECL std::vector<record_followers::message> record_followers::tell(
    const checkpoint::certified_record& newest,
    const std::vector<checkpoint::certificate>& links) {
  const checkpoint::job_record& now = *newest.record;
  std::vector<message> messages;
  if (now.state != checkpoint::job_state::forming)
    std::erase_if(told_, [&](const auto& follower) {
      const auto& last = follower.second;
      return last != nullptr && last != newest.record && last->state != checkpoint::job_state::forming;
    });
  for (auto& [who, last] : told_) {
    if (last == newest.record || !now.is_live(who)) continue;
    if (last == nullptr) {
      messages.emplace_back(who, record_update{now, newest.proof, links});
    } else {
      record_difference news{checkpoint::change_between(*last, now), newest.proof, {}};
      if (last->keeper_version != now.keeper_version) news.links = links;
      messages.emplace_back(who, std::move(news));
    }
    last = newest.record;
  }
  return messages;
}

}  // namespace p2pdvm::runtime

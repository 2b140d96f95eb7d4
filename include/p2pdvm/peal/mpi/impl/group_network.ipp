#pragma once

#include <p2pdvm/peal/mpi/impl/collective.ipp>
#include <p2pdvm/peal/mpi/network_agreement.hpp>
#include <p2pdvm/peal/mpi/uplink_agreement.hpp>

#include <fmt/core.h>

#include <algorithm>
#include <bit>

namespace p2pdvm::mpi::detail {

/// Sizes of one class have as many binary digits, and one choice.
inline int size_class(std::size_t bytes) noexcept { return static_cast<int>(std::bit_width(bytes)); }
inline std::size_t greatest_of_class(int digits) noexcept {
  return digits == 0 ? 0 : (std::size_t{2} << (digits - 1)) - 1;
}

P2PDVM_DECL bool group::all_here() const {
  for (int member = 0; member < size_; ++member) {
    if (owner_->rank().round_trip(job_rank(member)) != 0.0) return false;
  }
  return true;
}

P2PDVM_DECL task<> group::know_network(collective& in) {
  while (knowledge_ == knowledge::coming) {  // another collective of this rank is at it
    const std::int64_t wake = peal::any_tag + 1 + in.tag;
    waiting_.push_back(wake);
    (void)co_await owner_->port().receive(job_rank(self_), wake, id_ * 2 + 1, in.site());
  }
  if (knowledge_ == knowledge::there) co_return;
  if (all_here()) {  // and so it is for each of them
    knowledge_ = knowledge::there;
    co_return;
  }
  knowledge_ = knowledge::coming;
  // What comes with the tag of this collective is about the network; its data get another one.
  const std::int64_t tag = in.next_phase();
  co_await agree(in, tag);
  let_others_go_on();
}

P2PDVM_DECL void group::let_others_go_on() {
  knowledge_ = knowledge::there;
  for (const std::int64_t wake : std::exchange(waiting_, {}))
    owner_->port().post_send(job_rank(self_), wake, payload(), id_ * 2 + 1);
}

P2PDVM_DECL task<> group::agree(const collective& in, std::int64_t tag) {
  const peal::rank& rank = owner_->rank();
  std::vector<std::optional<double>> known;
  for (int member = 0; member < size_; ++member) known.push_back(rank.round_trip(job_rank(member)));
  network_agreement agreement(size_, self_);
  agreement.begin(rank.now(), known, rank.cores());
  for (;;) {
    for (const network_agreement::output& out : agreement.take_output())
      owner_->port().post_send(job_rank(out.to), tag, message_of(in.mine.head, out.data), id_ * 2 + 1);
    if (agreement.done()) break;
    const peal::message m = co_await owner_->port().receive(peal::any_source, tag, id_ * 2 + 1, in.site());
    const incoming got = opened_alike(in, m);
    if (const auto taken = agreement.on_message(rank.now(), got.source, got.data); !taken.ok())
      refuse(taken.error().message());
  }
  network_ = std::make_unique<known_network>(agreement.take());
}

P2PDVM_DECL bool group::wants_uplinks(std::size_t bytes) const {
  if (network_ == nullptr || network_->view().knows_uplinks() || bytes <= exchanged_bytes_max) return false;
  constexpr auto kind = collective_task::kind::allreduce;
  const int digits = size_class(bytes);
  if (choices_.contains({static_cast<int>(kind), digits}) || !network_->view().wide()) return false;
  const way without = chosen(network_->predict({kind, greatest_of_class(digits)})).which;
  return without == way::slices || without == way::halving;
}

P2PDVM_DECL task<> group::know_uplinks(collective& in) {
  knowledge_ = knowledge::coming;
  const std::int64_t tag = in.next_phase();
  uplink_agreement agreement(network_->view(), self_);
  agreement.begin(owner_->rank().now());
  for (;;) {
    for (const network_agreement::output& out : agreement.take_output())
      owner_->port().post_send(job_rank(out.to), tag, message_of(in.mine.head, out.data), id_ * 2 + 1);
    if (agreement.done()) break;
    const peal::message m = co_await owner_->port().receive(peal::any_source, tag, id_ * 2 + 1, in.site());
    const incoming got = opened_alike(in, m);
    if (const auto taken = agreement.on_message(owner_->rank().now(), got.source, got.data); !taken.ok())
      refuse(taken.error().message());
  }
  network_->set_uplinks(agreement.rates());
  choices_.clear();
  let_others_go_on();
}

P2PDVM_DECL std::string time_text(double seconds) {
  return seconds < 0.0095 ? fmt::format("{:.3f} ms", seconds * 1e3) : fmt::format("{:.0f} ms", seconds * 1e3);
}

/// "exchange, predicted 209 ms (rounds 820 ms)"
inline std::string text_of(std::span<const prediction> all, const prediction& best) {
  std::string others;
  for (const prediction& p : all) {
    if (p.which == best.which) continue;
    others += others.empty() ? " (" : ", ";
    others += fmt::format("{} {}", name_of(p.which), time_text(to_seconds(p.time)));
  }
  return fmt::format("{}, predicted {}{}", name_of(best.which), time_text(to_seconds(best.time)),
                     others.empty() ? others : others + ")");
}

P2PDVM_DECL way group::choose(collective& in, collective_task::kind what, std::size_t bytes) {
  if (size_ < 3) return way::rounds;
  const auto key = std::pair(static_cast<int>(what), size_class(bytes));
  if (const auto found = choices_.find(key); found != choices_.end()) return found->second;
  const std::size_t greatest = greatest_of_class(key.second);
  way best = way::rounds;
  std::string why = size_ > network_members_max ? "rounds, too many ranks to measure their distances"
                                                : "rounds, all ranks are on one peer";
  if (network_ != nullptr && wants_hub(network_->view(), {what, greatest})) {
    best = way::hub;
    why = "hub, these processes share cores";
  } else if (network_ != nullptr) {
    const auto all = network_->predict({what, greatest});
    const prediction fastest = chosen(all);
    best = fastest.which;
    why = text_of(all, fastest);
    if (best == way::exchange)
      why += fmt::format(", {} of {} pairs over another rank", network_->plan().relayed_pairs(),
                         size_ * (size_ - 1));
    if (best == way::by_peers) why += fmt::format(", {} peers", network_->groups().leaders().size());
  }
  choices_.emplace(key, best);
  if (self_ == 0)
    in.explain_at_end(fmt::format("{} of {} ranks (communicator {}{}): {}", name_of(in.mine.head.op), size_, id_,
                                  greatest > 0 ? fmt::format(", up to {} bytes", greatest) : std::string(), why));
  return best;
}

}  // namespace p2pdvm::mpi::detail

#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/peal/mpi/uplink_agreement.hpp>

#include <algorithm>
#include <cstring>

namespace p2pdvm::mpi {

namespace detail {

inline std::uint32_t rate_of(double bytes, double seconds) {
  constexpr double least = 1e3;
  constexpr double most = 4e9;
  return static_cast<std::uint32_t>(std::clamp(bytes / std::max(seconds, 1e-9), least, most));
}

}  // namespace detail

P2PDVM_DECL uplink_agreement::uplink_agreement(const network_view& network, int self)
    : network_(network), self_(self), rates_(static_cast<std::size_t>(network.members())) {
  for (int k = 1; k < network_.members() && static_cast<int>(targets_.size()) < burst_targets_max; k *= 2)
    targets_.push_back((self_ + k) % network_.members());
  round_trips_.assign(targets_.size(), -1);
  got_.resize(targets_.size());
}

P2PDVM_DECL void uplink_agreement::begin(double now) {
  begun_at_ = now;
  for (const int to : targets_) tell(to, kind::ping);
}

P2PDVM_DECL void uplink_agreement::tell(int to, kind what, byte_view more) {
  byte_vector data(1, static_cast<std::byte>(what));
  append(data, more);
  output_.push_back({to, std::move(data)});
}

P2PDVM_DECL void uplink_agreement::on_pong(double now, std::size_t place) {
  // A target that comes late answers late: then what was known before is nearer the truth.
  round_trips_[place] = std::min(now - begun_at_, 2 * to_seconds(network_.one_way(self_, targets_[place])));
  if (++pongs_ < targets_.size()) return;
  burst_at_ = now;
  const byte_vector much(burst_bytes);
  for (const int to : targets_) tell(to, kind::burst, much);
}

P2PDVM_DECL void uplink_agreement::on_got(double now, std::size_t place) {
  // When the k-th target has its part, k parts at least have left.
  if (place + 1 >= (targets_.size() + 1) / 2) {
    constexpr double delay = 1.0 / 32;  // of a round trip: less cannot be told from it
    const double took = std::max(now - burst_at_ - round_trips_[place], round_trips_[place] * delay);
    shown_.push_back(detail::rate_of(static_cast<double>((place + 1) * burst_bytes), took));
  }
  if (++gots_ < targets_.size()) return;
  // A round trip may have been measured too long: of several the fastest does not count.
  std::sort(shown_.begin(), shown_.end());
  const std::uint32_t rate = shown_[shown_.size() - (shown_.size() > 2 ? 2 : 1)];
  rates_[static_cast<std::size_t>(self_)] = rate;
  ++rates_known_;
  for (int k = 1; k < network_.members(); ++k) tell((self_ + k) % network_.members(), kind::rate, bytes_of(rate));
}

P2PDVM_DECL result<> uplink_agreement::on_message(double now, int from, byte_view data) {
  const auto bad = [] { return error(errc::malformed, "a message about uplinks is damaged"); };
  if (data.empty() || from < 0 || from >= network_.members() || from == self_) return bad();
  const auto place = static_cast<std::size_t>(std::find(targets_.begin(), targets_.end(), from) - targets_.begin());
  const bool target = place < targets_.size();
  switch (static_cast<kind>(data.front())) {
    case kind::ping: tell(from, kind::pong); return {};
    case kind::burst: tell(from, kind::got); return {};
    case kind::pong:
      if (!target || round_trips_[place] >= 0) return bad();
      on_pong(now, place);
      return {};
    case kind::got:
      if (!target || pongs_ < targets_.size() || got_[place]) return bad();
      got_[place] = true;
      on_got(now, place);
      return {};
    case kind::rate: {
      std::uint32_t& rate = rates_[static_cast<std::size_t>(from)];
      if (rate != 0 || data.size() != 1 + sizeof rate) return bad();
      std::memcpy(&rate, data.data() + 1, sizeof rate);
      if (rate == 0) return bad();
      ++rates_known_;
      return {};
    }
  }
  return bad();
}

}  // namespace p2pdvm::mpi

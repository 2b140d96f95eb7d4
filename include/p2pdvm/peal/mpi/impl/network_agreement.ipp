#pragma once

#include <p2pdvm/base/assert.hpp>
#include <p2pdvm/peal/mpi/network_agreement.hpp>

#include <algorithm>
#include <cstring>
#include <span>

namespace p2pdvm::mpi {

namespace detail {

inline std::uint32_t round_trip_units(double seconds) {
  constexpr double most = 60;
  const double nanoseconds = std::clamp(seconds, 0.0, most) * 1e9;
  return static_cast<std::uint32_t>(nanoseconds / static_cast<double>(network_view::unit_nanoseconds)) + 1;
}

}  // namespace detail

P2PDVM_DECL network_agreement::network_agreement(int members, int self)
    : members_(members),
      self_(self),
      round_trips_(static_cast<std::size_t>(members) * static_cast<std::size_t>(members)),
      asked_(static_cast<std::size_t>(members)) {}

P2PDVM_DECL void network_agreement::begin(double now, const std::vector<std::optional<double>>& round_trips,
                                          std::uint32_t cores) {
  P2PDVM_ASSERT(!begun_);
  begun_ = true;
  entry(self_, self_) = cores;  // the place of a row that it does not need
  for (int k = 1; k < members_; ++k) {
    const int to = (self_ + k) % members_;
    if (const auto& known = round_trips[static_cast<std::size_t>(to)]) {
      entry(self_, to) = detail::round_trip_units(*known);
    } else {
      ++unknown_;
      ask(now, to);
    }
  }
  if (unknown_ == 0) tell_row();
}

P2PDVM_DECL void network_agreement::tell(int to, kind what, byte_view more) {
  byte_vector data(1, static_cast<std::byte>(what));
  append(data, more);
  output_.push_back({to, std::move(data)});
}

P2PDVM_DECL void network_agreement::ask(double now, int to) {
  asked& a = asked_[static_cast<std::size_t>(to)];
  a.at = now;
  ++a.times;
  tell(to, kind::ping);
}

P2PDVM_DECL void network_agreement::tell_row() {
  const std::span<const std::uint32_t> row(&entry(self_, 0), static_cast<std::size_t>(members_));
  for (int k = 1; k < members_; ++k) tell((self_ + k) % members_, kind::row, std::as_bytes(row));
}

P2PDVM_DECL void network_agreement::on_pong(double now, int from) {
  const asked& a = asked_[static_cast<std::size_t>(from)];
  const std::uint32_t took = detail::round_trip_units(now - a.at);
  entry(self_, from) = a.times == 1 ? took : std::min(entry(self_, from), took);
  if (a.times < agreement_pings) return ask(now, from);
  if (--unknown_ == 0) tell_row();
}

P2PDVM_DECL result<> network_agreement::on_message(double now, int from, byte_view data) {
  const auto bad = [] { return error(errc::malformed, "a message about round trips is damaged"); };
  if (data.empty() || from < 0 || from >= members_ || from == self_) return bad();
  asked& a = asked_[static_cast<std::size_t>(from)];
  const byte_view row = data.subspan(1);
  switch (static_cast<kind>(data.front())) {
    case kind::ping: tell(from, kind::pong); return {};
    case kind::pong:
      if (a.times == 0 || unknown_ == 0) return bad();
      on_pong(now, from);
      return {};
    case kind::row:
      if (a.has_row || row.size() != static_cast<std::size_t>(members_) * sizeof(std::uint32_t)) return bad();
      a.has_row = true;
      std::memcpy(&entry(from, 0), row.data(), row.size());
      ++rows_;
      return {};
  }
  return bad();
}

P2PDVM_DECL network_view network_agreement::take() {
  P2PDVM_ASSERT(done());
  std::uint32_t cores = entry(0, 0);
  for (int i = 0; i < members_; ++i) {
    cores = std::min(cores, entry(i, i));
    for (int j = 0; j < i; ++j) entry(i, j) = entry(j, i) = std::min(entry(i, j), entry(j, i));
    entry(i, i) = 0;
  }
  network_view view(members_, std::move(round_trips_));
  view.set_cores(cores);
  return view;
}

}  // namespace p2pdvm::mpi

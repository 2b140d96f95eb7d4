#pragma once

#include <p2pdvm/runtime/hostile_peers.hpp>
#include <p2pdvm/runtime/simulated_swarm.hpp>

#include <algorithm>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr std::uint16_t swarm_port = 4000;

/// One machine per public /24, from 20.0.0.0 on.
inline address public_address(std::size_t i) {
  return address::v4(static_cast<std::uint8_t>(20 + (i >> 16)), static_cast<std::uint8_t>(i >> 8),
                     static_cast<std::uint8_t>(i), 1, 0);
}

inline peal::program no_program() {
  return {"swarm", [](peal::rank&) -> task<> { co_return; }};
}

}  // namespace detail

P2PDVM_DECL simulated_swarm::simulated_swarm(options how)
    : options_(std::move(how)),
      clear_(options_.clear_datagrams.value_or(options_.peers >= clear_datagrams_from)),
      program_(detail::no_program()),
      simulation_(options_.network),
      random_(options_.network.seed ^ 0x5eed5eed5eed5eedull),
      slots_(options_.peers) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    sim::machine_options machine;
    if (options_.public_addresses) machine.address = detail::public_address(i);
    slots_[i].machine = &simulation_.add_machine(machine);
  }
  if (options_.hostile <= 0) return;
  P2PDVM_ASSERT(clear_);
  liars_ = std::make_unique<hostile_peers>(*this);
}

P2PDVM_DECL bool simulated_swarm::hostile(std::size_t i) const noexcept {
  const std::uint64_t mixed = (i + 1) * 0x9e3779b97f4a7c15ull;
  return static_cast<double>(mixed >> 11) * 0x1p-53 < options_.hostile;
}

P2PDVM_DECL simulated_swarm::~simulated_swarm() {
  for (slot& s : slots_) s.process.reset();
}

P2PDVM_DECL void simulated_swarm::form(duration settling) {
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    begin(i);
    simulation_.run_for(options_.entry_pause);
  }
  simulation_.run_for(settling);
  sessions_end_ = true;
  for (std::size_t i = 0; i < slots_.size(); ++i) end_session_later(i);
}

/// Through a few living peers at random, as a ticket would name them. The first, who made it, tells
/// no lies: who enters through liars alone knows liars alone, whatever it does.
P2PDVM_DECL std::vector<overlay::contact> simulated_swarm::entrance(std::size_t except) {
  constexpr std::size_t contacts = 3;
  std::vector<overlay::contact> through;
  for (std::size_t c = 0; c < contacts; ++c) {
    const auto start = static_cast<std::size_t>(random_.below(slots_.size()));
    for (std::size_t k = 0; k < slots_.size(); ++k) {
      const std::size_t i = (start + k) % slots_.size();
      const slot& s = slots_[i];
      if (i == except || !s.process || (c == 0 && hostile(i))) continue;
      through.push_back(contact_of(i));
      break;
    }
  }
  return through;
}

P2PDVM_DECL overlay::contact simulated_swarm::contact_of(std::size_t i) const {
  return {public_key(slots_[i].id.bytes()),
          slots_[i].machine->address().with_port(detail::swarm_port)};
}

P2PDVM_DECL void simulated_swarm::begin(std::size_t i) {
  slot& s = slots_[i];
  P2PDVM_ASSERT(!s.process);
  s.machine->restart();
  peer_setting setting;
  setting.listen = s.machine->address().with_port(detail::swarm_port);
  setting.overlay = options_.overlay;
  setting.clear_datagrams = clear_;
  s.process = std::make_unique<peer>(*s.machine, ranks_, token_, program_, setting,
                                     peer::callbacks());
  const auto opened = s.process->open();
  P2PDVM_ASSERT(opened.ok());
  s.id = s.process->identity().id();
  s.since = now();
  ++s.generation;
  ++sessions_;
  s.process->enter(entrance(i));
  if (sessions_end_) end_session_later(i);
}

P2PDVM_DECL void simulated_swarm::end_session_later(std::size_t i) {
  const duration length = options_.sessions.session(now(), static_cast<std::uint32_t>(i), random_);
  if (length == duration::max()) return;
  simulation_.call_at(now() + length, [this, i, generation = slots_[i].generation] {
    if (slots_[i].generation != generation || !slots_[i].process) return;
    kill(i);
    slots_[i].machine->storage().replace();
    const duration pause =
        options_.sessions.absence(now(), static_cast<std::uint32_t>(i), random_);
    simulation_.call_at(now() + pause, [this, i, generation] {
      if (slots_[i].generation == generation && !slots_[i].process) begin(i);
    });
  });
}

P2PDVM_DECL void simulated_swarm::kill(std::size_t i) {
  slot& s = slots_[i];
  if (!s.process) return;
  gone_ += s.process->swarm()->statistics();
  s.machine->crash(sim::crash_mode::silent);
  s.process.reset();
}

P2PDVM_DECL std::optional<std::size_t> simulated_swarm::somebody(time_point latest) {
  for (std::size_t tries = 0; tries < 64; ++tries) {
    const auto i = static_cast<std::size_t>(random_.below(slots_.size()));
    if (slots_[i].process && slots_[i].since <= latest && !hostile(i)) return i;
  }
  return std::nullopt;
}

P2PDVM_DECL overlay::node_statistics simulated_swarm::statistics() const {
  overlay::node_statistics all = gone_;
  for (const slot& s : slots_) {
    if (s.process) all += s.process->swarm()->statistics();
  }
  return all;
}

}  // namespace p2pdvm::runtime

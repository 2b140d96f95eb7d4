/// A simulated job and what happens to it, as data: drawn from a seed, read by people, shrunk.
///
/// As text it is a few lines `WORD VALUE` and one line a fault; times are in seconds, those of faults
/// since the job has started; # begins a comment:
///
///     program halo
///     option steps 100
///     seed 17
///     peers 5
///     spares 0
///     hidden 2
///     receipts memory
///     ranks 6
///     profile lan
///     checkpoint-every 0.04
///     loss 0.01
///     reordering 0
///     duplication 0
///     after cut 3 +120 crash-silent teller
///     after recovering 1 +2 in-recovery crash-reset anyone for 4
///     at 0.25 isolate peer 3 group 2 for 2.5
///     at 0.5 rot peer 1 bits 16
#pragma once

#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/runtime/event.hpp>
#include <p2pdvm/runtime/job_spec.hpp>
#include <p2pdvm/sim/latency.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::runtime {

inline constexpr std::size_t scenario_bytes_max = 64 * 1024;
inline constexpr std::size_t scenario_faults_max = 256;
inline constexpr std::uint32_t scenario_peers_max = 1024;  ///< spares likewise
inline constexpr std::uint32_t scenario_bits_max = 1'000'000;
inline constexpr duration scenario_time_max = std::chrono::hours(24 * 365);

/// A fault falls so long after the job has started, or so many events of the simulation after a peer has told of something
/// for the nth time. Those of the second kind come one after another: each counts from the one
/// before. What takes a member away for good waits until the job can survive it.
struct scenario_fault {
  enum class action : std::uint8_t {
    crash_reset,   ///< the process dies; with a time it is started again afterwards
    crash_silent,  ///< the machine dies; likewise
    leave,         ///< Ctrl-C
    stall,         ///< the process does not run
    isolate,       ///< nothing gets from or to it
    mute,          ///< nothing gets from it
    deafen,        ///< nothing gets to it
    lose,          ///< this share of its packets is lost, both ways
    delay,         ///< its packets are late by `late`, both ways
    fail_write,    ///< the next one ends with an error of the disk
    fail_sync,
    fail_read,
    fill_disk,     ///< no room for more
    rot,           ///< so many bits of what is stored are flipped, also while the peer is down
  };
  enum class target : std::uint8_t {
    peer,     ///< the one with this number
    anyone,   ///< by the seed, as for all others who cannot be hit
    teller,   ///< who told of the event
    maker,    ///< peer 0, which made the job
    keepers,  ///< for crashes: so many that no majority is left; the job then waits
  };

  std::optional<event_kind> after;  ///< none: at a time
  std::uint64_t nth = 1;
  std::uint64_t steps = 0;
  bool in_recovery = false;  ///< while the job recovers from the first crash
  duration at{};             ///< since a peer has told that the job has started

  action what = action::crash_reset;
  target whom = target::anyone;
  std::uint32_t peer = 0;
  std::uint32_t group = 1;  ///< hit together with those that follow it
  duration lasts{};         ///< zero: for good
  double share = 0;
  duration late{};
  std::uint32_t bits = 1;   ///< that rot

  friend bool operator==(const scenario_fault&, const scenario_fault&) = default;
};

[[nodiscard]] std::string_view name_of(scenario_fault::action what);
/// One line, without its end.
[[nodiscard]] std::string text_of(const scenario_fault& fault);

struct scenario {
  std::string program;
  std::map<std::string, std::string> options;  ///< of the program
  std::uint64_t seed = 1;
  std::uint32_t peers = 3;
  std::uint32_t spares = 0;
  std::uint32_t hidden = 0;  ///< peers behind NATs, each behind one of its own: the last, but never peer 0
  receipts_from receipts = receipts_from::disk;
  std::uint32_t ranks = 3;
  sim::latency_profile profile = sim::latency_profile::lan;
  duration checkpoint_interval = std::chrono::milliseconds(40);  ///< zero: none
  double loss = 0;
  double reordering = 0;
  double duplication = 0;
  std::vector<scenario_fault> faults;

  [[nodiscard]] bool hides(std::uint32_t peer) const noexcept {
    return peer > 0 && peer < peers && peer + hidden >= peers;
  }
  [[nodiscard]] std::string text() const;
  /// `name` is what errors call it. `errc::malformed` names the line.
  [[nodiscard]] static result<scenario> parse(std::string_view text, std::string_view name);
  friend bool operator==(const scenario&, const scenario&) = default;
};

/// What a peer tells of between its start and the end of a recovery: where crashes are aimed at.
inline constexpr std::array protocol_states = {
    event_kind::started,   event_kind::rank_started, event_kind::wished,    event_kind::cut,
    event_kind::drained,   event_kind::sealed,       event_kind::committed, event_kind::recovering,
    event_kind::fetched,   event_kind::recovered,    event_kind::rank_returned};

/// All of them; crashes that are drawn from these end with a restart.
inline constexpr std::array all_fault_actions = {
    scenario_fault::action::crash_reset, scenario_fault::action::crash_silent,
    scenario_fault::action::leave,       scenario_fault::action::stall,
    scenario_fault::action::isolate,     scenario_fault::action::mute,
    scenario_fault::action::deafen,      scenario_fault::action::lose,
    scenario_fault::action::delay,       scenario_fault::action::fail_write,
    scenario_fault::action::fail_sync,   scenario_fault::action::fail_read,
    scenario_fault::action::fill_disk,   scenario_fault::action::rot};

/// One to three crashes for good at points of the protocol, and, by seed, up to three other faults
/// at any time, of those `kinds` that the seed enables. `programs` are the names to choose from;
/// each has the option `steps`.
[[nodiscard]] scenario draw_scenario(
    std::uint64_t seed, std::span<const std::string> programs,
    std::span<const scenario_fault::action> kinds = all_fault_actions);

/// Drops faults, peers and ranks, and shortens times, as long as `fails` says that the rest
/// fails as before; it is asked at most `tries` times. Precondition: the scenario itself fails.
[[nodiscard]] scenario shrink(scenario failing, const std::function<bool(const scenario&)>& fails,
                              std::size_t tries);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/scenario.ipp>
#include <p2pdvm/runtime/impl/scenario_text.ipp>
#endif

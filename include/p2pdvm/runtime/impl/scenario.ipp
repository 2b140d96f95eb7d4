#pragma once

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/runtime/scenario.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

using fault_action = scenario_fault::action;
using fault_target = scenario_fault::target;

/// What has happened before the first crash instead of what only follows one.
inline event_kind before_any_recovery(event_kind state) {
  if (state == event_kind::recovering) return event_kind::cut;
  if (state == event_kind::fetched) return event_kind::drained;
  return state == event_kind::recovered ? event_kind::committed : state;
}

inline scenario_fault draw_crash(random_generator& random, bool first) {
  const auto draw = [&random](std::uint64_t below) { return random.below(below); };
  scenario_fault f;
  const event_kind state = protocol_states[draw(protocol_states.size())];
  f.after = first ? before_any_recovery(state) : state;
  f.nth = 1 + draw(first ? 8 : 3);
  f.steps = draw(4) == 0 ? draw(400) : draw(6);
  bool teller = draw(2) == 0;
  const bool maker = draw(4) == 0;
  // States of a recovery come once in a crash's wake; the others often.
  if (!first && draw(2) == 0) {
    constexpr std::array states = {event_kind::recovering, event_kind::fetched,
                                   event_kind::rank_started, event_kind::recovered};
    f.in_recovery = true;
    f.after = states[draw(states.size())];
    f.nth = 1 + draw(2);
    f.steps = draw(3);
    teller = draw(4) != 0;
  }
  f.what = draw(2) == 0 ? fault_action::crash_reset : fault_action::crash_silent;
  f.whom = maker ? fault_target::maker : teller ? fault_target::teller : fault_target::anyone;
  return f;
}

/// A time in the life of a small job: it takes a second on a LAN and twenty far apart.
inline duration draw_time(random_generator& random, const scenario& of) {
  const std::int64_t milliseconds = of.profile == sim::latency_profile::lan ? 1000 : 20'000;
  return std::chrono::milliseconds(random.below(static_cast<std::uint64_t>(milliseconds)));
}

inline scenario_fault draw_other(random_generator& random, const scenario& of, fault_action what) {
  scenario_fault f;
  f.at = draw_time(random, of);
  f.what = what;
  f.whom = fault_target::peer;
  f.peer = static_cast<std::uint32_t>(random.below(of.peers));
  // From a hundredth of a second to ten, all orders of magnitude alike.
  f.lasts = std::chrono::milliseconds(10u << random.below(11));
  if (what == fault_action::isolate || what == fault_action::stall)
    f.group = static_cast<std::uint32_t>(1 + random.below(std::max(1u, of.peers / 2)));
  if (what == fault_action::lose) f.share = 0.05 * static_cast<double>(1 + random.below(10));
  if (what == fault_action::delay) f.late = std::chrono::milliseconds(1u << random.below(10));
  const bool once = what == fault_action::leave || what == fault_action::fail_write ||
                    what == fault_action::fail_sync || what == fault_action::fail_read ||
                    what == fault_action::rot;
  if (what == fault_action::rot) f.bits = 1u << random.below(9);
  if (once) f.lasts = {};
  return f;
}

/// The peer that `rot` hits dies shortly before or after, and comes back.
inline scenario_fault draw_restart(random_generator& random, const scenario_fault& rot) {
  scenario_fault f = rot;
  f.what = random.below(2) == 0 ? fault_action::crash_reset : fault_action::crash_silent;
  f.bits = 1;
  f.lasts = std::chrono::milliseconds(10u << random.below(8));
  if (random.below(2) == 0) f.at -= std::min(f.at, f.lasts / 2);
  return f;
}

/// Each seed enables some kinds of faults, and draws from those: a kind that is rare among many
/// is frequent in some runs (Groce et al., "Swarm testing", ISSTA 2012).
inline void draw_others(random_generator& random, std::span<const fault_action> kinds,
                        scenario& s) {
  std::vector<fault_action> enabled;
  for (const fault_action kind : kinds)
    if (random.below(4) == 0) enabled.push_back(kind);
  const std::uint64_t count = random.below(4);
  for (std::uint64_t i = 0; i < count && !enabled.empty(); ++i) {
    const scenario_fault f = draw_other(random, s, enabled[random.below(enabled.size())]);
    s.faults.push_back(f);
    // What rots is read when a process begins: often one does, soon.
    if (f.what == fault_action::rot && random.below(2) == 0)
      s.faults.push_back(draw_restart(random, f));
  }
}

}  // namespace detail

P2PDVM_DECL scenario draw_scenario(std::uint64_t seed, std::span<const std::string> programs,
                                   std::span<const scenario_fault::action> kinds) {
  random_generator random(seed * 2 + 1);
  const auto draw = [&random](std::uint64_t below) { return random.below(below); };
  scenario s;
  s.seed = seed;
  s.program = programs[draw(programs.size())];
  s.ranks = static_cast<std::uint32_t>(3 + draw(6));
  s.peers = static_cast<std::uint32_t>(3 + draw(6));
  const bool wide = draw(4) == 0;
  s.options = {{"steps", "100"}};
  s.spares = static_cast<std::uint32_t>(draw(2));
  s.profile = wide ? sim::latency_profile::planetlab : sim::latency_profile::lan;
  s.checkpoint_interval = std::chrono::milliseconds(wide ? 2000 : 40);
  if (wide) s.loss = 0.005;
  if (draw(2) == 0) s.loss = 0.01;
  if (draw(2) == 0) s.reordering = 0.05;
  if (draw(4) == 0) s.duplication = 0.02;
  const std::uint64_t crashes = 1 + draw(3);
  for (std::uint64_t i = 0; i < crashes; ++i) s.faults.push_back(detail::draw_crash(random, i == 0));
  detail::draw_others(random, kinds, s);
  if (draw(4) == 0) s.hidden = static_cast<std::uint32_t>(1 + draw(s.peers - 2));
  if (draw(4) == 0) s.receipts = receipts_from::memory;
  return s;
}

namespace detail {

/// Gives each simpler scenario to `take`, those that drop most first, until it returns true.
class simplifier {
 public:
  simplifier(const scenario& from, const std::function<bool(const scenario&)>& take)
      : from_(from), take_(take) {}

  bool find() { return drop_faults() || fewer() || calmer() || smaller_options() || shorter(); }

 private:
  template <class Change>
  bool attempt(Change change) {
    scenario simpler = from_;
    change(simpler);
    return simpler != from_ && take_(simpler);
  }
  bool drop_faults() {
    const std::size_t count = from_.faults.size();
    for (std::size_t size = count; size > 0; size /= 2) {
      for (std::size_t first = 0; first + size <= count; first += size) {
        const auto begin = static_cast<std::ptrdiff_t>(first);
        const auto end = static_cast<std::ptrdiff_t>(first + size);
        if (attempt([&](scenario& s) {
              s.faults.erase(s.faults.begin() + begin, s.faults.begin() + end);
            }))
          return true;
      }
    }
    return false;
  }
  /// Half of a number, or one less.
  template <class Number>
  bool reduce(Number scenario::* number, Number least) {
    const Number n = from_.*number;
    if (n <= least) return false;
    for (const Number to : {least, std::max<Number>(least, n / 2), n - 1}) {
      if (to < n && attempt([&](scenario& s) { s.*number = to; })) return true;
    }
    return false;
  }
  bool fewer() {
    return reduce<std::uint32_t>(&scenario::hidden, 0) || reduce<std::uint32_t>(&scenario::spares, 0) ||
           reduce<std::uint32_t>(&scenario::peers, 1) || reduce<std::uint32_t>(&scenario::ranks, 1);
  }
  bool calmer() {
    for (double scenario::* weather :
         {&scenario::loss, &scenario::reordering, &scenario::duplication})
      if (attempt([&](scenario& s) { s.*weather = 0; })) return true;
    return attempt([](scenario& s) { s.receipts = receipts_from::disk; }) ||
           attempt([](scenario& s) { s.profile = sim::latency_profile::lan; });
  }
  bool smaller_options() {
    for (const auto& [name, value] : from_.options) {
      std::uint64_t n = 0;
      const char* const end = value.data() + value.size();
      const auto [stop, ec] = std::from_chars(value.data(), end, n);
      if (ec != std::errc() || stop != end || n < 2) continue;
      if (attempt([&](scenario& s) { s.options[name] = std::to_string(n / 2); })) return true;
    }
    return false;
  }
  bool shorter() {
    for (std::size_t i = 0; i < from_.faults.size(); ++i) {
      const auto change = [&](auto what) {
        return attempt([&](scenario& s) { what(s.faults[i]); });
      };
      const auto half = [](duration d) { return std::chrono::floor<std::chrono::milliseconds>(d / 2); };
      if (change([](auto& f) { f.group = 1; }) || change([](auto& f) { f.in_recovery = false; }) ||
          change([](auto& f) { f.steps = 0; }) || change([](auto& f) { f.steps /= 2; }) ||
          change([](auto& f) { f.bits = 1; }) || change([](auto& f) { f.bits = (f.bits + 1) / 2; }) ||
          change([](auto& f) { f.nth = 1; }) || change([](auto& f) { f.nth = (f.nth + 1) / 2; }) ||
          change([&](auto& f) { f.at = half(f.at); }) ||
          (half(from_.faults[i].lasts) > duration::zero() &&  // none is for good
           change([&](auto& f) { f.lasts = half(f.lasts); })))
        return true;
    }
    return false;
  }

  const scenario& from_;
  const std::function<bool(const scenario&)>& take_;
};

}  // namespace detail

P2PDVM_DECL scenario shrink(scenario failing, const std::function<bool(const scenario&)>& fails,
                            std::size_t tries) {
  for (bool found = true; found;) {
    const scenario from = std::move(failing);
    failing = from;
    const std::function<bool(const scenario&)> take = [&](const scenario& simpler) {
      if (tries == 0) return true;
      --tries;
      if (!fails(simpler)) return false;
      failing = simpler;
      return true;
    };
    found = detail::simplifier(from, take).find() && tries > 0;
  }
  return failing;
}

}  // namespace p2pdvm::runtime

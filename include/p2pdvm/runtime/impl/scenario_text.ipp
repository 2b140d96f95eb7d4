#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/scenario.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace p2pdvm::runtime {

namespace detail {

inline constexpr std::array fault_names = {
    "crash-reset", "crash-silent", "leave", "stall", "isolate",   "mute",     "deafen",
    "lose",        "delay",        "fail-write", "fail-sync", "fail-read", "fill-disk", "rot"};

/// What may follow the target of each kind of fault.
struct fault_words {
  bool group = false, lasts = false, must_last = false, share = false, late = false,
       bits = false;
};
inline fault_words words_of(scenario_fault::action what) {
  using action = scenario_fault::action;
  switch (what) {
    case action::crash_reset:
    case action::crash_silent: return {.lasts = true};
    case action::stall:
    case action::isolate:
    case action::mute:
    case action::deafen: return {.group = true, .lasts = true, .must_last = true};
    case action::lose: return {.lasts = true, .must_last = true, .share = true};
    case action::delay: return {.lasts = true, .must_last = true, .late = true};
    case action::rot: return {.bits = true};
    case action::fill_disk: return {.lasts = true, .must_last = true};
    default: return {};
  }
}

/// Seconds without zeros at the end.
inline std::string seconds_text(duration d) {
  const std::int64_t n = d.count();
  std::string text = fmt::format("{}.{:09}", n / 1'000'000'000, n % 1'000'000'000);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

inline std::string target_text(const scenario_fault& f) {
  switch (f.whom) {
    case scenario_fault::target::peer: return fmt::format("peer {}", f.peer);
    case scenario_fault::target::anyone: return "anyone";
    case scenario_fault::target::teller: return "teller";
    case scenario_fault::target::maker: return "maker";
    case scenario_fault::target::keepers: return "keepers";
  }
  return {};
}

/// Reads one line; the first trouble stays.
class scenario_line {
 public:
  explicit scenario_line(std::string_view line) : rest_(line.substr(0, line.find('#'))) {}

  [[nodiscard]] const std::string& trouble() const noexcept { return trouble_; }
  void fail(std::string what) {
    if (trouble_.empty()) trouble_ = std::move(what);
  }
  /// Empty at the end.
  std::string_view word() {
    constexpr std::string_view blank = " \t\r";
    rest_.remove_prefix(std::min(rest_.find_first_not_of(blank), rest_.size()));
    const std::string_view w = rest_.substr(0, rest_.find_first_of(blank));
    rest_.remove_prefix(w.size());
    return w;
  }
  [[nodiscard]] bool next_is(std::string_view what) {
    scenario_line ahead = *this;
    return ahead.word() == what;
  }
  bool take(std::string_view what) {
    if (!next_is(what)) return false;
    (void)word();
    return true;
  }
  template <class Number>
  Number number(const char* what, Number least, Number most) {
    return parse(word(), what, least, most);
  }
  duration time(const char* what, duration least) {
    constexpr double second = 1e9;  // a division, so that whole bounds are printed as such
    const double seconds = number(what, static_cast<double>(least.count()) / second,
                                  static_cast<double>(scenario_time_max.count()) / second);
    return duration(static_cast<std::int64_t>(seconds * 1e9 + 0.5));
  }
  template <class Number>
  Number parse(std::string_view text, const char* what, Number least, Number most) {
    Number n{};
    const char* const end = text.data() + text.size();
    const auto [stop, ec] = std::from_chars(text.data(), end, n);
    if (ec == std::errc() && stop == end && n >= least && n <= most) return n;
    fail(fmt::format("{} must be a number from {} to {}, not '{}'", what, least, most,
                     shortened(text)));
    return least;
  }
  static std::string shortened(std::string_view text) { return std::string(text.substr(0, 40)); }

 private:
  std::string_view rest_;
  std::string trouble_;
};

template <class Names>
inline std::optional<std::size_t> index_in(const Names& names, std::string_view name) {
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) return std::nullopt;
  return static_cast<std::size_t>(found - names.begin());
}

inline void read_target(scenario_line& line, scenario_fault& f) {
  constexpr std::array names = {"peer", "anyone", "teller", "maker", "keepers"};
  const std::string_view word = line.word();
  const auto found = index_in(names, word);
  if (!found) {
    line.fail("whom does it hit: peer N, anyone, teller, maker or keepers? Not '" +
              line.shortened(word) + "'");
    return;
  }
  f.whom = static_cast<scenario_fault::target>(*found);
  if (f.whom == scenario_fault::target::peer)
    f.peer = line.number("the peer", 0u, 2 * scenario_peers_max - 1);
  if (f.whom == scenario_fault::target::teller && !f.after)
    line.fail("nobody tells of a time: 'teller' goes with 'after'");
  const bool crash = f.what == scenario_fault::action::crash_reset ||
                     f.what == scenario_fault::action::crash_silent;
  if (f.whom == scenario_fault::target::keepers && !crash)
    line.fail("'keepers' goes with crashes");
}

inline void read_extent(scenario_line& line, scenario_fault& f) {
  const fault_words may = words_of(f.what);
  if (may.group && line.take("group"))
    f.group = line.number("the group", 1u, scenario_peers_max);
  if (may.share) {
    if (!line.take("share")) line.fail("'share' must follow");
    f.share = line.number("the share", 0.0, 1.0);
  }
  if (may.late) {
    if (!line.take("by")) line.fail("'by' must follow");
    f.late = line.time("the delay", duration::zero());
  }
  if (may.bits && line.take("bits"))
    f.bits = line.number("the number of bits", 1u, scenario_bits_max);
  if (may.must_last && !line.next_is("for")) line.fail("'for' and a time must follow");
  if (may.lasts && line.take("for"))
    f.lasts = line.time("the time that it lasts", std::chrono::milliseconds(1));
}

inline std::optional<event_kind> event_named(std::string_view name) {
  for (std::size_t i = 0; i < event_kinds; ++i)
    if (name_of(static_cast<event_kind>(i)) == name) return static_cast<event_kind>(i);
  return std::nullopt;
}

/// After `at` or `after`.
inline scenario_fault read_fault(scenario_line& line, bool at) {
  scenario_fault f;
  if (at) {
    f.at = line.time("the time", duration::zero());
  } else {
    const std::string_view event = line.word();
    f.after = event_named(event);
    if (!f.after) line.fail("there is no event '" + line.shortened(event) + "'");
    f.nth = line.number<std::uint64_t>("how often", 1, 1'000'000);
    const std::string_view steps = line.word();
    if (!steps.starts_with('+')) line.fail("'+' and a number of steps must follow");
    f.steps = line.parse<std::uint64_t>(steps.substr(std::min<std::size_t>(1, steps.size())),
                                        "the number of steps", 0, 1'000'000'000);
    f.in_recovery = line.take("in-recovery");
  }
  const std::string_view what = line.word();
  const auto found = index_in(fault_names, what);
  if (!found) {
    line.fail("there is no fault '" + line.shortened(what) + "'");
    return f;
  }
  f.what = static_cast<scenario_fault::action>(*found);
  read_target(line, f);
  read_extent(line, f);
  return f;
}

inline void read_setting(scenario_line& line, std::string_view word, scenario& s) {
  if (word == "program") {
    s.program = line.word();
    if (s.program.empty()) line.fail("'program' needs a name");
  } else if (word == "option") {
    const std::string name(line.word());
    if (name.empty()) line.fail("'option' needs a name and a value");
    if (!s.options.emplace(name, line.word()).second) line.fail("the option is there twice");
  } else if (word == "seed") {
    s.seed = line.number<std::uint64_t>("the seed", 0, ~std::uint64_t{0});
  } else if (word == "peers") {
    s.peers = line.number("the number of peers", 1u, scenario_peers_max);
  } else if (word == "spares") {
    s.spares = line.number("the number of spares", 0u, scenario_peers_max);
  } else if (word == "hidden") {
    s.hidden = line.number("the number of hidden peers", 0u, scenario_peers_max);
  } else if (word == "receipts") {
    const std::string_view from = line.word();
    if (from != "disk" && from != "memory") line.fail("receipts are from disk or memory, not '" + line.shortened(from) + "'");
    s.receipts = from == "memory" ? receipts_from::memory : receipts_from::disk;
  } else if (word == "ranks") {
    s.ranks = line.number("the number of ranks", 1u, std::uint32_t{limits::ranks_max});
  } else if (word == "profile") {
    const std::string_view name = line.word();
    const auto profile = sim::latency_profile_of(name);
    if (!profile) line.fail("there is no latency profile '" + line.shortened(name) + "'");
    s.profile = profile.value_or(s.profile);
  } else if (word == "checkpoint-every") {
    s.checkpoint_interval = line.time("the checkpoint interval", duration::zero());
  } else if (word == "loss") {
    s.loss = line.number("the loss", 0.0, 1.0);
  } else if (word == "reordering") {
    s.reordering = line.number("the reordering", 0.0, 1.0);
  } else if (word == "duplication") {
    s.duplication = line.number("the duplication", 0.0, 1.0);
  } else {
    line.fail("there is nothing called '" + line.shortened(word) + "' in a scenario");
  }
}

}  // namespace detail

P2PDVM_DECL std::string_view name_of(scenario_fault::action what) {
  return detail::fault_names[static_cast<std::size_t>(what)];
}

P2PDVM_DECL std::string text_of(const scenario_fault& f) {
  std::string text = "at " + detail::seconds_text(f.at);
  if (f.after) {
    text = fmt::format("after {} {} +{}", name_of(*f.after), f.nth, f.steps);
    if (f.in_recovery) text += " in-recovery";
  }
  text += fmt::format(" {} {}", name_of(f.what), detail::target_text(f));
  const detail::fault_words may = detail::words_of(f.what);
  if (may.group && f.group != 1) text += fmt::format(" group {}", f.group);
  if (may.share) text += fmt::format(" share {}", f.share);
  if (may.late) text += " by " + detail::seconds_text(f.late);
  if (may.bits && f.bits != 1) text += fmt::format(" bits {}", f.bits);
  if (may.lasts && f.lasts != duration::zero()) text += " for " + detail::seconds_text(f.lasts);
  return text;
}

P2PDVM_DECL std::string scenario::text() const {
  std::string out = "program " + program + "\n";
  for (const auto& [name, value] : options) out += fmt::format("option {} {}\n", name, value);
  out += fmt::format("seed {}\npeers {}\nspares {}\nhidden {}\nranks {}\nprofile {}\ncheckpoint-every {}\n", seed,
                     peers, spares, hidden, ranks, sim::name_of(profile),
                     detail::seconds_text(checkpoint_interval));
  if (receipts == receipts_from::memory) out += "receipts memory\n";
  out += fmt::format("loss {}\nreordering {}\nduplication {}\n", loss, reordering, duplication);
  for (const scenario_fault& f : faults) out += text_of(f) + "\n";
  return out;
}

P2PDVM_DECL result<scenario> scenario::parse(std::string_view text, std::string_view name) {
  if (text.size() > scenario_bytes_max)
    return error(errc::too_large, fmt::format("the scenario {} is too large", name));
  scenario s;
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    detail::scenario_line line(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view first = line.word();
    if (first.empty()) continue;
    if (first == "at" || first == "after") {
      s.faults.push_back(detail::read_fault(line, first == "at"));
      if (s.faults.size() > scenario_faults_max)
        line.fail(fmt::format("more than {} faults", scenario_faults_max));
    } else {
      detail::read_setting(line, first, s);
    }
    if (const std::string_view more = line.word(); !more.empty())
      line.fail("'" + line.shortened(more) + "' is too much");
    if (!line.trouble().empty())
      return error(errc::malformed, fmt::format("{}, line {}: {}", name, number, line.trouble()));
  }
  if (s.program.empty())
    return error(errc::malformed, fmt::format("{}: it names no program", name));
  return s;
}

}  // namespace p2pdvm::runtime

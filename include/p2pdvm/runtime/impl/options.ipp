#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/byte_size.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/options.hpp>
#include <p2pdvm/sim/latency.hpp>
#include <p2pdvm/store/segment_log.hpp>
#include <p2pdvm/store/upload_budget.hpp>

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string_view>

namespace p2pdvm::runtime {

namespace detail {

/// Names, meanings and defaults, wrapped; without the library's remarks on types and exclusions.
class help_format final : public CLI::Formatter {
 public:
  help_format() { column_width(left); }
  std::string make_usage(const CLI::App*, std::string name) const override {
    return "Usage: " + name + " [OPTIONS] [-- OPTIONS OF THE PROGRAM]\n";
  }
  std::string make_option_opts(const CLI::Option* o) const override {
    return o->get_type_size() == 0 ? std::string() : " " + o->get_type_name();
  }
  std::string make_option_desc(const CLI::Option* o) const override {
    const std::string usual = o->get_default_str();
    return wrapped(o->get_description() + (usual.empty() ? "" : " [" + usual + "]"));
  }
  static std::string wrapped(const std::string& text) {
    std::string lines, word;
    std::size_t column = 0;
    std::istringstream words(text);
    while (words >> word) {
      const bool fits = column + 1 + word.size() <= width - left;
      if (column > 0) lines += fits ? ' ' : '\n';
      column = column > 0 && fits ? column + 1 + word.size() : word.size();
      lines += word;
    }
    return lines;
  }
  static constexpr std::size_t left = 30, width = 100;
};

/// Whole numbers of a range; the sentence says which.
inline CLI::Validator between(std::uint32_t low, std::uint32_t high) {
  return CLI::Validator(
      [low, high](std::string& text) -> std::string {
        std::uint32_t n = 0;
        const char* end = text.data() + text.size();
        const auto [stop, ec] = std::from_chars(text.data(), end, n);
        if (ec == std::errc() && stop == end && n >= low && n <= high) return {};
        return "write a number from " + std::to_string(low) + " to " + std::to_string(high) +
               ", not '" + text + "'";
      },
      "");
}

/// All of `text` as a number of seconds within what a `duration` can hold, infinity excluded.
inline std::optional<double> read_seconds(const std::string& text) {
  constexpr double most = 1e9;
  double seconds = 0;
  const char* end = text.data() + text.size();
  const auto [stop, ec] = std::from_chars(text.data(), end, seconds);
  if (ec != std::errc() || stop != end || !(seconds >= 0 && seconds <= most)) return std::nullopt;
  return seconds;
}

/// "auto", "off" or seconds; what rounds to no time at all would mean "off".
inline std::string check_interval(const std::string& text) {
  if (text == "auto" || text == "off") return {};
  if (const auto seconds = read_seconds(text); seconds && *seconds >= 0.001) return {};
  return "write auto, off or a number of seconds (0.001 at least), not '" + text + "'";
}

/// What rounds to no time at all would mean "never".
inline std::string check_hang_after(const std::string& text) {
  if (const auto seconds = read_seconds(text); seconds && (*seconds == 0 || *seconds >= 0.001)) return {};
  return "write a number of seconds (0.001 at least, or 0 for never), not '" + text + "'";
}

inline std::string check_profile(const std::string& name) {
  if (sim::latency_profile_of(name)) return {};
  return "there is no latency profile '" + name +
         "'; it is loopback, lan, planetlab, residential or intercontinental";
}

inline void add_place_options(CLI::App& app, command_line& out) {
  constexpr const char* group = "Where the job runs";
  app.add_option("--ranks", out.ranks, "virtual processors of the job, however many peers run it")
      ->check(between(1, limits::ranks_max))
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  auto* local = app.add_option("--local", out.local,
                               "on this machine, as N peer processes that talk over sockets as "
                               "separate machines would; kill any of them")
                    ->check(between(1, 256))
                    ->type_name("N")
                    ->group(group);
  auto* host = app.add_flag("--host", out.host,
                            "on several machines: make the job and print a ticket for the others")
                   ->group(group);
  app.add_option("--peers", out.peers,
                 "with --host: begin when N peers are there, this one included; with --simulate: "
                 "how many to simulate")
      ->check(between(1, static_cast<std::uint32_t>(limits::members_max)))
      ->type_name("N")
      ->group(group);
  auto* join = app.add_option("--join", out.join,
                              "take part in the job of this ticket; its ranks, options and inputs "
                              "come with the job")
                   ->type_name("TICKET")
                   ->group(group);
  app.add_option("--listen", out.listen,
                 "with --host or --join: where other peers reach this one; default: a free port on "
                 "every address of this machine")
      ->type_name("ADDR:PORT")
      ->group(group)
      ->check([](const std::string& text) {
        const auto parsed = address::parse(text);
        return parsed.ok() ? std::string() : parsed.error().message();
      });
  app.add_option("--profile", out.profile,
                 "with --local: delay and limit what the peers send one another as if they were far "
                 "apart: loopback, lan, planetlab, residential or intercontinental")
      ->type_name("PROFILE")
      ->check(check_profile)
      ->group(group);
  app.add_option("--shared-memory", out.shared_memory,
                 "on: messages between peers of this computer and user go through memory; off: they are "
                 "encrypted and sent as to any other")
      ->check(CLI::IsMember({"on", "off"}))
      ->type_name("WHEN")
      ->capture_default_str()
      ->group(group);
  app.add_option("--threads", out.threads, "threads that run ranks in this process")
      ->check(between(1, 256))
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  local->excludes(host)->excludes(join);
  host->excludes(join);
}

inline void add_simulator_options(CLI::App& app, command_line& out) {
  constexpr const char* group = "In the simulator";
  auto* simulate =
      app.add_option("--simulate", out.simulate,
                     "run all peers in this process and in virtual time, over a simulated network: "
                     "loopback, lan, planetlab, residential or intercontinental")
          ->type_name("PROFILE")
          ->check(check_profile)
          ->group(group);
  for (const char* other : {"--local", "--host", "--join"}) simulate->excludes(app.get_option(other));
  app.add_option("--seed", out.seed, "the same seed gives the same run, event by event; with --profile, "
                                      "the same places as there")
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_option_function<std::string>(
         "--churn",
         [&out](const std::string& text) { out.churn = sim::session_model::parse(text).value(); },
         "peers go without a word and come back: stable (nobody goes), diurnal, a mean time to stay "
         "such as 600s, 30min or 2.9h, exponential:TIME, heavy-tailed:TIME or mixed:TIME; never so "
         "many at once that the job would have to wait for them")
      ->check([](const std::string& text) {
        const auto model = sim::session_model::parse(text);
        return model.ok() ? std::string() : model.error().message();
      })
      ->type_name("SESSIONS")
      ->group(group);
  app.add_option("--latency-matrix", out.latency_matrix,
                 "round trips between peers from a file that holds a square matrix [ms], instead of "
                 "a profile's")
      ->type_name("FILE")
      ->group(group);
  app.add_flag("--matrix-in-seconds", out.matrix_in_seconds, "that matrix is in seconds")
      ->group(group);
}

/// A sentence when it is no size, or less than the least one.
inline std::string check_size(const std::string& text, std::uint64_t least) {
  const auto size = parse_byte_size(text);
  if (!size.ok()) return size.error().message();
  return *size >= least ? std::string() : "write " + byte_size_text(least) + " at least, not '" + text + "'";
}

/// "2MB/s": the "/s" may be left out.
inline std::string without_per_second(const std::string& text) {
  return text.ends_with("/s") ? text.substr(0, text.size() - 2) : text;
}

inline void add_data_options(CLI::App& app, command_line& out) {
  constexpr const char* group = "Checkpoints and data";
  app.add_option("--data", out.data,
                 "folder for this peer's identity, checkpoints and known peers; default: "
                 "$XDG_STATE_HOME/p2pdvm/" + app.get_name())
      ->type_name("DIR")
      ->group(group);
  app.add_flag("--resume", out.resume, "continue the job kept in that folder from its last checkpoint")
      ->group(group);
  app.add_option("--checkpoint-every", out.checkpoint_every,
                 "auto (from the losses seen and the costs measured), a number of seconds, or off")
      ->check(check_interval)
      ->type_name("WHEN")
      ->capture_default_str()
      ->group(group);
  app.add_option("--replicas", out.replicas, "peers that keep a copy of each piece of a checkpoint")
      ->check(between(1, 16))
      ->type_name("N")
      ->capture_default_str()
      ->group(group);
  app.add_option("--receipts", out.receipts,
                 "when a copy counts: disk, once it is durable; memory, at once, which survives the loss of peers "
                 "but not of all of them in the same second")
      ->check(CLI::IsMember({"disk", "memory"}))
      ->type_name("FROM")
      ->capture_default_str()
      ->group(group);
  add_quota_options(app, out, group);
  app.add_option("--compression", out.compression,
                 "auto: pieces of checkpoints and inputs are compressed where a sample says that it pays; off: this "
                 "peer compresses nothing")
      ->check(CLI::IsMember({"auto", "off"}))
      ->type_name("WHEN")
      ->capture_default_str()
      ->group(group);
}

inline void add_output_options(CLI::App& app, command_line& out) {
  constexpr const char* group = "Output";
  app.add_flag("--quiet", out.quiet, "print results and errors only")->group(group);
  app.add_flag("--json", out.json, "print one JSON object a line instead of sentences")->group(group);
  app.add_flag("--explain", out.explain,
               "print which way each collective takes, how long that was predicted to take and how long it took; and what supersteps cost")
      ->group(group);
  app.add_option("--hang-after", out.hang_after,
                 "when ranks wait for one thing so long [s], print where every rank is; 0: never")
      ->check(check_hang_after)
      ->type_name("SECONDS")
      ->capture_default_str()
      ->group(group);
  app.add_option("--trace", out.trace, "append every event to this file, one JSON object a line")
      ->type_name("FILE")
      ->group(group);
  app.add_option("--timeline", out.timeline,
                 "with --simulate: write a picture of the run to this file, for ui.perfetto.dev or "
                 "chrome://tracing")
      ->type_name("FILE")
      ->group(group);
  app.set_help_flag("-h,--help", "print this text")->group(group);
  app.add_option("--local-index", out.local_index)->group("");
  app.add_option("--event-fd", out.event_fd)->group("");
}

/// What is wrong with words that are no options, `own` being whether they stand before `--`.
inline std::string describe_extras(const CLI::App& app, const peal::program& program, bool own) {
  std::string word;
  for (const std::string& extra : app.remaining()) {
    if (word.empty() || (extra.starts_with("-") && !word.starts_with("-"))) word = extra;
  }
  for (const auto& o : program.options()) {
    if (own && (word == "--" + o.name || word.starts_with("--" + o.name + "=")))
      return "'--" + o.name + "' is the program's own option: write it after '--'";
  }
  return (word.starts_with("-") ? "there is no option '" : "there is nothing to do with '") + word + "'";
}

/// The part after `--`.
inline std::optional<parse_exit> parse_program_options(std::vector<std::string> words,
                                                       const peal::program& program,
                                                       command_line& out) {
  CLI::App app;
  app.set_help_flag();
  for (const auto& o : program.options()) {
    // A joiner's options and inputs are the job's; where it writes results is its own affair.
    if (!out.join.empty() && o.kind != peal::program::kind::output) continue;
    auto& map = o.kind == peal::program::kind::option  ? out.program_options
                : o.kind == peal::program::kind::input ? out.inputs
                                                       : out.outputs;
    std::string& value = map[o.name];
    value = o.fallback;
    app.add_option("--" + o.name, value, o.help)
        ->type_name(o.kind == peal::program::kind::option ? "VALUE" : "FILE");
  }
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(words);
  } catch (const CLI::ExtrasError&) {
    return parse_exit{2, program.name() + ": after '--': " + describe_extras(app, program, false) +
                             (out.join.empty() ? "" : " (a joiner gives output options only)") +
                             "; see " + program.name() + " --help\n"};
  } catch (const CLI::ParseError& e) {
    return parse_exit{2, program.name() + ": after '--': " + e.what() +
                             (out.join.empty() ? "" : " (a joiner gives output options only)") +
                             "; see " + program.name() + " --help\n"};
  }
  std::erase_if(out.inputs, [](const auto& i) { return i.second.empty(); });
  std::erase_if(out.outputs, [](const auto& o) { return o.second.empty(); });
  return std::nullopt;
}

inline std::string program_help(const peal::program& program) {
  std::string text;
  if (!program.options().empty()) text += "The program's own options, after '--':\n";
  for (const auto& o : program.options()) {
    const bool file = o.kind != peal::program::kind::option;
    std::string head = "  --" + o.name + (file ? " FILE" : " VALUE");
    head.resize(std::max<std::size_t>(head.size() + 2, help_format::left), ' ');
    text += head + o.help + (o.fallback.empty() ? "" : " [" + o.fallback + "]") + "\n";
  }
  text += std::string(text.empty() ? "" : "\n") + "Examples:\n";
  const auto example = [&](std::string_view arguments, std::string_view meaning) {
    std::string line = "  " + program.name();
    (line += ' ') += arguments;
    line.resize(std::max(line.size() + 2, program.name().size() + 36), ' ');
    ((text += line) += meaning) += '\n';
  };
  example("--ranks 8", "all ranks in this process");
  example("--ranks 8 --local 4", "four peer processes on this machine");
  example("--ranks 8 --peers 4 --host", "print a ticket, wait for three more machines");
  example("--join TICKET", "on each of them");
  example("--ranks 64 --simulate planetlab", "the same program in the simulator");
  text.pop_back();
  return text;
}

}  // namespace detail

P2PDVM_DECL void add_quota_options(CLI::App& app, command_line& out, const std::string& group) {
  const auto size = [](std::uint64_t least) {
    return [least](const std::string& text) { return detail::check_size(text, least); };
  };
  app.add_option_function<std::string>(
         "--quota", [&out](const std::string& text) { out.quota = parse_byte_size(text).value(); },
         "what this peer's store, with copies of other peers' checkpoints, may take of the disk, such as 20GB; what does not fit goes to others")
      ->check(size(store::segment_log::quota_bytes_min))
      ->type_name("SIZE")
      ->group(group);
  app.add_option_function<std::string>(
         "--memory-quota", [&out](const std::string& text) { out.memory_quota = parse_byte_size(text).value(); },
         "what copies that count before they are on disk (--receipts memory) may take of the memory; default: 512MiB")
      ->check(size(0))
      ->type_name("SIZE")
      ->group(group);
  app.add_option_function<std::string>(
         "--upload-rate",
         [&out](const std::string& text) { out.upload_rate = parse_byte_size(detail::without_per_second(text)).value(); },
         "how fast pieces of checkpoints may leave this peer, such as 500kB/s; messages of ranks are not held up")
      ->check([](const std::string& text) {
        return detail::check_size(detail::without_per_second(text), store::upload_rate_min);
      })
      ->type_name("SIZE/s")
      ->group(group);
}

P2PDVM_DECL std::optional<duration> command_line::checkpoint_interval() const {
  if (checkpoint_every == "auto") return std::nullopt;
  if (checkpoint_every == "off") return duration::zero();
  return from_seconds(detail::read_seconds(checkpoint_every).value_or(0));
}

P2PDVM_DECL duration command_line::hang_patience() const {
  return from_seconds(detail::read_seconds(hang_after).value_or(0));
}

P2PDVM_DECL std::optional<parse_exit> parse_command_line(int argc, const char* const* argv,
                                                         const peal::program& program,
                                                         command_line& out) {
  std::vector<std::string> own, after;
  bool split = false;
  for (int i = 1; i < argc; ++i) {
    if (!split && std::string_view(argv[i]) == "--") {
      split = true;
    } else {
      (split ? after : own).emplace_back(argv[i]);
    }
  }
  CLI::App app(program.description(), program.name());
  app.formatter(std::make_shared<detail::help_format>());
  app.footer(detail::program_help(program));
  app.set_help_flag();  // the groups of the help stand in the order of their first options
  detail::add_place_options(app, out);
  detail::add_simulator_options(app, out);
  detail::add_data_options(app, out);
  detail::add_output_options(app, out);
  app.set_version_flag("--version", program.name() + " on p2pdvm " P2PDVM_VERSION_STRING,
                       "print which p2pdvm this program is built with")
      ->group("Output");
  std::reverse(own.begin(), own.end());
  try {
    app.parse(own);
  } catch (const CLI::CallForHelp&) {
    return parse_exit{0, app.help()};
  } catch (const CLI::CallForVersion&) {
    return parse_exit{0, program.name() + " on p2pdvm " P2PDVM_VERSION_STRING "\n"};
  } catch (const CLI::ExtrasError&) {
    return parse_exit{2, program.name() + ": " + detail::describe_extras(app, program, true) +
                             "; see " + program.name() + " --help\n"};
  } catch (const CLI::ParseError& e) {
    return parse_exit{2, program.name() + ": " + e.what() + "; see " + program.name() +
                             " --help\n"};
  }
  if (!out.profile.empty() && out.local == 0 && out.local_index < 0)
    return parse_exit{2, program.name() + ": --profile goes with --local (in virtual time: --simulate " +
                             out.profile + "); see " + program.name() + " --help\n"};
  if (!out.timeline.empty() && out.simulate.empty() && out.latency_matrix.empty())
    return parse_exit{2, program.name() + ": --timeline goes with --simulate; see " + program.name() +
                             " --help\n"};
  return detail::parse_program_options(std::move(after), program, out);
}

P2PDVM_DECL std::string default_data_folder(const std::string& program) {
  const char* state = std::getenv("XDG_STATE_HOME");
  const char* home = std::getenv("HOME");
  std::string base = state != nullptr && *state != 0 ? std::string(state)
                     : home != nullptr               ? std::string(home) + "/.local/state"
                                                     : std::string("/tmp");
  return base + "/p2pdvm/" + program;
}

}  // namespace p2pdvm::runtime

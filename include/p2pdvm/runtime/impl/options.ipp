#pragma once

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/options.hpp>

#include <CLI/CLI.hpp>

#include <charconv>
#include <cstdlib>
#include <string_view>

namespace p2pdvm::runtime {

namespace detail {

/// "auto", "off" or seconds.
inline std::string check_interval(const std::string& text) {
  if (text == "auto" || text == "off") return {};
  double seconds = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (ec == std::errc() && end == text.data() + text.size() && seconds > 0) return {};
  return "write auto, off or a number of seconds, not '" + text + "'";
}

inline void add_peer_options(CLI::App& app, command_line& out) {
  app.add_option("--ranks", out.ranks, "virtual processors of the job")
      ->check(CLI::Range(1u, limits::ranks_max))
      ->capture_default_str();
  auto* local = app.add_option("--local", out.local,
                               "run N peer processes on this machine that talk as strangers would")
                    ->check(CLI::Range(1u, 256u))
                    ->type_name("N");
  auto* host = app.add_flag("--host", out.host, "make a job for several machines: prints a ticket");
  app.add_option("--peers", out.peers, "with --host: start when N peers are there, this one included")
      ->check(CLI::Range(1u, static_cast<std::uint32_t>(limits::members_max)))
      ->type_name("N");
  auto* join = app.add_option("--join", out.join, "join the job of this ticket; needs nothing else")
                   ->type_name("TICKET");
  auto* simulate =
      app.add_option("--simulate", out.simulate,
                     "run in the simulator, in virtual time, over a network of this profile: "
                     "loopback, lan, planetlab, residential or intercontinental")
          ->type_name("PROFILE");
  local->excludes(host)->excludes(join)->excludes(simulate);
  host->excludes(join)->excludes(simulate);
  join->excludes(simulate);
  app.add_option("--seed", out.seed, "with --simulate: the same seed gives the same run")
      ->capture_default_str();
  app.add_option("--churn", out.churn,
                 "with --simulate: peers die after this many seconds on average")
      ->check(CLI::NonNegativeNumber)
      ->type_name("SECONDS");
  app.add_option("--latency-matrix", out.latency_matrix,
                 "with --simulate: round trips from a square matrix (milliseconds) instead of the profile")
      ->type_name("FILE");
  app.add_flag("--matrix-in-seconds", out.matrix_in_seconds, "the numbers of --latency-matrix are seconds");
}

inline void add_run_options(CLI::App& app, command_line& out) {
  app.add_option("--listen", out.listen, "address and port for other peers; default: any, chosen")
      ->type_name("ADDR:PORT")
      ->check([](const std::string& text) {
        const auto parsed = address::parse(text);
        return parsed.ok() ? std::string() : parsed.error().message();
      });
  app.add_option("--data", out.data,
                 "folder for identity, snapshots and known peers; default: below "
                 "$XDG_STATE_HOME/p2pdvm")
      ->type_name("DIR");
  app.add_option("--checkpoint-every", out.checkpoint_every,
                 "auto (from failures seen and costs measured), a number of seconds, or off")
      ->check(check_interval)
      ->type_name("auto|SECONDS|off")
      ->capture_default_str();
  app.add_option("--replicas", out.replicas, "copies of each piece of a checkpoint")
      ->check(CLI::Range(1u, 16u))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--resume", out.resume, "continue the job kept in --data from its last checkpoint");
  app.add_option("--threads", out.threads, "threads that run ranks in this process")
      ->check(CLI::Range(1u, 256u))
      ->type_name("N")
      ->capture_default_str();
  app.add_flag("--quiet", out.quiet, "print results and errors only");
  app.add_flag("--json", out.json, "print one JSON object a line instead of sentences");
  app.add_option("--trace", out.trace, "write every event to this file, one JSON object a line")
      ->type_name("FILE");
  app.add_option("--local-index", out.local_index)->group("");
  app.add_option("--event-fd", out.event_fd)->group("");
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
    app.add_option("--" + o.name, value, o.help);
  }
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(words);
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
    head.resize(std::max<std::size_t>(head.size() + 2, 30), ' ');
    text += head + o.help + (o.fallback.empty() ? "" : " [" + o.fallback + "]") + "\n";
  }
  return text + "\nExamples:\n"
         "  " + program.name() + " --ranks 8                       all ranks in this process\n"
         "  " + program.name() + " --ranks 8 --local 4             four peer processes on this machine\n"
         "  " + program.name() + " --ranks 8 --peers 4 --host      print a ticket, wait for three more machines\n"
         "  " + program.name() + " --join TICKET                   on each of them\n"
         "  " + program.name() + " --ranks 64 --simulate planetlab the same program in the simulator\n";
}

}  // namespace detail

P2PDVM_DECL std::optional<duration> command_line::checkpoint_interval() const {
  if (checkpoint_every == "auto") return std::nullopt;
  if (checkpoint_every == "off") return duration::zero();
  double seconds = 0;
  std::from_chars(checkpoint_every.data(), checkpoint_every.data() + checkpoint_every.size(), seconds);
  return from_seconds(seconds);
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
  app.footer(detail::program_help(program));
  app.set_version_flag("--version", program.name() + " on p2pdvm " P2PDVM_VERSION_STRING);
  detail::add_peer_options(app, out);
  detail::add_run_options(app, out);
  std::reverse(own.begin(), own.end());
  try {
    app.parse(own);
  } catch (const CLI::CallForHelp&) {
    return parse_exit{0, app.help()};
  } catch (const CLI::CallForVersion&) {
    return parse_exit{0, program.name() + " on p2pdvm " P2PDVM_VERSION_STRING "\n"};
  } catch (const CLI::ParseError& e) {
    return parse_exit{2, program.name() + ": " + e.what() + "; see " + program.name() +
                             " --help\n"};
  }
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

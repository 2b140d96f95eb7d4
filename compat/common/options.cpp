#include "options.hpp"

#include <p2pdvm/base/config.hpp>

#include <fmt/core.h>

#include <charconv>
#include <cstdlib>

namespace p2pdvm::compat {

namespace {

constexpr const char* help = R"(Runs {programs}.

  {launcher} -n N PROGRAM [ARGUMENTS…]
  {launcher} -n N --ranks R --host PROGRAM [ARGUMENTS…]
  {launcher} -n N --join TICKET PROGRAM [ARGUMENTS…]

  -n, -np N             processes started on this computer, one rank each (default: 1)
  --host                begin a job that processes of other computers join, and print its ticket
  --ranks R             with --host: ranks of the job on all computers; it starts when they are there
  --join TICKET         take part in that job
  --listen ADDR:PORT    with --host or --join, where -n is 1: where others reach this process
  --shared-memory off   do not use shared memory between processes of this computer
  --profile NAME        delay what processes send each other as if they were far apart (with --seed K)
  --data FOLDER         keep checkpoints there (p2pdvm.h says how a program makes them)
  --restart             with --data: begin again at the last checkpoint there, with the same -n
  --on-loss restart     when a process is lost begin all of them again at the last checkpoint, if there is one since they
                        began; else (end) the program ends
  --timeout SECONDS     end the program when it takes longer (default: what {timeout} says, or never)
  --quiet               do not print the ticket's explanation
  --help, --version
)";

constexpr unsigned processes_max = 4096, timeout_max = 10'000'000;

std::optional<unsigned> number(const std::string& text, unsigned most) {
  unsigned value = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc() || end != text.data() + text.size() || value == 0 || value > most) return std::nullopt;
  return value;
}

}  // namespace

std::optional<stop> parse(const environment& of, int argc, char** argv, options& into) {
  const auto wrong = [&of](const std::string& sentence) { return stop{2, fmt::format("{}: {}; see --help\n", of.launcher, sentence)}; };
  int i = 1;
  std::string on_loss = "end";
  if (const char* const text = std::getenv(of.timeout)) into.timeout = number(text, timeout_max).value_or(0);
  for (; i < argc && argv[i][0] == '-'; ++i) {
    const std::string name = argv[i];
    if (name == "--help" || name == "-h") return stop{0, fmt::format(help, fmt::arg("programs", of.programs), fmt::arg("launcher", of.launcher), fmt::arg("timeout", of.timeout))};
    if (name == "--version") return stop{0, fmt::format("{} {}\n", of.launcher, P2PDVM_VERSION_STRING)};
    if (name == "--host") {
      into.host = true;
    } else if (name == "--quiet") {
      into.quiet = true;
    } else if (name == "--restart") {
      into.restart = true;
    } else if (name == "--") {
      ++i;
      break;
    } else {
      unsigned* const count = name == "-n" || name == "-np" || name == "-npes" ? &into.processes
                              : name == "--ranks"           ? &into.ranks
                              : name == "--timeout"         ? &into.timeout
                                                            : nullptr;
      std::string* const text = name == "--join"            ? &into.join
                                : name == "--listen"        ? &into.listen
                                : name == "--shared-memory" ? &into.shared_memory
                                : name == "--profile"       ? &into.profile
                                : name == "--seed"          ? &into.seed
                                : name == "--data"          ? &into.data
                                : name == "--on-loss"       ? &on_loss
                                                            : nullptr;
      if (count == nullptr && text == nullptr) return wrong("there is no option " + name);
      if (++i == argc) return wrong(name + " needs a value");
      if (text != nullptr) {
        *text = argv[i];
        continue;
      }
      const unsigned most = count == &into.timeout ? timeout_max : processes_max;
      const std::optional<unsigned> value = number(argv[i], most);
      if (!value) return wrong(name + " takes a number from 1 to " + std::to_string(most) + ", not '" + argv[i] + "'");
      *count = *value;
    }
  }
  into.command.assign(argv + i, argv + argc);
  if (into.command.empty()) return wrong("no program was named");
  if (into.host && !into.join.empty()) return wrong("--host begins a job and --join takes part in one: name one of them");
  if (into.ranks != 0 && !into.host) return wrong("--ranks goes with --host");
  if (into.restart && into.data.empty()) return wrong("--restart needs --data: where the checkpoints are");
  if (into.restart && (into.host || !into.join.empty())) return wrong("--restart goes on with a job that is there, which --host and --join do not");
  if (on_loss != "end" && on_loss != "restart") return wrong("--on-loss is end or restart");
  into.restart_on_loss = on_loss == "restart";
  if (into.ranks == 0) into.ranks = into.processes;
  if (into.ranks < into.processes) return wrong("--ranks is less than the processes started here");
  if (!into.listen.empty() && into.processes != 1) return wrong("--listen names one address, and -n starts several processes");
  if (into.shared_memory != "on" && into.shared_memory != "off") return wrong("--shared-memory is on or off");
  return std::nullopt;
}

}  // namespace p2pdvm::compat

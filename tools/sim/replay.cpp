/// p2pdvm-sim replay: one scenario again, with everything that happened in it.
#include "commands.hpp"

#include <p2pdvm/runtime/scenario_programs.hpp>
#include <p2pdvm/runtime/scenario_run.hpp>

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>

namespace p2pdvm::tools {
namespace {

using runtime::scenario;
using runtime::scenario_fault;

struct replay_options {
  std::string file;
  std::uint64_t seed = 0;
  std::string timeline;
  bool trace = false;
  fault_kinds faults;
};

result<scenario> load(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return error(errc::not_found, "cannot read the scenario " + path);
  std::string text(runtime::scenario_bytes_max + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(in.gcount()));
  if (in.bad()) return error(errc::io, "cannot read the scenario " + path);
  auto read = scenario::parse(text, path);
  if (!read.ok()) return read.error();
  const auto& known = runtime::small_program_names();
  if (std::find(known.begin(), known.end(), read->program) == known.end())
    return error(errc::malformed, fmt::format("{}: there is no program '{}'; it is {}", path,
                                              read->program, fmt::join(known, ", ")));
  return read;
}

int replay(const replay_options& how) {
  const auto what = how.file.empty()
                        ? runtime::draw_scenario(how.seed, runtime::small_program_names(), how.faults)
                        : load(how.file);
  if (!what.ok()) return fail(what.error().message());
  fmt::print("{}", what->text());
  runtime::timeline picture;
  runtime::scenario_watch watch;
  watch.event = [&](std::size_t peer, const runtime::event& e) {
    if (how.trace) fmt::print("{}\n", runtime::trace_line(peer, e));
    picture.on_event(peer, e);
  };
  watch.fault = [&](std::size_t peer, time_point at, const scenario_fault& f, bool begins) {
    if (how.trace)
      fmt::print("{:10.6f} peer {} {} {}\n", to_seconds(at.time_since_epoch()), peer,
                 begins ? "fault:" : "over: ", text_of(f));
    runtime::show(picture, peer, at, f, begins);
  };
  const auto v = try_scenario(*what, runtime::small_program(what->program), watch);
  if (!how.timeline.empty()) {
    if (const auto written = picture.write(how.timeline); !written.ok())
      return fail(written.error().message());
  }
  fmt::print("events: {}, digest of all: {:016x}\n", v.events, v.digest);
  if (!v.right()) return fail(v.reason);
  fmt::print("right: it ends as undisturbed\n");
  return 0;
}

}  // namespace

command replay_command(CLI::App& app) {
  const auto how = std::make_shared<replay_options>();
  CLI::App* own = app.add_subcommand(
      "replay", "one scenario again; exits 1 when it ends otherwise than undisturbed");
  auto* file = own->add_option("file", how->file, "a scenario, as swarm writes it");
  auto* seed = own->add_option("--seed", how->seed, "the scenario that swarm draws for this seed");
  file->excludes(seed);
  add_faults_option(*own, how->faults)->needs(seed);
  own->add_option("--timeline", how->timeline,
                  "write a picture of the run to this file, for ui.perfetto.dev or chrome://tracing");
  own->add_flag("--trace", how->trace, "print every event of every peer, and the faults");
  return [how, file, seed] {
    if (file->count() + seed->count() == 0)
      return fail("replay what? Give a scenario's file or --seed; see p2pdvm-sim replay --help");
    return replay(*how);
  };
}

}  // namespace p2pdvm::tools

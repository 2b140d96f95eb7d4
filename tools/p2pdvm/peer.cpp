/// p2pdvm peer: takes part in a job without its program, as keeper, holder and relay.
#include "commands.hpp"

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/runtime/native_process.hpp>
#include <p2pdvm/runtime/options.hpp>

namespace p2pdvm::tools {

namespace {

/// What the record says, too: nobody asks this peer to run a rank.
task<> no_ranks(peal::rank&) { co_return; }

int run(runtime::command_line how) {
  if (how.join.empty() && !how.resume)
    return fail("say which job: --join TICKET, or --resume for the one that the folder of --data belongs to");
  if (how.data.empty()) how.data = runtime::default_data_folder("peer");
  how.without_ranks = true;
  const peal::program nothing("p2pdvm", no_ranks);
  return runtime::run_peer(nothing, how);
}

}  // namespace

command peer_command(CLI::App& app) {
  const auto how = std::make_shared<runtime::command_line>();
  auto* sub = app.add_subcommand("peer", "hold copies of a job's checkpoints, without running any of it");
  sub->footer("Needs no program: the job's own peers run the ranks. This one keeps copies and, where it is one of the first, the\n"
              "job's record, and passes messages on between peers that cannot reach each other. It ends with the job. Ctrl-C lets\n"
              "it leave; with --resume, or the same ticket, it comes back with all that is still good.");
  auto* join = sub->add_option("--join", how->join, "the ticket of the job")->type_name("TICKET");
  sub->add_flag("--resume", how->resume, "come back into the job whose copies are in the folder")->excludes(join);
  sub->add_option("--data", how->data, "folder for identity and copies; default: $XDG_STATE_HOME/p2pdvm/peer")->type_name("DIR");
  sub->add_option("--listen", how->listen, "where other peers reach this one; default: a free port on every address")
      ->type_name("ADDR:PORT")
      ->check([](const std::string& text) {
        const auto parsed = address::parse(text);
        return parsed.ok() ? std::string() : parsed.error().message();
      });
  runtime::add_quota_options(*sub, *how, "Options");
  sub->add_flag("--quiet", how->quiet, "print errors only");
  sub->add_flag("--json", how->json, "print one JSON object a line instead of sentences");
  sub->add_option("--trace", how->trace, "append every event to this file, one JSON object a line")->type_name("FILE");
  return [how] { return run(*how); };
}

}  // namespace p2pdvm::tools

/// p2pdvm verify: reads every byte of a job's checkpoints.
#include "commands.hpp"

#include <fmt/format.h>

namespace p2pdvm::tools {

namespace {

struct verify_options {
  std::vector<std::string> places;
};

/// "checkpoint 3, rank 0: state/step, messages; checkpoint 2, rank 0: …".
std::string uses_text(const std::vector<runtime::chunk_use>& uses) {
  if (uses.empty()) return "a checkpoint whose manifest does not name it";
  constexpr std::size_t uses_max = 6;
  std::string text;
  for (std::size_t i = 0; i < std::min(uses.size(), uses_max); ++i) {
    const auto& use = uses[i];
    const bool goes_on = i > 0 && use.epoch == uses[i - 1].epoch && use.rank == uses[i - 1].rank && !use.part.empty();
    if (goes_on) {
      text += ", " + use.part;
    } else {
      text += (i == 0 ? "" : "; ") + text_of(use);
    }
  }
  if (uses.size() > uses_max) text += fmt::format("; and {} more", uses.size() - uses_max);
  return text;
}

void print(const runtime::chunk_trouble& t) {
  using kind = runtime::chunk_trouble::kind;
  const std::string chunk = to_hex(t.chunk.bytes().subspan(1, 4));
  if (t.what == kind::lost) {
    fmt::print("lost: chunk {} of {}: no good copy in what was named\n", chunk, uses_text(t.uses));
  } else {
    fmt::print("{}: chunk {} of {}; in {}{}\n", t.what == kind::damaged ? "damaged" : "missing", chunk,
               uses_text(t.uses), t.holder, t.why.empty() ? "" : ": " + t.why);
  }
}

/// What follows from it for a person who wants to go on.
std::string conclusion(const runtime::verification& v) {
  if (v.epochs.empty()) return "the job has no checkpoint yet";
  const auto restorable = v.restorable();
  if (!restorable)
    return "no checkpoint can be restored from what was named; name the folders of the job's other peers, too, or "
           "restore a folder from a copy";
  if (*restorable != v.epochs.front().epoch)
    return fmt::format("checkpoint {} cannot be restored from what was named, checkpoint {} can: "
                       "p2pdvm fork --epoch {} makes a job of it that goes on with --resume",
                       v.epochs.front().epoch.value(), restorable->value(), restorable->value());
  if (v.sound()) return fmt::format("checkpoint {} is whole", restorable->value());
  return fmt::format("checkpoint {} can be restored: every chunk has a good copy in what was named", restorable->value());
}

int check(const verify_options& how) {
  const auto opened = named_holders::open(how.places);
  if (!opened.ok()) return fail(opened.error().message());
  auto job = runtime::saved_job::open(opened->all());
  if (!job.ok()) return fail(job.error().message());
  const runtime::verification v = job->verify();
  std::vector<std::string> losses;
  if (opened->coded() != nullptr) {
    opened->coded()->verify();
    losses = opened->coded()->losses();
  }
  for (const std::string& sentence : losses) fmt::print("{}; it is computed from the others\n", sentence);
  for (const std::string& sentence : v.holder_troubles) fmt::print("{}\n", sentence);
  for (const auto& t : v.troubles) print(t);
  for (const auto& e : v.epochs)
    fmt::print("checkpoint {}: {}, {}\n", e.epoch.value(), count_text(e.chunks, "chunk"),
               e.whole ? "can be restored" : "cannot be restored from what was named");
  if (!v.inputs_whole) fmt::print("the job's input cannot be restored from what was named\n");
  fmt::print("read {} of {} good copies in {}\n", byte_size_text(v.bytes), v.copies,
             count_text(job->holders().size(), "holder"));
  fmt::print("{}\n", conclusion(v));
  if (!losses.empty() && v.sound()) fmt::print("p2pdvm export makes all parts anew from those that were named\n");
  return v.sound() && losses.empty() ? 0 : 1;
}

}  // namespace

command verify_command(CLI::App& app) {
  const auto how = std::make_shared<verify_options>();
  auto* sub = app.add_subcommand("verify", "read and authenticate every byte of a job's checkpoints");
  sub->footer("Says which chunk of which rank and checkpoint is damaged or missing, on which holder, and what can be\n"
              "restored. Exit status 1 when something is wrong.");
  sub->add_option("PLACE", how->places,
                  "peers' --data folders, folders of such folders, or an exported file or its parts: all holders of one "
                  "job that are at hand")
      ->required();
  return [how] { return check(*how); };
}

}  // namespace p2pdvm::tools

/// p2pdvm diff: what changed from one checkpoint to another.
#include "commands.hpp"

#include <fmt/format.h>

namespace p2pdvm::tools {

namespace {

struct diff_options {
  std::string place;
  std::vector<std::uint64_t> epochs;
};

void print(const std::vector<runtime::part_change>& changes) {
  fmt::print("{:>6}  {:<32} {:>10} {:>10} {:>16}\n", "rank", "state", "bytes", "changed", "chunks shared");
  std::uint64_t bytes = 0, changed = 0;
  for (const auto& c : changes) {
    std::string note;
    if (c.bytes_before != c.bytes_after) note = fmt::format("  ({} before)", byte_size_text(c.bytes_before));
    fmt::print("{:>6}  {:<32} {:>10} {:>10} {:>16}{}\n", c.rank.value(), c.part, byte_size_text(c.bytes_after),
               byte_size_text(c.bytes_changed), fmt::format("{} of {}", c.chunks_shared, c.chunks), note);
    bytes += c.bytes_after;
    changed += c.bytes_changed;
  }
  fmt::print("in all {}, {} changed\n", byte_size_text(bytes), byte_size_text(changed));
}

int compare(const diff_options& how) {
  const auto opened = named_holders::open({how.place});
  if (!opened.ok()) return fail(opened.error().message());
  auto job = runtime::saved_job::open(opened->all());
  if (!job.ok()) return fail(job.error().message());
  std::vector<std::uint64_t> epochs = how.epochs;
  if (epochs.empty()) {
    for (const epoch_number e : job->epochs()) epochs.insert(epochs.begin(), e.value());
  }
  if (epochs.size() != 2)
    return fail("there is only one checkpoint there, or none: nothing to compare");
  const auto changes = job->compare(epoch_number(epochs[0]), epoch_number(epochs[1]));
  if (!changes.ok()) return fail(changes.error().message());
  fmt::print("from checkpoint {} to {}:\n", epochs[0], epochs[1]);
  print(*changes);
  return 0;
}

}  // namespace

command diff_command(CLI::App& app) {
  const auto how = std::make_shared<diff_options>();
  auto* sub = app.add_subcommand("diff", "what changed between two checkpoints, by rank and named state");
  sub->add_option("PLACE", how->place, "a peer's --data folder, or a folder of such folders")->required();
  sub->add_option("EPOCH", how->epochs, "two checkpoints, the earlier one first; otherwise the two that are kept")
      ->expected(0, 2);
  return [how] { return compare(*how); };
}

}  // namespace p2pdvm::tools

/// p2pdvm ls: the jobs in folders and files, with their checkpoints.
#include "commands.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <map>

namespace p2pdvm::tools {

namespace {

struct ls_options {
  std::vector<std::string> places;
  bool json = false;
};

/// "3 of each chunk", "2 of 1 chunk, 3 of 40 chunks".
std::string copies_text(const runtime::epoch_summary& s) {
  if (s.copies.size() == 1) return fmt::format("{} of each chunk", s.copies.begin()->first);
  std::string text;
  for (const auto& [copies, chunks] : s.copies) {
    if (!text.empty()) text += ", ";
    text += fmt::format("{} of {}", copies, count_text(chunks, "chunk"));
  }
  return text;
}

nlohmann::json json_of(runtime::saved_job& job) {
  nlohmann::json j;
  const auto& record = job.record();
  j["job"] = job.spec().id.hex();
  j["program"] = job.spec().program;
  j["options"] = job.spec().options;
  j["ranks"] = record.ranks;
  j["state"] = state_text(record.state);
  j["incarnation"] = record.incarnation.value();
  j["members"] = record.live_count();
  j["holders"] = nlohmann::json::array();
  for (const auto* h : job.holders()) j["holders"].push_back(h->name());
  j["checkpoints"] = nlohmann::json::array();
  for (const epoch_number epoch : job.epochs()) {
    const runtime::epoch_summary s = job.summarize(epoch);
    nlohmann::json e;
    e["epoch"] = epoch.value();
    if (s.when) e["time"] = *s.when;
    e["bytes"] = s.bytes;
    e["new_bytes"] = s.new_bytes;
    e["stored_bytes"] = s.stored_bytes;
    e["chunks"] = s.chunks;
    e["new_chunks"] = s.new_chunks;
    e["copies_min"] = s.copies.empty() ? 0 : s.copies.begin()->first;
    e["unreadable_manifests"] = s.manifests_unreadable;
    j["checkpoints"].push_back(e);
  }
  return j;
}

void print(runtime::saved_job& job) {
  const auto& record = job.record();
  fmt::print("job {}: {}, {}, {}, {}\n", job.spec().id.brief(), job.spec().program,
             count_text(record.ranks, "rank"), count_text(record.live_count(), "peer"), state_text(record.state));
  if (record.state == checkpoint::job_state::failed) fmt::print("  {}\n", record.failure);
  for (const epoch_number epoch : job.epochs()) {
    const runtime::epoch_summary s = job.summarize(epoch);
    fmt::print("  checkpoint {}  {}  {} in {}, {} new; a copy takes {}; copies here: {}\n", epoch.value(),
               date_text(s.when), byte_size_text(s.bytes), count_text(s.chunks, "chunk"), byte_size_text(s.new_bytes),
               byte_size_text(s.stored_bytes), copies_text(s));
    if (s.manifests_unreadable > 0)
      fmt::print("    without {} whose manifests cannot be read here\n", count_text(s.manifests_unreadable, "rank"));
  }
  if (job.epochs().empty()) fmt::print("  no checkpoint yet\n");
  for (const auto* h : job.holders()) {
    fmt::print("  in {}\n", h->name());
    if (const std::string trouble = h->trouble(); !trouble.empty()) fmt::print("    {}\n", trouble);
  }
}

int list(const ls_options& how) {
  const auto opened = named_holders::open(how.places);
  if (!opened.ok()) return fail(opened.error().message());
  std::map<job_id, std::vector<runtime::job_holder*>> jobs;
  int code = 0;
  for (runtime::job_holder* h : opened->all()) {
    if (h->job().ok()) {
      jobs[h->job()->who.spec.id].push_back(h);
    } else {
      code = fail(h->job().error().message());
    }
  }
  nlohmann::json all = nlohmann::json::array();
  for (auto& [id, holders] : jobs) {
    auto job = runtime::saved_job::open(holders);
    if (!job.ok()) return fail(job.error().message());
    if (how.json) {
      all.push_back(json_of(*job));
    } else {
      print(*job);
    }
  }
  if (opened->coded() != nullptr && !how.json) {
    for (const std::string& sentence : opened->coded()->losses()) fmt::print("    {}\n", sentence);
  }
  if (how.json) fmt::print("{}\n", all.dump(2));
  return code;
}

}  // namespace

command ls_command(CLI::App& app) {
  const auto how = std::make_shared<ls_options>();
  auto* sub = app.add_subcommand("ls", "list jobs and their checkpoints");
  sub->add_option("PLACE", how->places, "a peer's --data folder, a folder of such folders, or an exported file or its parts")
      ->required();
  sub->add_flag("--json", how->json, "print JSON");
  return [how] { return list(*how); };
}

}  // namespace p2pdvm::tools

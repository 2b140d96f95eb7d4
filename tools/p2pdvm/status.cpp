/// p2pdvm status: what a peer's folder holds, also while the peer runs.
#include "commands.hpp"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <map>

namespace p2pdvm::tools {

namespace {

struct status_options {
  std::string data;
  bool json = false;
};

/// A running peer may take a file away between its listing and its opening.
constexpr int tries_max = 5;

struct glance {
  std::unique_ptr<runtime::native_folder> folder;
  std::unique_ptr<runtime::peer_files> files;
};

result<glance> look_at(const std::string& name) {
  for (int tries = 1;; ++tries) {
    auto folder = runtime::native_folder::look(name);
    if (!folder.ok()) return folder.error();
    auto files = runtime::peer_files::open((*folder)->disk());
    if (files.ok()) return glance{std::move(*folder), std::move(*files)};
    if (!(*folder)->in_use() || tries == tries_max) return files.error();
  }
}

std::string role_text(const runtime::peer_files& files) {
  const auto& record = files.job()->newest.record;
  const auto* const me = files.peer() ? record.find(*files.peer()) : nullptr;
  if (me == nullptr) return "not let in yet";
  std::string text = (me->flags & checkpoint::member::left) != 0      ? "has left"
                     : (me->flags & checkpoint::member::evicted) != 0 ? "taken for lost"
                     : me->is_storage_only()                          ? "without ranks"
                                                                      : "a peer of it";
  if (me->live() && record.is_kept_by(me->node)) text += ", keeps the record";
  return text;
}

nlohmann::json json_of(const std::string& name, const glance& g) {
  const runtime::peer_files& files = *g.files;
  nlohmann::json j;
  j["folder"] = name;
  j["running"] = g.folder->in_use();
  if (files.peer()) j["peer"] = files.peer()->hex();
  j["chunk_bytes"] = files.bytes();
  j["disk_bytes"] = files.disk_bytes();
  if (files.quota()) j["quota_bytes"] = *files.quota();
  if (files.job().ok()) {
    const auto& job = *files.job();
    j["job"] = job.who.spec.id.hex();
    j["program"] = job.who.spec.program;
    j["state"] = state_text(job.newest.record.state);
    j["committed"] = job.newest.record.committed.epoch.value();
    j["role"] = role_text(files);
  }
  j["kept"] = nlohmann::json::array();
  for (const auto& [where, kept] : files.kept())
    j["kept"].push_back({{"job", where.first.hex()}, {"epoch", where.second.value()}, {"chunks", kept.chunks}, {"bytes", kept.bytes}});
  return j;
}

void print(const std::string& name, const glance& g) {
  const runtime::peer_files& files = *g.files;
  fmt::print("{}: {}{}\n", name, files.peer() ? "peer " + files.peer()->brief() : std::string("no job yet"),
             g.folder->in_use() ? ", running" : "");
  fmt::print("  {} in chunks, {} on disk, {}\n", byte_size_text(files.bytes()), byte_size_text(files.disk_bytes()),
             files.quota() ? "of a quota of " + byte_size_text(*files.quota()) : std::string("no quota"));
  if (files.job().ok()) {
    const auto& job = *files.job();
    fmt::print("  job {}: {}, {}, {}, {}; this peer: {}\n", job.who.spec.id.brief(), job.who.spec.program,
               count_text(job.newest.record.ranks, "rank"), count_text(job.newest.record.live_count(), "peer"),
               state_text(job.newest.record.state), role_text(files));
  }
  for (const auto& [where, kept] : files.kept()) {
    const auto& [job, epoch] = where;
    const std::string what = epoch == epoch_number() ? std::string("inputs") : fmt::format("checkpoint {}", epoch.value());
    fmt::print("  {} of job {}: {}, {}\n", what, job.brief(), count_text(kept.chunks, "chunk"), byte_size_text(kept.bytes));
  }
}

int tell(const status_options& how) {
  const auto folders = runtime::peer_folders(how.data);
  if (!folders.ok()) return fail(folders.error().message());
  nlohmann::json all = nlohmann::json::array();
  int code = 0;
  for (const std::string& name : *folders) {
    const auto g = look_at(name);
    if (!g.ok()) {
      code = fail(g.error().message());
    } else if (how.json) {
      all.push_back(json_of(name, *g));
    } else {
      print(name, *g);
    }
  }
  if (how.json) fmt::print("{}\n", all.dump(2));
  return code;
}

}  // namespace

command status_command(CLI::App& app) {
  const auto how = std::make_shared<status_options>();
  auto* sub = app.add_subcommand("status", "what a peer's folder holds, and what of its quota that takes; the peer may be running");
  sub->add_option("--data", how->data, "the folder, or a folder of such folders")->type_name("DIR")->required();
  sub->add_flag("--json", how->json, "print JSON");
  return [how] { return tell(*how); };
}

}  // namespace p2pdvm::tools

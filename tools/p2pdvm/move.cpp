/// p2pdvm export, import and fork: a job's checkpoint in a file, and new jobs that go on from one.
#include "commands.hpp"

#include <p2pdvm/runtime/native_process.hpp>

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

namespace p2pdvm::tools {

namespace {

struct move_options {
  std::vector<std::string> places;
  std::string target;
  std::optional<std::uint64_t> epoch;
  std::optional<std::uint32_t> ranks;
  std::string parts;
  std::uint32_t peers = 1;
  std::uint32_t local = 0;
};

runtime::copy_request request_of(const move_options& how) {
  runtime::copy_request what;
  if (how.epoch) what.epoch = epoch_number(*how.epoch);
  what.ranks = how.ranks;
  what.peers = how.local > 0 ? how.local : how.peers;
  what.failure_domain = how.local > 0 ? "process 0" : runtime::machine_name();
  return what;
}

void add_epoch(CLI::App& sub, move_options& how) {
  sub.add_option("--epoch", how.epoch, "the checkpoint; otherwise the newest committed one");
}

void add_peers(CLI::App& sub, move_options& how) {
  auto* peers = sub.add_option("--peers", how.peers,
                               "peers that the job shall have; with more than 1, PROGRAM --resume prints a ticket and "
                               "waits for the others");
  peers->capture_default_str();
  sub.add_option("--local", how.local,
                 "for PROGRAM --local N --resume: N peers, the first one's data in FOLDER/peer-0")
      ->type_name("N")
      ->excludes(peers);
}

/// Files that are written under other names first: whoever finds one of their names finds all of it.
class new_files {
 public:
  new_files() = default;
  new_files(const new_files&) = delete;
  new_files& operator=(const new_files&) = delete;
  /// What was not published is removed.
  ~new_files() {
    std::error_code ec;
    for (const entry& e : entries_) std::filesystem::remove(e.name + unfinished, ec);
  }
  [[nodiscard]] result<host::file*> add(const std::string& name) {
    std::error_code ec;
    if (std::filesystem::exists(name, ec))
      return error(errc::conflict, "'" + name + "' exists already; remove it or choose another name");
    std::filesystem::remove(name + unfinished, ec);
    auto file = runtime::native_file::open(name + unfinished, true);
    if (!file.ok()) return file.error();
    entries_.push_back({name, std::move(*file)});
    return &entries_.back().file->file();
  }
  /// Precondition: there is one.
  [[nodiscard]] host::entropy& entropy() { return entries_.front().file->entropy(); }
  [[nodiscard]] result<> publish() {
    for (const entry& e : entries_) {
      if (auto r = e.file->sync(); !r.ok()) return r;
    }
    for (const entry& e : entries_) {
      std::error_code ec;
      std::filesystem::rename(e.name + unfinished, e.name, ec);
      if (ec) return error(errc::io, "cannot rename '" + e.name + unfinished + "': " + ec.message());
    }
    return {};
  }

 private:
  static constexpr const char* unfinished = ".unfinished";
  struct entry {
    std::string name;
    std::unique_ptr<runtime::native_file> file;
  };
  std::vector<entry> entries_;
};

/// What to write, and afterwards how large it became and where it is.
struct written_files {
  runtime::exported_job job;
  std::uint64_t bytes = 0;
  std::string where;
};

result<written_files> export_whole(const move_options& how, runtime::saved_job& job) {
  new_files files;
  const auto file = files.add(how.target);
  if (!file.ok()) return file.error();
  store::file_sink to(**file);
  const auto written = runtime::export_job(job, request_of(how).epoch, to);
  if (!written.ok()) return written.error();
  if (auto r = files.publish(); !r.ok()) return r.error();
  return written_files{*written, written->bytes, "'" + how.target + "'"};
}

result<written_files> export_parts(const move_options& how, runtime::saved_job& job) {
  const auto shape = store::parse_code_shape(how.parts);
  if (!shape)
    return error(errc::invalid_argument,
                 fmt::format("--parts {}: it is K+M, for example 4+2: K parts are enough, M may be lost; at most {} together",
                             how.parts, store::coded_parts_max));
  new_files files;
  std::vector<host::file*> parts;
  const auto name = [&](unsigned part) { return fmt::format("{}.{}of{}", how.target, part + 1, shape->parts()); };
  for (unsigned i = 0; i < shape->parts(); ++i) {
    const auto file = files.add(name(i));
    if (!file.ok()) return file.error();
    parts.push_back(*file);
  }
  store::part_set set{};
  files.entropy().fill(set);
  store::coded_writer to(*shape, set, std::move(parts));
  const auto written = runtime::export_job(job, request_of(how).epoch, to);
  if (!written.ok()) return written.error();
  if (auto r = to.finish(); !r.ok()) return r.error();
  if (auto r = files.publish(); !r.ok()) return r.error();
  return written_files{*written, to.bytes(),
                       fmt::format("'{}' … '{}', of which any {} are enough", name(0), name(shape->parts() - 1), shape->data)};
}

int export_to(const move_options& how) {
  const auto opened = named_holders::open(how.places);
  if (!opened.ok()) return fail(opened.error().message());
  auto job = runtime::saved_job::open(opened->all());
  if (!job.ok()) return fail(job.error().message());
  const auto written = how.parts.empty() ? export_whole(how, *job) : export_parts(how, *job);
  if (!written.ok()) return fail(written.error().message());
  fmt::print("checkpoint {} of job {} ({}): {} in {}\n"
             "keep {} as secret as the folder: {}\n",
             written->job.epoch.value(), job->spec().id.brief(), job->spec().program, byte_size_text(written->bytes),
             written->where, how.parts.empty() ? "it" : "all of them",
             how.parts.empty() ? "whoever can read it can read the job's state and go on with it"
                               : "each can be read alone, and the first holds the job's secret");
  return 0;
}

/// "--name value" or "--name=value"; files of inputs are read.
result<> read_program_options(const runtime::job_spec& spec, const std::vector<std::string>& words,
                              runtime::copy_request& what) {
  std::map<std::string, std::string> files;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (!words[i].starts_with("--") || words[i].size() < 3)
      return error(errc::invalid_argument, "after '--': there is nothing to do with '" + words[i] + "'");
    const std::size_t equals = words[i].find('=');
    const std::string name = words[i].substr(2, equals == std::string::npos ? equals : equals - 2);
    if (equals == std::string::npos && i + 1 == words.size())
      return error(errc::invalid_argument, "after '--': '--" + name + "' needs a value");
    const std::string value = equals == std::string::npos ? words[++i] : words[i].substr(equals + 1);
    (spec.inputs.contains(name) ? files : what.options)[name] = value;
  }
  auto inputs = runtime::read_inputs(files);
  if (!inputs.ok()) return inputs.error();
  what.inputs = std::move(*inputs);
  return {};
}

/// Makes the job of `import` and `fork`, durable.
int copy_into(runtime::saved_job& from, const move_options& how, const std::vector<std::string>& program_options) {
  runtime::copy_request what = request_of(how);
  if (auto r = read_program_options(from.spec(), program_options, what); !r.ok()) return fail(r.error().message());
  if (auto r = runtime::check_copy(from, what); !r.ok()) return fail(r.error().message());
  const std::string folder = how.local > 0 ? how.target + "/peer-0" : how.target;
  auto target = runtime::native_folder::write(folder);
  if (!target.ok()) return fail(target.error().message());
  auto copied = runtime::copy_job(from, what, (*target)->disk(), (*target)->entropy());
  if (!copied.ok()) return fail(copied.error().message());
  const auto synced = (*target)->wait([&](std::function<void(result<>)> done) { copied->log->sync(std::move(done)); });
  copied->log.reset();
  if (!synced.ok()) return fail(synced.error().message());
  fmt::print("job {} in '{}' goes on from checkpoint {} of job {}:\n  {} {}--data {} --resume\n", copied->id.brief(),
             folder, copied->epoch.value(), from.spec().id.brief(), from.spec().program,
             how.local > 0 ? fmt::format("--local {} ", how.local) : std::string(), how.target);
  return 0;
}

/// Of a file only all of it is believed.
int import_from(const move_options& how) {
  const auto opened = named_holders::open(how.places);
  if (!opened.ok()) return fail(opened.error().message());
  for (const auto* h : opened->all()) {
    if (const std::string trouble = h->trouble(); !trouble.empty()) return fail(trouble);
  }
  auto job = runtime::saved_job::open(opened->all());
  if (!job.ok()) return fail(job.error().message());
  return copy_into(*job, how, {});
}

int fork_from(const move_options& how, const std::vector<std::string>& program_options) {
  const auto opened = named_holders::open(how.places);
  if (!opened.ok()) return fail(opened.error().message());
  auto job = runtime::saved_job::open(opened->all());
  if (!job.ok()) return fail(job.error().message());
  return copy_into(*job, how, program_options);
}

}  // namespace

command export_command(CLI::App& app) {
  const auto how = std::make_shared<move_options>();
  auto* sub = app.add_subcommand("export", "put a checkpoint of a job into one file, or into parts of which some may be lost");
  sub->footer("The file holds the job's options, inputs, state and secret, and has mode 0600. Whoever can read it can\n"
              "read the state and go on with the job: keep it as secret as the folders.");
  sub->add_option("PLACES", how->places,
                  "holders of the job (peers' --data folders, or folders of such folders), and last the new file")
      ->type_name("PLACE... FILE")
      ->required()
      ->expected(2, -1);
  add_epoch(*sub, *how);
  sub->add_option("--parts", how->parts,
                  "FILE.1ofN to FILE.NofN instead, N = K + M, to be kept in different places: any K of them are enough "
                  "for all other commands, and each takes a Kth of what FILE would take")
      ->type_name("K+M");
  return [how] {
    how->target = how->places.back();
    how->places.pop_back();
    return export_to(*how);
  };
}

command import_command(CLI::App& app) {
  const auto how = std::make_shared<move_options>();
  auto* sub = app.add_subcommand("import", "make a job that goes on from an exported file");
  sub->footer("It has an id and a secret of its own and knows nothing of the job that was exported, which may go on\n"
              "elsewhere. Nothing of the file is needed afterwards.");
  sub->add_option("FILES", how->places,
                  "what p2pdvm export has written, a file or enough of its parts, and last the --data folder, new or without "
                  "an unfinished job")
      ->type_name("FILE... FOLDER")
      ->required()
      ->expected(2, -1);
  add_peers(*sub, *how);
  return [how] {
    how->target = how->places.back();
    how->places.pop_back();
    return import_from(*how);
  };
}

command fork_command(CLI::App& app, const std::vector<std::string>& program_options) {
  const auto how = std::make_shared<move_options>();
  auto* sub = app.add_subcommand("fork", "make another job that goes on from a checkpoint, with other options or another number of ranks");
  sub->footer("After '--': the program's own options, in place of what the job had. The job that is forked stays as it\n"
              "is. The new one has an id and a secret of its own.");
  sub->add_option("PLACES", how->places,
                  "holders of the job (peers' --data folders, folders of such folders, or an exported file or its parts), "
                  "and last the new --data folder")
      ->type_name("PLACE... FOLDER")
      ->required()
      ->expected(2, -1);
  add_epoch(*sub, *how);
  add_peers(*sub, *how);
  sub->add_option("--ranks", how->ranks, "of the new job; other than now only where the program declares all of its state as common values and distributed arrays");
  return [how, &program_options] {
    how->target = how->places.back();
    how->places.pop_back();
    return fork_from(*how, program_options);
  };
}

}  // namespace p2pdvm::tools

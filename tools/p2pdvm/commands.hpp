/// The subcommands of p2pdvm.
#pragma once

#include <p2pdvm/base/byte_size.hpp>
#include <p2pdvm/runtime/job_copy.hpp>
#include <p2pdvm/runtime/job_file.hpp>
#include <p2pdvm/runtime/native_files.hpp>
#include <p2pdvm/runtime/saved_job.hpp>
#include <p2pdvm/store/byte_stream.hpp>
#include <p2pdvm/store/coded_file.hpp>

#include <CLI/CLI.hpp>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace p2pdvm::tools {

/// Gives the exit code; an exception's text becomes the sentence.
using command = std::function<int()>;

/// Each adds its subcommand to `app`, which must outlive what is returned.
[[nodiscard]] command peer_command(CLI::App& app);
[[nodiscard]] command status_command(CLI::App& app);
[[nodiscard]] command ls_command(CLI::App& app);
[[nodiscard]] command verify_command(CLI::App& app);
[[nodiscard]] command diff_command(CLI::App& app);
[[nodiscard]] command export_command(CLI::App& app);
[[nodiscard]] command import_command(CLI::App& app);
/// `program_options`: the words after "--"; must outlive what is returned.
[[nodiscard]] command fork_command(CLI::App& app, const std::vector<std::string>& program_options);

/// Prints the sentence to standard error; gives 1.
int fail(const std::string& sentence);

/// Holders of one job that a user named: folders of peers, or folders of such folders, or files, or the parts of one.
class named_holders {
 public:
  [[nodiscard]] static result<named_holders> open(const std::vector<std::string>& names);
  [[nodiscard]] std::vector<runtime::job_holder*> all() const;
  /// The file whose parts were named, if any.
  [[nodiscard]] store::coded_file* coded() const noexcept { return coded_; }

 private:
  [[nodiscard]] result<> add_file(std::unique_ptr<store::byte_source> source, const std::string& name);

  std::vector<std::unique_ptr<runtime::native_folder>> folders_;
  std::vector<std::unique_ptr<runtime::native_file>> files_;
  std::vector<std::unique_ptr<store::byte_source>> sources_;
  store::coded_file* coded_ = nullptr;
  std::vector<std::unique_ptr<runtime::job_holder>> holders_;
};

/// In the user's time zone; "-" when unknown.
[[nodiscard]] std::string date_text(const std::optional<unix_seconds>& when);
/// "1 chunk", "2 chunks".
[[nodiscard]] std::string count_text(std::uint64_t count, const std::string& what);
[[nodiscard]] const char* state_text(checkpoint::job_state state);

}  // namespace p2pdvm::tools

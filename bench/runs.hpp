/// Ways to run a program for a benchmark: in this process, or as processes of their own.
#pragma once

#include <p2pdvm/async/driver_token.hpp>
#include <p2pdvm/async/queue_executor.hpp>
#include <p2pdvm/host/native/machine.hpp>
#include <p2pdvm/runtime/native_driver.hpp>
#include <p2pdvm/runtime/peer.hpp>

#include <asio/io_context.hpp>

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace p2pdvm::bench {

/// A folder of its own, removed with everything in it.
class temporary_folder {
 public:
  temporary_folder();
  ~temporary_folder();
  temporary_folder(const temporary_folder&) = delete;
  temporary_folder& operator=(const temporary_folder&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  std::string path_;
};

/// All ranks in this process, one thread, no network; snapshots go to a temporary folder.
class embedded_run {
 public:
  struct options {
    std::uint32_t ranks = 1;
    std::map<std::string, std::string> program_options;
    runtime::receipts_from receipts = runtime::receipts_from::disk;
    std::optional<duration> checkpoint_interval;  ///< as in `peer_setting`; zero: only when wished
  };
  /// `watch` is called with the driver token held.
  embedded_run(const peal::program& program, options how, runtime::event_sink watch = nullptr);
  ~embedded_run();

  /// Throws `std::runtime_error` with the sentence with which the job failed.
  runtime::job_results run();
  /// A checkpoint soon; from any thread, ranks' too.
  void wish();
  /// From the start of the ranks to the end of the job.
  [[nodiscard]] double seconds() const noexcept { return seconds_; }

 private:
  using steady = std::chrono::steady_clock;
  options options_;
  runtime::event_sink watch_;
  temporary_folder folder_;
  asio::io_context io_;
  queue_context ranks_;
  driver_token token_;
  native::machine machine_;
  runtime::native_driver driver_;
  std::optional<result<runtime::job_results>> outcome_;
  std::optional<runtime::peer> peer_;
  steady::time_point started_{};
  double seconds_ = 0;
};

/// This program again with other arguments, or another one, as a process of its own. When it has not
/// ended by itself it is killed, and the peers that it started with it.
class process {
 public:
  /// `argv0` chooses the program among those that main.cpp knows.
  process(const std::string& argv0, const std::vector<std::string>& arguments);
  /// Another program, looked for in the path; `words[0]` is its name. It is asked to end before it
  /// is killed, so that it can end what it started.
  explicit process(const std::vector<std::string>& words);
  ~process();
  process(const process&) = delete;
  process& operator=(const process&) = delete;

  /// Calls `line` for each line that it prints and `tick` every few milliseconds. The exit
  /// status, 128 + N after signal N; nothing when `limit` came first.
  std::optional<int> wait(std::chrono::seconds limit,
                          const std::function<void(std::string_view)>& line,
                          const std::function<void()>& tick);
  [[nodiscard]] int pid() const noexcept { return pid_; }

 private:
  void start(const char* executable, const std::vector<std::string>& words);

  bool gentle_ = false;
  int pid_ = -1;
  int output_ = -1;
};

/// The lines of a text file.
[[nodiscard]] std::vector<std::string> lines_of(const std::string& path);

}  // namespace p2pdvm::bench

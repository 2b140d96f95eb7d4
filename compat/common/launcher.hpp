/// Starts the processes of a C program on this computer, and ends when they have.
#pragma once

#include "options.hpp"

#include <p2pdvm/runtime/event_frames.hpp>

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace p2pdvm::compat {

/// All processes are started at once; the first one makes the job, and the others wait for its ticket in the call by which they begin. What
/// they print passes through. Where one ends as it should not, the others are ended.
class launcher {
 public:
  launcher(const environment& of, options how) : of_(of), how_(std::move(how)) {}
  /// The exit code.
  int run();

 private:
  struct child {
    pid_t pid = 0;
    int channel = -1;
    runtime::event_frames frames;
    bool running = false;
    bool begun = false;     ///< has called `environment::begins`
    bool done = false;      ///< has come back from `environment::ends`
    bool explained = false; ///< has printed why it fails
    bool rolled_back = false;  ///< because another one is lost
    int status = 0;
    std::optional<std::uint64_t> rank;
  };

  [[nodiscard]] std::vector<std::string> settings(std::size_t k) const;
  void start(std::size_t k);
  void poll_once();
  void on_event(std::size_t k, const runtime::event& e);
  void on_ticket(const std::string& ticket);
  void reap();
  void on_exit(std::size_t k);
  void make_folder();
  void start_all();
  /// True when all begin again, because there is a checkpoint to begin from.
  [[nodiscard]] bool begins_again(const std::string& sentence);
  void fail(int code, const std::string& sentence);
  void end_all();
  [[nodiscard]] bool anybody_runs() const;
  [[nodiscard]] int conclude();
  [[nodiscard]] std::string name_of(std::size_t k) const;
  void say(const std::string& sentence) const;

  const environment& of_;
  options how_;
  std::string program_;
  std::string folder_;
  std::vector<child> children_;
  int signals_ = -1;
  std::chrono::steady_clock::time_point ends_ = std::chrono::steady_clock::time_point::max();
  int code_ = 0;
  bool failed_ = false, told_ticket_ = false;
  bool resumes_ = false;   ///< processes go on with the job in their folders
  bool restarting_ = false;  ///< those that run are being ended for that
  std::uint64_t committed_ = 0, begun_from_ = 0;  ///< checkpoints
};

/// The `main` of a launcher.
[[nodiscard]] int launch(const environment& of, int argc, char** argv);

}  // namespace p2pdvm::compat

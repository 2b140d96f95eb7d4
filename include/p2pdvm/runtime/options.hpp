/// The command line of every program that calls `p2pdvm::main`.
#pragma once

#include <p2pdvm/base/result.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/peal/program.hpp>
#include <p2pdvm/sim/sessions.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace p2pdvm::runtime {

struct command_line {
  std::uint32_t ranks = 1;
  std::uint32_t local = 0;   ///< peer processes on this machine; 0: none asked for
  std::uint32_t peers = 0;   ///< wanted before the job starts; 0: as the mode has it
  bool host = false;
  std::string join;          ///< a ticket
  std::string profile;       ///< with `local`: a latency profile for real processes
  std::string simulate;      ///< a latency profile
  std::string latency_matrix;
  bool matrix_in_seconds = false;
  sim::session_model churn;  ///< simulated: how long peers stay
  std::uint64_t seed = 1;
  std::string listen;        ///< ADDR:PORT
  std::string data;          ///< folder; empty: the default
  std::string checkpoint_every = "auto";
  std::uint32_t replicas = 3;
  std::string receipts = "disk";  ///< or memory
  std::optional<std::uint64_t> quota;         ///< bytes on disk,
  std::optional<std::uint64_t> memory_quota;  ///< and of chunks in memory
  std::uint64_t upload_rate = 0;              ///< of chunks [bytes/s]; 0: no limit
  bool without_ranks = false;                 ///< `p2pdvm peer`: no program, no ranks
  std::string compression = "auto";  ///< or off: of what this peer seals
  unsigned threads = 1;
  std::string shared_memory = "on";  ///< or off: between peers of this computer
  std::string hang_after = "30";  ///< seconds
  bool resume = false, quiet = false, json = false;
  bool explain = false;      ///< print which way collectives take, and what supersteps cost
  std::string trace;
  std::string timeline;      ///< simulated: file for a picture of the run
  int local_index = -1;      ///< set by `--local`'s parent: which child this is
  int event_fd = -1;         ///< and where it reports to
  std::map<std::string, std::string> program_options;
  std::map<std::string, std::string> inputs;   ///< name → file
  std::map<std::string, std::string> outputs;  ///< name → file

  /// Of `checkpoint_every`: nothing for auto, zero for off.
  [[nodiscard]] std::optional<duration> checkpoint_interval() const;
  /// Of `hang_after`: zero for never.
  [[nodiscard]] duration hang_patience() const;
};

/// What to do instead of running, when the command line asks for help or is wrong.
struct parse_exit {
  int code = 0;
  std::string text;  ///< for standard output when `code` is 0, else for standard error
};

/// Fills `out`, or says what to print. Parts after `--` are the program's own.
[[nodiscard]] std::optional<parse_exit> parse_command_line(int argc, const char* const* argv,
                                                           const peal::program& program,
                                                           command_line& out);

/// Adds `--quota`, `--memory-quota` and `--upload-rate`, for every command that begins a peer.
void add_quota_options(CLI::App& app, command_line& out, const std::string& group);

/// $XDG_STATE_HOME/p2pdvm/PROGRAM, or below ~/.local/state.
[[nodiscard]] std::string default_data_folder(const std::string& program);

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/options.ipp>
#endif

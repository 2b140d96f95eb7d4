/// A peer with one rank whose program is not a coroutine: it is the code that has made this object, on its own thread.
///
/// For interfaces of other languages, in which a program's `main` calls the library and not the other way round. What the
/// program asks for it posts itself, to the rank's port or endpoint, and then drives until it is there; so a call costs no
/// change of threads. Between calls its thread counts as a rank that computes, and the progress thread answers others.
/// C frames cannot be begun again from a snapshot: after a loss the rank is `over`, and says why. A new process that resumes the
/// peer has what adapters and the rank had at the last checkpoint, and its program begins when all ranks are there again.
#pragma once

#include <p2pdvm/async/task.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/event.hpp>
#include <p2pdvm/runtime/options.hpp>

#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>

namespace p2pdvm::runtime {

class native_driver;

/// Names the environment variable by which a launcher tells a process what command line its peer has: an argument a line. A
/// ticket that is `-` is read from the event descriptor, as a line.
inline constexpr const char* embedded_variable = "P2PDVM_EMBEDDED";
/// What that says, and then the variable is gone; nothing when there is none.
[[nodiscard]] result<std::optional<command_line>> embedded_command_line(const std::string& program);

class embedded_rank {
 public:
  struct setting {
    std::string program;  ///< its name, the same on all peers of the job
    command_line how;     ///< of one peer: `ranks`, `host` or `join`, …
    /// All calls come from the thread that made this. Otherwise from one at a time, which costs a lock more.
    bool one_thread = true;
    /// Before the rank's `restore`, where adapters are opened, and when the rank is no longer used.
    std::function<void(peal::rank&)> opened;
    std::function<void()> closing;
    event_sink event;  ///< what there is to tell
  };
  /// One at a time in a process. Begins or joins the job and returns when all ranks are there. Throws
  /// `std::system_error` with a sentence.
  explicit embedded_rank(setting s);
  /// Without `finish` the others find out that it is gone.
  ~embedded_rank();
  embedded_rank(const embedded_rank&) = delete;
  embedded_rank& operator=(const embedded_rank&) = delete;

  [[nodiscard]] peal::rank& rank() noexcept { return *rank_; }
  [[nodiscard]] driver_token& token() noexcept;
  [[nodiscard]] native_driver& driver() noexcept;

  /// Runs it in the rank's own coroutine, to its end; throws what it throws. Costs much less than `spawn`.
  void run(task<> work);
  /// Runs beside the program, whenever that drives. `ended` is called then, on its thread.
  void spawn(task<> work, std::function<void(std::exception_ptr)> ended);

  /// The job has failed, or a loss has rolled it back.
  [[nodiscard]] bool over() const noexcept { return over_; }
  /// Why: a sentence. Precondition: `over()`.
  [[nodiscard]] std::string why() const;

  /// Collective: the rank's program has returned. Drives until the job is done; false when it failed, see `why`.
  bool finish();
  /// A checkpoint at the next safe point; the rank's wished epoch says which.
  void wish();
  /// The whole job fails with that sentence, if that can still be told to others. Returns when it was.
  void fail(const std::string& sentence);
  /// To whoever started this process.
  void tell(const event& e);

 private:
  struct machinery;
  static task<> body(peal::rank& rank);
  task<> stay_open(peal::rank& rank);
  /// Whoever resumes later rolls the others back once more, and no program may have begun by then.
  static task<> wait_for_all(peal::port port);
  void note(const event& e);
  void open_gate();
  void end();

  setting setting_;
  peal::rank* rank_ = nullptr;
  bool over_ = false;  ///< changes with the token held
  std::string loss_, failure_;
  task<>* work_ = nullptr;  ///< of `run`
  std::exception_ptr failed_;
  std::unique_ptr<machinery> parts_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/embedded_rank.ipp>
#endif

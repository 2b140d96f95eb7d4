/// The peer of a C program, between the call that begins its interface and the one that ends it.
#pragma once

#include <p2pdvm/peal/adapter.hpp>
#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/embedded_rank.hpp>

#include <cstddef>
#include <exception>
#include <functional>
#include <map>
#include <optional>
#include <string>

namespace p2pdvm::compat {

/// What a program names for its checkpoints, and what the one holds from which it was begun again.
class named_memory final : public peal::adapter {
 public:
  void name(const std::string& name, void* memory, std::size_t bytes);
  /// False: there is nothing to be restored. Throws `std::system_error` with a sentence.
  bool restore();
  [[nodiscard]] bool forgotten() const noexcept { return named_.empty(); }

  [[nodiscard]] byte_vector save() const override;
  void load(byte_view saved) override;

 private:
  std::map<std::string, byte_span> named_;
  std::optional<std::map<std::string, payload>> saved_;
};

/// What it says, without the name of the kind of error that a `std::system_error` adds.
[[nodiscard]] std::string sentence_of(const std::exception& e);

class c_program {
 public:
  struct setting {
    std::string name;        ///< of the interface, by which the folder of a program without a launcher is called
    bool one_thread = true;  ///< see `runtime::embedded_rank::setting`
    /// Before the rank is restored, where adapters are opened, and when it is no longer used.
    std::function<void(peal::rank&)> opened;
    std::function<void()> closing;
  };
  /// Takes part in what a launcher says, or is a job of one rank. Throws `std::system_error` with a sentence.
  void begin(setting s);
  /// Collective. What went wrong, if something did.
  [[nodiscard]] std::optional<std::string> end();
  /// Ends the process with that code, and the job with that sentence, which is printed.
  [[noreturn]] void abort(int code, const std::string& sentence);

  [[nodiscard]] bool running() const noexcept { return here_.has_value(); }
  /// Precondition of all that follow: `running()`.
  [[nodiscard]] runtime::embedded_rank* operator->() noexcept { return &*here_; }
  [[nodiscard]] peal::rank& rank() noexcept { return here_->rank(); }

  [[nodiscard]] named_memory& memory() noexcept { return memory_; }
  /// Collective over ranks 0 to `ranks` - 1; the others `attend`. The number of the checkpoint, or 0.
  [[nodiscard]] std::uint64_t checkpoint(int ranks);
  /// Of a rank that has nothing to do: takes part in checkpoints until rank 0 dismisses it.
  void attend();
  /// By rank 0: those from `first` on may end.
  void dismiss(int first);

 private:
  task<epoch_number> cut(int ranks);
  task<> attending();
  void note(const runtime::event& e);
  void remove_own_folder();

  std::optional<runtime::embedded_rank> here_;
  named_memory memory_;
  peal::port port_;
  std::int64_t cuts_ = 0;
  epoch_number committed_, given_up_;
  std::string own_folder_;
  int event_fd_ = -1;
};

/// The one of this process, which each interface has; for p2pdvm.h. `ranks`: that take part in checkpoints.
struct checkpointed {
  c_program* program;
  int ranks;
};
/// Nothing when the program is not between beginning and end.
[[nodiscard]] std::optional<checkpointed> checkpointed_here();

}  // namespace p2pdvm::compat

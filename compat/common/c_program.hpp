/// The peer of a C program, between the call that begins its interface and the one that ends it.
#pragma once

#include <p2pdvm/peal/rank.hpp>
#include <p2pdvm/runtime/embedded_rank.hpp>

#include <functional>
#include <optional>
#include <string>

namespace p2pdvm::compat {

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
  /// Precondition of these two: `running()`.
  [[nodiscard]] runtime::embedded_rank* operator->() noexcept { return &*here_; }
  [[nodiscard]] peal::rank& rank() noexcept { return here_->rank(); }

 private:
  void remove_own_folder();

  std::optional<runtime::embedded_rank> here_;
  std::string own_folder_;
  int event_fd_ = -1;
};

}  // namespace p2pdvm::compat

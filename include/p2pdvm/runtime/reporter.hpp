/// Turns events of one or several peers into what a person or a program reads.
#pragma once

#include <p2pdvm/runtime/event.hpp>

#include <cstdio>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>

namespace p2pdvm::runtime {

/// An event as one JSON object without a line break.
[[nodiscard]] std::string to_json(const event& e, int peer);

/// Prints each thing once, however many peers tell it. Sentences when standard output is no
/// terminal, and above one live line when it is; JSON when asked; both silent when quiet, but
/// for results and failures.
class reporter {
 public:
  struct options {
    bool quiet = false, json = false;
    std::string trace;  ///< file for every event; empty: none
    /// Names to call peers by; others are called by the beginning of their node id.
    bool number_peers = false;
    /// Also print what is of interest to those only who ask why.
    bool explain = false;
  };
  explicit reporter(options how);
  ~reporter();
  reporter(const reporter&) = delete;
  reporter& operator=(const reporter&) = delete;

  void on_event(const event& e, int peer = 0);
  /// A sentence of the program itself.
  void say(const std::string& sentence);
  /// Progress for the live line: `safe_points` of the slowest rank, `seconds` since the beginning, and what
  /// holds it up.
  void progress(std::size_t ranks, std::size_t peers, epoch_number committed,
                std::uint64_t safe_points, double seconds, const std::string& held_up = {});
  /// Another live line, of a peer that computes nothing.
  void progress(const std::string& text);
  /// Ends the live line.
  void finish();
  [[nodiscard]] const std::string& digest() const noexcept { return digest_; }
  [[nodiscard]] bool digests_differ() const noexcept { return differ_; }
  [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
  [[nodiscard]] const std::string& ticket() const noexcept { return ticket_; }
  [[nodiscard]] epoch_number committed() const noexcept { return committed_; }

 private:
  [[nodiscard]] std::optional<std::string> sentence(const event& e, int peer);
  [[nodiscard]] std::string name(const std::optional<node_id>& node) const;
  void clear_line();
  void forget(event_kind kind);

  options options_;
  bool terminal_;
  bool line_shown_ = false;
  std::FILE* trace_ = nullptr;
  std::set<std::tuple<event_kind, incarnation_number, epoch_number, std::int64_t, node_id, std::string>>
      told_;
  std::map<node_id, int> numbers_;
  std::string digest_, failure_, ticket_;
  epoch_number committed_;
  double last_committed_at_ = -1;
  std::uint64_t shown_safe_points_ = 0;  ///< by the last live line,
  double shown_at_ = 0;                  ///< and when [s]
  bool differ_ = false;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/reporter.ipp>
#endif

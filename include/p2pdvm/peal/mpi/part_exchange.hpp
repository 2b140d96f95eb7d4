/// One member's side of an exchange: everybody gets everybody's part, over at most one other member.
///
/// Where the parts are only wanted combined, whoever has them all tells the result to members near it. One message of
/// thousands that has to be sent again then holds up nobody for longer than it takes from the nearest member that got it.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/result.hpp>
#include <p2pdvm/peal/mpi/collective_choice.hpp>

#include <functional>
#include <utility>
#include <vector>

namespace p2pdvm::mpi {

class part_exchange {
 public:
  struct output {
    int to;
    payload data;
  };
  /// What all parts in order amount to; the same on every member.
  using combining = std::function<payload(const std::vector<payload>&)>;

  /// `head`: in front of everything that is sent. `combine`: empty where the parts themselves are wanted; else all
  /// members have one. `plan` must outlive it.
  part_exchange(const exchange_plan& plan, int self, byte_view head, payload part, combining combine);

  /// One message, its head taken off. `errc::malformed` when no member sends such a one.
  [[nodiscard]] result<> on_message(int from, payload data);
  /// What is to be sent since the last call.
  [[nodiscard]] std::vector<output> take_output() { return std::exchange(output_, {}); }
  /// Whether what is wanted is there. All that this member sends is sent then.
  [[nodiscard]] bool done() const noexcept { return done_; }
  /// Messages that are still to come, wanted or not.
  [[nodiscard]] std::size_t left() const noexcept { return left_; }
  /// Precondition of both: `done()`. Once.
  [[nodiscard]] std::vector<payload> take_parts() { return std::move(parts_); }
  [[nodiscard]] payload take_result() { return std::move(result_); }

 private:
  enum class kind : std::uint8_t { bundle, result };  ///< of what is no single part: its last byte
  struct relayed {
    const exchange_plan::bundle* what;
    std::size_t lacks;  ///< parts
  };
  void send(int to, byte_view data, kind what);
  void on_part(int from, payload data);
  [[nodiscard]] result<> on_bundle(int from, const payload& data);
  void end(payload result);

  const exchange_plan& plan_;
  int self_;
  byte_vector head_;
  combining combine_;
  std::vector<payload> parts_;
  std::vector<bool> heard_;  ///< whose first message is here
  std::vector<relayed> to_pass_on_;
  std::size_t lacks_;  ///< parts
  std::size_t left_;
  payload result_;
  bool done_ = false;
  std::vector<output> output_;
};

/// Parts after one another, each with its length in front.
void append_parts(byte_vector& out, const std::vector<payload>& parts, std::size_t first = 0);
/// Slices of `whole` from `offset` on; `errc::malformed` unless it is what `append_parts` makes.
[[nodiscard]] result<std::vector<payload>> parts_of(const payload& whole, std::size_t offset = 0);

}  // namespace p2pdvm::mpi

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/part_exchange.ipp>
#endif

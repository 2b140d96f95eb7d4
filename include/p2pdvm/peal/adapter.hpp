/// What a programming environment on PEAL implements.
#pragma once

#include <p2pdvm/base/bytes.hpp>

#include <optional>
#include <string>

namespace p2pdvm::peal {

/// An adapter gives ranks an environment's own vocabulary (MPI's, BSP's, yours) over a `port`.
/// What it must remember across a cut beyond the messages in flight, which PEAL captures, it
/// saves and loads here: counters, identifiers, registrations.
class adapter {
 public:
  virtual ~adapter() = default;
  /// A sentence when this rank cannot be captured at this point (inside a collective, say).
  [[nodiscard]] virtual std::optional<std::string> cannot_cut() const { return std::nullopt; }
  [[nodiscard]] virtual byte_vector save() const { return {}; }
  /// Whether ranks of another number may begin without what `save` gives: where no message is on its way, nothing of it matters.
  [[nodiscard]] virtual bool may_begin_anew() const { return save().empty(); }
  /// Throws `std::system_error` on bytes that `save` did not write.
  virtual void load(byte_view saved) { (void)saved; }
};

}  // namespace p2pdvm::peal

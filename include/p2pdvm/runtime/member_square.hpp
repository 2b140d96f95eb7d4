/// Members stand in a square: who keeps connections to whom, and how news reaches all in two steps.
///
/// A member's place follows from its index in the job record, which it keeps as long as it is one:
/// rows of `width`. Each keeps connections to its row and its column only, so that a job of n members has
/// about n (width + n / width) / 2 of them instead of n² / 2; up to `width` members that is the
/// same. Who has news tells its row, and in each column one member who passes it on there.
#pragma once

#include <p2pdvm/checkpoint/job_record.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace p2pdvm::runtime {

class member_square {
 public:
  static constexpr std::uint32_t width = 32;

  /// `self` need not be a member; then it has no links, and tells everybody itself.
  member_square(const checkpoint::job_record& record, const node_id& self)
      : record_(record), self_(record.is_live(self) ? record.index_of(self) : std::nullopt) {}

  /// The living members to whom this one keeps a connection, in the order of the record.
  [[nodiscard]] std::vector<node_id> links() const;
  [[nodiscard]] bool is_link(const node_id& other) const;

  /// The living members that neither are links nor have a living link in common with this one: both where
  /// their lines cross are gone.
  [[nodiscard]] std::vector<node_id> cut_off() const;

  struct recipient {
    node_id node;
    bool passes_on = false;  ///< to its column
  };
  /// Whom this member tells what all shall know.
  [[nodiscard]] std::vector<recipient> recipients() const;
  /// The other living members of its column.
  [[nodiscard]] std::vector<node_id> column() const;

 private:
  [[nodiscard]] static bool in_line(std::uint32_t a, std::uint32_t b) noexcept {
    return a / width == b / width || a % width == b % width;
  }
  const checkpoint::job_record& record_;
  std::optional<std::uint32_t> self_;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/member_square.ipp>
#endif

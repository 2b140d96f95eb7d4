/// Messages of peers that the job record here does not name as members, or not yet.
#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/job_messages.hpp>

#include <cstddef>
#include <cstdint>
#include <map>
#include <vector>

namespace p2pdvm::runtime {

/// Most of what members say is said once, so it must not be lost only because the record that
/// makes the sender a member is still on its way from another peer. The sender may as well be a
/// stranger, so little is kept of each and of few; who has waited longest makes room for others.
class early_messages {
 public:
  /// False when it is not kept: over a limit, or of a kind that is repeated anyway.
  bool hold(const node_id& from, job_message message);
  /// Those whose messages are held.
  [[nodiscard]] std::vector<node_id> senders() const;
  /// In the order in which they came; the sender has none afterwards.
  [[nodiscard]] std::vector<job_message> take(const node_id& from);

 private:
  struct held {
    std::uint64_t since = 0;  ///< larger than that of who came before
    std::size_t bytes = 0;    ///< encoded
    std::vector<job_message> messages;
  };
  void make_room(std::size_t bytes, const node_id& for_whom);

  std::map<node_id, held> held_;
  std::size_t bytes_ = 0;  ///< of all
  std::uint64_t senders_seen_ = 0;
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/early_messages.ipp>
#endif

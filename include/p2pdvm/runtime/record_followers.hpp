/// Who has asked this peer for every new job record while the job is forming.
#pragma once

#include <p2pdvm/checkpoint/certificate.hpp>
#include <p2pdvm/runtime/job_messages.hpp>

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

namespace p2pdvm::runtime {

/// A newcomer has no connections to its links yet. It follows one member, over the connection that
/// it made to be let in or to another that it was told of, gets the whole record once and then
/// what changes. Members that are followed follow others, up to who admits: a tree of connections
/// that there are. Who is not in the record is told nothing.
class record_followers {
 public:
  /// False when there are too many. One that asks again is told the whole again.
  bool add(const node_id& who);
  /// The same, but one that follows already goes on as it did.
  bool keep(const node_id& who);
  void remove(const node_id& who) { told_.erase(who); }
  [[nodiscard]] bool contains(const node_id& who) const { return told_.contains(who); }
  [[nodiscard]] std::size_t size() const noexcept { return told_.size(); }
  /// It has what `record` points to, or will have it.
  [[nodiscard]] bool told(const node_id& who,
                          const std::shared_ptr<const checkpoint::job_record>& record) const;

  using message = std::pair<node_id, job_message>;
  /// What they lack. Who was told of the job's beginning follows no longer.
  [[nodiscard]] std::vector<message> tell(const checkpoint::certified_record& newest,
                                          const std::vector<checkpoint::certificate>& links);

 private:
  std::map<node_id, std::shared_ptr<const checkpoint::job_record>> told_;  ///< null: nothing yet
};

}  // namespace p2pdvm::runtime

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/runtime/impl/record_followers.ipp>
#endif

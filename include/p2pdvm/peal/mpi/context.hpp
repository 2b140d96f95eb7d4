/// One rank's side of an MPI environment: its port, its communicators, what of them is saved.
#pragma once

#include <p2pdvm/peal/adapter.hpp>
#include <p2pdvm/peal/mpi/data.hpp>
#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <vector>

namespace p2pdvm::mpi::detail {

/// Communicator `id` has the port's sub-space 2·id for the program's messages and 2·id + 1 for
/// its collectives.
inline constexpr std::uint32_t communicators_max = 1u << 30;

class group;

/// The adapter. Shared by all communicators made from one `communicator(rank)`.
class context final : public peal::adapter {
 public:
  explicit context(peal::rank& rank);

  [[nodiscard]] peal::port& port() noexcept { return port_; }
  [[nodiscard]] peal::rank& rank() noexcept { return rank_; }
  [[nodiscard]] std::uint32_t next_id() const noexcept { return next_id_; }
  /// `id` and all below are taken from now on.
  void take_id(std::uint32_t id);

  [[nodiscard]] std::optional<std::string> cannot_cut() const override;
  [[nodiscard]] byte_vector save() const override;
  void load(byte_view saved) override;

 private:
  friend class group;
  peal::rank& rank_;
  peal::port port_;
  std::uint32_t next_id_ = 1;
  std::map<std::uint32_t, group*> groups_;
  int running_ = 0;  ///< collectives that have begun and not ended
  operation last_ = operation::message;
};

/// What a reduction combines; the engine moves it as bytes.
class accumulator {
 public:
  virtual void append_to(byte_vector& out) const = 0;
  /// Combines with the value of the ranks just above (`on_the_right`) or just below.
  virtual void merge(const call& mine, const incoming& theirs, bool on_the_right) = 0;
  virtual void replace(const call& mine, const incoming& theirs) = 0;

 protected:
  ~accumulator() = default;
};

/// One communicator of this rank: who is in it, and the collectives as movements of bytes.
///
/// Every collective takes the next number of its communicator's sequence as tag; the head of
/// each message names the call, so that a rank that is in another collective is found out.
/// Rounds need no tags of their own: messages of a pair keep their order.
class group final {
 public:
  /// `members`: job ranks in order; empty means all of the job.
  group(std::shared_ptr<context> owner, std::uint32_t id, std::vector<int> members, int self);
  group(const group&) = delete;
  group& operator=(const group&) = delete;
  ~group();

  [[nodiscard]] int self() const noexcept { return self_; }
  [[nodiscard]] int size() const noexcept { return size_; }
  [[nodiscard]] std::uint32_t id() const noexcept { return id_; }
  [[nodiscard]] const std::shared_ptr<context>& owner() const noexcept { return owner_; }
  [[nodiscard]] int job_rank(int member) const {
    return members_.empty() ? member : members_[static_cast<std::size_t>(member)];
  }
  [[nodiscard]] const std::vector<int>& members() const noexcept { return members_; }

  // --- messages of the program ---

  [[nodiscard]] bool names(int member) const noexcept { return member >= 0 && member < size_; }
  void check_send(const call& c, int destination, int tag) const;
  void check_receive(const call& c, int source, int tag) const;
  peal::sending send(int destination, int tag, payload whole) {
    if (destination == no_rank) return {};
    return owner_->port().send(job_rank(destination), tag, std::move(whole), id_ * 2);
  }
  peal::sending send(int destination, int tag, const message_head& head, byte_view data) {
    if (destination == no_rank) return {};
    return owner_->port().send(job_rank(destination), tag, bytes_of(head), data, id_ * 2);
  }
  void post_send(int destination, int tag, payload whole);
  /// `into`, in parts that fit into registers.
  task<status> receive(void* object, std::size_t capacity, const target_type* type, int source,
                       int tag, std::source_location where);
  [[nodiscard]] std::unique_ptr<peal::operation> post_receive(int source, int tag);
  status deliver(const call& c, const target& into, const peal::message& m) const;
  [[nodiscard]] std::optional<status> iprobe(int source, int tag);
  task<status> probe(int source, int tag);

  // --- collectives ---

  void check_root(const call& c) const;
  /// Dissemination: log2(size) rounds.
  task<> barrier(call c);
  /// Binomial tree; the root's message is passed on as it is.
  task<> broadcast(call c, target data);
  /// Binomial tree over ranks in order: at distance k = 1, 2, 4, … a rank that is a multiple of
  /// 2k combines itself (left) with rank + k (right). The result is at rank 0, then at the root.
  task<> reduce(call c, accumulator& value);
  /// The same tree's value on every rank: recursive doubling where the size is a power of two,
  /// which brackets alike; else reduce and broadcast.
  task<> allreduce(call c, accumulator& value);
  /// Recursive doubling (Hillis and Steele 1986): a prefix grows by distance 1, 2, 4, …
  task<> scan(call c, accumulator& value);
  /// The inclusive prefix of the rank below; false on rank 0, which has none.
  task<bool> exclusive_scan(call c, accumulator& value);
  /// Binomial tree; on the root one part per rank, elsewhere nothing.
  task<std::vector<payload>> gather(call c, payload mine);
  /// Bruck et al. 1997: log2(size) rounds.
  task<std::vector<payload>> allgather(call c, payload mine);
  /// Binomial tree; `parts` on the root, one per rank.
  task<payload> scatter(call c, std::vector<payload> parts);
  /// Pairwise exchange with distance 1, 2, 3, …: every pair once.
  task<std::vector<payload>> alltoall(call c, std::vector<payload> parts);

  /// A communicator of those with the same colour in the order of (key, rank); null when this
  /// rank's colour is negative.
  task<std::shared_ptr<group>> split(call c, int colour, int key);

 private:
  friend class context;
  class collective;

  [[nodiscard]] int member_of(int job_rank) const {
    return members_.empty() ? job_rank : place_of(job_rank);
  }
  [[nodiscard]] int place_of(int job_rank) const;
  [[nodiscard]] std::string text_of_self() const;
  [[nodiscard]] std::string text_of_all() const;
  [[nodiscard]] status status_of(const peal::envelope& head) const;
  [[nodiscard]] incoming opened(const call& c, int job_source, byte_view body) const;
  [[nodiscard]] incoming opened(const call& c, const peal::message& m) const {
    return opened(c, m.source(), m.body().view());
  }
  [[nodiscard]] int wrapped(int member) const noexcept { return member % size_; }
  void put(const collective& in, int to, byte_view data);
  void put_value(const collective& in, int to, const accumulator& value);
  task<peal::message> take(const collective& in, int from);
  void merge(const collective& in, accumulator& value, const peal::message& m, bool right) const;
  task<> reduce_to_first(const collective& in, accumulator& value);
  task<> broadcast_from(const collective& in, int root, payload& whole);
  task<> double_distances(const collective& in, accumulator& value);

  std::shared_ptr<context> owner_;
  std::uint32_t id_;
  std::vector<int> members_;
  int self_;
  int size_;
  std::int64_t sequence_ = 0;
};

/// Parts after one another, each with its length in front.
void append_parts(byte_vector& out, const std::vector<payload>& parts, std::size_t first);
/// Slices of `whole` from `offset` on.
[[nodiscard]] std::vector<payload> parts_of(const payload& whole, std::size_t offset);

}  // namespace p2pdvm::mpi::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/collectives.ipp>
#include <p2pdvm/peal/mpi/impl/context.ipp>
#include <p2pdvm/peal/mpi/impl/group.ipp>
#endif

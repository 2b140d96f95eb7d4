/// One rank's side of an MPI environment: its port, its communicators, what of them is saved.
#pragma once

#include <p2pdvm/peal/adapter.hpp>
#include <p2pdvm/peal/mpi/collective_choice.hpp>
#include <p2pdvm/peal/mpi/data.hpp>
#include <p2pdvm/peal/mpi/part_exchange.hpp>
#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

namespace p2pdvm::mpi::detail {

/// Communicator `id` has the port's sub-space 2·id for the program's messages and 2·id + 1 for
/// its collectives.
inline constexpr std::uint32_t communicators_max = 1u << 30;

/// Something of so many collectives may be still to come; then a rank waits for what is slow.
inline constexpr std::size_t collectives_left_max = 16;

class group;

/// A receive of the program, awaited where it was made: the parts of a target, and not one (see `apart`).
class value_receiving {
 public:
  using result_type = status;
  value_receiving(group& in, void* object, std::size_t capacity, const target_type* type, int source, int tag,
                  std::source_location where)
      : in_(&in), object_(object), capacity_(capacity), type_(type), source_(source), tag_(tag), where_(where) {}
  value_receiving(value_receiving&& other) noexcept
      : value_receiving(*apart(other.in_), apart(other.object_), apart(other.capacity_), apart(other.type_),
                        apart(other.source_), apart(other.tag_), other.where_) {}
  value_receiving& operator=(value_receiving&&) = delete;
  ~value_receiving() = default;

  [[nodiscard]] bool begin();
  void suspend(p2pdvm::detail::frame_pointer frame) { wait_->hold(frame); }
  [[nodiscard]] status end();

 private:
  [[nodiscard]] byte_span memory() const noexcept {
    return {static_cast<std::byte*>(object_), capacity_ * type_->element_bytes};
  }
  [[nodiscard]] status explain(int source, int tag);

  group* in_;
  void* object_;
  std::size_t capacity_;
  const target_type* type_;
  int source_, tag_;
  std::source_location where_;
  message_head head_;
  std::optional<peal::detail::receive_wait> wait_;  ///< none for a receive from `no_rank`
};

/// The adapter. Shared by all communicators made from one `communicator(rank)`.
class context final : public peal::adapter {
 public:
  explicit context(peal::rank& rank);

  [[nodiscard]] peal::port& port() noexcept { return port_; }
  [[nodiscard]] peal::rank& rank() noexcept { return rank_; }
  [[nodiscard]] std::uint32_t next_id() const noexcept { return next_id_; }
  /// `id` and all below are taken from now on.
  void take_id(std::uint32_t id);
  /// So many messages of a collective are still to come to this rank, and nobody waits for them.
  struct ended {
    std::uint32_t communicator;
    std::int64_t tag;
    auto operator<=>(const ended&) const = default;
    template <class F>
    void fields(F&& f) {
      f(communicator), f(tag);
    }
  };
  void leave(const ended& collective, std::size_t messages) { left_behind_[collective] += messages; }
  /// Of how many collectives of that communicator something is still to come.
  [[nodiscard]] std::size_t collectives_left(std::uint32_t communicator) const {
    const auto first = left_behind_.lower_bound({communicator, INT64_MIN});
    return static_cast<std::size_t>(std::distance(first, left_behind_.upper_bound({communicator, INT64_MAX})));
  }
  /// Takes those of them that have come.
  void clear_away() {
    if (!left_behind_.empty()) take_left_behind();
  }

  [[nodiscard]] std::optional<std::string> cannot_cut() const override;
  [[nodiscard]] byte_vector save() const override;
  [[nodiscard]] bool may_begin_anew() const override { return left_behind_.empty(); }
  void load(byte_view saved) override;

 private:
  friend class group;
  void take_left_behind();

  peal::rank& rank_;
  std::uint32_t next_id_ = 1;
  std::map<std::uint32_t, group*> groups_;
  std::int64_t first_sequence_ = 0;  ///< of the communicator of all, when it is made after `load`
  std::map<ended, std::uint64_t> left_behind_;
  peal::port port_;  ///< after what opening it may load
  int running_ = 0;  ///< collectives that have begun and not ended
  operation last_ = operation::message;
};

/// What a reduction combines; the engine moves it as bytes. A range of elements can be taken apart.
class accumulator {
 public:
  virtual void append_to(byte_vector& out) const = 0;
  /// The elements as they are now; nothing where there are none to take apart, and then the functions
  /// that name a `first` element are not called.
  [[nodiscard]] virtual std::optional<byte_view> elements() const = 0;
  /// Combines with the value of the ranks just above (`on_the_right`) or just below.
  virtual void merge(const call& mine, const incoming& theirs, bool on_the_right) = 0;
  virtual void replace(const call& mine, const incoming& theirs) = 0;
  /// As `merge` and `replace`, of `count` elements from `first` on.
  virtual void merge_part(const call& mine, const incoming& theirs, bool on_the_right, std::size_t first,
                          std::size_t count) = 0;
  virtual void replace_part(const call& mine, const incoming& theirs, std::size_t first, std::size_t count) = 0;
  /// Those elements become what the parts of all ranks, in rank order, give in the bracketing of `group::reduce`.
  virtual void fold(const call& mine, const std::vector<incoming>& all, std::size_t first, std::size_t count) = 0;

 protected:
  ~accumulator() = default;
};

/// Combines values, given from left to right, as the tree of `group::reduce` would.
template <class T, class Op>
class bracket {
 public:
  explicit bracket(Op op) : op_(op) {}
  void push(T value) {
    for (std::uint32_t n = count_++; (n & 1) != 0; n >>= 1) value = op_(stack_[--depth_], value);
    stack_[depth_++] = std::move(value);
  }
  /// Precondition: something was pushed.
  [[nodiscard]] T take() {
    T value = std::move(stack_[--depth_]);
    while (depth_ > 0) value = op_(stack_[--depth_], value);
    count_ = 0;
    return value;
  }

 private:
  [[no_unique_address]] Op op_;
  std::array<T, 32> stack_{};  ///< of 2^k values each, k falling
  std::size_t depth_ = 0;
  std::uint32_t count_ = 0;
};

/// What the members of a communicator know of the network, and by what they choose.
class known_network {
 public:
  explicit known_network(network_view view) : view_(std::move(view)), plan_(view_), groups_(view_) {}
  void set_uplinks(std::vector<std::uint32_t> rates) { view_.set_uplinks(std::move(rates)); }
  [[nodiscard]] const network_view& view() const noexcept { return view_; }
  [[nodiscard]] const exchange_plan& plan() const noexcept { return plan_; }
  [[nodiscard]] const peer_groups& groups() const noexcept { return groups_; }
  [[nodiscard]] std::vector<prediction> predict(const collective_task& task) const {
    return predictions(view_, plan_, task, &groups_);
  }

 private:
  network_view view_;
  exchange_plan plan_;
  peer_groups groups_;
};

/// Members of a binomial tree, its root first: all from `root` on, or `some`.
struct tree_order {
  int size;
  int place;  ///< of this member
  int root;
  const std::vector<int>* some;
  [[nodiscard]] int member(int at) const {
    return some != nullptr ? (*some)[static_cast<std::size_t>(at)] : (at + root) % size;
  }
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
  peal::sending send(int destination, int tag, payload whole, std::source_location where) {
    if (destination == no_rank) return {};
    return owner_->port().send(job_rank(destination), tag, std::move(whole), id_ * 2, where);
  }
  peal::lending send(int destination, int tag, format form, std::uint32_t element_bytes, byte_view data,
                     std::source_location where) {
    if (destination == no_rank) return {};
    const message_head head = message_head::of_message(form, element_bytes, where.line(), file_number(where));
    return owner_->port().lend(job_rank(destination), tag, bytes_of(head), data, id_ * 2, where);
  }
  [[nodiscard]] std::uint16_t file_number(const std::source_location& where) {
    return owner_->rank().file_number(where.file_name());
  }
  [[nodiscard]] peal::output output(std::string_view name) const { return owner_->rank().output(name); }
  [[nodiscard]] peal::operation post_receive(const call& c, int source, int tag);
  status deliver(const call& c, const target& into, const peal::message& m) const;
  [[nodiscard]] std::optional<status> iprobe(int source, int tag);
  task<status> probe(int source, int tag, std::source_location where);

  // --- collectives ---

  void check_root(const call& c) const;
  // Those for which everybody waits for everybody (barrier, allreduce, allgather, split) take the way that
  // mpi/collective_choice.hpp finds best; what is said here of them is their rounds. At a cut all ranks have done
  // as many of them, so whatever ranks agree on in one of them can be agreed on again after a rollback.

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

  /// Among some: each member gives parts to members of its choice, in order, and names those of whom it gets parts; the same
  /// member may be named more than once. Who names nobody calls it all the same.
  task<std::vector<payload>> exchange_some(call c, std::vector<std::pair<int, payload>> parts, std::vector<int> sources);

  /// A communicator of those with the same colour in the order of (key, rank); null when this
  /// rank's colour is negative.
  task<std::shared_ptr<group>> split(call c, int colour, int key);

 private:
  friend class context;
  friend class value_receiving;
  class collective;
  class taking;
  class combining;
  class combining_by_peers;

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

  // What ranks choose by (impl/group_network.ipp).

  /// The first time, and once for all, the members agree on the round trips between them.
  [[nodiscard]] bool knows_network() const noexcept {
    return size_ < 3 || size_ > network_members_max || knowledge_ == knowledge::there;
  }
  task<> know_network(collective& in);
  [[nodiscard]] bool all_here() const;
  task<> agree(const collective& in, std::int64_t tag);
  /// Whether an allreduce of so many bytes would go through access links of unknown speed, most of it at once.
  [[nodiscard]] bool wants_uplinks(std::size_t bytes) const;
  task<> know_uplinks(collective& in);
  void let_others_go_on();
  [[nodiscard]] way choose(collective& in, collective_task::kind what, std::size_t bytes);
  /// What others have in front of them; refuses when they are in something else.
  [[nodiscard]] incoming opened_alike(const collective& in, const peal::message& m) const;

  // The ways.

  task<> reduce_and_broadcast(const collective& in, accumulator& value);
  /// A barrier, or an allreduce of elements.
  task<> meet_at_hub(const collective& in, accumulator* value);
  task<> allreduce_in_halves(const collective& in, accumulator& value);
  task<> allreduce_in_slices(const collective& in, accumulator& value);
  task<std::vector<payload>> allgather_in_rounds(const collective& in, payload mine);
  /// Of all members, in order, as they were given: by an exchange of all, or by peers.
  task<std::vector<payload>> exchange(const collective& in, way how, payload mine);
  /// The same of what only counts combined; null: that everybody came.
  task<> combine_all(const collective& in, way how, accumulator* value);
  /// `circle`: who takes part, ascending; empty: all.
  task<> run(const collective& in, part_exchange& parts, const std::vector<int>& circle);
  /// The members of each peer gather, their first ones take part. What comes of it, the combined or all peers' parts.
  task<payload> run_by_peers(const collective& in, payload mine, part_exchange::combining combine);
  [[nodiscard]] tree_order order_from(int root) const;
  [[nodiscard]] tree_order order_of_peer() const;
  /// By the tree, to and from its root; what is gathered is empty elsewhere.
  task<std::vector<payload>> gather_at_first(const collective& in, const tree_order& order, payload mine);
  task<> give_from_first(const collective& in, const tree_order& order, payload& whole);
  [[nodiscard]] std::vector<incoming> all_incoming(const call& c, const std::vector<payload>& parts) const;
  void put(const collective& in, int to, byte_view data);
  void put_value(const collective& in, int to, const accumulator& value);
  task<taking> take(const collective& in, int from);
  void merge(const collective& in, accumulator& value, const peal::message& m, bool right) const;
  task<> reduce_to_first(const collective& in, accumulator& value);

  std::shared_ptr<context> owner_;
  std::uint32_t id_;
  std::vector<int> members_;
  int self_;
  int size_;
  std::int64_t sequence_ = 0;

  enum class knowledge : std::uint8_t { none, coming, there };
  knowledge knowledge_ = knowledge::none;
  std::unique_ptr<known_network> network_;  ///< null: rounds always
  std::map<std::pair<int, int>, way> choices_;  ///< by task and size class
  std::vector<std::int64_t> waiting_;                  ///< tags of messages to self that they wait for
};

/// "209 ms"
[[nodiscard]] std::string time_text(double seconds);

}  // namespace p2pdvm::mpi::detail

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/mpi/impl/collectives.ipp>
#include <p2pdvm/peal/mpi/impl/context.ipp>
#include <p2pdvm/peal/mpi/impl/group.ipp>
#include <p2pdvm/peal/mpi/impl/group_network.ipp>
#endif

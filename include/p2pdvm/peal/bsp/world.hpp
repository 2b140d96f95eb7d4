/// BSP supersteps: everything asked for in one happens at its end, in one message per pair.
#pragma once

#include <p2pdvm/peal/adapter.hpp>
#include <p2pdvm/peal/bsp/cost.hpp>
#include <p2pdvm/peal/bsp/record.hpp>
#include <p2pdvm/peal/bsp/relays.hpp>
#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/rank.hpp>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <ranges>
#include <source_location>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace p2pdvm::bsp {

namespace detail {
template <class T>
concept element = std::is_trivially_copyable_v<T> && std::default_initializable<T> &&
                  !std::is_pointer_v<T> && !std::is_array_v<T> && !std::ranges::view<T>;

template <class T>
struct slot {
  T value{};
  bool ready = false;
};

[[noreturn]] void refuse(const std::string& sentence);

struct world_setting {
  std::vector<int> members;  ///< ranks of the job that take part, ascending, the same on all of them; empty: all
  std::size_t part_bytes = part_bytes_max;
};

}  // namespace detail

/// What `send` of the last superstep brought.
class message {
 public:
  message() = default;
  message(int source, std::int64_t tag, std::uint32_t element_bytes, payload data)
      : source_(source), tag_(tag), element_bytes_(element_bytes), data_(std::move(data)) {}
  [[nodiscard]] int source() const noexcept { return source_; }
  [[nodiscard]] std::int64_t tag() const noexcept { return tag_; }
  [[nodiscard]] byte_view bytes() const noexcept { return data_.view(); }
  [[nodiscard]] std::string_view text() const noexcept { return as_text(data_.view()); }
  /// Its elements; throws when it was sent with elements of another size.
  template <detail::element T>
  [[nodiscard]] std::vector<T> values() const {
    check(sizeof(T));
    std::vector<T> out(data_.size() / sizeof(T));
    if (!out.empty()) std::memcpy(out.data(), data_.data(), data_.size());
    return out;
  }
  /// Its only element.
  template <detail::element T>
  [[nodiscard]] T value() const {
    check(sizeof(T));
    if (data_.size() != sizeof(T)) refuse_count(sizeof(T));
    T out{};
    std::memcpy(&out, data_.data(), sizeof(T));
    return out;
  }
  template <class F>
  void fields(F&& f) {
    f(source_), f(tag_), f(element_bytes_), f(data_);
  }

 private:
  void check(std::size_t element_bytes) const;
  [[noreturn]] void refuse_count(std::size_t element_bytes) const;
  std::int32_t source_ = 0;
  std::int64_t tag_ = 0;
  std::uint32_t element_bytes_ = 0;
  payload data_;
};

/// A value that the end of this superstep brings: of a get, or of a fold over all ranks.
/// Copyable. It does not survive a restart, so use it before the next `safe_sync`, or end the
/// superstep that brings it with `sync`.
template <class T>
class future {
 public:
  explicit future(std::shared_ptr<const detail::slot<T>> filled) : slot_(std::move(filled)) {}
  /// Throws while the superstep has not ended.
  [[nodiscard]] const T& value() const {
    if (!slot_->ready)
      detail::refuse("a value of this superstep is read before the superstep has ended");
    return slot_->value;
  }

 private:
  std::shared_ptr<const detail::slot<T>> slot_;
};

namespace detail {

/// Memory that other ranks may put into and get from.
class registered {
 public:
  virtual byte_span memory() = 0;
  [[nodiscard]] virtual std::size_t element_bytes() const noexcept = 0;
  /// What a put makes of a part of that memory.
  virtual void write(byte_span into, byte_view data) const {
    if (data.size() == sizeof(std::uint64_t)) {
      std::memcpy(into.data(), data.data(), sizeof(std::uint64_t));
    } else {
      std::memcpy(into.data(), data.data(), data.size());
    }
  }

 protected:
  ~registered() = default;
};

/// Values of all ranks, folded in rank order.
class pending_fold {
 public:
  virtual ~pending_fold() = default;
  virtual void add(int source, byte_view value) = 0;
  virtual void finish() = 0;
  [[nodiscard]] virtual byte_view mine() const = 0;
};

/// Where a get writes.
class pending_get {
 public:
  virtual ~pending_get() = default;
  virtual void write(byte_view data) = 0;
};

}  // namespace detail

/// Make one at the top of the body, before `restore()`; it must live until the body ends. All
/// ranks register the same variables and arrays in the same order, call the same folds, and end
/// the same number of supersteps.
///
/// At the end of a superstep, in this order: gets read; what they read is written where they
/// asked; puts are written, in the order of (rank that put, call), so that the result is always
/// the same; messages become readable, in the order of (source, call).
class world final : public peal::adapter {
 public:
  explicit world(peal::rank& rank) : world(rank, detail::world_setting()) {}
  /// Of the ranks that `colour_of` gives the same colour as this one, which are numbered from 0 on in their order. Collective over
  /// the job: every rank has such a world, in the order of their making, and `colour_of(r)` is the same wherever it is called.
  world(peal::rank& rank, const std::function<int(int rank)>& colour_of);
  world(peal::rank& rank, detail::world_setting how);
  world(const world&) = delete;
  world& operator=(const world&) = delete;
  /// Leaving tells the others, so that a rank that still waits for this one gets an error.
  ~world() override;

  [[nodiscard]] int rank() const noexcept { return self_; }
  [[nodiscard]] int size() const noexcept { return static_cast<int>(members_.size()); }
  /// What the job calls a rank of this world.
  [[nodiscard]] int job_rank(int rank) const { return members_.at(static_cast<std::size_t>(rank)); }
  /// As `peal::rank::output`.
  [[nodiscard]] peal::output output(std::string_view name) { return rank_.output(name); }
  /// How many have ended.
  [[nodiscard]] std::uint64_t supersteps() const noexcept { return superstep_; }
  /// What its supersteps show of the machine; nothing before there were some. With --explain rank 0 tells it at the end, and which
  /// supersteps took how long, beside what the model says.
  [[nodiscard]] std::optional<machine> measured() const { return costs_.measured(); }
  /// To how many ranks this one sends small supersteps by way of others, because that is shorter.
  [[nodiscard]] std::size_t relayed() const noexcept;

  /// Ends the superstep: exchanges one message with every other rank, which is the barrier.
  task<> sync(std::source_location where = std::source_location::current());
  /// The same, and a safe point: the exchange itself agrees on whether a snapshot is due.
  /// Registered data that is also state or a region of the rank is restored as it is here, and
  /// so are the messages just received; futures are not. Only of the whole job.
  task<> safe_sync(std::source_location where = std::source_location::current());

  /// Copied at the call; readable by `messages()` of the destination in the next superstep.
  template <class T, std::size_t Extent>
    requires detail::element<std::remove_const_t<T>>
  void send(int destination, std::int64_t tag, std::span<T, Extent> values,
            std::source_location where = std::source_location::current()) {
    add_send(destination, tag, std::as_bytes(values), sizeof(T), where);
  }
  template <detail::element T>
  void send(int destination, std::int64_t tag, const std::vector<T>& values,
            std::source_location where = std::source_location::current()) {
    add_send(destination, tag, std::as_bytes(std::span(values)), sizeof(T), where);
  }
  template <detail::element T>
  void send(int destination, std::int64_t tag, const T& value,
            std::source_location where = std::source_location::current()) {
    add_send(destination, tag, bytes_of(value), sizeof(T), where);
  }
  void send(int destination, std::int64_t tag, std::string_view text,
            std::source_location where = std::source_location::current()) {
    add_send(destination, tag, as_bytes(text), 1, where);
  }
  /// Valid until the next end of a superstep.
  [[nodiscard]] const std::vector<message>& messages() const noexcept { return received_; }

  /// `op(op(v0, v1), v2) …` over the values of all ranks, on every rank, at the end of this
  /// superstep, without messages of its own. The operation is trivially destructible.
  template <detail::element T, class Op>
  [[nodiscard]] future<T> fold(const T& value, Op op);
  template <detail::element T>
  [[nodiscard]] future<T> sum(const T& value) {
    return fold(value, [](const T& a, const T& b) { return static_cast<T>(a + b); });
  }
  template <detail::element T>
  [[nodiscard]] future<T> minimum(const T& value) {
    return fold(value, [](const T& a, const T& b) { return b < a ? b : a; });
  }
  template <detail::element T>
  [[nodiscard]] future<T> maximum(const T& value) {
    return fold(value, [](const T& a, const T& b) { return a < b ? b : a; });
  }

  // --- what variables and arrays are made of ---

  [[nodiscard]] std::uint32_t add_registration(detail::registered& memory);
  void remove_registration(std::uint32_t slot);
  void add_put(int destination, std::uint32_t slot, std::size_t first, byte_view data,
               std::size_t element_bytes, const detail::place& where);
  void add_get(int source, std::uint32_t slot, std::size_t first, std::size_t count,
               std::size_t element_bytes, std::unique_ptr<detail::pending_get> into,
               const detail::place& where);
  /// `more`: behind `data`.
  void add_send(int destination, std::int64_t tag, byte_view data, std::size_t element_bytes, const detail::place& where,
                byte_view more = {});
  void add_fold(std::unique_ptr<detail::pending_fold> fold) { folds_.push_back(std::move(fold)); }
  /// `sync`, of a program in another language; `note` is what a rank that waits there is said to do.
  task<> sync_at(detail::place where, peal::call_note note);
  /// All come to their end here; nothing is exchanged but that. The world is of no use any more.
  task<> leave_together(detail::place where, peal::call_note note);

  // --- peal::adapter ---

  [[nodiscard]] std::optional<std::string> cannot_cut() const override;
  [[nodiscard]] byte_vector save() const override;
  [[nodiscard]] bool may_begin_anew() const override { return received_.empty(); }
  void load(byte_view saved) override;

 private:
  struct get {
    int source = 0;
    std::size_t bytes = 0;
    std::unique_ptr<detail::pending_get> into;
  };
  using arrived = std::vector<std::pair<payload, std::vector<detail::record>>>;

  detail::letter& out_to(int destination, const char* what, const detail::place& where);
  task<epoch_number> end_superstep(detail::ending how, detail::place where, peal::call_site at);
  [[nodiscard]] detail::superstep_head head_for(detail::ending how, const detail::place& where);
  void send_whole(int destination, std::int64_t tag, byte_vector whole);
  void send_letters(std::vector<byte_vector> letters);
  /// Puts a letter where it belongs, and passes on what comes with it.
  void open_letter(const payload& whole, arrived& all);
  task<payload> receive_reply(int source, std::uint64_t bytes, peal::call_site at);
  [[nodiscard]] std::size_t position_of(int job_rank) const;
  /// Whether somebody may be far is known to all after one superstep; then they agree on round trips before the next one.
  void say_if_far();
  [[nodiscard]] static bool anybody_far(const arrived& all);
  task<> find_relays(peal::call_site at);
  void note_cost(const arrived& all, const detail::place& where);
  /// The schedule of an exchange: everybody sends to everybody directly.
  task<arrived> exchange(const detail::superstep_head& mine, peal::call_site at);
  void check_head(const detail::superstep_head& mine, const detail::superstep_head& theirs,
                  int source) const;
  void answer_gets(const arrived& all);
  task<> finish_gets(peal::call_site at);
  void write_puts(const arrived& all);
  void finish_folds(const arrived& all);
  void read_messages(const arrived& all);
  [[nodiscard]] detail::registered& owner_of(const detail::record_head& access, int source) const;
  /// Calls `f(owner, memory, data)` for each put or get that the record stands for.
  template <class F>
  void each_target(const detail::record& r, byte_view letter, int source, F&& f) const;
  [[noreturn]] void refuse_access(const detail::record_head& access, std::int64_t offset, const detail::registered& owner, std::size_t there, int source) const;
  [[nodiscard]] std::string access_text(const detail::record_head& access, int source) const;
  [[nodiscard]] std::string access_place(const detail::record_head& access, int source) const;
  [[nodiscard]] std::string place_text(int source, std::uint16_t file, std::uint32_t line) const {
    return rank_.place_text(job_rank(source), file, line);
  }
  [[nodiscard]] std::int64_t tag_of(bool reply) const noexcept;
  void leave() noexcept;

  peal::rank& rank_;
  peal::port port_;
  std::vector<int> members_;  ///< of the job
  int self_ = 0;
  int exceptions_;
  std::size_t part_bytes_;
  enum class ways : std::uint8_t { unknown, to_be_agreed, known } ways_ = ways::unknown;
  std::vector<int> relays_;         ///< by destination, see `detail::relays`; empty: none
  std::uint64_t superstep_ = 0;
  bool ending_ = false, left_ = false;
  std::vector<detail::registered*> slots_;
  std::uint32_t registered_ = 0;
  std::uint64_t registrations_ = 0;
  std::vector<detail::letter> out_;  ///< for each rank
  std::vector<get> gets_;
  std::vector<std::unique_ptr<detail::pending_fold>> folds_;
  std::vector<message> received_;
  detail::cost_meter costs_{1};
  double ended_at_ = 0;  ///< the superstep before [s]
};

namespace detail {

template <class T, class Op>
class fold_of final : public pending_fold {
 public:
  fold_of(const T& value, Op op, std::shared_ptr<slot<T>> into)
      : mine_(value), op_(op), into_(std::move(into)) {}
  void add(int source, byte_view value) override {
    T theirs{};
    if (value.size() != sizeof(T))
      refuse("rank " + std::to_string(source) + " folds a value of " +
             std::to_string(value.size()) + " bytes where this rank folds one of " +
             std::to_string(sizeof(T)));
    std::memcpy(&theirs, value.data(), sizeof(T));
    into_->value = source == 0 ? theirs : op_(into_->value, theirs);
  }
  void finish() override { into_->ready = true; }
  [[nodiscard]] byte_view mine() const override { return bytes_of(mine_); }

 private:
  T mine_;
  [[no_unique_address]] Op op_;
  std::shared_ptr<slot<T>> into_;
};

}  // namespace detail

template <detail::element T, class Op>
future<T> world::fold(const T& value, Op op) {
  static_assert(std::is_trivially_destructible_v<Op>,
                "a fold's operation must be trivially destructible: capture by reference");
  auto slot = std::make_shared<detail::slot<T>>();
  add_fold(std::make_unique<detail::fold_of<T, Op>>(value, op, slot));
  return future<T>(std::move(slot));
}

}  // namespace p2pdvm::bsp

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/bsp/impl/world.ipp>
#include <p2pdvm/peal/bsp/impl/exchange.ipp>
#endif

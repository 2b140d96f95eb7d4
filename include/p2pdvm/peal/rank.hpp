/// A rank: one virtual processor of a job, as a program and its adapters see it.
#pragma once

#include <p2pdvm/async/task.hpp>
#include <p2pdvm/base/intrusive_list.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/time.hpp>
#include <p2pdvm/peal/adapter.hpp>
#include <p2pdvm/peal/call_site.hpp>
#include <p2pdvm/peal/distributed.hpp>
#include <p2pdvm/peal/output.hpp>
#include <p2pdvm/peal/port.hpp>
#include <p2pdvm/peal/region_copier.hpp>
#include <p2pdvm/peal/services.hpp>
#include <p2pdvm/peal/snapshot.hpp>
#include <p2pdvm/wire/archive.hpp>

#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace p2pdvm::peal {

namespace detail {
[[noreturn]] void throw_cancelled();
[[noreturn]] void throw_misuse(const std::string& sentence);
class posted_receive;
class receive_wait;
class room_wait;
class sleep_wait;
class timed_receive_wait;
class waiting;
}

/// What of a marked region has changed: see `rank::marked_region`.
template <class T>
class region_marks {
 public:
  region_marks(const std::vector<T>& values, changed_ranges& changed) : values_(&values), changed_(&changed) {}
  /// Elements from `first` on, before or after they are changed, but before the next safe point.
  void changed(std::size_t first, std::size_t count = 1) {
    if (first > values_->size() || count > values_->size() - first)
      detail::throw_misuse("elements behind a region's end are marked as changed");
    changed_->mark(first * sizeof(T), (first + count) * sizeof(T));
  }
  void all_changed() { changed(0, values_->size()); }

 private:
  const std::vector<T>* values_;
  changed_ranges* changed_;
};

/// Given to the program's body. After a rollback the body runs again from its beginning with a
/// new `rank`: it names its state, calls `restore()`, and goes on from where the state says.
///
///     task<> body(peal::rank& rank) {
///       int step = 0;
///       std::vector<double> field(1000);
///       rank.state("step", step);
///       rank.region("field", field);
///       co_await rank.restore();
///       for (; step < 100; ++step) {
///         …
///         co_await rank.safe_point();   // a snapshot may be taken here; step is not yet counted up
///       }
///     }
///
/// What must be counted must be counted before the safe point: restored code continues after
/// `restore()`, so write `for (; step < n;) { …; ++step; co_await rank.safe_point(); }`.
class rank {
 public:
  rank(rank_services& services, rank_number self, std::uint32_t ranks, std::uint64_t seed);
  rank(const rank&) = delete;
  rank& operator=(const rank&) = delete;
  ~rank();

  [[nodiscard]] int id() const noexcept { return static_cast<int>(self_.value()); }
  [[nodiscard]] int size() const noexcept { return static_cast<int>(ranks_); }

  // --- state, before restore() ---

  /// Any value that cereal can save. It must outlive the body's use of this rank.
  template <class T>
  void state(std::string_view name, T& value) {
    add_state(name, [&value] { return wire::save(value); },
              [&value](byte_view saved) { return wire::load(saved, value); });
  }
  /// Bulk data: its bytes are saved as they are, and only what changed is sent.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void region(std::string_view name, std::vector<T>& values) {
    (void)add_region(name, values);
  }
  /// The same, but a cut copies only what the program has marked: whatever is not, it keeps from the cut before. Who
  /// changes an element and does not mark it gets the old one back after a loss.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  [[nodiscard]] region_marks<T> marked_region(std::string_view name, std::vector<T>& values) {
    named_region& added = add_region(name, values);
    added.marked = true;
    return region_marks<T>(values, added.changed);
  }

  /// A value that all ranks have alike whenever a snapshot can be taken, as the number of steps done: any number of ranks can go on
  /// with it (`p2pdvm fork --ranks`).
  template <class T>
  void common(std::string_view name, T& value) {
    state(name, value);
    shape_.common.emplace_back(name);
  }
  /// An array of `elements` elements of which each rank has a block (`block`), in whole units of `unit` elements: any number of
  /// ranks can go on with it. `values` is this rank's block with `margin` elements before it and as many behind it that are no
  /// part of it, for copies of neighbours' elements, say: these are not saved. Its size may not change.
  template <class T>
    requires std::is_trivially_copyable_v<T>
  void distributed(std::string_view name, std::vector<T>& values, std::uint64_t elements, std::uint64_t unit = 1,
                   std::size_t margin = 0) {
    const auto mine = static_cast<std::size_t>(declare_array({std::string(name), elements, unit, sizeof(T)}, values.size(), margin));
    named_region& added = add_region(
        name, [&values, mine, margin, text = std::string(name)] {
          if (values.size() != mine + 2 * margin) detail::throw_misuse("the distributed array '" + text + "' has another size than when it was declared");
          return std::as_bytes(std::span(values).subspan(margin, mine));
        },
        [&values, mine, margin](std::size_t bytes) -> std::optional<byte_span> {
          if (bytes != mine * sizeof(T) || values.size() != mine + 2 * margin) return std::nullopt;
          return std::as_writable_bytes(std::span(values).subspan(margin, mine));
        });
    added.piece = std::string(array_piece) + std::string(name);
  }
  /// This rank's elements of such an array.
  [[nodiscard]] peal::block block(std::uint64_t elements, std::uint64_t unit = 1) const;

  /// Collective, once, after all state is named. False in a fresh job: the values stay as they
  /// are. True: they hold what they held at the cut. Messages exchanged before it belong to
  /// this attempt only and must all have been received.
  task<bool> restore();
  /// Whether that has been called.
  [[nodiscard]] bool restored() const noexcept { return restored_; }

  // --- safe points, after restore() ---

  /// "My state is complete here, all my collectives are done." Every rank must pass the same
  /// number of these. Costs nothing unless a checkpoint is due.
  task<> safe_point(std::source_location where = std::source_location::current());
  /// A receive before whose return a snapshot may be taken at any time; for programs whose
  /// ranks do not pass safe points in step.
  task<message> safe_wait(port& from, int source, std::int64_t tag, std::uint32_t space = 0,
                          call_site at = std::source_location::current());
  /// The same for `limit` at most; nothing when none came. With zero it does not suspend, and is still a place where a
  /// snapshot may be taken: a rank that computes on its own passes one between two pieces of work.
  task<std::optional<message>> safe_wait_for(port& from, duration limit, int source, std::int64_t tag,
                                             std::uint32_t space = 0,
                                             call_site at = std::source_location::current());

  /// For adapters with traffic of their own that all ranks take part in (a superstep, say).
  /// `wished()` goes in; its maximum over all ranks comes back.
  [[nodiscard]] epoch_number wished() const;
  task<> safe_point_together(epoch_number wished_by_any,
                             std::source_location where = std::source_location::current());

  // --- the job ---

  /// Opens a matching space; every rank opens the same ones in the same order. The adapter
  /// must live as long as the body uses the port.
  [[nodiscard]] port open(std::string_view name, adapter& owner);
  /// The program's option `--name`. Throws `errc::invalid_argument` when it declared none.
  [[nodiscard]] std::string option(std::string_view name) const;
  /// The option as a number; throws with a sentence when it is not one.
  template <class T>
    requires std::is_arithmetic_v<T>
  [[nodiscard]] T option(std::string_view name) const {
    const std::string text = option(name);
    T value{};
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc() || end != text.data() + text.size()) bad_option(name, text);
    return value;
  }
  /// The whole content of the file given as `--name`, the same on every peer; empty when the
  /// option was not given.
  task<payload> input(std::string name);
  /// Hands over a result of the job, by name; committed and replicated before the job counts
  /// as done. Ranks' parts of one name are joined in rank order.
  void result(std::string name, payload bytes);
  void result(std::string name, std::string_view text) {
    result(std::move(name), payload::copy_of(as_bytes(text)));
  }

  /// The file that a peer started with `--name FILE` writes, of an output that the program declared. What this rank writes into
  /// it before a safe point appears in the file once a checkpoint from there on has committed, and what it writes behind its
  /// last one at the end of the job; whatever is lost meanwhile, each byte once. In the file stands step after step (what was
  /// written between two safe points), and of each step what rank 0 wrote, then what rank 1 wrote, and so on.
  /// It may be written after `restore()` only. Throws `errc::invalid_argument` when the program declared none of that name.
  [[nodiscard]] peal::output output(std::string_view name);

  /// Seconds on this peer's clock; differs between attempts, so keep it out of results.
  [[nodiscard]] double now() const;
  task<> sleep(duration delay, std::source_location where = std::source_location::current());
  /// The same numbers again after a rollback.
  [[nodiscard]] random_generator& random() noexcept { return random_; }
  /// How many peers take part at the moment.
  [[nodiscard]] std::size_t peers() const;
  /// To another rank and back [s] as its peer was last measured; nothing when it was not, 0 exactly when that is
  /// this peer. Differs between ranks, attempts and moments: keep it out of results.
  [[nodiscard]] std::optional<double> round_trip(int other) const;
  /// The lowest of the ranks that run on the same peer as `other`. All ranks get the same, until the next rollback, after
  /// which ranks may be elsewhere: keep it out of results.
  [[nodiscard]] int peer_of(int other) const;
  /// How many cores the processes of this rank's computer share; 0: unknown. As `round_trip`.
  [[nodiscard]] std::uint32_t cores() const;
  /// For messages to carry in place of the file's name. `file` must live as long as the program.
  [[nodiscard]] std::uint16_t file_number(const char* file) {
    const named_file* const last = last_file_.load(std::memory_order_relaxed);
    return last != nullptr && last->name == file ? last->number : new_file_number(file);
  }
  /// "solver.cpp:52", of a call of that rank. Where nobody here knows the file: "line 52 of file 3f2a", which
  /// the runtime replaces in an error that ends the job, since that rank's peer knows it.
  [[nodiscard]] std::string place_text(int of, std::uint16_t file, std::uint32_t line);
  /// A sentence about a choice that an adapter made, for `--explain`.
  void explain(std::string sentence);

  // --- for the runtime ---

  /// Takes the snapshot of `epoch`. Precondition: the token is held, and the rank is at a safe
  /// point or stands.
  [[nodiscard]] snapshot capture(epoch_number epoch);
  /// A rank that was told to wait at its safe point passes it; `capture` may follow at once.
  /// Precondition: the token is held.
  void end_wait();
  [[nodiscard]] bool waits_at_safe_point() const noexcept { return safe_point_gate_ != nullptr; }
  /// Lets a rank go on that stopped because it was frozen. Precondition: token held.
  void thaw();
  /// Ends every wait and every later call with `errc::cancelled`. Precondition: token held.
  void cancel();
  [[nodiscard]] bool cancelled() const noexcept {
    return cancelled_.load(std::memory_order_relaxed);
  }
  /// The body has returned: a standing safe point whose state is the results.
  void finish();
  [[nodiscard]] bool finished() const noexcept { return finished_; }
  [[nodiscard]] std::uint64_t safe_points() const noexcept { return passed_; }
  /// Why the rank cannot be captured now, or empty.
  [[nodiscard]] std::string cannot_cut() const;
  [[nodiscard]] rank_services& services() noexcept { return services_; }
  /// Of what was lent to a message.
  void take_back(rank_number destination, std::uint64_t loan);
  /// Throws where nothing may be written into an output.
  void check_may_write(std::string_view name) const;
  /// Precondition of both: the token is held.
  [[nodiscard]] std::optional<std::string> file_name(std::uint16_t number) const;
  /// The newest that `place_text` could not name.
  struct unnamed_place {
    rank_number rank;
    std::uint16_t file = 0;
    std::uint32_t line = 0;
    [[nodiscard]] std::string text() const;
  };
  [[nodiscard]] const std::optional<unnamed_place>& unnamed() const noexcept { return unnamed_; }
  /// What its coroutines wait for, those first that began first. Precondition: the token is held.
  [[nodiscard]] std::vector<wait_state> waits(std::size_t most);
  /// Grows with everything that the rank begins to wait for, however short. Precondition: the token is held.
  [[nodiscard]] std::uint64_t waits_begun() const noexcept { return waits_begun_; }

 private:
  friend class port;
  friend class detail::waiting;
  friend class detail::posted_receive;
  friend class detail::receive_wait;
  friend class detail::room_wait;
  friend class detail::sleep_wait;
  friend class detail::timed_receive_wait;
  struct named_file {
    const char* name;
    std::uint16_t number;
  };
  static constexpr std::size_t files_max = 4096;
  using saver = std::function<byte_vector()>;
  using loader = std::function<p2pdvm::result<>(byte_view)>;
  using viewer = std::function<byte_view()>;
  /// Makes room for so many bytes, which are written into what it returns; nothing when they do not fit.
  using filler = std::function<std::optional<byte_span>(std::size_t)>;
  struct named_state {
    std::string name;
    saver save;
    loader load;
  };
  struct named_region {
    std::string name;
    viewer view;
    filler fill;
    std::string piece;
    bool marked = false;
    changed_ranges changed;
    region_copier copier;
  };
  struct opened {
    std::string name;
    adapter* owner;
  };

  void add_state(std::string_view name, saver save, loader load);
  named_region& add_region(std::string_view name, viewer view, filler fill);
  template <class T>
  named_region& add_region(std::string_view name, std::vector<T>& values) {
    return add_region(
        name, [&values] { return std::as_bytes(std::span(values)); },
        [&values](std::size_t bytes) -> std::optional<byte_span> {
          if (bytes % sizeof(T) != 0) return std::nullopt;
          values.resize(bytes / sizeof(T));
          return std::as_writable_bytes(std::span(values));
        });
  }
  /// How many elements of it are this rank's.
  [[nodiscard]] std::uint64_t declare_array(shape_piece::array a, std::size_t in_memory, std::size_t margin);
  void check_new_name(std::string_view name) const;
  void check_may_stand() const;
  [[noreturn]] void bad_option(std::string_view name, std::string_view text) const;
  void load_everything(const snapshot& from);
  void load_adapter(const snapshot& from, std::size_t index);
  void throw_if_cancelled() const {
    if (cancelled()) detail::throw_cancelled();
  }
  std::uint16_t new_file_number(const char* file);
  task<> pass_safe_point(bool together, epoch_number wished_by_any, std::source_location where);

  rank_services& services_;
  driver_token& token_;
  messaging::endpoint& endpoint_;
  ready_queue& ready_;
  rank_number self_;
  std::uint32_t ranks_;
  random_generator random_;
  random_generator::state_type first_random_;
  shape_piece shape_;
  std::vector<named_state> states_;
  std::deque<named_region> regions_;  ///< whose marks the program has
  std::vector<opened> adapters_;
  std::vector<std::pair<std::string, payload>> results_;
  std::map<std::string, output_log, std::less<>> outputs_;
  intrusive_list<detail::waiting> waits_;
  std::list<detail::room_wait> room_waits_;
  intrusive_list<detail::posted_receive> operations_;  ///< posted and not yet awaited or dropped
  std::map<rank_number, std::source_location> full_;  ///< who sent last to whom there was no room
  std::uint64_t waits_begun_ = 0;
  std::list<named_file> files_;  ///< of calls that were sent of
  std::atomic<const named_file*> last_file_{nullptr};
  std::optional<unnamed_place> unnamed_;
  suspension* safe_point_gate_ = nullptr;
  std::source_location safe_point_at_;
  std::uint64_t passed_ = 0;
  bool restored_ = false, finished_ = false;
  std::atomic<bool> cancelled_{false};  ///< set with the token held
};

}  // namespace p2pdvm::peal

#include <p2pdvm/peal/waiting.hpp>  // what is awaited has to be complete

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/impl/output.ipp>
#include <p2pdvm/peal/impl/port.ipp>
#include <p2pdvm/peal/impl/rank.ipp>
#endif

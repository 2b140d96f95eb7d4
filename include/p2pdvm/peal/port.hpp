/// A matching space of its own through which an adapter exchanges messages between ranks.
#pragma once

#include <p2pdvm/async/frame.hpp>
#include <p2pdvm/async/task.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/host/lane.hpp>
#include <p2pdvm/messaging/rank_message.hpp>
#include <p2pdvm/peal/call_site.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace p2pdvm::peal {

class rank;
namespace detail {
class posted_receive;
class message_receiving;

class sending_room {
 public:
  using result_type = void;
  sending_room() = default;
  sending_room(peal::rank& rank, rank_number destination) : rank_(&rank), destination_(destination.value()) {}
  sending_room(const sending_room& other) noexcept
      : rank_(apart(other.rank_)), destination_(apart(other.destination_)) {}
  sending_room& operator=(const sending_room& other) noexcept = default;
  ~sending_room() = default;
  [[nodiscard]] bool begin() const noexcept { return rank_ == nullptr; }
  void suspend(p2pdvm::detail::frame_pointer frame) const;
  void end() const noexcept {}
  /// There was room.
  [[nodiscard]] bool done() const noexcept { return rank_ == nullptr; }

 protected:
  peal::rank* rank_ = nullptr;  ///< none when there is room
  std::uint64_t destination_ = 0;  ///< a whole word, see `apart`
};

/// The same where the program's memory may be lent until the awaiting is over. Unless it is awaited at once, it is
/// copied.
class lending_room : public sending_room {
 public:
  lending_room() = default;
  lending_room(const sending_room& sent) : sending_room(sent) {}  // NOLINT: is one
  lending_room(peal::rank& rank, rank_number destination, std::uint64_t loan)
      : sending_room(rank, destination), loan_(loan) {}
  lending_room(lending_room&& other) noexcept
      : sending_room(other), loan_(apart(other.loan_)) {
    other.loan_ = nothing;
    other.rank_ = nullptr;
  }
  lending_room& operator=(lending_room&&) = delete;
  ~lending_room() { take_back(); }
  void suspend(p2pdvm::detail::frame_pointer frame);
  /// What was lent is not, from now on.
  void take_back() {
    if (loan_ != nothing) copy_lent();
  }
  operator task<sending_room>() &&;

 private:
  static constexpr auto nothing = ~std::uint64_t{0};
  void copy_lent();
  std::uint64_t loan_ = nothing;
};
}

inline constexpr int any_source = -1;
inline constexpr std::int64_t any_tag = INT64_MIN;

/// Where a message came from and how large it is.
struct envelope {
  int source = any_source;
  std::int64_t tag = 0;
  std::size_t bytes = 0;
};

class message {
 public:
  message() = default;
  message(int source, std::int64_t tag, payload body)
      : source_(source), tag_(tag), body_(std::move(body)) {}
  [[nodiscard]] int source() const noexcept { return source_; }
  [[nodiscard]] std::int64_t tag() const noexcept { return tag_; }
  [[nodiscard]] const payload& body() const noexcept { return body_; }
  [[nodiscard]] envelope head() const noexcept { return {source_, tag_, body_.size()}; }

 private:
  int source_ = any_source;
  std::int64_t tag_ = 0;
  payload body_;
};

/// A receive that was posted. Movable; dropping it unfinished withdraws it. It must not
/// outlive its rank's body.
class operation {
 public:
  operation();
  operation(operation&&) noexcept;
  operation& operator=(operation&&) noexcept;
  ~operation();

  /// Whether `wait` would return at once. Throws when the rank was cancelled.
  [[nodiscard]] bool test() const;
  /// The message; call once.
  task<message> wait();
  /// The same without a coroutine. Precondition: `test()`.
  [[nodiscard]] message take();
  [[nodiscard]] bool valid() const noexcept { return posted_ != nullptr; }

 private:
  friend class port;
  explicit operation(std::unique_ptr<detail::posted_receive> posted);
  std::unique_ptr<detail::posted_receive> posted_;
};

/// A message was sent; awaiting this waits while its destination is megabytes behind, and most often not at
/// all. Dropping it loses nothing but the waiting. Where a `task` with no result is wanted it is one.
using sending = task<detail::sending_room>;
/// Of the program's own memory: when it was awaited or dropped, and not before, that may be changed.
using lending = task<detail::lending_room>;
/// Of a message. Where a `task` with that result is wanted it is one; like one it begins when it is awaited.
using receiving = task<detail::message_receiving>;

/// Copyable handle; lives as long as its rank. `space` distinguishes sub-spaces of one
/// adapter (communicators). Ranks are numbered 0 … size-1; tags are the adapter's own, and
/// any but `any_tag`. Every call throws `std::system_error` with `errc::cancelled` once the
/// rank is being rolled back: let it pass through.
class port {
 public:
  port() = default;

  /// Buffered: when the call returns the message is safely on its way (it will arrive, whatever
  /// connection breaks). To be awaited by whoever is polite.
  sending send(int destination, std::int64_t tag, payload body, std::uint32_t space = 0,
               std::source_location where = std::source_location::current());
  /// Copies `bytes` once.
  sending send(int destination, std::int64_t tag, byte_view bytes, std::uint32_t space = 0,
               std::source_location where = std::source_location::current()) {
    return send(destination, tag, bytes, {}, space, where);
  }
  /// A body in two parts, copied once.
  sending send(int destination, std::int64_t tag, byte_view first, byte_view second,
               std::uint32_t space, std::source_location where = std::source_location::current()) {
    const two_parts body{first, second};
    return send_parts(destination, tag, body, space, where);
  }
  /// The same of memory that stays as it is until the result was awaited or dropped: where both ranks are processes of
  /// one computer, the receiver reads a large second part where it is.
  lending lend(int destination, std::int64_t tag, byte_view first, byte_view second,
               std::uint32_t space, std::source_location where = std::source_location::current()) {
    const two_parts body{first, second};
    if (second.size() > host::lane_copied_bytes_max) return lend_parts(destination, tag, body, space, where);
    return send_parts(destination, tag, body, space, where);
  }
  /// Never waits; the caller limits how much it posts.
  void post_send(int destination, std::int64_t tag, payload body, std::uint32_t space = 0) {
    (void)send(destination, tag, std::move(body), space);
  }

  /// The first message that matches, per source in the order of sending.
  receiving receive(int source, std::int64_t tag, std::uint32_t space = 0,
                    call_site at = std::source_location::current());
  /// Into the caller's memory, which must stay valid until it returns. Fails with
  /// `errc::too_large` when the message is longer than `into`.
  task<envelope> receive_into(byte_span into, int source, std::int64_t tag, std::uint32_t space = 0,
                              call_site at = std::source_location::current());
  [[nodiscard]] operation post_receive(int source, std::int64_t tag, std::uint32_t space = 0,
                                       call_site at = std::source_location::current());

  /// The message that `receive` would get at once, if any; it stays where it is.
  [[nodiscard]] std::optional<envelope> probe(int source, std::int64_t tag,
                                              std::uint32_t space = 0);
  task<envelope> wait_probe(int source, std::int64_t tag, std::uint32_t space = 0,
                            call_site at = std::source_location::current());

  [[nodiscard]] peal::rank& rank() const noexcept { return *rank_; }
  /// What a receive with these arguments matches.
  [[nodiscard]] messaging::pattern pattern_of(int source, std::int64_t tag, std::uint32_t space) const {
    messaging::pattern p;
    fill(p, source, tag, space);
    return p;
  }
  /// The same where it is used. Precondition: it is empty.
  [[gnu::always_inline]] void fill(messaging::pattern& p, int source, std::int64_t tag, std::uint32_t space) const {
    p.space = whole(space);
    if (source != any_source) {
      check_destination(source);
      p.source = rank_number(static_cast<std::uint32_t>(source));
    }
    if (tag != any_tag) p.tag = tag;
  }

 private:
  friend class peal::rank;
  friend class operation;
  port(peal::rank& rank, int ranks, std::uint32_t number)
      : rank_(&rank), ranks_(ranks), number_(number) {}
  void check_destination(int destination) const {
    if (destination < 0 || destination >= ranks_) refuse_destination(destination);
  }
  [[noreturn]] void refuse_destination(int destination) const;
  sending send_parts(int destination, std::int64_t tag, const two_parts& body, std::uint32_t space,
                     std::source_location where);
  lending lend_parts(int destination, std::int64_t tag, const two_parts& body, std::uint32_t space,
                     std::source_location where);
  [[nodiscard]] sending no_room(rank_number destination, std::source_location where);
  [[nodiscard]] std::uint64_t whole(std::uint32_t space) const noexcept {
    return std::uint64_t{number_} << 32 | space;
  }

  peal::rank* rank_ = nullptr;
  int ranks_ = 0;
  std::uint32_t number_ = 0;
};

}  // namespace p2pdvm::peal

#include <p2pdvm/peal/rank.hpp>  // what is awaited has to be complete

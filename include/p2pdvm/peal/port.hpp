/// A matching space of its own through which an adapter exchanges messages between ranks.
#pragma once

#include <p2pdvm/async/task.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/messaging/rank_message.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

namespace p2pdvm::peal {

class rank;

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
  [[nodiscard]] bool test();
  /// The message; call once.
  task<message> wait();
  [[nodiscard]] bool valid() const noexcept { return state_ != nullptr; }

 private:
  friend class port;
  class posted;
  explicit operation(std::unique_ptr<posted> state);
  std::unique_ptr<posted> state_;
};

/// Copyable handle; lives as long as its rank. `space` distinguishes sub-spaces of one
/// adapter (communicators). Ranks are numbered 0 … size-1; tags are the adapter's own, and
/// any but `any_tag`. Every call throws `std::system_error` with `errc::cancelled` once the
/// rank is being rolled back: let it pass through.
class port {
 public:
  port() = default;

  /// Buffered: returns when the message is safely on its way (it will arrive, whatever
  /// connection breaks), and waits only when the destination is megabytes behind.
  task<> send(int destination, std::int64_t tag, payload body, std::uint32_t space = 0);
  /// Copies `bytes` once, before the first suspension.
  task<> send(int destination, std::int64_t tag, byte_view bytes, std::uint32_t space = 0);
  /// Never waits; the caller limits how much it posts.
  void post_send(int destination, std::int64_t tag, payload body, std::uint32_t space = 0);

  /// The first message that matches, per source in the order of sending.
  task<message> receive(int source, std::int64_t tag, std::uint32_t space = 0);
  /// Into the caller's memory, which must stay valid until it returns. Fails with
  /// `errc::too_large` when the message is longer than `into`.
  task<envelope> receive_into(byte_span into, int source, std::int64_t tag,
                              std::uint32_t space = 0);
  [[nodiscard]] operation post_receive(int source, std::int64_t tag, std::uint32_t space = 0);

  /// The message that `receive` would get at once, if any; it stays where it is.
  [[nodiscard]] std::optional<envelope> probe(int source, std::int64_t tag,
                                              std::uint32_t space = 0);
  task<envelope> wait_probe(int source, std::int64_t tag, std::uint32_t space = 0);

  [[nodiscard]] peal::rank& rank() const noexcept { return *rank_; }

 private:
  friend class peal::rank;
  friend class operation;
  port(peal::rank& rank, std::uint32_t number) : rank_(&rank), number_(number) {}
  [[nodiscard]] messaging::pattern pattern_of(int source, std::int64_t tag,
                                              std::uint32_t space) const;
  void check_destination(int destination) const;

  peal::rank* rank_ = nullptr;
  std::uint32_t number_ = 0;
};

}  // namespace p2pdvm::peal

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/peal/rank.hpp>
#endif

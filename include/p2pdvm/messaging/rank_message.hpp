/// What ranks exchange, and what their peers tell one another about it.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace p2pdvm::messaging {

/// A matching space: messages of different spaces never meet. The port's number is in the
/// upper half, the adapter's own sub-space (a communicator, say) in the lower.
using space_number = std::uint64_t;
using tag_number = std::int64_t;

/// Messages before a rank's `restore()` are numbered apart: they belong to one incarnation
/// and to no snapshot.
enum class numbering : std::uint8_t { main = 0, prelude = 1 };

/// A message as matching sees it and as snapshots keep it.
struct rank_message {
  rank_number source;
  rank_number destination;
  /// Position among all messages of this (source, destination, numbering), from 0.
  std::uint64_t sequence = 0;
  space_number space = 0;
  tag_number tag = 0;
  payload body;
  template <class F>
  void fields(F&& f) {
    f(source), f(destination), f(sequence), f(space), f(tag), f(body);
  }
};

/// Everything of a message on the wire but its body, which follows uncopied.
struct rank_message_header {
  incarnation_number incarnation;
  /// The sender's epoch: the last one it cut.
  epoch_number epoch;
  rank_number source;
  rank_number destination;
  std::uint64_t sequence = 0;
  space_number space = 0;
  tag_number tag = 0;
  numbering stream = numbering::main;
  bool waited_for = false;  ///< the sender goes on when it is acknowledged
  static constexpr std::size_t encoded_bytes_max = 5 * 10 + 2 * 5 + 1;
  /// Mostly a dozen bytes: a message itself may have no more.
  template <class F>
  void fields(F&& f) {
    f.number(incarnation), f.number(epoch), f.number(source), f.number(destination);
    space_number low_half_first = std::rotl(space, 32);
    constexpr unsigned wait = 2;
    auto kind = static_cast<std::uint8_t>(static_cast<unsigned>(stream) | (waited_for ? wait : 0));
    f.number(sequence), f.number(low_half_first), f.number(tag), f(kind);
    space = std::rotl(low_half_first, 32);
    stream = static_cast<numbering>(kind & ~wait);
    waited_for = (kind & wait) != 0;
  }
};

/// From the destination's peer to the source's: what has arrived for good, and what has been
/// read. A message leaves its sender's window only by `received`.
struct rank_acknowledgement {
  incarnation_number incarnation;
  rank_number source;
  rank_number destination;
  numbering stream = numbering::main;
  std::uint64_t received = 0;           ///< all sequences below it
  std::uint64_t consumed_messages = 0;  ///< in this incarnation
  std::uint64_t consumed_bytes = 0;
  bool gap = false;   ///< something was missed: send again from `received`
  bool lift = false;  ///< a receive is waiting: send what credit holds back
  template <class F>
  void fields(F&& f) {
    f(incarnation), f(source), f(destination), f(stream), f(received), f(consumed_messages),
        f(consumed_bytes), f(gap), f(lift);
  }
};

/// From the source's peer: messages wait for credit.
struct rank_blocked {
  incarnation_number incarnation;
  rank_number source;
  rank_number destination;
  numbering stream = numbering::main;
  template <class F>
  void fields(F&& f) {
    f(incarnation), f(source), f(destination), f(stream);
  }
};

/// Which messages a receive accepts; an empty part accepts any.
struct pattern {
  space_number space = 0;
  std::optional<rank_number> source;
  std::optional<tag_number> tag;

  /// `Message`: a `rank_message` or what will be one.
  template <class Message>
  [[nodiscard]] bool matches(const Message& m) const noexcept {
    return m.space == space && (!source || *source == m.source) && (!tag || *tag == m.tag);
  }
};

}  // namespace p2pdvm::messaging

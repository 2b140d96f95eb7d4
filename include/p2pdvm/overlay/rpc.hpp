/// The overlay's messages: requests and replies of one datagram each.
///
/// Nobody can be made to send more to an address than that address sent: a reply is never
/// larger than its request until the requester has echoed a token that was sent to its
/// address. So a first request is padded to the size of its reply; a request with a good
/// token is not. A reply names as few peers as fit; where a value does not fit, `prove` brings a
/// token to try again with.
///
/// Replies also say where their sender is (coordinates.hpp), unless that would take the room of
/// something else: together with the time that the answer took it is a sample to go by.
#pragma once

#include <p2pdvm/overlay/contact.hpp>
#include <p2pdvm/overlay/coordinates.hpp>
#include <p2pdvm/overlay/record.hpp>

#include <cstdint>
#include <optional>
#include <vector>

namespace p2pdvm::overlay {

inline constexpr std::uint8_t overlay_protocol_version = 1;
/// Proof of an address, made from a secret, the contact and the time; 0 is "none".
using address_token = strong_number<struct address_token_tag>;

enum class message_kind : std::uint8_t {
  ping = 1,
  find_node,   ///< target, wanted
  find_value,  ///< target, wanted, publisher (optional)
  store,       ///< what; needs a token
  pong,        // replies from here on
  nodes,       ///< nearest
  value,       ///< what
  prove,       ///< the answer is larger than the request, or needs a token: ask again with it
  stored,      ///< kept
};

/// One struct for all kinds (GCC 12 warns falsely about variants of such); only the fields
/// named at its kind are on the wire.
struct message {
  std::uint8_t version = overlay_protocol_version;
  message_kind kind = message_kind::ping;
  std::uint64_t transaction = 0;  ///< a reply repeats its request's
  address_token token;            ///< in a reply: to show in the next request
  node_id target;
  std::uint8_t wanted = limits::bucket_size;  ///< contacts in the reply, at most
  std::optional<public_key> publisher;
  record what;
  std::vector<contact> nearest;  ///< at most `limits::bucket_size`, all proven to the sender
  bool kept = false;
  std::optional<packed_coordinate> place;  ///< of who replies
  byte_vector padding;  ///< of requests

  [[nodiscard]] bool is_request() const noexcept {
    return kind >= message_kind::ping && kind <= message_kind::store;
  }
  [[nodiscard]] bool is_reply() const noexcept {
    return kind >= message_kind::pong && kind <= message_kind::stored;
  }
  [[nodiscard]] bool tells_place() const noexcept {
    return kind == message_kind::pong || kind == message_kind::nodes ||
           kind == message_kind::stored;
  }
  template <class F>
  void fields(F&& f) {
    f(version), f(kind), f(transaction), f(token);
    if (kind == message_kind::find_node || kind == message_kind::find_value) f(target), f(wanted);
    if (kind == message_kind::find_value) f(publisher);
    if (kind == message_kind::store || kind == message_kind::value) f(what);
    if (kind == message_kind::nodes) f(nearest);
    if (kind == message_kind::stored) f(kept);
    if (tells_place()) f(place);
    if (is_request()) f(padding);
  }
};

/// Largest encoded replies; requests without a token are padded to these, and where there is
/// room to that of one more small message: the ping by which a stranger is met. A place comes on
/// top of the small replies.
inline constexpr std::size_t small_reply_bytes_max = 24;
inline constexpr std::size_t place_bytes = packed_coordinate::bytes;
inline constexpr std::size_t nodes_reply_bytes_max =
    small_reply_bytes_max + limits::bucket_size * contact_bytes_max + place_bytes;
inline constexpr std::size_t value_reply_bytes_max = datagram_payload_max;

}  // namespace p2pdvm::overlay

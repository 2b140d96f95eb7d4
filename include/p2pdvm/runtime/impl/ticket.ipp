#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/runtime/ticket.hpp>

namespace p2pdvm::runtime {

namespace detail {
inline constexpr std::string_view ticket_prefix = "p2pdvm1-";
}

P2PDVM_DECL byte_vector ticket::signed_bytes() const {
  ticket unsigned_copy = *this;
  unsigned_copy.signature = p2pdvm::signature();
  byte_vector bytes = to_vector(as_bytes("p2pdvm ticket"));
  append(bytes, wire::encode(unsigned_copy));
  return bytes;
}

P2PDVM_DECL void ticket::sign(const crypto::identity& issuer_identity) {
  issuer = issuer_identity.key();
  signature = issuer_identity.sign(signed_bytes());
}

P2PDVM_DECL result<> ticket::check(unix_seconds now) const {
  if (!crypto::verify(issuer, signed_bytes(), signature))
    return error(errc::authentication,
                 "this ticket was altered: its signature is wrong; copy it again, whole");
  if (now > expiry)
    return error(errc::expired, "this ticket expired " + std::to_string((now - expiry) / 60) +
                                    " minutes ago; ask for a new one");
  return {};
}

P2PDVM_DECL std::string ticket::text() const {
  byte_vector bytes = wire::encode(*this);
  const digest256 sum = crypto::hash(bytes);
  append(bytes, sum.bytes().first(4));  // tells a typing mistake from a forgery
  return std::string(detail::ticket_prefix) + to_base32(bytes);
}

P2PDVM_DECL result<ticket> ticket::parse(std::string_view text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  const error bad(errc::malformed,
                  "this is not a whole ticket; a ticket is one line that begins with " +
                      std::string(detail::ticket_prefix) + ", as the first peer printed it");
  if (text.size() > limits::ticket_text_max || text.size() < 10 || !text.starts_with("p2pdvm"))
    return bad;
  if (!text.starts_with(detail::ticket_prefix))
    return error(errc::unsupported_version,
                 "this ticket is of another version of p2pdvm; this program reads tickets that "
                 "begin with " + std::string(detail::ticket_prefix));
  byte_vector bytes;
  if (!from_base32(text.substr(detail::ticket_prefix.size()), bytes) || bytes.size() < 4)
    return bad;
  const byte_view body = byte_view(bytes).first(bytes.size() - 4);
  if (!equal(crypto::hash(body).bytes().first(4), byte_view(bytes).last(4))) return bad;
  auto decoded = wire::decode<ticket>(body);
  if (!decoded.ok() || decoded->contacts.empty()) return bad;
  return std::move(*decoded);
}

}  // namespace p2pdvm::runtime

#pragma once

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/store/messages.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <string_view>

namespace p2pdvm::store {

namespace detail {

inline byte_vector receipt_statement(const receipt& r) {
  byte_vector statement = to_vector(as_bytes("p2pdvm receipt 1"));
  receipt unsigned_form = r;
  unsigned_form.proof = {};
  append(statement, wire::encode(unsigned_form));
  return statement;
}

struct within_limits {
  bool operator()(const put_chunks& m) const {
    return m.chunks.size() <= ids_per_put_max && m.have.size() <= ids_per_put_max &&
           std::all_of(m.chunks.begin(), m.chunks.end(),
                       [](const sealed_chunk& c) { return c.sealed.size() <= sealed_bytes_max; });
  }
  bool operator()(const receipt&) const { return true; }
  bool operator()(const chunks_missing& m) const { return m.ids.size() <= ids_per_put_max; }
  bool operator()(const put_refused& m) const { return m.reason.size() <= limits::error_text_max; }
  bool operator()(const get_chunks& m) const { return m.ids.size() <= ids_per_get_max; }
  bool operator()(const chunk_data& m) const { return m.chunk.sealed.size() <= sealed_bytes_max; }
  bool operator()(const chunks_absent& m) const { return m.ids.size() <= ids_per_get_max; }
  bool operator()(const compare_chunks& m) const { return m.names.size() <= names_per_compare_max; }
  bool operator()(const chunk_bitmap& m) const { return m.have.size() <= names_per_compare_max / 8; }
  bool operator()(const pass_chunks& m) const { return m.ids.size() <= ids_per_get_max; }
};

}  // namespace detail

P2PDVM_DECL void receipt::sign(const crypto::identity& by) {
  holder = by.id();
  proof = by.sign(detail::receipt_statement(*this));
}

P2PDVM_DECL bool receipt::signed_by(const public_key& key) const {
  return crypto::node_id_of(key) == holder &&
         crypto::verify(key, detail::receipt_statement(*this), proof);
}

P2PDVM_DECL result<store_message> read_store_message(wire::reader encoded) {
  auto message = wire::decode<store_message>(encoded);
  if (!message) return error(errc::malformed, "a store message does not decode");
  if (!std::visit(detail::within_limits{}, *message))
    return error(errc::too_large, "a store message is over a limit");
  return message;
}

P2PDVM_DECL digest256 digest_of(std::vector<chunk_id> ids) {
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  crypto::hasher h;
  h.add(as_bytes("p2pdvm chunk set 1"));
  for (const chunk_id& id : ids) h.add(id.bytes());
  return h.finish();
}

}  // namespace p2pdvm::store

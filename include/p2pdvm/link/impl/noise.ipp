#pragma once

#include <p2pdvm/link/noise.hpp>

#include <algorithm>
#include <cstring>
#include <initializer_list>

namespace p2pdvm::link {

namespace detail {

inline constexpr std::size_t noise_block_bytes = 128;

inline noise::hash_value noise_hash(std::initializer_list<byte_view> parts) {
  crypto::hasher512 h;
  for (const byte_view part : parts) h.add(part);
  return h.finish();
}

/// HMAC (RFC 2104) over BLAKE2b-512; `key` is at most a block.
inline noise::hash_value noise_hmac(byte_view key, std::initializer_list<byte_view> parts) {
  std::array<std::byte, noise_block_bytes> inner{};
  P2PDVM_ASSERT(key.size() <= inner.size());
  std::copy(key.begin(), key.end(), inner.begin());
  std::array<std::byte, noise_block_bytes> outer = inner;
  for (auto& b : inner) b ^= std::byte{0x36};
  for (auto& b : outer) b ^= std::byte{0x5c};
  byte_vector text(inner.begin(), inner.end());
  for (const byte_view part : parts) append(text, part);
  const noise::hash_value first = noise_hash({text});
  const noise::hash_value digest = noise_hash({outer, first});
  crypto::wipe(inner);
  crypto::wipe(outer);
  crypto::wipe(text);
  return digest;
}

/// HKDF with two outputs, as the Noise specification defines it.
inline std::pair<noise::hash_value, noise::hash_value> noise_hkdf(const noise::hash_value& ck,
                                                                  byte_view input) {
  const std::byte one{1};
  const std::byte two{2};
  const noise::hash_value temporary = noise_hmac(ck, {input});
  const noise::hash_value first = noise_hmac(temporary, {byte_view(&one, 1)});
  const noise::hash_value second = noise_hmac(temporary, {first, byte_view(&two, 1)});
  return {first, second};
}

inline crypto::secret_key noise_key(const noise::hash_value& value) {
  return crypto::secret_key(byte_view(value).first(crypto::secret_key::size));
}

/// Both parts at the front of `out`, where the first may be already.
inline byte_view gather(byte_view front, byte_view rest, byte_span out) {
  if (!front.empty() && front.data() != out.data()) std::memmove(out.data(), front.data(), front.size());
  if (!rest.empty()) std::memcpy(out.data() + front.size(), rest.data(), rest.size());
  return out.first(front.size() + rest.size());
}

}  // namespace detail

namespace noise {

P2PDVM_DECL std::string_view protocol_name(pattern which, cipher kind) noexcept {
  if (which == pattern::xx) {
    return kind == cipher::aes256_gcm ? "Noise_XX_25519_AESGCM_BLAKE2b"
                                      : "Noise_XX_25519_ChaChaPoly_BLAKE2b";
  }
  return kind == cipher::aes256_gcm ? "Noise_IK_25519_AESGCM_BLAKE2b"
                                    : "Noise_IK_25519_ChaChaPoly_BLAKE2b";
}

P2PDVM_DECL void cipher_state::use(const crypto::secret_key& key) {
  key_ = key;
  if (kind_ == cipher::aes256_gcm) aes_.emplace(key);
}

P2PDVM_DECL void cipher_state::set_key(const crypto::secret_key& key) {
  use(key);
  n_ = 0;
}

P2PDVM_DECL crypto::nonce12 cipher_state::nonce(std::uint64_t n) const {
  crypto::nonce12 bytes{};
  for (std::size_t i = 0; i < 8; ++i) {  // ChaChaPoly counts little-endian, AESGCM big-endian
    const std::size_t at = kind_ == cipher::aes256_gcm ? 11 - i : 4 + i;
    bytes[at] = static_cast<std::byte>(n >> (8 * i));
  }
  return bytes;
}

P2PDVM_DECL void cipher_state::seal(std::uint64_t n, byte_view associated, byte_view front,
                                    byte_view rest, byte_span out) {
  if (kind_ == cipher::aes256_gcm) {
    aes_->seal(nonce(n), associated, front, rest, out);
  } else {
    crypto::seal(*key_, nonce(n), associated, rest.empty() ? front : detail::gather(front, rest, out), out);
  }
}

P2PDVM_DECL void cipher_state::encrypt(byte_view associated, byte_view front, byte_view rest,
                                       byte_span out) {
  P2PDVM_ASSERT(out.size() >= front.size() + rest.size() + overhead());
  if (!key_) {
    static_cast<void>(detail::gather(front, rest, out));
    return;
  }
  P2PDVM_ASSERT(n_ != ~std::uint64_t{0});
  seal(n_, associated, front, rest, out);
  ++n_;
}

P2PDVM_DECL bool cipher_state::decrypt(byte_view associated, byte_view sealed, byte_span out) {
  if (!key_) {
    P2PDVM_ASSERT(out.size() >= sealed.size());
    std::copy(sealed.begin(), sealed.end(), out.begin());
    return true;
  }
  if (n_ == ~std::uint64_t{0}) return false;
  const bool good = kind_ == cipher::aes256_gcm
                        ? aes_->open(nonce(n_), associated, sealed, out)
                        : crypto::open(*key_, nonce(n_), associated, sealed, out);
  if (good) ++n_;
  return good;
}

P2PDVM_DECL bool cipher_state::decrypt_end(byte_view tag) {
  const bool good = aes_->open_end(tag);
  if (good) ++n_;
  return good;
}

P2PDVM_DECL numbered_cipher cipher_state::take() {
  P2PDVM_ASSERT(can_take());
  return {kind_, *key_, nonce(n_++)};
}

P2PDVM_DECL void numbered_cipher::encrypt(byte_view associated, byte_view front, byte_view rest, byte_span out) const {
  P2PDVM_ASSERT(out.size() >= front.size() + rest.size() + crypto::tag_bytes);
  if (kind_ == cipher::aes256_gcm) {
    crypto::aes_key(key_).seal(nonce_, associated, front, rest, out);
  } else {
    crypto::seal(key_, nonce_, associated, detail::gather(front, rest, out), out);
  }
}

P2PDVM_DECL bool numbered_cipher::decrypt(byte_view associated, byte_view sealed, byte_span out) const {
  return kind_ == cipher::aes256_gcm ? crypto::aes_key(key_).open(nonce_, associated, sealed, out)
                                     : crypto::open(key_, nonce_, associated, sealed, out);
}

P2PDVM_DECL void cipher_state::rekey() {
  P2PDVM_ASSERT(key_.has_value());
  const std::array<std::byte, crypto::secret_key::size> zeros{};
  std::array<std::byte, crypto::secret_key::size + crypto::tag_bytes> out{};
  seal(~std::uint64_t{0}, {}, zeros, {}, out);
  use(crypto::secret_key(byte_view(out).first(crypto::secret_key::size)));
  crypto::wipe(out);
}

P2PDVM_DECL symmetric_state::symmetric_state(std::string_view name, cipher kind)
    : kind_(kind), cipher_(kind), h_{} {
  if (name.size() <= h_.size()) {
    std::memcpy(h_.data(), name.data(), name.size());
  } else {
    h_ = detail::noise_hash({as_bytes(name)});
  }
  ck_ = h_;
}

P2PDVM_DECL symmetric_state::~symmetric_state() { crypto::wipe(ck_); }

P2PDVM_DECL void symmetric_state::mix_key(byte_view input) {
  const auto [ck, key] = detail::noise_hkdf(ck_, input);
  ck_ = ck;
  cipher_.set_key(detail::noise_key(key));
}

P2PDVM_DECL void symmetric_state::mix_hash(byte_view bytes) {
  h_ = detail::noise_hash({h_, bytes});
}

P2PDVM_DECL void symmetric_state::encrypt_and_hash(byte_view plain, byte_vector& out) {
  const std::size_t start = out.size();
  out.resize(start + plain.size() + overhead());
  const byte_span sealed = byte_span(out).subspan(start);
  cipher_.encrypt(h_, plain, sealed);
  mix_hash(sealed);
}

P2PDVM_DECL bool symmetric_state::decrypt_and_hash(byte_view sealed, byte_vector& out) {
  if (sealed.size() < overhead()) return false;
  out.resize(sealed.size() - overhead());
  if (!cipher_.decrypt(h_, sealed, out)) return false;
  mix_hash(sealed);
  return true;
}

P2PDVM_DECL std::pair<cipher_state, cipher_state> symmetric_state::split() const {
  const auto [first, second] = detail::noise_hkdf(ck_, {});
  return {cipher_state(kind_, detail::noise_key(first)),
          cipher_state(kind_, detail::noise_key(second))};
}

P2PDVM_DECL handshake_state::handshake_state(pattern which, role side, cipher kind,
                                             byte_view prologue,
                                             const crypto::secret_key& static_key,
                                             const crypto::secret_key& ephemeral_key,
                                             const std::optional<crypto::exchange_key>& remote)
    : which_(which),
      side_(side),
      symmetric_(protocol_name(which, kind), kind),
      s_(static_key),
      e_(ephemeral_key),
      rs_(remote) {
  const bool knows_remote = which == pattern::ik && side == role::initiator;
  P2PDVM_ASSERT(remote.has_value() == knows_remote);
  symmetric_.mix_hash(prologue);
  if (which == pattern::ik) {  // pre-message: the responder's static key
    symmetric_.mix_hash((knows_remote ? *remote : crypto::exchange_public(s_)).bytes());
  }
}

P2PDVM_DECL bool handshake_state::finished() const noexcept {
  return !failed_ && done_ == messages();
}

P2PDVM_DECL bool handshake_state::my_turn() const noexcept {
  return !failed_ && done_ < messages() && (done_ % 2 == 0) == (side_ == role::initiator);
}

P2PDVM_DECL const handshake_state::message_tokens& handshake_state::tokens() const {
  using enum token;
  static constexpr std::array<message_tokens, 3> xx = {
      message_tokens{e, none, none, none}, {e, ee, s, es}, {s, se, none, none}};
  static constexpr std::array<message_tokens, 2> ik = {message_tokens{e, es, s, ss},
                                                       {e, ee, se, none}};
  P2PDVM_ASSERT(done_ < messages());
  return which_ == pattern::xx ? xx[done_] : ik[done_];
}

P2PDVM_DECL error handshake_state::fail(error why) {
  failed_ = true;
  return why;
}

P2PDVM_DECL result<> handshake_state::mix_agreement(token t) {
  const bool initiator = side_ == role::initiator;
  const bool mine_static = t == token::ss || t == (initiator ? token::se : token::es);
  const bool theirs_static = t == token::ss || t == (initiator ? token::es : token::se);
  const auto& theirs = theirs_static ? rs_ : re_;
  P2PDVM_ASSERT(theirs.has_value());
  auto shared = crypto::agree(mine_static ? s_ : e_, *theirs);
  if (!shared) return shared.error();
  symmetric_.mix_key(shared->bytes());
  return {};
}

P2PDVM_DECL result<> handshake_state::write_token(token t, byte_vector& out) {
  if (t == token::e) {
    const crypto::exchange_key e = crypto::exchange_public(e_);
    append(out, e.bytes());
    symmetric_.mix_hash(e.bytes());
    return {};
  }
  if (t == token::s) {
    symmetric_.encrypt_and_hash(crypto::exchange_public(s_).bytes(), out);
    return {};
  }
  return mix_agreement(t);
}

P2PDVM_DECL result<> handshake_state::read_token(token t, byte_view& in) {
  if (t != token::e && t != token::s) return mix_agreement(t);
  const std::size_t size =
      crypto::exchange_key::size + (t == token::s ? symmetric_.overhead() : 0);
  if (in.size() < size) return error(errc::malformed, "a handshake message is too short");
  const byte_view part = in.first(size);
  in = in.subspan(size);
  if (t == token::e) {
    re_ = crypto::exchange_key(part);
    symmetric_.mix_hash(part);
    return {};
  }
  byte_vector key;
  if (!symmetric_.decrypt_and_hash(part, key))
    return error(errc::authentication, "a handshake message does not authenticate");
  rs_ = crypto::exchange_key(byte_view(key));
  return {};
}

P2PDVM_DECL result<byte_vector> handshake_state::write_message(byte_view payload) {
  P2PDVM_ASSERT(my_turn());
  byte_vector out;
  for (const token t : tokens()) {
    if (t == token::none) break;
    if (auto done = write_token(t, out); !done) return fail(done.error());
  }
  symmetric_.encrypt_and_hash(payload, out);
  ++done_;
  return out;
}

P2PDVM_DECL result<byte_vector> handshake_state::read_message(byte_view message) {
  if (failed_) return error(errc::authentication, "the handshake has already failed");
  P2PDVM_ASSERT(!my_turn());
  for (const token t : tokens()) {
    if (t == token::none) break;
    if (auto done = read_token(t, message); !done) return fail(done.error());
  }
  byte_vector payload;
  if (!symmetric_.decrypt_and_hash(message, payload))
    return fail(error(errc::authentication, "a handshake message does not authenticate"));
  ++done_;
  return payload;
}

P2PDVM_DECL std::pair<cipher_state, cipher_state> handshake_state::split() const {
  P2PDVM_ASSERT(finished());
  return symmetric_.split();
}

}  // namespace noise
}  // namespace p2pdvm::link

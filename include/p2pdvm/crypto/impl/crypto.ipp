#pragma once

#include <p2pdvm/crypto/crypto.hpp>

#include <sodium.h>
#if defined(P2PDVM_WITH_OPENSSL)
#include <openssl/evp.h>
#endif

#include <algorithm>
#include <array>
#include <climits>
#include <cstring>
#include <new>
#include <type_traits>

namespace p2pdvm::crypto {

namespace detail {

inline const unsigned char* in(byte_view bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}
inline unsigned char* out(byte_span bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}
/// libsodium picks its fastest code once per process.
inline void initialise() {
  static const bool ready = ::sodium_init() >= 0;
  P2PDVM_ASSERT(ready);
}

}  // namespace detail

P2PDVM_DECL secret_key::secret_key(byte_view bytes) {
  P2PDVM_ASSERT(bytes.size() == size);
  std::memcpy(bytes_.data(), bytes.data(), size);
}

P2PDVM_DECL secret_key::~secret_key() { ::sodium_memzero(bytes_.data(), bytes_.size()); }

P2PDVM_DECL digest256 hash(byte_view bytes) {
  digest256 digest;
  ::crypto_generichash(detail::out(digest.mutable_bytes()), 32, detail::in(bytes), bytes.size(),
                       nullptr, 0);
  return digest;
}

P2PDVM_DECL digest256 keyed_hash(const secret_key& key, byte_view bytes) {
  digest256 digest;
  ::crypto_generichash(detail::out(digest.mutable_bytes()), 32, detail::in(bytes), bytes.size(),
                       detail::in(key.bytes()), secret_key::size);
  return digest;
}

namespace detail {

#if defined(P2PDVM_WITH_OPENSSL)
/// Of one thread. Null when the library's configuration has no such hash.
class sha256 {
 public:
  static sha256* here() {
    static ::EVP_MD* const hash = ::EVP_MD_fetch(nullptr, "SHA256", nullptr);
    if (hash == nullptr) return nullptr;
    thread_local sha256 one(hash);
    return &one;
  }
  sha256(const sha256&) = delete;
  sha256& operator=(const sha256&) = delete;

  digest256 of(byte_view first, byte_view second) {
    digest256 digest;
    const bool done = ::EVP_DigestInit_ex2(context_, hash_, nullptr) == 1 && ::EVP_DigestUpdate(context_, first.data(), first.size()) == 1 &&
                      ::EVP_DigestUpdate(context_, second.data(), second.size()) == 1 &&
                      ::EVP_DigestFinal_ex(context_, out(digest.mutable_bytes()), nullptr) == 1;
    P2PDVM_ASSERT(done);
    return digest;
  }

 private:
  explicit sha256(const ::EVP_MD* hash) : hash_(hash), context_(::EVP_MD_CTX_new()) {
    if (context_ == nullptr) throw std::bad_alloc();
  }
  ~sha256() { ::EVP_MD_CTX_free(context_); }

  const ::EVP_MD* hash_;
  ::EVP_MD_CTX* context_;
};

/// RFC 2104.
inline digest256 hmac(sha256& hash, const secret_key& key, byte_view bytes) {
  constexpr std::size_t block_bytes = 64;
  std::array<std::byte, block_bytes> padded{};
  const auto pad = [&](std::byte with) -> byte_view {
    std::copy(key.bytes().begin(), key.bytes().end(), padded.begin());
    std::fill(padded.begin() + secret_key::size, padded.end(), std::byte{0});
    for (std::byte& b : padded) b ^= with;
    return padded;
  };
  const digest256 inner = hash.of(pad(std::byte{0x36}), bytes);
  const digest256 outer = hash.of(pad(std::byte{0x5c}), inner.bytes());
  ::sodium_memzero(padded.data(), padded.size());
  return outer;
}
#endif

}  // namespace detail

P2PDVM_DECL digest256 keyed_sha256(const secret_key& key, byte_view bytes) {
#if defined(P2PDVM_WITH_OPENSSL)
  if (detail::sha256* const hash = detail::sha256::here()) return detail::hmac(*hash, key, bytes);
#endif
  static_assert(crypto_auth_hmacsha256_KEYBYTES == secret_key::size);
  digest256 digest;
  ::crypto_auth_hmacsha256(detail::out(digest.mutable_bytes()), detail::in(bytes), bytes.size(), detail::in(key.bytes()));
  return digest;
}

P2PDVM_DECL std::uint64_t short_hash(const short_key& key, byte_view bytes) {
  static_assert(crypto_shorthash_BYTES == sizeof(std::uint64_t));
  static_assert(crypto_shorthash_KEYBYTES == std::tuple_size_v<short_key>);
  std::uint64_t code = 0;
  crypto_shorthash(reinterpret_cast<unsigned char*>(&code),
                   reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                   reinterpret_cast<const unsigned char*>(key.data()));
  return code;
}

P2PDVM_DECL secret_key derive(const secret_key& key, std::string_view purpose) {
  return secret_key(keyed_hash(key, as_bytes(purpose)).bytes());
}

P2PDVM_DECL hasher::hasher() {
  static_assert(sizeof(crypto_generichash_state) <= sizeof state_);
  ::crypto_generichash_init(reinterpret_cast<crypto_generichash_state*>(state_.data()), nullptr, 0,
                            32);
}

P2PDVM_DECL hasher& hasher::add(byte_view bytes) {
  ::crypto_generichash_update(reinterpret_cast<crypto_generichash_state*>(state_.data()),
                              detail::in(bytes), bytes.size());
  return *this;
}

P2PDVM_DECL digest256 hasher::finish() {
  digest256 digest;
  ::crypto_generichash_final(reinterpret_cast<crypto_generichash_state*>(state_.data()),
                             detail::out(digest.mutable_bytes()), 32);
  return digest;
}

P2PDVM_DECL hasher512::hasher512() {
  static_assert(sizeof(crypto_generichash_state) <= sizeof state_);
  ::crypto_generichash_init(reinterpret_cast<crypto_generichash_state*>(state_.data()), nullptr, 0,
                            64);
}

P2PDVM_DECL hasher512& hasher512::add(byte_view bytes) {
  ::crypto_generichash_update(reinterpret_cast<crypto_generichash_state*>(state_.data()),
                              detail::in(bytes), bytes.size());
  return *this;
}

P2PDVM_DECL hasher512::digest hasher512::finish() {
  digest bytes;
  ::crypto_generichash_final(reinterpret_cast<crypto_generichash_state*>(state_.data()),
                             detail::out(bytes), bytes.size());
  return bytes;
}

P2PDVM_DECL void wipe(byte_span secret) noexcept {
  ::sodium_memzero(secret.data(), secret.size());
}

P2PDVM_DECL identity::identity(const secret_key& seed) : seed_(seed) {
  detail::initialise();
  ::crypto_sign_seed_keypair(detail::out(public_.mutable_bytes()),
                             reinterpret_cast<unsigned char*>(signing_.data()),
                             detail::in(seed.bytes()));
}

P2PDVM_DECL signature identity::sign(byte_view message) const {
  signature s;
  ::crypto_sign_detached(detail::out(s.mutable_bytes()), nullptr, detail::in(message),
                         message.size(), reinterpret_cast<const unsigned char*>(signing_.data()));
  return s;
}

P2PDVM_DECL secret_key identity::exchange_secret() const {
  secret_key secret;
  ::crypto_sign_ed25519_sk_to_curve25519(detail::out(secret.mutable_bytes()),
                                         reinterpret_cast<const unsigned char*>(signing_.data()));
  return secret;
}

P2PDVM_DECL bool verify(const public_key& key, byte_view message, const signature& s) {
  detail::initialise();
  return ::crypto_sign_verify_detached(detail::in(s.bytes()), detail::in(message), message.size(),
                                       detail::in(key.bytes())) == 0;
}

P2PDVM_DECL result<exchange_key> exchange_key_of(const public_key& key) {
  detail::initialise();
  exchange_key x;
  if (::crypto_sign_ed25519_pk_to_curve25519(detail::out(x.mutable_bytes()),
                                             detail::in(key.bytes())) != 0)
    return error(errc::authentication, "a peer's public key is not a valid Ed25519 point");
  return x;
}

P2PDVM_DECL exchange_key exchange_public(const secret_key& secret) {
  detail::initialise();
  exchange_key x;
  ::crypto_scalarmult_base(detail::out(x.mutable_bytes()), detail::in(secret.bytes()));
  return x;
}

P2PDVM_DECL result<secret_key> agree(const secret_key& mine, const exchange_key& theirs) {
  detail::initialise();
  secret_key shared;
  if (::crypto_scalarmult(detail::out(shared.mutable_bytes()), detail::in(mine.bytes()),
                          detail::in(theirs.bytes())) != 0)
    return error(errc::authentication, "a peer's key is a low-order point");
  return shared;
}

P2PDVM_DECL void seal(const secret_key& key, const nonce12& nonce, byte_view associated,
                      byte_view plain, byte_span out) {
  P2PDVM_ASSERT(out.size() >= plain.size() + tag_bytes);
  ::crypto_aead_chacha20poly1305_ietf_encrypt(detail::out(out), nullptr, detail::in(plain),
                                              plain.size(), detail::in(associated),
                                              associated.size(), nullptr, detail::in(nonce),
                                              detail::in(key.bytes()));
}

P2PDVM_DECL bool open(const secret_key& key, const nonce12& nonce, byte_view associated,
                      byte_view sealed, byte_span out) {
  if (sealed.size() < tag_bytes) return false;
  P2PDVM_ASSERT(out.size() >= sealed.size() - tag_bytes);
  return ::crypto_aead_chacha20poly1305_ietf_decrypt(
             detail::out(out), nullptr, nullptr, detail::in(sealed), sealed.size(),
             detail::in(associated), associated.size(), detail::in(nonce),
             detail::in(key.bytes())) == 0;
}

namespace detail {

#if defined(P2PDVM_WITH_OPENSSL)
inline ::EVP_CIPHER_CTX* cipher_context(void* context) {
  return static_cast<::EVP_CIPHER_CTX*>(context);
}

/// With nothing but a nonce to change, none of this fails.
inline void cipher_update(void* context, byte_view from, std::byte* to) {
  if (from.empty()) return;
  P2PDVM_ASSERT(from.size() <= INT_MAX);
  int written = 0;
  const bool done = ::EVP_CipherUpdate(cipher_context(context), reinterpret_cast<unsigned char*>(to),
                                       &written, in(from), static_cast<int>(from.size())) == 1;
  P2PDVM_ASSERT(done);
}

/// A stream cipher has nothing left to write at the end.
inline bool cipher_finish(void* context) {
  unsigned char none[EVP_MAX_BLOCK_LENGTH];
  int written = 0;
  return ::EVP_CipherFinal_ex(cipher_context(context), none, &written) == 1;
}

inline bool cipher_tag(void* context, int what, std::byte* tag) {
  return ::EVP_CIPHER_CTX_ctrl(cipher_context(context), what, static_cast<int>(tag_bytes), tag) == 1;
}

/// In microseconds, on Zen 5, OpenSSL 3.0 and libsodium 1.0.18: of 64 KiB 15 and 106, of 1 KiB 0.9 and 1.9; of less it is no faster.
inline constexpr std::size_t chacha_bulk_bytes_min = 1024;

/// Null when the library's configuration has no such cipher.
inline const ::EVP_CIPHER* chacha_cipher() {
  static ::EVP_CIPHER* const cipher = ::EVP_CIPHER_fetch(nullptr, "ChaCha20-Poly1305", nullptr);
  return cipher;
}

/// XChaCha20-Poly1305 is ChaCha20-Poly1305 with a key that comes of the first two thirds of the nonce.
class xchacha {
 public:
  xchacha(bool seals, const secret_key& key, const nonce24& nonce, byte_view associated) {
    secret_key derived;
    ::crypto_core_hchacha20(out(derived.mutable_bytes()), in(nonce), in(key.bytes()), nullptr);
    nonce12 rest{};
    std::copy(nonce.begin() + 16, nonce.end(), rest.begin() + 4);
    if (context_ == nullptr) throw std::bad_alloc();
    const bool ready = ::EVP_CipherInit_ex2(context_, chacha_cipher(), in(derived.bytes()), in(rest), seals ? 1 : 0, nullptr) == 1;
    P2PDVM_ASSERT(ready);
    update(associated, nullptr);
  }
  ~xchacha() { ::EVP_CIPHER_CTX_free(context_); }  // wipes what it holds
  xchacha(const xchacha&) = delete;
  xchacha& operator=(const xchacha&) = delete;

  void update(byte_view from, std::byte* to) { cipher_update(context_, from, to); }
  [[nodiscard]] bool finish() { return cipher_finish(context_); }
  [[nodiscard]] bool tag(int what, std::byte* bytes) { return cipher_tag(context_, what, bytes); }

 private:
  ::EVP_CIPHER_CTX* context_ = ::EVP_CIPHER_CTX_new();
};

inline bool chacha_bulk(std::size_t bytes) { return bytes >= chacha_bulk_bytes_min && chacha_cipher() != nullptr; }
#endif

}  // namespace detail

P2PDVM_DECL void seal(const secret_key& key, const nonce24& nonce, byte_view associated,
                      byte_view plain, byte_span out) {
  P2PDVM_ASSERT(out.size() >= plain.size() + tag_bytes);
#if defined(P2PDVM_WITH_OPENSSL)
  if (detail::chacha_bulk(plain.size())) {
    detail::xchacha cipher(true, key, nonce, associated);
    cipher.update(plain, out.data());
    const bool sealed = cipher.finish() && cipher.tag(EVP_CTRL_AEAD_GET_TAG, out.data() + plain.size());
    P2PDVM_ASSERT(sealed);
    return;
  }
#endif
  ::crypto_aead_xchacha20poly1305_ietf_encrypt(detail::out(out), nullptr, detail::in(plain),
                                               plain.size(), detail::in(associated),
                                               associated.size(), nullptr, detail::in(nonce),
                                               detail::in(key.bytes()));
}

P2PDVM_DECL bool open(const secret_key& key, const nonce24& nonce, byte_view associated,
                      byte_view sealed, byte_span out) {
  if (sealed.size() < tag_bytes) return false;
  P2PDVM_ASSERT(out.size() >= sealed.size() - tag_bytes);
#if defined(P2PDVM_WITH_OPENSSL)
  if (const std::size_t size = sealed.size() - tag_bytes; detail::chacha_bulk(size)) {
    std::array<std::byte, tag_bytes> tag;
    std::copy_n(sealed.data() + size, tag_bytes, tag.begin());
    detail::xchacha cipher(false, key, nonce, associated);
    cipher.update(sealed.first(size), out.data());
    if (cipher.tag(EVP_CTRL_AEAD_SET_TAG, tag.data()) && cipher.finish()) return true;
    std::fill_n(out.data(), size, std::byte{0});  // as libsodium does
    return false;
  }
#endif
  return ::crypto_aead_xchacha20poly1305_ietf_decrypt(
             detail::out(out), nullptr, nullptr, detail::in(sealed), sealed.size(),
             detail::in(associated), associated.size(), detail::in(nonce),
             detail::in(key.bytes())) == 0;
}

P2PDVM_DECL bool aes_available() {
  detail::initialise();
  return ::crypto_aead_aes256gcm_is_available() == 1;
}

namespace detail {

template <class Bytes>
auto* aes_state(Bytes& bytes) {
  static_assert(sizeof(::crypto_aead_aes256gcm_state) <= sizeof bytes);
  using state = std::conditional_t<std::is_const_v<Bytes>, const ::crypto_aead_aes256gcm_state,
                                   ::crypto_aead_aes256gcm_state>;
  return reinterpret_cast<state*>(bytes.data());
}

/// Plaintexts up to this are faster with libsodium, which does not go through a provider's dispatch:
/// of 64 bytes 150 ns against 200, of 512 340 against 310, of 64 KiB 36 us against 14.
inline constexpr std::size_t small_plain_bytes_max = 384;

#if defined(P2PDVM_WITH_OPENSSL)
/// Null when the library's configuration has no such cipher.
inline const ::EVP_CIPHER* aes_cipher() {
  static ::EVP_CIPHER* const cipher = ::EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr);
  return cipher;
}
#endif

}  // namespace detail

P2PDVM_DECL bool aes_available(aes_code code) {
  if (code != aes_code::openssl) return aes_available();
#if defined(P2PDVM_WITH_OPENSSL)
  return detail::aes_cipher() != nullptr;
#else
  return false;
#endif
}

P2PDVM_DECL aes_key::aes_key(const secret_key& key, aes_code code) : key_(key), code_(code) {
  if (code == aes_code::fastest && !aes_available(aes_code::openssl)) code_ = aes_code::libsodium;
  if (code_ != aes_code::openssl)
    ::crypto_aead_aes256gcm_beforenm(detail::aes_state(expanded_), detail::in(key.bytes()));
}

P2PDVM_DECL aes_key::aes_key(const aes_key& other)
    : expanded_(other.expanded_), key_(other.key_), code_(other.code_) {}

P2PDVM_DECL aes_key& aes_key::operator=(const aes_key& other) {
  if (this == &other) return *this;
  drop_context();
  expanded_ = other.expanded_;
  key_ = other.key_;
  code_ = other.code_;
  return *this;
}

P2PDVM_DECL aes_key::~aes_key() {
  wipe(expanded_);
  drop_context();
}

P2PDVM_DECL void aes_key::drop_context() noexcept {
#if defined(P2PDVM_WITH_OPENSSL)
  ::EVP_CIPHER_CTX_free(static_cast<::EVP_CIPHER_CTX*>(context_));  // wipes what it holds
#endif
  context_ = nullptr;
}

P2PDVM_DECL bool aes_key::bulk(std::size_t bytes) const noexcept {
  return code_ == aes_code::openssl ||
         (code_ == aes_code::fastest && bytes > detail::small_plain_bytes_max);
}

#if defined(P2PDVM_WITH_OPENSSL)
P2PDVM_DECL void aes_key::begin(bool seals, const nonce12& nonce, byte_view associated) {
  const int direction = seals ? 1 : 0;
  bool ready = true;
  if (context_ == nullptr) {
    context_ = ::EVP_CIPHER_CTX_new();
    if (context_ == nullptr) throw std::bad_alloc();
    ready = ::EVP_CipherInit_ex2(detail::cipher_context(context_), detail::aes_cipher(),
                                 detail::in(key_.bytes()), nullptr, direction, nullptr) == 1;
  }
  ready = ready && ::EVP_CipherInit_ex2(detail::cipher_context(context_), nullptr, nullptr,
                                        detail::in(nonce), direction, nullptr) == 1;
  P2PDVM_ASSERT(ready);
  detail::cipher_update(context_, associated, nullptr);
}
#endif

P2PDVM_DECL void aes_key::open_begin(const nonce12& nonce, byte_view associated) {
#if defined(P2PDVM_WITH_OPENSSL)
  begin(false, nonce, associated);
#else
  static_cast<void>(nonce), static_cast<void>(associated);
  P2PDVM_ASSERT(false && "opens_pieces() was false");
#endif
}

P2PDVM_DECL void aes_key::open_more(byte_view sealed, byte_span out) {
  P2PDVM_ASSERT(out.size() >= sealed.size());
#if defined(P2PDVM_WITH_OPENSSL)
  detail::cipher_update(context_, sealed, out.data());
#endif
}

P2PDVM_DECL bool aes_key::open_end(byte_view tag) {
  P2PDVM_ASSERT(tag.size() == tag_bytes);
#if defined(P2PDVM_WITH_OPENSSL)
  std::array<std::byte, tag_bytes> expected;
  std::memcpy(expected.data(), tag.data(), tag_bytes);
  return detail::cipher_tag(context_, EVP_CTRL_AEAD_SET_TAG, expected.data()) && detail::cipher_finish(context_);
#else
  return false;
#endif
}

P2PDVM_DECL void aes_key::seal(const nonce12& nonce, byte_view associated, byte_view front,
                               byte_view rest, byte_span out) {
  const std::size_t size = front.size() + rest.size();
  P2PDVM_ASSERT(out.size() >= size + tag_bytes);
#if defined(P2PDVM_WITH_OPENSSL)
  if (bulk(size)) {
    begin(true, nonce, associated);
    detail::cipher_update(context_, front, out.data());
    detail::cipher_update(context_, rest, out.data() + front.size());
    const bool sealed = detail::cipher_finish(context_) &&
                        detail::cipher_tag(context_, EVP_CTRL_AEAD_GET_TAG, out.data() + size);
    P2PDVM_ASSERT(sealed);
    return;
  }
#endif
  byte_view plain = front;
  if (!rest.empty()) {
    if (!front.empty() && front.data() != out.data()) std::memcpy(out.data(), front.data(), front.size());
    std::memcpy(out.data() + front.size(), rest.data(), rest.size());
    plain = out.first(size);
  }
  ::crypto_aead_aes256gcm_encrypt_afternm(detail::out(out), nullptr, detail::in(plain), size,
                                          detail::in(associated), associated.size(), nullptr,
                                          detail::in(nonce), detail::aes_state(expanded_));
}

P2PDVM_DECL bool aes_key::open(const nonce12& nonce, byte_view associated, byte_view sealed,
                               byte_span out) {
  if (sealed.size() < tag_bytes) return false;
  const std::size_t size = sealed.size() - tag_bytes;
  P2PDVM_ASSERT(out.size() >= size);
#if defined(P2PDVM_WITH_OPENSSL)
  if (bulk(size)) {
    open_begin(nonce, associated);
    open_more(sealed.first(size), out);
    const bool good = open_end(sealed.last(tag_bytes));
    if (!good) std::memset(out.data(), 0, size);  // this code decrypts before it knows
    return good;
  }
#endif
  return ::crypto_aead_aes256gcm_decrypt_afternm(
             detail::out(out), nullptr, nullptr, detail::in(sealed), sealed.size(),
             detail::in(associated), associated.size(), detail::in(nonce),
             detail::aes_state(expanded_)) == 0;
}

}  // namespace p2pdvm::crypto

/// The cryptographic primitives that p2pdvm uses, as plain functions over libsodium.
///
/// AES-256-GCM of more than a few hundred bytes is OpenSSL's where the build has it.
///
/// Randomness is never drawn here: keys come from seeds that `host::entropy` filled, so that
/// a simulated run is reproducible.
#pragma once

#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/ids.hpp>
#include <p2pdvm/base/result.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace p2pdvm::crypto {

/// 32 secret bytes, wiped when destroyed.
class secret_key {
 public:
  static constexpr std::size_t size = 32;
  secret_key() = default;
  /// Precondition: 32 bytes.
  explicit secret_key(byte_view bytes);
  secret_key(const secret_key&) = default;
  secret_key& operator=(const secret_key&) = default;
  ~secret_key();
  [[nodiscard]] byte_view bytes() const noexcept { return bytes_; }
  [[nodiscard]] byte_span mutable_bytes() noexcept { return bytes_; }
  template <class F>
  void fields(F&& f) {
    f(bytes_);
  }

 private:
  std::array<std::byte, size> bytes_{};
};

/// BLAKE2b-256 (RFC 7693).
[[nodiscard]] digest256 hash(byte_view bytes);
/// Keyed BLAKE2b-256.
[[nodiscard]] digest256 keyed_hash(const secret_key& key, byte_view bytes);
/// HMAC-SHA-256 (RFC 2104), for what is long: processors have instructions for it, and OpenSSL, where it is, uses them.
[[nodiscard]] digest256 keyed_sha256(const secret_key& key, byte_view bytes);
/// A sub-key for one purpose: keyed BLAKE2b-256 of the purpose's name.
[[nodiscard]] secret_key derive(const secret_key& key, std::string_view purpose);

/// A 16-byte key of `short_hash`.
using short_key = std::array<std::byte, 16>;
/// SipHash-2-4: a 64-bit code for short messages that nobody guesses without the key.
[[nodiscard]] std::uint64_t short_hash(const short_key& key, byte_view bytes);

/// Incremental BLAKE2b-256.
class hasher {
 public:
  hasher();
  hasher& add(byte_view bytes);
  [[nodiscard]] digest256 finish();

 private:
  alignas(64) std::array<std::byte, 384> state_;
};

/// Incremental BLAKE2b-512, for protocols that ask for the longer form, as Noise does.
class hasher512 {
 public:
  using digest = std::array<std::byte, 64>;
  hasher512();
  hasher512& add(byte_view bytes);
  [[nodiscard]] digest finish();

 private:
  alignas(64) std::array<std::byte, 384> state_;
};

/// Overwrites secret bytes in a way that the compiler does not optimise away.
void wipe(byte_span secret) noexcept;

/// An Ed25519 key pair; its public key is the node id.
class identity {
 public:
  /// Deterministic from a 32-byte seed.
  explicit identity(const secret_key& seed);
  [[nodiscard]] const public_key& key() const noexcept { return public_; }
  [[nodiscard]] node_id id() const noexcept { return node_id(public_.bytes()); }
  [[nodiscard]] const secret_key& seed() const noexcept { return seed_; }
  [[nodiscard]] signature sign(byte_view message) const;
  /// The X25519 secret of the same identity, for key agreement.
  [[nodiscard]] secret_key exchange_secret() const;

 private:
  secret_key seed_;
  std::array<std::byte, 64> signing_{};
  public_key public_;
};

/// The same bytes (docs/decisions/0013-node-id-is-the-key.md).
[[nodiscard]] inline node_id node_id_of(const public_key& key) { return node_id(key.bytes()); }
[[nodiscard]] bool verify(const public_key& key, byte_view message, const signature& s);

/// An X25519 public key.
using exchange_key = opaque_id<struct exchange_key_tag, 32>;
/// The X25519 form of an Ed25519 public key; fails on a point that is not one.
[[nodiscard]] result<exchange_key> exchange_key_of(const public_key& key);
[[nodiscard]] exchange_key exchange_public(const secret_key& secret);
/// X25519; fails with `authentication` on a low-order point.
[[nodiscard]] result<secret_key> agree(const secret_key& mine, const exchange_key& theirs);

inline constexpr std::size_t tag_bytes = 16;
using nonce12 = std::array<std::byte, 12>;
using nonce24 = std::array<std::byte, 24>;

/// ChaCha20-Poly1305 (RFC 8439). `out` has room for `plain.size() + tag_bytes`; `plain` may be its front,
/// but not overlap it otherwise.
void seal(const secret_key& key, const nonce12& nonce, byte_view associated, byte_view plain,
          byte_span out);
/// False when the tag is wrong. `out` has room for `sealed.size() - tag_bytes`.
[[nodiscard]] bool open(const secret_key& key, const nonce12& nonce, byte_view associated,
                        byte_view sealed, byte_span out);
/// XChaCha20-Poly1305, the same otherwise.
void seal(const secret_key& key, const nonce24& nonce, byte_view associated, byte_view plain,
          byte_span out);
[[nodiscard]] bool open(const secret_key& key, const nonce24& nonce, byte_view associated,
                        byte_view sealed, byte_span out);

/// AES-256-GCM, only where `aes_available()`.
[[nodiscard]] bool aes_available();
/// Whose code it is: the results are the same.
enum class aes_code : std::uint8_t { fastest, libsodium, openssl };
/// Whether this build, on this machine, has that one.
[[nodiscard]] bool aes_available(aes_code code);

/// A key for it, expanded once: to seal 8 bytes takes a fraction of that. Not for two threads at a time.
class aes_key {
 public:
  /// Precondition: `aes_available(code)`.
  explicit aes_key(const secret_key& key, aes_code code = aes_code::fastest);
  aes_key(const aes_key& other);
  aes_key& operator=(const aes_key& other);
  ~aes_key();
  /// As `crypto::seal`, with plaintext in two parts: `front` may be the front of `out`, `rest` must not
  /// overlap it.
  void seal(const nonce12& nonce, byte_view associated, byte_view front, byte_view rest, byte_span out);
  void seal(const nonce12& nonce, byte_view associated, byte_view plain, byte_span out) {
    seal(nonce, associated, plain, {}, out);
  }
  /// As `crypto::open`; `out` may be the front of `sealed`, but not overlap it otherwise. What it holds
  /// after a failure is of no use.
  [[nodiscard]] bool open(const nonce12& nonce, byte_view associated, byte_view sealed, byte_span out);

  /// Whether text of this size can be opened piece by piece, as it comes: one `open_begin`, any number
  /// of `open_more`, one `open_end`, and nothing else in between.
  [[nodiscard]] bool opens_pieces(std::size_t bytes) const noexcept { return bulk(bytes); }
  void open_begin(const nonce12& nonce, byte_view associated);
  /// `out` has room for as much. What it holds is not to be trusted before the end.
  void open_more(byte_view sealed, byte_span out);
  /// False when the tag is wrong. Precondition: `tag_bytes` of it.
  [[nodiscard]] bool open_end(byte_view tag);

 private:
  [[nodiscard]] bool bulk(std::size_t bytes) const noexcept;
  void begin(bool seals, const nonce12& nonce, byte_view associated);
  void drop_context() noexcept;

  alignas(16) std::array<std::byte, 512> expanded_;  ///< libsodium's
  secret_key key_;
  void* context_ = nullptr;  ///< OpenSSL's, made when it is needed first
  aes_code code_;
};

}  // namespace p2pdvm::crypto

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/crypto/impl/crypto.ipp>
#endif

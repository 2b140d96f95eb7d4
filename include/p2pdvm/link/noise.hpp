/// The Noise protocol framework (revision 34): patterns XX and IK over X25519 and BLAKE2b.
///
/// Names follow the specification (noiseprotocol.org/noise.html), so that the two can be read
/// side by side. Nothing is drawn at random here: the caller gives the ephemeral key, which
/// must be fresh for every handshake.
#pragma once

#include <p2pdvm/crypto/crypto.hpp>

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

namespace p2pdvm::link::noise {

enum class cipher : std::uint8_t { chacha20_poly1305 = 0, aes256_gcm = 1 };
enum class pattern : std::uint8_t { xx = 1, ik = 2 };
enum class role : std::uint8_t { initiator, responder };

/// A BLAKE2b-512 digest, or a chaining key.
using hash_value = std::array<std::byte, 64>;

/// One number of a cipher's counter: what is encrypted or decrypted with it, on whichever thread, is as if the cipher had done it
/// in its turn. To be used once.
class numbered_cipher {
 public:
  numbered_cipher(cipher kind, const crypto::secret_key& key, const crypto::nonce12& nonce)
      : kind_(kind), key_(key), nonce_(nonce) {}
  /// As `cipher_state::encrypt` and `decrypt`.
  void encrypt(byte_view associated, byte_view front, byte_view rest, byte_span out) const;
  [[nodiscard]] bool decrypt(byte_view associated, byte_view sealed, byte_span out) const;

 private:
  cipher kind_;
  crypto::secret_key key_;
  crypto::nonce12 nonce_;
};

/// A key and a counter that is the nonce. Without a key it copies.
class cipher_state {
 public:
  explicit cipher_state(cipher kind) : kind_(kind) {}
  cipher_state(cipher kind, const crypto::secret_key& key) : kind_(kind) { use(key); }

  void set_key(const crypto::secret_key& key);
  [[nodiscard]] bool has_key() const noexcept { return key_.has_value(); }
  /// The key for whoever continues with a cipher of his own; precondition: `has_key()`.
  [[nodiscard]] const crypto::secret_key& key() const noexcept { return *key_; }
  /// Bytes that encryption adds.
  [[nodiscard]] std::size_t overhead() const noexcept { return key_ ? crypto::tag_bytes : 0; }

  /// `out` has room for `plain.size() + overhead()`; `plain` may be its front, but not overlap it otherwise.
  void encrypt(byte_view associated, byte_view plain, byte_span out) {
    encrypt(associated, plain, {}, out);
  }
  /// The same with plaintext in two parts; `rest` must not overlap `out`.
  void encrypt(byte_view associated, byte_view front, byte_view rest, byte_span out);
  /// False, with the counter unchanged, when the tag is wrong.
  [[nodiscard]] bool decrypt(byte_view associated, byte_view sealed, byte_span out);
  /// As `crypto::aes_key` opens piece by piece; false where the cipher at hand does not.
  [[nodiscard]] bool opens_pieces(std::size_t bytes) const noexcept {
    return aes_ && n_ != ~std::uint64_t{0} && aes_->opens_pieces(bytes);
  }
  void decrypt_begin(byte_view associated) { aes_->open_begin(nonce(n_), associated); }
  void decrypt_more(byte_view sealed, byte_span out) { aes_->open_more(sealed, out); }
  /// False, with the counter unchanged, when the tag is wrong.
  [[nodiscard]] bool decrypt_end(byte_view tag);
  /// The next number, for something that is encrypted or decrypted apart. Precondition: `can_take()`.
  [[nodiscard]] numbered_cipher take();
  [[nodiscard]] bool can_take() const noexcept { return key_ && n_ != ~std::uint64_t{0}; }
  /// Replaces the key by one that does not reveal the old; the counter goes on.
  void rekey();

 private:
  [[nodiscard]] crypto::nonce12 nonce(std::uint64_t n) const;
  void use(const crypto::secret_key& key);
  void seal(std::uint64_t n, byte_view associated, byte_view front, byte_view rest, byte_span out);

  cipher kind_;
  std::optional<crypto::secret_key> key_;
  std::optional<crypto::aes_key> aes_;  ///< the same, for that cipher
  std::uint64_t n_ = 0;
};

/// The running hash of all that was said, and the keys that follow from it.
class symmetric_state {
 public:
  symmetric_state(std::string_view protocol_name, cipher kind);
  ~symmetric_state();
  symmetric_state(const symmetric_state&) = default;
  symmetric_state& operator=(const symmetric_state&) = default;

  void mix_key(byte_view input);
  void mix_hash(byte_view bytes);
  void encrypt_and_hash(byte_view plain, byte_vector& out);
  [[nodiscard]] bool decrypt_and_hash(byte_view sealed, byte_vector& out);
  [[nodiscard]] std::size_t overhead() const noexcept { return cipher_.overhead(); }
  /// Ciphers for initiator to responder and for responder to initiator.
  [[nodiscard]] std::pair<cipher_state, cipher_state> split() const;
  [[nodiscard]] const hash_value& hash() const noexcept { return h_; }

 private:
  cipher kind_;
  cipher_state cipher_;
  hash_value ck_;
  hash_value h_;
};

/// One side of one handshake. After a failure every further call fails.
class handshake_state {
 public:
  /// `remote` is required for an IK initiator and otherwise absent.
  handshake_state(pattern which, role side, cipher kind, byte_view prologue,
                  const crypto::secret_key& static_key, const crypto::secret_key& ephemeral_key,
                  const std::optional<crypto::exchange_key>& remote = std::nullopt);

  /// True when it is this side's turn to write.
  [[nodiscard]] bool my_turn() const noexcept;
  [[nodiscard]] bool finished() const noexcept;
  /// Precondition: `my_turn()`.
  [[nodiscard]] result<byte_vector> write_message(byte_view payload);
  /// Gives the payload; precondition: not `my_turn()` and not `finished()`.
  [[nodiscard]] result<byte_vector> read_message(byte_view message);

  /// The remote's authenticated static key, once it has been received.
  [[nodiscard]] const std::optional<crypto::exchange_key>& remote_static() const noexcept {
    return rs_;
  }
  /// Precondition: `finished()`. As `symmetric_state::split`.
  [[nodiscard]] std::pair<cipher_state, cipher_state> split() const;
  /// A value unique to this handshake, equal on both sides.
  [[nodiscard]] const hash_value& hash() const noexcept { return symmetric_.hash(); }

 private:
  enum class token : std::uint8_t { none, e, s, ee, es, se, ss };
  using message_tokens = std::array<token, 4>;

  [[nodiscard]] const message_tokens& tokens() const;
  [[nodiscard]] std::size_t messages() const noexcept { return which_ == pattern::xx ? 3 : 2; }
  [[nodiscard]] result<> write_token(token t, byte_vector& out);
  [[nodiscard]] result<> read_token(token t, byte_view& in);
  [[nodiscard]] result<> mix_agreement(token t);
  [[nodiscard]] error fail(error why);

  pattern which_;
  role side_;
  symmetric_state symmetric_;
  crypto::secret_key s_;
  crypto::secret_key e_;
  std::optional<crypto::exchange_key> rs_;
  std::optional<crypto::exchange_key> re_;
  std::size_t done_ = 0;
  bool failed_ = false;
};

/// "Noise_XX_25519_ChaChaPoly_BLAKE2b" and its like.
[[nodiscard]] std::string_view protocol_name(pattern which, cipher kind) noexcept;

}  // namespace p2pdvm::link::noise

#if defined(P2PDVM_HEADER_ONLY)
#include <p2pdvm/link/impl/noise.ipp>
#endif

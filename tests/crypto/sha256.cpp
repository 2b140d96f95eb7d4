/// HMAC-SHA-256 is the same whichever library computes it.
#include "support/test.hpp"

#include <p2pdvm/crypto/crypto.hpp>

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>

using namespace p2pdvm;

namespace {

/// A shorter key is one that ends in zeros.
crypto::secret_key key_of(byte_view bytes) {
  crypto::secret_key key;
  std::ranges::fill(key.mutable_bytes(), std::byte{0});
  std::ranges::copy(bytes, key.mutable_bytes().begin());
  return key;
}

std::string code(byte_view key, byte_view text) { return to_hex(crypto::keyed_sha256(key_of(key), text).bytes()); }

}  // namespace

TEST_CASE("HMAC-SHA-256 gives what RFC 4231 says") {
  CHECK(code(byte_vector(20, std::byte{0x0b}), as_bytes("Hi There")) ==
        "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  CHECK(code(as_bytes("Jefe"), as_bytes("what do ya want for nothing?")) ==
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  CHECK(code(byte_vector(20, std::byte{0xaa}), byte_vector(50, std::byte{0xdd})) ==
        "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
}

TEST_CASE("HMAC-SHA-256 of what is long, and of nothing") {
  byte_vector key(32), text(65537);
  for (std::size_t i = 0; i < key.size(); ++i) key[i] = static_cast<std::byte>(i);
  for (std::size_t i = 0; i < text.size(); ++i) text[i] = static_cast<std::byte>(i * 7);
  CHECK(code(key, text) == "d088858074c457e588c9015036b2ee78614c2426b3698cb5f37b8831edfba33d");
  CHECK(code(key, {}) == "d38b42096d80f45f826b44a9d5607de72496a415d3f4a1a8c88e3bb9da8dc1cb");
  CHECK(code(key, text) == "d088858074c457e588c9015036b2ee78614c2426b3698cb5f37b8831edfba33d");
}

/// XChaCha20-Poly1305 is the same whichever library computes it.
#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/crypto/crypto.hpp>

#include <algorithm>
#include <cstddef>
#include <string_view>

using namespace p2pdvm;

namespace {

/// First bytes of BLAKE2b of what libsodium's own function gave, by size of the plaintext.
struct known {
  std::size_t size;
  std::string_view digest;
};
constexpr known results[] = {
    {0, "06093555a97497ed"}, {1, "f27703c009099ab8"}, {64, "8812d788e1877737"},
    {1023, "a496e5ddfb6c89f7"}, {1024, "909dd19b1d7b1475"}, {1025, "ca19ff24112026a1"},
    {4096, "fe45dc7f977ff3ad"}, {65536, "4518f8115e0b6222"}, {65537, "992af63a2bf8e584"},
    {300000, "509aa7469e993f65"},
};

}  // namespace

TEST_CASE("XChaCha20-Poly1305 gives the same bytes for every size, opens them, and none of them altered") {
  random_generator random(7);
  for (const auto& [size, digest] : results) {
    crypto::secret_key key;
    crypto::nonce24 nonce{};
    for (std::byte& b : key.mutable_bytes()) b = std::byte(random() & 0xff);
    for (std::byte& b : nonce) b = std::byte(random() & 0xff);
    byte_vector plain(size), associated(size % 50);
    for (std::byte& b : plain) b = std::byte(random() & 0xff);
    byte_vector sealed(size + crypto::tag_bytes), opened(size);
    crypto::seal(key, nonce, associated, plain, sealed);
    CHECK(to_hex(crypto::hash(sealed).bytes().first(8)) == digest);
    REQUIRE(crypto::open(key, nonce, associated, sealed, opened));
    CHECK(opened == plain);
    // In place, as `seal` allows.
    byte_vector place = plain;
    place.resize(sealed.size());
    crypto::seal(key, nonce, associated, byte_view(place).first(size), place);
    CHECK(place == sealed);
    for (int i = 0; i < 8; ++i) {
      byte_vector altered = sealed;
      altered[random.below(altered.size())] ^= std::byte(1u << random.below(8));
      std::ranges::fill(opened, std::byte{1});
      CHECK_FALSE(crypto::open(key, nonce, associated, altered, opened));
      CHECK(std::ranges::all_of(opened, [](std::byte b) { return b == std::byte{0} || b == std::byte{1}; }));
    }
    if (associated.empty()) continue;
    associated.back() ^= std::byte{1};
    CHECK_FALSE(crypto::open(key, nonce, associated, sealed, opened));
  }
}

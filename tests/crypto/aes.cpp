// AES-256-GCM by each code that this build has.
#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/crypto/crypto.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::crypto;

namespace {

byte_vector from_hex(std::string_view hex) {
  byte_vector bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<std::byte>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

nonce12 nonce_of(byte_view bytes) {
  nonce12 nonce{};
  REQUIRE(bytes.size() == nonce.size());
  std::copy(bytes.begin(), bytes.end(), nonce.begin());
  return nonce;
}

std::vector<aes_code> codes() {
  std::vector<aes_code> all;
  if (!aes_available()) return all;
  for (const aes_code code : {aes_code::fastest, aes_code::libsodium, aes_code::openssl}) {
    if (aes_available(code)) all.push_back(code);
  }
  return all;
}

byte_vector random_bytes(random_generator& random, std::size_t size) {
  byte_vector bytes(size);
  for (auto& b : bytes) b = static_cast<std::byte>(random());
  return bytes;
}

/// McGrew and Viega, "The Galois/Counter Mode of Operation (GCM)", appendix B: test cases 13 to 16.
struct vector {
  std::string_view key, nonce, associated, plain, sealed;
};
constexpr std::string_view zero_key = "0000000000000000000000000000000000000000000000000000000000000000";
constexpr std::string_view key = "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308";
const vector vectors[] = {
    {zero_key, "000000000000000000000000", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
    {zero_key, "000000000000000000000000", "", "00000000000000000000000000000000",
     "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919"},
    {key, "cafebabefacedbaddecaf888", "",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
     "b16aedf5aa0de657ba637b391aafd255",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
     "c5f61e6393ba7a0abcc9f662898015adb094dac5d93471bdec1a502270e3cc6c"},
    {key, "cafebabefacedbaddecaf888", "feedfacedeadbeeffeedfacedeadbeefabaddad2",
     "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
     "b16aedf5aa0de657ba637b39",
     "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
     "c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b"}};

}  // namespace

TEST_CASE("each code of AES-256-GCM gives the published results") {
  for (const aes_code code : codes()) {
    CAPTURE(static_cast<int>(code));
    for (const vector& v : vectors) {
      const byte_vector plain = from_hex(v.plain), associated = from_hex(v.associated);
      const nonce12 nonce = nonce_of(from_hex(v.nonce));
      aes_key k(secret_key(from_hex(v.key)), code);
      byte_vector sealed(plain.size() + tag_bytes), opened(plain.size());
      k.seal(nonce, associated, plain, sealed);
      CHECK(to_hex(sealed) == v.sealed);
      REQUIRE(k.open(nonce, associated, sealed, opened));
      CHECK(opened == plain);
    }
  }
}

TEST_CASE("what one code of AES-256-GCM seals, every other opens, and none of it altered") {
  random_generator random(5);
  const secret_key secret(random_bytes(random, secret_key::size));
  for (const aes_code sealing : codes()) {
    for (const aes_code opening : codes()) {
      CAPTURE(static_cast<int>(sealing), static_cast<int>(opening));
      aes_key sealer(secret, sealing), opener(secret, opening);
      for (const std::size_t size : {1, 15, 16, 17, 300, 384, 385, 511, 1000, 16384, 65536, 70001}) {
        const byte_vector plain = random_bytes(random, size), associated = random_bytes(random, size % 7);
        const nonce12 nonce = nonce_of(random_bytes(random, 12));
        byte_vector sealed(size + tag_bytes), opened(size);
        sealer.seal(nonce, associated, plain, sealed);
        REQUIRE(opener.open(nonce, associated, sealed, opened));
        CHECK(opened == plain);
        byte_vector altered = sealed;
        altered[random.below(altered.size())] ^= std::byte{0x10};
        CHECK_FALSE(opener.open(nonce, associated, altered, opened));
        byte_vector other = associated;
        other.push_back(std::byte{0});
        CHECK_FALSE(opener.open(nonce, other, sealed, opened));
        CHECK_FALSE(opener.open(nonce, associated, byte_view(sealed).first(tag_bytes - 1), opened));
        byte_vector in_place = sealed;  // and a key that was used to seal opens as well
        REQUIRE(sealer.open(nonce, associated, in_place, in_place));
        in_place.resize(size);
        CHECK(in_place == plain);
      }
    }
  }
}

TEST_CASE("plaintext in two parts is sealed as if it were one, wherever the first part lies") {
  random_generator random(6);
  const secret_key secret(random_bytes(random, secret_key::size));
  for (const aes_code code : codes()) {
    CAPTURE(static_cast<int>(code));
    aes_key k(secret, code);
    for (const std::size_t size : {2, 40, 900, 16400}) {
      const byte_vector plain = random_bytes(random, size);
      const nonce12 nonce = nonce_of(random_bytes(random, 12));
      byte_vector whole(size + tag_bytes);
      k.seal(nonce, as_bytes("a"), plain, whole);
      for (const std::size_t front : {std::size_t{0}, std::size_t{1}, std::size_t{2}, size / 2, size}) {
        const byte_view first = byte_view(plain).first(front), rest = byte_view(plain).subspan(front);
        byte_vector out(size + tag_bytes);
        k.seal(nonce, as_bytes("a"), first, rest, out);
        CHECK(out == whole);
        byte_vector there(first.begin(), first.end());
        there.resize(size + tag_bytes);
        k.seal(nonce, as_bytes("a"), byte_view(there).first(front), rest, there);
        CHECK(there == whole);
      }
    }
  }
}

TEST_CASE("a copied key is the same key") {
  for (const aes_code code : codes()) {
    const byte_vector plain(5000, std::byte{3});
    const nonce12 nonce{};
    byte_vector first(plain.size() + tag_bytes), second(plain.size() + tag_bytes);
    aes_key one(secret_key(hash(as_bytes("one")).bytes()), code);
    aes_key two(secret_key(hash(as_bytes("two")).bytes()), code);
    one.seal(nonce, {}, plain, first);
    two.seal(nonce, {}, plain, second);
    CHECK(first != second);
    two = one;
    const aes_key& same = two;
    two = same;
    two.seal(nonce, {}, plain, second);
    CHECK(first == second);
    aes_key three(one);
    three.seal(nonce, {}, plain, second);
    CHECK(first == second);
  }
}

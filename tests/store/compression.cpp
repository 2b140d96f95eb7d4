#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/chunker.hpp>
#include <p2pdvm/store/compression.hpp>

#include <zstd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <vector>

using namespace p2pdvm;
using namespace p2pdvm::store;

namespace {

crypto::secret_key secret_of(std::uint8_t n) {
  crypto::secret_key key;
  key.mutable_bytes()[0] = std::byte{n};
  return key;
}

byte_vector random_bytes(std::size_t count, std::uint64_t seed) {
  random_generator random(seed);
  byte_vector bytes(count);
  for (std::byte& b : bytes) b = std::byte(random() & 0xff);
  return bytes;
}

template <class Number, class F>
byte_vector numbers(std::size_t bytes, F&& next) {
  byte_vector out(bytes);
  for (std::size_t at = 0; at < bytes; at += sizeof(Number)) {
    const Number n = next(at / sizeof(Number));
    std::memcpy(out.data() + at, &n, std::min(sizeof n, bytes - at));
  }
  return out;
}

/// A field that changes slowly, as of a simulation.
byte_vector field(std::size_t bytes) {
  return numbers<double>(bytes, [](std::size_t i) { return 20 + std::sin(1e-4 * static_cast<double>(i)); });
}

byte_vector text(std::size_t bytes, std::uint64_t seed) {
  random_generator random(seed);
  const std::string_view words[] = {"step ", "rank ", "residual ", "0.5 ", "converged\n"};
  byte_vector out;
  while (out.size() < bytes) append(out, as_bytes(words[random.below(5)]));
  out.resize(bytes);
  return out;
}

/// As `pack` lays it out, around any frame.
byte_vector framed(packing how, std::uint32_t bytes, byte_view frame) {
  byte_vector out{static_cast<std::byte>(how)};
  append(out, bytes_of(bytes));
  append(out, frame);
  return out;
}

byte_vector frame_of(byte_view plain, bool names_size = true) {
  ZSTD_CCtx* const c = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, names_size ? 1 : 0);
  byte_vector out(ZSTD_compressBound(plain.size()));
  const std::size_t bytes = ZSTD_compress2(c, out.data(), out.size(), plain.data(), plain.size());
  ZSTD_freeCCtx(c);
  REQUIRE_FALSE(ZSTD_isError(bytes));
  out.resize(bytes);
  return out;
}

}  // namespace

TEST_CASE("what pays is packed in the way that pays more, noise is left alone") {
  for (const std::size_t bytes : {std::size_t{4096}, limits::chunk_bytes, limits::chunk_bytes_large}) {
    CHECK(probe_packing(text(bytes, 1)) == packing::zstd);
    CHECK(probe_packing(byte_vector(bytes)) == packing::zstd);
    CHECK(probe_packing(field(bytes)) == packing::words);
    CHECK(probe_packing(random_bytes(bytes, 2)) == packing::none);
    CHECK(probe_packing(compression::off, text(bytes, 1)) == packing::none);
  }
  random_generator random(3);
  CHECK(probe_packing(numbers<std::int32_t>(65536, [&](std::size_t) { return static_cast<std::int32_t>(random.below(1000)); })) ==
        packing::words);
  // Too small, or no chunk.
  CHECK(probe_packing(byte_vector(packed_plain_bytes_min - 1)) == packing::none);
  CHECK(probe_packing(byte_vector(packed_plain_bytes_max + 1)) == packing::none);
  CHECK(probe_packing({}) == packing::none);
}

TEST_CASE("packed bytes of every size come back, and are fewer by an eighth") {
  std::vector<std::size_t> sizes;
  for (std::size_t s = packed_plain_bytes_min; s < packed_plain_bytes_min + 20; ++s) sizes.push_back(s);
  for (const std::size_t s : {limits::chunk_bytes, limits::chunk_bytes_large}) {
    for (std::size_t d = 0; d < 9; ++d) sizes.push_back(s - d);
  }
  for (const std::size_t bytes : sizes) {
    for (const byte_vector& plain : {field(bytes), text(bytes, bytes), byte_vector(bytes, std::byte{7})}) {
      for (const packing how : {packing::zstd, packing::words}) {
        const auto packed = pack(plain, how, 24);
        if (!packed) continue;
        CHECK(packed->size() + 24 <= bytes - bytes / packing_gain_part);
        const auto back = unpack(*packed, bytes);
        REQUIRE(back);
        CHECK(*back == plain);
        CHECK_FALSE(unpack(*packed, bytes - 1));
      }
      CHECK(pack(plain, probe_packing(plain), 24).has_value());
    }
    CHECK_FALSE(pack(random_bytes(bytes, bytes), packing::zstd, 24));
    CHECK_FALSE(pack(random_bytes(bytes, bytes), packing::words, 24));
    CHECK_FALSE(pack(field(bytes), packing::none, 0));
  }
}

TEST_CASE("words are packed byte by byte, what is behind the last one comes last") {
  for (std::size_t bytes = 4096; bytes < 4096 + 80; ++bytes) {
    const byte_vector plain = field(bytes);
    const std::size_t words = bytes / 8;
    byte_vector rows(bytes);
    for (std::size_t i = 0; i < bytes; ++i) rows[i < words * 8 ? i % 8 * words + i / 8 : i] = plain[i];
    const auto packed = pack(plain, packing::words, 0);
    REQUIRE(packed);
    byte_vector laid(bytes);
    const byte_view frame = packed->subspan(packed_head_bytes);
    REQUIRE(ZSTD_decompress(laid.data(), bytes, frame.data(), frame.size()) == bytes);
    CHECK(laid == rows);
  }
}

TEST_CASE("packing gives the same bytes, whatever the thread has packed before") {
  const byte_vector plain = field(limits::chunk_bytes);
  const auto once = [&] { return to_vector(*pack(plain, packing::words, 0)); };
  const byte_vector first = once();
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    (void)pack(text(5000 + seed * 3000, seed), packing::zstd, 0);
    CHECK(once() == first);
  }
}

TEST_CASE("frames that lie about their size give nothing, and take no memory for it") {
  const byte_vector plain = text(10000, 1);
  const byte_vector frame = frame_of(plain);
  REQUIRE(unpack(framed(packing::zstd, 10000, frame), 10000));
  // Another size than the frame's.
  for (const std::uint32_t claimed : {0u, 1u, 9999u, 10001u, 262144u, ~0u}) {
    CHECK_FALSE(unpack(framed(packing::zstd, claimed, frame), packed_plain_bytes_max));
  }
  // A bomb: 64 MiB of zeros in some 2 kB; its own size is beyond the limit, any other is a lie.
  const byte_vector bomb = frame_of(byte_vector(std::size_t{64} << 20));
  REQUIRE(bomb.size() < 10000);
  for (const std::uint32_t claimed : {1u << 26, 262144u, 1u}) CHECK_FALSE(unpack(framed(packing::zstd, claimed, bomb), manifest_bytes_max));
  // A frame that names no size, one that goes on behind it, one that is no frame, one of no bytes.
  CHECK_FALSE(unpack(framed(packing::zstd, 10000, frame_of(plain, false)), 10000));
  byte_vector twice = frame;
  append(twice, frame);
  CHECK_FALSE(unpack(framed(packing::zstd, 10000, twice), 20000));
  CHECK_FALSE(unpack(framed(packing::zstd, 10000, random_bytes(500, 1)), 10000));
  CHECK_FALSE(unpack(framed(packing::zstd, 0, frame_of({})), 10000));
  // Ways that nobody knows.
  for (const int how : {0, 3, 255}) CHECK_FALSE(unpack(framed(static_cast<packing>(how), 10000, frame), 10000));
  // Cut anywhere.
  const byte_vector whole = framed(packing::zstd, 10000, frame);
  for (std::size_t size = 0; size < whole.size(); ++size) CHECK_FALSE(unpack(byte_view(whole).first(size), 10000));
}

TEST_CASE("packed bytes that are damaged anywhere never give more than they may") {
  random_generator random(5);
  for (const byte_vector& plain : {field(20000), text(20000, 9)}) {
    const byte_vector packed = to_vector(*pack(plain, probe_packing(plain), 0));
    for (int i = 0; i < 3000; ++i) {
      byte_vector damaged = packed;
      for (std::uint64_t n = 1 + random.below(3); n > 0; --n) damaged[random.below(damaged.size())] ^= std::byte(1 + random.below(255));
      const auto got = unpack(damaged, 20000);
      if (got) CHECK(got->size() <= 20000);
    }
  }
}

TEST_CASE("a chunk has one id and two sealed forms, and either opens") {
  const chunk_codec codec(secret_of(1));
  for (const std::size_t bytes : {4096u, 4097u, 65535u, 65536u, 262144u}) {
    const byte_vector plain = field(bytes);
    const chunk_id id = codec.id(plain);
    const payload whole = codec.seal(id, plain), packed = codec.seal(id, plain, packing::words);
    CHECK(packed.size() < whole.size() - bytes / packing_gain_part);
    for (const payload* sealed : {&whole, &packed}) {
      CHECK(chunk_codec::intact(sealed->view()));
      auto opened = codec.open(id, sealed->view(), bytes);
      REQUIRE(opened.ok());
      CHECK(*opened == plain);
      CHECK(codec.open(id, sealed->view(), bytes - 1).error().code() == errc::corrupted);
      CHECK(chunk_codec(secret_of(2)).open(id, sealed->view()).error().code() == errc::authentication);
      CHECK(codec.open(codec.id(as_bytes("another")), sealed->view()).error().code() == errc::authentication);
    }
    // What does not pay is sealed as it is.
    const byte_vector noise = random_bytes(bytes, bytes);
    CHECK(std::ranges::equal(codec.seal(codec.id(noise), noise, packing::zstd).view(), codec.seal(codec.id(noise), noise).view()));
  }
}

TEST_CASE("damage to a packed chunk is found, with the secret and without") {
  const chunk_codec codec(secret_of(1));
  const byte_vector plain = byte_vector(4096, std::byte{1});
  const chunk_id id = codec.id(plain);
  const byte_vector sealed = to_vector(codec.seal(id, plain, packing::zstd).view());
  REQUIRE(sealed.size() < 200);
  for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    byte_vector damaged = sealed;
    damaged[bit / 8] ^= std::byte(1u << (bit % 8));
    CHECK_FALSE(chunk_codec::intact(damaged));
    CHECK(codec.open(id, damaged).error().code() == errc::corrupted);
  }
  for (std::size_t size = 0; size < sealed.size(); ++size) CHECK_FALSE(chunk_codec::intact(byte_view(sealed).first(size)));
}

TEST_CASE("no two texts are sealed with one key and one nonce") {
  // The nonce of a packed chunk stands behind the checksum.
  const chunk_codec codec(secret_of(1));
  const byte_vector plain = field(limits::chunk_bytes);
  const chunk_id id = codec.id(plain);
  const byte_vector as_words = to_vector(codec.seal(id, plain, packing::words).view()),
                    whole = to_vector(codec.seal(id, byte_vector(limits::chunk_bytes), packing::zstd).view());
  const auto nonce = [](const byte_vector& sealed) { return byte_view(sealed).subspan(chunk_checksum_bytes, 24); };
  CHECK_FALSE(std::ranges::equal(nonce(as_words), nonce(whole)));
  CHECK_FALSE(std::ranges::equal(nonce(as_words), id.bytes().subspan(1, 24)));
  // The same packed bytes are the same sealed bytes: nothing is given away by storing them twice.
  CHECK(std::ranges::equal(codec.seal(id, plain, packing::words).view(), as_words));
}

TEST_CASE("a member who seals a bomb or other bytes under an id is found out") {
  const crypto::secret_key secret = secret_of(1);
  const chunk_codec codec(secret);
  const byte_vector plain = text(10000, 1), other = text(10000, 2);
  const payload lie = codec.seal(codec.id(plain), other, packing::zstd);
  CHECK(chunk_codec::intact(lie.view()));
  CHECK(codec.open(codec.id(plain), lie.view()).error().code() == errc::corrupted);
  // A form that says nothing true, under the key of packed chunks.
  const auto sealed_with_care = [&](byte_view packed) {
    byte_vector sealed(packed.size() + packed_chunk_overhead_bytes);
    const byte_span behind = byte_span(sealed).subspan(chunk_checksum_bytes);
    crypto::seal(crypto::derive(secret, "p2pdvm packed chunk seal 1"), crypto::nonce24(), codec.id(plain).bytes(), packed, behind.subspan(24));
    const fingerprint checksum = fingerprint_of(behind, 1);
    std::memcpy(sealed.data(), &checksum, sizeof checksum);
    return sealed;
  };
  CHECK(codec.open(codec.id(plain), sealed_with_care(framed(packing::zstd, 10000, frame_of(plain)))).ok());
  const byte_vector bomb = frame_of(byte_vector(std::size_t{64} << 20));
  for (const byte_vector& packed : {framed(packing::zstd, 1 << 26, bomb), framed(packing::zstd, 10000, bomb), byte_vector()}) {
    const byte_vector sealed = sealed_with_care(packed);
    CHECK(chunk_codec::intact(sealed));
    CHECK(codec.open(codec.id(plain), sealed, 10000).error().code() == errc::corrupted);
  }
}

namespace {

section_data array(const byte_vector& bytes) { return {"a", {payload::copy_of(bytes)}, true}; }

/// Which chunks of the array were found to pay.
std::vector<bool> packed_in(chunker& c, std::uint64_t epoch, const byte_vector& bytes) {
  REQUIRE(c.start(epoch_number(epoch), {array(bytes)}).ok());
  while (!c.step(3)) continue;
  std::vector<bool> packed;
  for (const chunk_source& s : c.take().chunks) packed.push_back(s.how != packing::none);
  return packed;
}

}  // namespace

TEST_CASE("a chunker packs the part of an array that pays, and finds out when that changes") {
  const std::size_t chunks = 64, half = chunks / 2;
  chunker c(secret_of(1), rank_number(0));
  chunker off(secret_of(1), rank_number(0), compression::off);
  std::map<std::size_t, unsigned> found;
  for (std::uint64_t epoch = 1; epoch <= packing_probe_period + 2; ++epoch) {
    // The first half is text at first, the second one is from the second epoch on.
    byte_vector bytes = text(half * limits::chunk_bytes, epoch);
    append(bytes, epoch == 1 ? random_bytes(half * limits::chunk_bytes, epoch) : text(half * limits::chunk_bytes, epoch + 1000));
    const auto packed = packed_in(c, epoch, bytes);
    REQUIRE(packed.size() == chunks);
    CHECK(std::count(packed.begin(), packed.begin() + half, true) == static_cast<std::ptrdiff_t>(half));
    const auto late = std::count(packed.begin() + half, packed.end(), true);
    if (epoch == 1) CHECK(late == 0);
    // One place more in each epoch.
    if (epoch > 1) CHECK(late == std::min<std::ptrdiff_t>(static_cast<std::ptrdiff_t>(epoch) - 1, half));
    const auto none = packed_in(off, epoch, bytes);
    CHECK(std::count(none.begin(), none.end(), true) == 0);
  }
  // Noise again: nothing is packed at once.
  const auto packed = packed_in(c, 100, random_bytes(chunks * limits::chunk_bytes, 1));
  CHECK(std::count(packed.begin(), packed.end(), true) == 0);
}

TEST_CASE("slices seal packed what steps would, and all of it opens") {
  chunker c(secret_of(1), rank_number(0));
  const chunk_codec codec(secret_of(1));
  byte_vector bytes = field(1 << 20);
  append(bytes, random_bytes(1 << 20, 1));
  for (std::uint64_t epoch = 1; epoch <= 2; ++epoch) {
    for (std::size_t at = 0; at < bytes.size(); at += limits::chunk_bytes) bytes[at] ^= std::byte(epoch);
    REQUIRE(c.start(epoch_number(epoch), {array(bytes)}).ok());
    std::vector<chunker::measured_slice> measured;
    for (const auto& s : c.slices(256 << 10, std::size_t{64} << 20)) measured.push_back(c.measure(s));
    c.add(std::move(measured));
    const chunked_snapshot cut = c.take();
    REQUIRE(cut.chunks.size() == 32);
    for (std::size_t i = 0; i < 32; ++i) {
      const chunk_source& s = cut.chunks[i];
      REQUIRE_FALSE(s.sealed.empty());
      CHECK(s.how == (i < 16 ? packing::words : packing::none));
      CHECK((s.sealed.size() < s.plain.size()) == (i < 16));
      CHECK(codec.open(s.chunk.id, s.sealed.view(), s.chunk.bytes).value() == s.plain.view());
    }
  }
}

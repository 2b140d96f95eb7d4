#include "support/test.hpp"

#include <p2pdvm/base/limits.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/chunk.hpp>
#include <p2pdvm/store/manifest.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <array>

using namespace p2pdvm;
using namespace p2pdvm::store;

namespace {

crypto::secret_key secret_of(std::uint8_t n) {
  crypto::secret_key key;
  key.mutable_bytes()[0] = std::byte{n};
  return key;
}

chunk_reference reference(const chunk_codec& codec, std::string_view text) {
  return {codec.id(as_bytes(text)), static_cast<std::uint32_t>(text.size())};
}

}  // namespace

TEST_CASE("a sealed chunk opens to what was sealed, also when it is empty") {
  const chunk_codec codec(secret_of(1));
  for (const std::string_view text : {"", "x", "some longer plaintext"}) {
    const chunk_id id = codec.id(as_bytes(text));
    const byte_vector sealed = to_vector(codec.seal(id, as_bytes(text)).view());
    CHECK(id.bytes()[0] == chunk_algorithm);
    CHECK(sealed.size() == text.size() + chunk_overhead_bytes);
    CHECK(chunk_codec::intact(sealed));
    auto plain = codec.open(id, sealed);
    REQUIRE(plain.ok());
    CHECK(as_text(plain->view()) == text);
    CHECK(std::ranges::equal(codec.seal(id, as_bytes(text)).view(), sealed));
  }
}

TEST_CASE("every flipped bit of a sealed chunk is found, with the secret and without") {
  const chunk_codec codec(secret_of(1));
  const chunk_id id = codec.id(as_bytes("payload"));
  const byte_vector sealed = to_vector(codec.seal(id, as_bytes("payload")).view());
  for (std::size_t bit = 0; bit < sealed.size() * 8; ++bit) {
    byte_vector damaged = sealed;
    damaged[bit / 8] ^= std::byte(1u << (bit % 8));
    CHECK_FALSE(chunk_codec::intact(damaged));
    CHECK(codec.open(id, damaged).error().code() == errc::corrupted);
  }
  CHECK_FALSE(chunk_codec::intact(byte_view(sealed).first(chunk_overhead_bytes - 1)));
  CHECK_FALSE(chunk_codec::intact({}));
}

TEST_CASE("a chunk opens only under its own id and its own job's secret") {
  const chunk_codec codec(secret_of(1));
  const chunk_codec stranger(secret_of(2));
  const chunk_id id = codec.id(as_bytes("a"));
  const byte_vector sealed = to_vector(codec.seal(id, as_bytes("a")).view());
  CHECK(stranger.id(as_bytes("a")) != id);
  CHECK(stranger.open(id, sealed).error().code() == errc::authentication);
  CHECK(codec.open(codec.id(as_bytes("b")), sealed).error().code() == errc::authentication);
  chunk_id other = id;
  other.mutable_bytes()[0] = std::byte{3};
  CHECK(codec.open(other, sealed).error().code() == errc::unsupported_version);
  // A member who seals wrong bytes under an id is found out by the id.
  const payload lie = codec.seal(id, as_bytes("b"));
  CHECK(chunk_codec::intact(lie.view()));
  CHECK(codec.open(id, lie.view()).error().code() == errc::corrupted);
}

TEST_CASE("a manifest survives its encoding and rejects sizes that do not add up") {
  const chunk_codec codec(secret_of(1));
  manifest m{rank_number(3), epoch_number(7), {}};
  m.sections.push_back({"state", 8, false, 0, {reference(codec, "12345678")}});
  m.sections.push_back({"grid", 5, true, 0, {reference(codec, "abc"), reference(codec, "de")}});
  m.sections.push_back({"empty", 0, true, 0, {}});
  m.sections.push_back({"packed", 3, false, 5, {reference(codec, "12345678")}});
  auto read = read_manifest(wire::encode(m));
  REQUIRE(read.ok());
  CHECK(*read == m);

  const auto broken = [&](auto change) {
    manifest copy = m;
    change(copy);
    return !read_manifest(wire::encode(copy)).ok();
  };
  CHECK(broken([](manifest& x) { x.sections[1].bytes = 6; }));
  CHECK(broken([](manifest& x) { x.sections[1].skip = 1; }));
  CHECK(broken([](manifest& x) { x.sections[2].bytes = 1; }));
  CHECK(broken([](manifest& x) { x.sections[3].skip = 6; }));
  CHECK(broken([](manifest& x) { x.sections[3].bytes = ~0ull; }));
  CHECK(broken([](manifest& x) { x.sections[3].name = "grid"; }));
  CHECK(broken([](manifest& x) { x.sections[0].name.clear(); }));
  CHECK(broken([](manifest& x) { x.sections[0].chunks[0].bytes = 1u << 30; }));
  CHECK(broken([](manifest& x) { x.sections[0].chunks[0].id = {}; }));
  CHECK(broken([](manifest& x) { x.rank = rank_number(limits::ranks_max); }));
  CHECK_FALSE(read_manifest(as_bytes("nonsense")).ok());
}

TEST_CASE("an assembler puts sections together from chunks in any order") {
  const chunk_codec codec(secret_of(1));
  manifest m{rank_number(0), epoch_number(1), {}};
  const chunk_reference abc = reference(codec, "abc");
  m.sections.push_back({"grid", 8, true, 0, {abc, reference(codec, "de"), abc}});
  m.sections.push_back({"tiny", 2, false, 1, {reference(codec, "abc")}});
  REQUIRE(m.validate().ok());
  CHECK(chunks_of(m).size() == 2);
  const auto bytes = [](std::string_view text) { return payload::copy_of(as_bytes(text)); };
  assembler parts(m);
  CHECK(parts.missing() == 2);
  REQUIRE(parts.add(codec.id(as_bytes("de")), bytes("de")).ok());
  CHECK(parts.add(codec.id(as_bytes("abc")), bytes("ab")).error().code() == errc::corrupted);
  CHECK_FALSE(parts.add(codec.id(as_bytes("other")), bytes("other")).ok());
  REQUIRE(parts.add(codec.id(as_bytes("abc")), bytes("abc")).ok());
  REQUIRE(parts.add(codec.id(as_bytes("abc")), bytes("abc")).ok());
  REQUIRE(parts.missing() == 0);
  const auto sections = parts.take();
  REQUIRE(sections[0].size() == 3);  // the chunks themselves
  CHECK(sections[0][2].data() == sections[0][0].data());
  CHECK(as_text(sections[0][0].view()) == "abc");
  CHECK(as_text(sections[0][1].view()) == "de");
  REQUIRE(sections[1].size() == 1);
  CHECK(as_text(sections[1][0].view()) == "bc");
}

TEST_CASE("stripes get equal shares of a section") {
  for (std::uint32_t rank = 0; rank < 5; ++rank) {
    std::array<int, limits::stripes_per_rank> count{};
    for (std::size_t c = 0; c < 160; ++c) ++count.at(stripe_of(rank_number(rank), 2, c));
    for (const int n : count) CHECK(n == 10);
  }
}

TEST_CASE("chunks that an earlier version named open as well") {
  const crypto::secret_key secret = secret_of(1);
  const chunk_codec codec(secret);
  const auto plain = as_bytes("named by BLAKE2b");
  const digest256 digest = crypto::keyed_hash(crypto::derive(secret, "p2pdvm chunk id 1"), plain);
  chunk_id id;
  id.mutable_bytes()[0] = chunk_algorithm_before;
  std::ranges::copy(digest.bytes(), id.mutable_bytes().begin() + 1);
  const payload sealed = codec.seal(id, plain);
  const auto opened = codec.open(id, sealed.view());
  REQUIRE(opened.ok());
  CHECK(*opened == plain);
  const payload other = codec.seal(id, as_bytes("something else"));
  CHECK(codec.open(id, other.view()).error().code() == errc::corrupted);
}

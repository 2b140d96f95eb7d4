#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/store/chunker.hpp>
#include <p2pdvm/wire/codec.hpp>

#include <algorithm>
#include <map>
#include <set>
#include <thread>

using namespace p2pdvm;
using namespace p2pdvm::store;

namespace {

byte_vector random_bytes(std::size_t count, std::uint64_t seed) {
  random_generator random(seed);
  byte_vector bytes(count);
  for (std::byte& b : bytes) b = std::byte(random() & 0xff);
  return bytes;
}

section_data part(std::string name, byte_vector bytes, bool bulk) {
  std::vector<payload> parts;
  if (!bytes.empty()) parts.emplace_back(std::move(bytes));
  return {std::move(name), std::move(parts), bulk};
}

chunked_snapshot chunk(chunker& c, std::uint64_t epoch, std::vector<section_data> sections) {
  REQUIRE(c.start(epoch_number(epoch), std::move(sections)).ok());
  while (!c.step(3)) continue;
  return c.take();
}

/// What a restart would get from the chunks.
std::vector<byte_vector> assembled(const chunked_snapshot& s) {
  REQUIRE(s.manifest.validate().ok());
  assembler parts(s.manifest);
  for (const chunk_source& c : s.chunks) REQUIRE(parts.add(c.chunk.id, c.plain).ok());
  REQUIRE(parts.missing() == 0);
  std::vector<byte_vector> sections;
  for (const std::vector<payload>& one : parts.take()) {
    byte_vector& whole = sections.emplace_back();
    for (const payload& part : one) append(whole, part.view());
  }
  return sections;
}

const crypto::secret_key secret;

}  // namespace

TEST_CASE("chunks give back the sections they were cut from, whatever their kind and size") {
  chunker c(secret, rank_number(2));
  std::vector<section_data> sections;
  std::vector<byte_vector> bytes;
  for (const std::size_t size : {0u, 1u, 5000u, 16384u, 16385u, 65536u, 65537u, 300000u,
                                 2000000u}) {
    for (const bool bulk : {false, true}) {
      bytes.push_back(random_bytes(size, size + bulk));
      sections.push_back(part(std::to_string(size) + (bulk ? "b" : "s"), bytes.back(), bulk));
    }
  }
  const chunked_snapshot s = chunk(c, 1, sections);
  CHECK(assembled(s) == bytes);
  CHECK(s.dirty == s.chunks.size());
  const std::vector<placed_chunk> listed = chunks_of(s.manifest);
  REQUIRE(listed.size() == s.chunks.size());
  const chunk_codec codec(secret);
  for (std::size_t i = 0; i < listed.size(); ++i) {
    CHECK(listed[i].id == s.chunks[i].chunk.id);
    CHECK(listed[i].stripe == s.chunks[i].chunk.stripe);
    CHECK(codec.id(s.chunks[i].plain.view()) == listed[i].id);
  }
}

TEST_CASE("changing one byte of a bulk section dirties one chunk") {
  chunker c(secret, rank_number(0));
  byte_vector grid = random_bytes(1 << 20, 1);
  const chunked_snapshot first = chunk(c, 1, {part("grid", grid, true)});
  CHECK(first.chunks.size() == 16);
  CHECK(chunk(c, 2, {part("grid", grid, true)}).dirty == 0);
  grid[777777] ^= std::byte{1};
  const chunked_snapshot third = chunk(c, 3, {part("grid", grid, true)});
  CHECK(third.dirty == 1);
  CHECK(third.chunks.size() == 16);
  CHECK(assembled(third).front() == grid);
}

TEST_CASE("an epoch that was begun and dropped leaves the memory of the last one") {
  chunker c(secret, rank_number(0));
  const byte_vector grid = random_bytes(200000, 1);
  REQUIRE(chunk(c, 1, {part("grid", grid, true)}).dirty == 4);
  REQUIRE(c.start(epoch_number(2), {part("grid", random_bytes(200000, 2), true)}).ok());
  REQUIRE_FALSE(c.step(2));
  CHECK(chunk(c, 3, {part("grid", grid, true)}).dirty == 0);
}

TEST_CASE("inserting bytes at the front of a serialised blob leaves most of its chunks clean") {
  chunker c(secret, rank_number(0));
  byte_vector blob = random_bytes(4 << 20, 5);
  const chunked_snapshot first = chunk(c, 1, {part("blob", blob, false)});
  CHECK(first.chunks.size() > 30);
  CHECK(first.chunks.size() < 130);
  for (std::size_t i = 0; i < first.chunks.size(); ++i) {
    CHECK(first.chunks[i].plain.size() <= content_chunk_bytes_max);
    if (i + 1 < first.chunks.size())
      CHECK(first.chunks[i].plain.size() >= content_chunk_bytes_min);
  }
  blob.insert(blob.begin(), std::byte{42});
  CHECK(chunk(c, 2, {part("blob", blob, false)}).dirty <= 3);
}

TEST_CASE("tiny sections share a chunk, equal chunks are listed once") {
  chunker c(secret, rank_number(0));
  std::vector<section_data> sections;
  for (int i = 0; i < 40; ++i)
    sections.push_back(part("s" + std::to_string(i), random_bytes(100, 50 + i), false));
  sections.push_back(part("zeros", byte_vector(1 << 20), true));
  const chunked_snapshot s = chunk(c, 1, sections);
  CHECK(s.chunks.size() == 2);
  CHECK(assembled(s)[7] == to_vector(sections[7].parts.front().view()));
}

TEST_CASE("parts of an array that are in the memory of the epoch before are not looked at") {
  chunker c(secret, rank_number(0));
  const std::size_t chunks = 10;
  std::vector<payload> parts;
  for (std::size_t i = 0; i < chunks; ++i)
    parts.emplace_back(random_bytes(i + 1 == chunks ? 100 : limits::chunk_bytes, i));
  const auto array = [&] { return std::vector<section_data>{{"a", parts, true}}; };
  const chunked_snapshot first = chunk(c, 1, array());
  CHECK(first.dirty == chunks);
  parts[4] = payload(random_bytes(limits::chunk_bytes, 44));
  parts[7] = payload(to_vector(parts[7].view()));  // moved, but the same
  REQUIRE(c.start(epoch_number(2), array()).ok());
  CHECK_FALSE(c.step(1));
  CHECK(c.step(2));
  const chunked_snapshot second = c.take();
  CHECK(second.dirty == 1);
  byte_vector whole;
  for (const payload& p : parts) append(whole, p.view());
  CHECK(assembled(second).front() == whole);
  // An epoch that was begun and not taken leaves no trace.
  parts[0] = payload(random_bytes(limits::chunk_bytes, 45));
  REQUIRE(c.start(epoch_number(3), array()).ok());
  CHECK_FALSE(c.step(1));
  const chunked_snapshot fourth = chunk(c, 4, array());
  CHECK(fourth.dirty == 1);
  CHECK(fourth.manifest.sections.front().chunks[0].id != second.manifest.sections.front().chunks[0].id);
}

TEST_CASE("a chunker refuses state that no manifest can describe") {
  chunker c(secret, rank_number(0));
  const auto code = [&](std::vector<section_data> sections) {
    const auto started = c.start(epoch_number(1), std::move(sections));
    return started ? errc::ok : started.error().code();
  };
  CHECK(code({part("", {}, false)}) == errc::invalid_argument);
  CHECK(code({part(std::string(300, 'x'), {}, false)}) == errc::invalid_argument);
  CHECK(code({part("a", {}, false), part("a", {}, true)}) == errc::invalid_argument);
  CHECK(code({part("a", {}, false), part("b", {}, true)}) == errc::ok);
  CHECK(c.step(1));
  CHECK(c.take().chunks.empty());
}

TEST_CASE("chunks and boundaries of another job differ") {
  crypto::secret_key other;
  other.mutable_bytes()[0] = std::byte{1};
  chunker a(secret, rank_number(0));
  chunker b(other, rank_number(0));
  const byte_vector blob = random_bytes(1 << 20, 5);
  const chunked_snapshot x = chunk(a, 1, {part("blob", blob, false)});
  const chunked_snapshot y = chunk(b, 1, {part("blob", blob, false)});
  std::set<chunk_id> ids;
  for (const chunk_source& s : x.chunks) ids.insert(s.chunk.id);
  for (const chunk_source& s : y.chunks) CHECK(ids.count(s.chunk.id) == 0);
  CHECK(x.chunks.front().plain.size() != y.chunks.front().plain.size());
}

TEST_CASE("slices measured in any order, on other threads, give what steps give") {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    random_generator random(seed);
    chunker by_steps(secret, rank_number(1)), by_slices(secret, rank_number(1));
    byte_vector grid = random_bytes(1 + random.below(2 << 20), seed), blob = random_bytes(random.below(1 << 20), seed + 100);
    std::fill(grid.begin(), grid.begin() + static_cast<std::ptrdiff_t>(grid.size() / 2), std::byte{0});  // equal chunks
    for (std::uint64_t epoch = 1; epoch <= 3; ++epoch) {
      grid[random.below(grid.size())] ^= std::byte{1};
      const std::vector<section_data> sections = {part("grid", grid, true), part("blob", blob, false),
                                                  part("tiny", random_bytes(100, seed + epoch), false)};
      const chunked_snapshot expected = chunk(by_steps, epoch, sections);
      REQUIRE(by_slices.start(epoch_number(epoch), sections).ok());
      const auto slices = by_slices.slices(1 + random.below(512 << 10), random.below(2 << 20));
      std::vector<chunker::measured_slice> measured(slices.size());
      std::vector<std::thread> threads;
      for (std::size_t t = 0; t < 3; ++t) {
        threads.emplace_back([&, t] {
          for (std::size_t i = slices.size(); i-- > 0;) {
            if (i % 3 == t) measured[i] = by_slices.measure(slices[i]);
          }
        });
      }
      for (std::thread& t : threads) t.join();
      by_slices.add(std::move(measured));
      const chunked_snapshot got = by_slices.take();
      CHECK(wire::encode(got.manifest) == wire::encode(expected.manifest));
      CHECK(got.dirty == expected.dirty);
      REQUIRE(got.chunks.size() == expected.chunks.size());
      const chunk_codec codec(secret);
      for (std::size_t i = 0; i < got.chunks.size(); ++i) {
        const chunk_source& c = got.chunks[i];
        CHECK(c.chunk.id == expected.chunks[i].chunk.id);
        CHECK(c.chunk.stripe == expected.chunks[i].chunk.stripe);
        CHECK(c.chunk.bytes == expected.chunks[i].chunk.bytes);
        CHECK(std::ranges::equal(c.plain.view(), expected.chunks[i].plain.view()));
        if (!c.sealed.empty()) CHECK(codec.open(c.chunk.id, c.sealed.view()).value() == c.plain.view());
      }
    }
  }
}

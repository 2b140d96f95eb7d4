#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/peal/region_copier.hpp>

#include <set>

using namespace p2pdvm;
using namespace p2pdvm::peal;

namespace {

constexpr std::size_t chunk = limits::chunk_bytes;

byte_vector joined(const payload_list& parts) {
  byte_vector all;
  for (const payload& p : parts) append(all, p.view());
  return all;
}

std::set<const std::byte*> places(const payload_list& parts) {
  std::set<const std::byte*> all;
  for (const payload& p : parts) all.insert(p.data());
  return all;
}

}  // namespace

TEST_CASE("a copy has a part for each chunk, and all bytes") {
  for (const std::size_t size : {std::size_t{0}, std::size_t{1}, chunk - 1, chunk, chunk + 1, 5 * chunk + 17}) {
    byte_vector region(size);
    random_generator random(size);
    for (std::byte& b : region) b = std::byte(random() & 0xff);
    region_copier copier;
    const auto parts = copier.copy(region, nullptr);
    CHECK(parts.size() == (size + chunk - 1) / chunk);
    CHECK(joined(parts) == region);
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) CHECK(parts[i].size() == chunk);
  }
}

TEST_CASE("of a marked region only what was marked is copied") {
  byte_vector region(4 * chunk + 100);
  region_copier copier;
  changed_ranges changed;
  const auto first = copier.copy(region, &changed);  // there is nothing before it: everything
  CHECK(joined(first) == region);
  region[chunk - 1] = region[chunk] = region[4 * chunk + 99] = std::byte{1};
  changed.mark(chunk - 1, chunk + 1);
  changed.mark(4 * chunk + 99, 4 * chunk + 100);
  changed.mark(7, 7);  // nothing
  const auto second = copier.copy(region, &changed);
  CHECK(joined(second) == region);
  CHECK(joined(first) == byte_vector(region.size()));
  for (const std::size_t same : {2u, 3u}) CHECK(first[same].data() == second[same].data());
  for (const std::size_t other : {0u, 1u, 4u}) CHECK(first[other].data() != second[other].data());
  changed.clear();
  CHECK(places(copier.copy(region, &changed)) == places(second));
  // Unmarked changes are not seen; that is what the program promised.
  region[2 * chunk] = std::byte{9};
  CHECK(joined(copier.copy(region, &changed)) == joined(second));
  // A region of another size is another region.
  region.resize(region.size() + 1);
  CHECK(joined(copier.copy(region, &changed)) == region);
}

TEST_CASE("parts that nobody has any more are written again, and no others") {
  byte_vector region(8 * chunk);
  region_copier copier;
  std::vector<payload_list> kept;
  std::set<const std::byte*> all;
  for (unsigned epoch = 1; epoch <= 20; ++epoch) {
    std::fill(region.begin(), region.end(), std::byte(epoch));
    kept.push_back(copier.copy(region, nullptr));
    all.merge(places(kept.back()));
    if (kept.size() > 2) kept.erase(kept.begin());
    for (std::size_t k = 0; k < kept.size(); ++k) {
      const auto of = std::byte(epoch + 1 - kept.size() + k);
      CHECK(joined(kept[k]) == byte_vector(region.size(), of));
    }
  }
  // Two that are kept, one that is made, and one that was just let go.
  CHECK(all.size() <= 4 * 8);
}

TEST_CASE("after a restart the first copy takes what was not marked from the snapshot") {
  byte_vector region(3 * chunk);
  region_copier before;
  const auto parts = before.copy(region, nullptr);
  for (const bool whole : {false, true}) {
    region_copier copier;
    changed_ranges changed;
    const payload one(joined(parts));
    copier.restored(whole ? std::vector<payload>{one} : parts);
    region[chunk] = std::byte{5};
    changed.mark(chunk, chunk + 1);
    const auto again = copier.copy(region, &changed);
    CHECK(joined(again) == region);
    CHECK(again[0].data() == (whole ? one.data() : parts[0].data()));
    CHECK(again[2].data() == (whole ? one.data() + 2 * chunk : parts[2].data()));
    CHECK(again[1].data() != (whole ? one.data() + chunk : parts[1].data()));
    region[chunk] = std::byte{0};
  }
}

TEST_CASE("copies of a region of many parts share whole pages of their lists") {
  constexpr std::size_t count = 3 * payload_list::page_size + 5;
  byte_vector region((count - 1) * chunk + 11);
  random_generator random(3);
  region_copier copier;
  changed_ranges changed;
  auto before = copier.copy(region, &changed);
  for (int epoch = 1; epoch < 30; ++epoch) {
    std::set<std::size_t> marked;
    changed.clear();
    for (std::uint64_t n = random.below(4); n > 0; --n) {
      const std::size_t at = random.below(region.size());
      region[at] = std::byte(epoch);
      changed.mark(at, at + 1);
      marked.insert(at / chunk);
    }
    const auto after = copier.copy(region, &changed);
    REQUIRE(after.size() == count);
    const bool right = joined(after) == region;  // not printed
    REQUIRE(right);
    for (std::size_t i = 0; i < count; ++i) REQUIRE((after[i].data() == before[i].data()) == !marked.contains(i));
    before = after;
  }
}

TEST_CASE("a region that is larger than caches is copied whole, wherever it begins") {
  const std::size_t size = (std::size_t{9} << 20) + 77;
  byte_vector memory(size + 64);
  for (std::size_t begin = 0; begin < 5; ++begin) {
    const byte_span region = byte_span(memory).subspan(begin, size);
    region_copier copier;
    std::vector<payload_list> kept;
    for (unsigned epoch = 1; epoch <= 6; ++epoch) {
      for (std::size_t at = epoch; at < size; at += 4093) region[at] = std::byte(epoch);
      kept.push_back(copier.copy(region, nullptr));
      copier.took(std::chrono::milliseconds(epoch));
      if (kept.size() > 2) kept.erase(kept.begin());
      const bool right = equal(joined(kept.back()), region);
      REQUIRE(right);
    }
  }
}

TEST_CASE("of two ways the quicker one is taken, and the other one is not forgotten") {
  using namespace std::chrono_literals;
  for (const bool second_is_quicker : {false, true}) {
    quicker_way way;
    const auto go = [&](duration first, duration second, int times) {
      int seconds = 0;
      for (int i = 0; i < times; ++i) {
        seconds += way.second() ? 1 : 0;
        way.took(way.second() ? second : first);
      }
      return seconds;
    };
    CHECK_FALSE(way.second());
    const duration fast = 3ms, slow = 4ms;
    const duration first = second_is_quicker ? slow : fast, second = second_is_quicker ? fast : slow;
    CHECK(go(first, second, 6) == 3);  // each in turn
    CHECK(go(first, second, 50) == (second_is_quicker ? 50 : 0));
    CHECK(go(first, second, 200) == (second_is_quicker ? 197 : 3));  // once in 64
    // One time that somebody held it up changes nothing.
    way.took(100ms);
    CHECK(way.second() == second_is_quicker);
    // Then it becomes otherwise, and is found out by and by.
    go(second, first, 600);
    CHECK(way.second() != second_is_quicker);
  }
}

TEST_CASE("where no time passes, as in a simulation, the first way is taken") {
  quicker_way way;
  for (int i = 0; i < 300; ++i) way.took(duration::zero());
  CHECK_FALSE(way.second());
}

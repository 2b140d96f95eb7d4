#include "host/worlds.hpp"

#include <p2pdvm/host/native/ring.hpp>

#include <memory>
#include <thread>

namespace p2pdvm::test {
namespace {

using native::detail::ring_bytes;
using native::detail::ring_consumer;
using native::detail::ring_memory;
using native::detail::ring_producer;
using native::detail::ring_record_bytes_max;
using native::detail::ring_word;

struct ring {
  std::unique_ptr<ring_memory> memory{new ring_memory{}};
  ring_producer out{*memory};
  ring_consumer in{*memory};

  bool put(byte_view bytes, std::uint32_t kind = 1) {
    std::byte* const at = out.reserve(bytes.size());
    if (at == nullptr) return false;
    if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
    out.publish(bytes.size(), kind);
    return true;
  }
  std::atomic<std::uint64_t>& word(std::size_t at) {
    return *reinterpret_cast<std::atomic<std::uint64_t>*>(memory->bytes + at);
  }
};

TEST_CASE("records of every size come out of a ring as they went in, many rounds long") {
  ring r;
  random_generator random(3);
  std::deque<byte_vector> inside;
  std::size_t written = 0, full = 0;
  while (written < 20 * ring_bytes) {
    const std::size_t size = random.chance(0.1) ? random.below(ring_record_bytes_max + 1) : random.below(200);
    byte_vector bytes = worlds::pattern(size, written);
    if (r.put(bytes)) {
      written += size;
      inside.push_back(std::move(bytes));
    } else {
      ++full;
      for (std::size_t n = random.below(inside.size()) + 1; n > 0; --n) {
        const auto record = r.in.peek();
        REQUIRE(record.has_value());
        REQUIRE(equal(record->bytes, inside.front()));
        r.in.pop();
        inside.pop_front();
      }
    }
  }
  CHECK(full > 10);
  for (; !inside.empty(); inside.pop_front()) {
    REQUIRE(equal(r.in.peek().value().bytes, inside.front()));
    r.in.pop();
  }
  CHECK(r.in.empty());
  CHECK_FALSE(r.in.broken());
}

TEST_CASE("what a record leaves in a ring is taken for no record, wherever the next one ends") {
  ring r;
  random_generator random(11);
  // Every line of a body reads like the word of a short record.
  const std::uint64_t word = ring_word{8, 1}.packed();
  byte_vector body;
  while (body.size() < 64 * 100) append(body, bytes_of(word));
  for (int round = 0; round < 3000; ++round) {
    const std::size_t size = random.chance(0.5) ? 8 : 8 * random.below(body.size() / 8);
    REQUIRE(r.put(byte_view(body).first(size)));
    const auto record = r.in.peek();
    REQUIRE(record.has_value());
    REQUIRE(record->bytes.size() == size);
    r.in.pop();
    REQUIRE(r.in.empty());
    REQUIRE_FALSE(r.in.peek().has_value());
  }
  CHECK_FALSE(r.in.broken());
}

TEST_CASE("two threads pass records through a ring in order") {
  ring r;
  constexpr std::uint64_t count = 200000;
  std::thread producer([&r] {
    for (std::uint64_t i = 0; i < count; ++i) {
      while (!r.put(bytes_of(i))) std::this_thread::yield();
    }
  });
  std::uint64_t next = 0, wrong = 0;
  while (next < count) {
    const auto record = r.in.peek();
    if (!record) {
      std::this_thread::yield();
      continue;
    }
    std::uint64_t got = 0;
    std::memcpy(&got, record->bytes.data(), sizeof got);
    wrong += got == next ? 0 : 1;
    ++next;
    r.in.pop();
  }
  producer.join();
  CHECK(wrong == 0);
}

TEST_CASE("nonsense in a ring is found out and nothing outside of it is read") {
  const auto broken_by = [](ring_word word, std::size_t at) {
    ring r;
    for (std::size_t skipped = 0; skipped < at; skipped += 64) {
      REQUIRE(r.put({}));
      REQUIRE(r.in.peek().has_value());
      r.in.pop();
    }
    r.word(at).store(word.packed());
    const bool nothing = !r.in.peek().has_value();
    return nothing && r.in.broken();
  };
  CHECK(broken_by({static_cast<std::uint32_t>(ring_record_bytes_max + 1), 1}, 0));
  CHECK(broken_by({0xffffffff, 1}, 0));
  CHECK(broken_by({1000, 1}, ring_bytes - 64));  // over the end
  ring wraps;  // from the beginning to the beginning, for ever
  wraps.word(0).store(ring_word{0, ring_word::wrap}.packed());
  CHECK_FALSE(wraps.in.peek().has_value());
}

TEST_CASE("a full ring takes nothing until a good part of it was read") {
  ring r;
  std::size_t records = 0;
  while (r.put(worlds::pattern(100, records))) ++records;
  CHECK(records == (ring_bytes - native::detail::ring_unit) / 128);  // and the next word
  CHECK(r.put({}));  // into the last line but that of the next word
  REQUIRE(r.in.peek().has_value());
  r.in.pop();
  CHECK_FALSE(r.put({}));
  for (std::size_t i = 1; i <= records / 4; ++i) {
    REQUIRE(r.in.peek().has_value());
    r.in.pop();
  }
  CHECK(r.put({}));
}

}  // namespace
}  // namespace p2pdvm::test

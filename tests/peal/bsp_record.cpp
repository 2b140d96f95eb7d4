// Letters of a superstep: what is written into one is read from it, in order, and nothing that is damaged is believed.
#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/peal/bsp/record.hpp>

#include <tuple>
#include <vector>

using namespace p2pdvm;
using Catch::Matchers::Contains;

namespace {

using bsp::detail::letter;
using bsp::detail::record_head;
using bsp::detail::record_kind;

struct operation {
  record_head head;
  byte_vector data;
};

operation put(std::uint32_t slot, std::int64_t offset, std::size_t bytes, std::byte fill, std::uint32_t line = 1) {
  record_head head;
  head.slot = slot;
  head.offset = offset;
  head.bytes = bytes;
  head.line = line;
  head.element_bytes = 1;
  return {head, byte_vector(bytes, fill)};
}

operation get(std::uint32_t slot, std::int64_t offset, std::size_t bytes) {
  operation a = put(slot, offset, bytes, std::byte{});
  a.head.kind = record_kind::get;
  a.data.clear();
  return a;
}

byte_vector written(const std::vector<operation>& all) {
  letter out;
  for (const operation& a : all) out.add(a.head, a.data);
  return out.take();
}

/// Of one kind, in order.
std::vector<operation> read(byte_view whole, record_kind kind) {
  std::vector<operation> all;
  for (const bsp::detail::record& r : bsp::detail::records_of(whole, bsp::detail::head_bytes)) {
    const bool put = bsp::detail::is_put(r.head.kind);
    if (!put && !bsp::detail::is_get(r.head.kind)) continue;
    if (put != (kind == record_kind::put)) continue;
    bsp::detail::each_access(r, whole, [&](std::int64_t offset, byte_view data) {
      operation one{r.head, to_vector(data)};
      one.head.kind = kind;
      one.head.offset = offset;
      all.push_back(std::move(one));
    });
  }
  return all;
}

void check_same(const std::vector<operation>& found, const std::vector<operation>& wanted, record_kind kind) {
  std::size_t n = 0;
  for (const operation& w : wanted) {
    if (w.head.kind != kind) continue;
    REQUIRE(n < found.size());
    const operation& f = found[n++];
    CHECK(std::tuple(f.head.kind, f.head.slot, f.head.offset, f.head.bytes, f.head.line) ==
          std::tuple(w.head.kind, w.head.slot, w.head.offset, w.head.bytes, w.head.line));
    CHECK(f.data == w.data);
  }
  CHECK(n == found.size());
}

}  // namespace

TEST_CASE("puts of single elements share one head", "[peal]") {
  std::vector<operation> all;
  for (std::int64_t i = 0; i < 1000; ++i) all.push_back(put(3, 8 * (i * 7 % 1000), 8, static_cast<std::byte>(i)));
  const byte_vector whole = written(all);
  CHECK(whole.size() == bsp::detail::head_bytes + sizeof(record_head) + 1000 * 16);
  check_same(read(whole, record_kind::put), all, record_kind::put);
}

TEST_CASE("gets alike take their offsets only", "[peal]") {
  std::vector<operation> all;
  for (std::int64_t i = 0; i < 100; ++i) all.push_back(get(1, i, 3));
  const byte_vector whole = written(all);
  CHECK(whole.size() == bsp::detail::head_bytes + sizeof(record_head) + 100 * 8);
  check_same(read(whole, record_kind::get), all, record_kind::get);
}

TEST_CASE("whatever is written into a letter is read from it in order", "[peal]") {
  random_generator random(20);
  for (int round = 0; round < 300; ++round) {
    std::vector<operation> all;
    for (std::uint64_t n = random() % 40; n > 0; --n) {
      const std::size_t sizes[] = {0, 1, 8, 13, bsp::detail::series_bytes_max, bsp::detail::series_bytes_max + 1};
      const std::size_t bytes = sizes[random() % 6];
      const auto slot = static_cast<std::uint32_t>(random() % 2);
      const auto offset = static_cast<std::int64_t>(random() % 100);
      operation a = random() % 3 == 0 ? get(slot, offset, bytes) : put(slot, offset, bytes, static_cast<std::byte>(random()));
      a.head.line = static_cast<std::uint32_t>(random() % 8 == 0 ? 2 : 1);
      for (std::uint64_t again = random() % 4; again > 0; --again) all.push_back(a);
      if (random() % 10 == 0) {
        a.head.kind = record_kind::send;  // is between two of a kind
        a.data.assign(a.head.bytes, std::byte{9});
      }
      all.push_back(a);
    }
    const byte_vector whole = written(all);
    check_same(read(whole, record_kind::put), all, record_kind::put);
    check_same(read(whole, record_kind::get), all, record_kind::get);
  }
}

TEST_CASE("a letter is empty again when it was taken", "[peal]") {
  letter out;
  CHECK(out.empty());
  const operation first = put(0, 0, 8, std::byte{1}), second = put(0, 8, 8, std::byte{2});
  out.add(first.head, first.data);
  CHECK_FALSE(out.empty());
  (void)out.take();
  CHECK(out.empty());
  out.add(second.head, second.data);  // continues nothing
  check_same(read(out.take(), record_kind::put), {second}, record_kind::put);
}

TEST_CASE("a letter that was cut off or whose series is too long is damaged", "[peal]") {
  const byte_vector whole = written({put(0, 0, 8, std::byte{1}), put(0, 8, 8, std::byte{2}), put(0, 16, 8, std::byte{3})});
  for (std::size_t bytes = bsp::detail::head_bytes + 1; bytes < whole.size(); ++bytes) {
    CHECK_THROWS_WITH(bsp::detail::records_of(byte_view(whole).first(bytes), bsp::detail::head_bytes), Contains("damaged"));
  }
  const std::int64_t counts[] = {4, 0, -1, INT64_MAX, INT64_MIN, std::int64_t{1} << 60};
  for (const std::int64_t count : counts) {
    byte_vector wrong = whole;
    std::memcpy(wrong.data() + bsp::detail::head_bytes + offsetof(record_head, offset), &count, sizeof count);
    CHECK_THROWS_WITH(bsp::detail::records_of(wrong, bsp::detail::head_bytes), Contains("damaged"));
  }
  const std::uint64_t sizes[] = {9, 1000, UINT64_MAX, UINT64_MAX - 7};
  for (const std::uint64_t bytes : sizes) {
    byte_vector wrong = whole;
    std::memcpy(wrong.data() + bsp::detail::head_bytes + offsetof(record_head, bytes), &bytes, sizeof bytes);
    CHECK_THROWS_WITH(bsp::detail::records_of(wrong, bsp::detail::head_bytes), Contains("damaged"));
  }
}

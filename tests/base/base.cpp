#include "support/test.hpp"

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/byte_size.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/copy_past_caches.hpp>
#include <p2pdvm/base/intrusive_list.hpp>
#include <p2pdvm/base/payload_list.hpp>
#include <p2pdvm/base/random.hpp>
#include <p2pdvm/base/ring_queue.hpp>

#include <algorithm>
#include <deque>
#include <memory>
#include <thread>
#include <vector>

using namespace p2pdvm;

TEST_CASE("base32 round-trips every length and refuses what is not base32") {
  random_generator random(3);
  for (std::size_t n = 0; n < 70; ++n) {
    byte_vector bytes(n);
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    byte_vector back;
    REQUIRE(from_base32(to_base32(bytes), back));
    CHECK(back == bytes);
  }
  byte_vector out;
  CHECK_FALSE(from_base32("a1", out));
  CHECK_FALSE(from_base32("a", out));
}

TEST_CASE("addresses parse what they print and explain what they refuse") {
  for (const char* text : {"192.0.2.1:4000", "[2001:db8::1]:4000", "127.0.0.1:0"}) {
    auto a = address::parse(text);
    REQUIRE(a.ok());
    CHECK(a->text() == text);
  }
  CHECK(address::parse(":4000")->is_any());
  for (const char* text : {"", "x", "4000", "1.2.3:4", "1.2.3.4:70000", "[::1]4", "1.2.3.4:5x"}) {
    auto a = address::parse(text);
    REQUIRE_FALSE(a.ok());
    CHECK(a.error().message().find("ADDRESS:PORT") != std::string::npos);
  }
}

TEST_CASE("the generator is the same everywhere and below() is in range") {
  random_generator random(42);
  CHECK(random() == 1546998764402558742ull);
  for (int i = 0; i < 1000; ++i) CHECK(random.below(7) < 7);
}

TEST_CASE("payloads of every size hold what was copied, share it and cut it") {
  random_generator random(5);
  for (const std::size_t size : {0, 1, 24, 111, 112, 113, 5000}) {
    byte_vector bytes(size);
    for (auto& b : bytes) b = static_cast<std::byte>(random());
    const std::size_t half = size / 2;
    payload copied = payload::copy_of(byte_view(bytes).first(half), byte_view(bytes).subspan(half));
    const payload moved_in{byte_vector(bytes)};
    CHECK(equal(copied.view(), bytes));
    CHECK(equal(moved_in.view(), bytes));
    const payload part = copied.slice(half, size - half);
    const payload second = copied;
    CHECK(second.data() == copied.data());
    const payload taken = std::move(copied);
    CHECK(copied.empty());  // NOLINT: a moved-from payload is an empty one
    CHECK(equal(taken.view(), bytes));
    CHECK(equal(part.view(), byte_view(bytes).subspan(half)));
    copied = part;
    CHECK(equal(copied.view(), part.view()));
  }
}

TEST_CASE("a few bytes are copied whole, and no more than that") {
  byte_vector from(100);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i + 1);
  for (std::size_t size = 0; size <= 90; ++size) {
    byte_vector to(size + 1);
    copy_few(to.data(), from.data() + 3, size);
    CHECK(equal(byte_view(to).first(size), byte_view(from).subspan(3, size)));
    CHECK(to[size] == std::byte{0});
  }
}

TEST_CASE("small payloads may be dropped by other threads than those that made them") {
  std::vector<payload> made;
  for (std::uint64_t i = 0; i < 10000; ++i) made.push_back(payload::copy_of(bytes_of(i)));
  const std::vector<payload> kept(made.begin(), made.begin() + 10);
  std::thread other([gone = std::move(made)]() mutable {
    gone.clear();
    for (std::uint64_t i = 0; i < 100; ++i) {
      const payload again = payload::copy_of(bytes_of(i));
      std::uint64_t got = 0;
      std::memcpy(&got, again.data(), sizeof got);
      if (got != i) throw std::logic_error("a block has two owners");
    }
  });
  other.join();
  for (std::uint64_t i = 0; i < kept.size(); ++i) CHECK(equal(kept[i].view(), bytes_of(i)));
}

TEST_CASE("a ring queue is first in first out while it grows and goes round") {
  ring_queue<std::unique_ptr<int>> ring;
  std::deque<int> expected;
  random_generator random(7);
  for (int i = 0; i < 5000; ++i) {
    if (random.chance(0.52) || expected.empty()) {
      if (i % 2 == 0) {
        ring.push_back(std::make_unique<int>(i));
      } else {
        auto& place = ring.append();
        REQUIRE(place == nullptr);
        place = std::make_unique<int>(i);
      }
      expected.push_back(i);
    } else if (i % 3 == 0) {
      ring.drop_front();
      expected.pop_front();
    } else {
      REQUIRE(*ring.pop_front() == expected.front());
      expected.pop_front();
    }
    REQUIRE(ring.size() == expected.size());
    if (expected.empty()) continue;
    REQUIRE(*ring.front() == expected.front());
    REQUIRE(*ring.back() == expected.back());
    REQUIRE(*ring[ring.size() / 2] == expected[expected.size() / 2]);
  }
  ring.clear();
  CHECK(ring.empty());
}

TEST_CASE("an object leaves an intrusive list from anywhere, also while the list is walked") {
  struct item : list_link<item> {
    explicit item(int n) : number(n) {}
    int number;
  };
  std::deque<item> items;
  for (int i = 0; i < 6; ++i) items.emplace_back(i);
  intrusive_list<item> list;
  const auto numbers = [&list] {
    std::vector<int> all;
    for (const item& i : list) all.push_back(i.number);
    return all;
  };
  for (item& i : items) list.push_back(i);
  CHECK(numbers() == std::vector<int>{0, 1, 2, 3, 4, 5});
  for (auto it = list.begin(); it != list.end();) {
    item& i = *it;
    ++it;
    if (i.number % 2 == 1) list.erase(i);
  }
  CHECK(numbers() == std::vector<int>{0, 2, 4});
  CHECK_FALSE(items[1].linked());
  list.erase(items[1]);  // is in no list
  list.push_back(items[1]);
  list.erase(items[0]);
  CHECK(numbers() == std::vector<int>{2, 4, 1});
  CHECK(list.front().number == 2);
  while (!list.empty()) list.erase(list.front());
  CHECK(numbers().empty());
}

TEST_CASE("a copy past the caches is a copy, whatever its length and places") {
  random_generator random(5);
  byte_vector from(50000);
  for (std::byte& b : from) b = static_cast<std::byte>(random());
  for (int n = 0; n < 2000; ++n) {
    const std::size_t length = random.below(n % 20 == 0 ? 40000 : 700), at = random.below(from.size() - length), to = random.below(130);
    byte_vector out(length + 200, std::byte{0xee}), expected = out;
    copy_past_caches(out.data() + to, byte_view(from).subspan(at, length));
    std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(at), length, expected.begin() + static_cast<std::ptrdiff_t>(to));
    const bool same = out == expected;  // not printed
    REQUIRE(same);
  }
}

TEST_CASE("lists of payloads share their pages") {
  std::vector<payload> all;
  for (std::size_t n = 0; n < 2 * payload_list::page_size + 3; ++n) all.push_back(payload::copy_of(byte_vector(n, std::byte{1})));
  const payload_list list(all);
  REQUIRE(list.size() == all.size());
  std::size_t n = 0;
  for (const payload& p : list) CHECK(p.data() == all[n++].data());
  CHECK(n == all.size());
  CHECK(list.bytes() == all.size() * (all.size() - 1) / 2);
  payload_list other;
  other.share_page(list, 1);
  other.add_page({payload::copy_of(as_bytes("x"))});
  REQUIRE(other.size() == payload_list::page_size + 1);
  CHECK(&other[3] == &list[payload_list::page_size + 3]);
  CHECK(other[payload_list::page_size] == as_bytes("x"));
  CHECK(payload_list().empty());
}

TEST_CASE("sizes are read as people write them, and written as they read them") {
  CHECK(parse_byte_size("0").value() == 0u);
  CHECK(parse_byte_size("4096").value() == 4096u);
  CHECK(parse_byte_size("20GB").value() == 20'000'000'000u);
  CHECK(parse_byte_size("20 gb").value() == 20'000'000'000u);
  CHECK(parse_byte_size("500MiB").value() == std::uint64_t{500} << 20);
  CHECK(parse_byte_size("1.5KiB").value() == 1536u);
  CHECK(parse_byte_size("2tb").value() == 2'000'000'000'000u);
  for (const char* bad : {"", "GB", "-1", "1 2", "12 parsecs", "1e400GB", "10000000TB", "inf", "nan", "1GB!", "0x10"}) {
    INFO(bad);
    const auto size = parse_byte_size(bad);
    REQUIRE_FALSE(size.ok());
    CHECK(size.error().code() == errc::invalid_argument);
    CHECK(size.error().message().find(std::string("'") + bad + "'") != std::string::npos);
  }
  CHECK(byte_size_text(0) == "0 B");
  CHECK(byte_size_text(999) == "999 B");
  CHECK(byte_size_text(1000) == "1.0 kB");
  CHECK(byte_size_text(1234567) == "1.2 MB");
  CHECK(byte_size_text(20'000'000'000) == "20 GB");
  CHECK(byte_size_text(999'600) == "1.0 MB");
}

#include "support/test.hpp"

#include <p2pdvm/base/address.hpp>
#include <p2pdvm/base/bytes.hpp>
#include <p2pdvm/base/random.hpp>

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

#include "support/local_world.hpp"

#include "../../examples/applications/heat.hpp"

using namespace p2pdvm;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

const local_world::options small{{"size", "11"}, {"steps", "6"}};

std::string refusal(std::string_view bytes) {
  const auto parsed = pgm::parse(as_bytes(bytes));
  return parsed.ok() ? "" : parsed.error().message();
}

/// A plate computed in one piece, without ranks or messages.
std::string expected_field(std::size_t size, int steps) {
  heat::plate p(size, size, heat::block{0, size});
  p.fill([&](std::size_t x, std::size_t y) { return heat::built_in(x, y, size); });
  for (int i = 0; i < steps; ++i) {
    p.advance(1, size);
    p.turn();
  }
  byte_vector hashes;
  for (std::size_t i = 1; i <= size; ++i)
    append(hashes, crypto::hash(std::as_bytes(p.row(i))).bytes());
  return std::string(as_text(hashes));
}

}  // namespace

TEST_CASE("heat gives the same bytes on any number of ranks") {
  const std::string field = expected_field(11, 6);
  std::string image;
  for (const std::uint32_t ranks : {1u, 2u, 3u, 4u, 7u, 11u, 13u}) {
    local_world w(ranks, heat::body, small);
    INFO("ranks " << ranks);
    REQUIRE(w.run());
    CHECK(w.result("field") == field);
    if (image.empty()) image = w.result("output");
    CHECK(w.result("output") == image);
  }
  const auto parsed = pgm::parse(as_bytes(image));
  REQUIRE(parsed.ok());
  CHECK(parsed->width == 11);
  CHECK(parsed->pixels[0] == 40.0);
}

TEST_CASE("heat started again from any cut gives the same bytes") {
  for (const std::uint32_t ranks : {1u, 3u, 4u, 13u}) {
    for (std::uint64_t cut = 1; cut <= 6; ++cut) {
      INFO("ranks " << ranks << ", cut " << cut);
      local_world first(ranks, heat::body, small);
      first.cut_at(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      local_world second(ranks, heat::body, small, &*snapshots);
      REQUIRE(second.run());
      CHECK(second.result("field") == expected_field(11, 6));
      CHECK(second.result("output") == first.result("output"));
    }
  }
}

TEST_CASE("heat starts from an image and says what is wrong with it") {
  local_world good(2, heat::body, {{"size", "9"}, {"steps", "0"}});
  good.input("input", "P2 # a comment\n3 2\n10\n0 5 10\n10 5 0\n");
  REQUIRE(good.run());
  CHECK(good.result("output") == std::string("P5\n3 2\n255\n\x00\x80\xff\xff\x80\x00", 17));

  local_world bad(2, heat::body, {{"size", "9"}, {"steps", "0"}});
  bad.input("input", "P5 3 3 255 abc");
  CHECK_THROWS_WITH(bad.run(), Contains("it has 3 bytes of pixels, but 3 x 3"));
}

TEST_CASE("damaged images are explained") {
  CHECK_THAT(refusal(""), Contains("does not start with P2 or P5"));
  CHECK_THAT(refusal("P6 1 1 255 a"), Contains("does not start with P2 or P5"));
  CHECK_THAT(refusal("P5 x"), Contains("its width is not a number from 1 to 65536"));
  CHECK_THAT(refusal("P5 0 3 255\n"), Contains("its width"));
  CHECK_THAT(refusal("P5 4 99999999999999999999999 255\n"), Contains("its height"));
  CHECK_THAT(refusal("P5 4 4 70000\n"), Contains("its maximum"));
  CHECK_THAT(refusal("P5 65536 65536 255\n"), Contains("more than 2^28 pixels"));
  CHECK_THAT(refusal("P5 4 4 255"), Contains("ends after its header"));
  CHECK_THAT(refusal("P5 2 2 100\nabcz"), Contains("pixel 3 is brighter than the maximum, 100"));
  CHECK_THAT(refusal("P2 2 2 9\n1 2 3     "), Contains("it ends after 3 of 4 pixels"));
  CHECK_THAT(refusal("P2 2 2 9\n1 2 x     "), Contains("pixel 2 is not a number from 0 to 9"));
  CHECK(refusal("P5 2 2 65535\nabcdefgh").empty());
}

TEST_CASE("images cut short or filled with noise never break the parser") {
  random_generator random(20);
  const std::string text = "P2\n# c\n4 3\n15\n0 1 2 3 4 5 6 7 8 9 10 11\n";
  const std::string binary = "P5 4 3 255\nabcdefghijkl";
  for (const std::string& whole : {text, binary}) {
    REQUIRE(refusal(whole).empty());
    for (std::size_t n = 0; n + 2 < whole.size(); ++n)
      CHECK_FALSE(refusal(whole.substr(0, n)).empty());
    for (int round = 0; round < 2000; ++round) {
      std::string noisy = whole;
      for (int flips = 0; flips < 3; ++flips)
        noisy[random.below(noisy.size())] = static_cast<char>(random.below(256));
      const auto parsed = pgm::parse(as_bytes(noisy));
      if (!parsed.ok()) continue;
      CHECK(parsed->pixels.size() == parsed->width * parsed->height);
      CHECK(parsed->pixels.size() <= noisy.size());
    }
  }
}

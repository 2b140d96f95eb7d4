#include "support/local_world.hpp"

#include "../../examples/applications/pagerank.hpp"

using namespace p2pdvm;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

const local_world::options few{{"iterations", "8"}, {"top", "3"}};

/// A hub that all point at, a chain, and vertices without edges of their own.
std::string edges() {
  std::string text = "# from to\n";
  for (int i = 0; i < 20; ++i) text += "v" + std::to_string(i) + "\thub\n";
  for (int i = 0; i < 15; i += 2)
    text += "v" + std::to_string(i) + " v" + std::to_string(i * 7 % 20) + "  # chain\r\n";
  text += "hub v3\n\nhub sink\nhub sink\n";
  return text;
}

std::string refusal(std::string_view text) {
  const auto parsed = pagerank::parse(text);
  return parsed.ok() ? "" : parsed.error().message();
}

}  // namespace

TEST_CASE("pagerank gives the same bytes on any number of ranks") {
  std::string ranks_expected, top_expected;
  for (const std::uint32_t ranks : {1u, 2u, 3u, 4u, 7u, 30u}) {
    local_world w(ranks, pagerank::body, few);
    w.input("input", edges());
    INFO("ranks " << ranks);
    REQUIRE(w.run());
    if (ranks == 1) {
      ranks_expected = w.result("ranks");
      top_expected = w.result("top");
    }
    CHECK(w.result("ranks") == ranks_expected);
    CHECK(w.result("top") == top_expected);
  }
  CHECK(ranks_expected.size() == 22 * sizeof(double));
  double sum = 0;
  for (std::size_t i = 0; i < ranks_expected.size(); i += sizeof(double)) {
    double value = 0;
    std::memcpy(&value, ranks_expected.data() + i, sizeof value);
    sum += value;
  }
  CHECK(sum == Approx(1.0));
  CHECK_THAT(top_expected, Contains("\n    1  0.") && Contains("20  hub\n    2  0."));
  CHECK(std::count(top_expected.begin(), top_expected.end(), '\n') == 4);
}

TEST_CASE("pagerank started again from any cut gives the same bytes") {
  for (const std::uint32_t ranks : {1u, 3u, 4u}) {
    local_world whole(ranks, pagerank::body, few);
    whole.input("input", edges());
    REQUIRE(whole.run());
    for (std::uint64_t cut = 1; cut <= 8; ++cut) {
      INFO("ranks " << ranks << ", cut " << cut);
      local_world first(ranks, pagerank::body, few);
      first.input("input", edges()).cut_at(cut);
      REQUIRE(first.run());
      const auto snapshots = first.cut();
      REQUIRE(snapshots);
      local_world second(ranks, pagerank::body, few, &*snapshots);
      second.input("input", edges());
      REQUIRE(second.run());
      CHECK(second.result("ranks") == whole.result("ranks"));
      CHECK(second.result("top") == whole.result("top"));
    }
  }
}

TEST_CASE("bad edges are explained with their line") {
  CHECK_THAT(refusal("a b\n# c\nc\n"), Contains("line 3 of the edges has one name"));
  CHECK_THAT(refusal("a b c"), Contains("line 1 of the edges has more than two names"));
  CHECK_THAT(refusal("a b\na b\x01"), Contains("line 2 of the edges holds a byte"));
  CHECK_THAT(refusal("a " + std::string(201, 'x')), Contains("a name of 201 bytes, more than 200"));
  CHECK(refusal("").empty());
  local_world w(2, pagerank::body, few);
  CHECK_THROWS_WITH(w.run(), Contains("needs --input"));
}

TEST_CASE("edges cut short or filled with noise never break the parser") {
  random_generator random(21);
  const std::string whole = edges();
  for (int round = 0; round < 3000; ++round) {
    std::string noisy = whole.substr(0, random.below(whole.size() + 1));
    for (int flips = 0; flips < 3 && !noisy.empty(); ++flips) {
      const std::size_t at = random.below(noisy.size());
      noisy[at] = static_cast<char>(random.below(256));
    }
    const auto parsed = pagerank::parse(noisy);
    if (!parsed.ok()) {
      CHECK_THAT(parsed.error().message(), Contains("line "));
      continue;
    }
    CHECK(std::is_sorted(parsed->names.begin(), parsed->names.end()));
    for (const auto& [from, to] : parsed->edges) CHECK(std::max(from, to) < parsed->names.size());
  }
}

#include "support/local_world.hpp"

#include "../../examples/applications/align.hpp"

#include <p2pdvm/base/random.hpp>

#include <functional>
#include <map>
#include <tuple>

using namespace p2pdvm;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

std::string letters(random_generator& random, std::size_t count) {
  std::string s;
  for (std::size_t i = 0; i < count; ++i) s += "ACGT"[random.below(4)];
  return s;
}

/// The definition, without a table of gaps: every alignment that ends at (i, j), the whole gap at once.
int defined_score(const std::string& a, const std::string& b) {
  std::vector<std::vector<int>> best(a.size() + 1, std::vector<int>(b.size() + 1, 0));
  int most = 0;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    for (std::size_t j = 1; j <= b.size(); ++j) {
      int score = best[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 2 : -3);
      for (std::size_t n = 1; n <= i; ++n) score = std::max(score, best[i - n][j] - 5 - 2 * static_cast<int>(n));
      for (std::size_t n = 1; n <= j; ++n) score = std::max(score, best[i][j - n] - 5 - 2 * static_cast<int>(n));
      best[i][j] = std::max(score, 0);
      most = std::max(most, best[i][j]);
    }
  }
  return most;
}

std::string refusal(std::string_view text) {
  const auto parsed = align::parse(text, "queries");
  return parsed.ok() ? "" : parsed.error().message();
}

/// A database in which queries are hidden: as they are, with a letter lost, and on the other strand.
std::pair<std::string, std::string> input() {
  random_generator random(7);
  std::string database, queries;
  for (int q = 0; q < 3; ++q) {
    const std::string query = letters(random, 60);
    queries += ">q" + std::to_string(q) + " a query\n" + query.substr(0, 30) + "\r\n" + query.substr(30) + "\n";
    std::string shorter = query;
    shorter.erase(25, 1);
    database += ">same" + std::to_string(q) + "\n" + letters(random, 50) + query + letters(random, 40) + "\n";
    database += ">shorter" + std::to_string(q) + "\n" + letters(random, 30) + shorter + "\n";
    database += ">other" + std::to_string(q) + "\n" + align::detail::reversed(query) + letters(random, 200) + "\n";
    for (int i = 0; i < 5; ++i) database += ">none" + std::to_string(q * 5 + i) + "\n" + letters(random, 80) + "\n";
  }
  return {database, queries};
}

}  // namespace

TEST_CASE("an alignment has the score that its definition gives") {
  random_generator random(3);
  for (int i = 0; i < 200; ++i) {
    const std::string a = letters(random, 1 + random.below(25));
    std::string b = letters(random, 1 + random.below(25));
    if (i % 2 == 0) b = b.substr(0, b.size() / 2) + a + b;
    if (i % 4 == 0) b.erase(b.size() / 2, 2);
    INFO(a << " and " << b);
    CHECK(align::best_alignment(a, b).score == defined_score(a, b));
  }
  CHECK(align::best_alignment("ACGT", "TTACGTTT").end == 6);
  CHECK(align::best_alignment("NNNN", "NNNN").score == 0);
}

TEST_CASE("FASTA is read as people write it, and other text refused") {
  const auto read = align::parse("; comment\n>one first\nACgu\n\nRY-*\r\n>two\n", "queries");
  REQUIRE(read.ok());
  REQUIRE(read->size() == 2);
  CHECK((*read)[0].name == "one");
  CHECK((*read)[0].letters == "ACGTNNNN");
  CHECK((*read)[1].letters.empty());
  CHECK_THAT(refusal(""), Contains("no record in the queries"));
  CHECK_THAT(refusal("ACGT\n"), Contains("line 1 of the queries has letters before the first record"));
  CHECK_THAT(refusal(">a\nAC GT\n"), Contains("line 2 of the queries has something that is no letter"));
  CHECK_THAT(refusal(">\nACGT\n"), Contains("a record without a name"));
}

TEST_CASE("records are shared out whole and in order") {
  std::vector<align::sequence> database(50);
  for (std::size_t i = 0; i < database.size(); ++i) database[i].letters.assign(i * 1000, 'A');
  std::size_t next = 0;
  for (const auto& [first, last] : align::shares(database, 500)) {
    CHECK(first == next);
    CHECK(last > first);
    next = last;
  }
  CHECK(next == 50);
  CHECK(align::shares(database, 500).size() > 10);
}

TEST_CASE("align finds what is hidden in a database, on any number of ranks and from any cut") {
  const auto [database, queries] = input();
  const local_world::options few{{"hits", "3"}, {"check", "0.3"}};
  std::string expected;
  for (const std::uint32_t ranks : {1u, 2u, 3u, 4u, 7u}) {
    INFO("ranks " << ranks);
    const auto world = [&](const local_world::snapshots* from) {
      auto w = std::make_unique<local_world>(ranks, align::body, few, from);
      w->input("database", database).input("queries", queries);
      return w;
    };
    const auto whole = world(nullptr);
    REQUIRE(whole->run());
    if (ranks == 1) expected = whole->output("output");
    CHECK(whole->output("output") == expected);
    for (const std::uint64_t cut : {1, 2, 3, 5, 8}) {
      const auto first = world(nullptr);
      first->cut_at_stand(cut);
      REQUIRE(first->run());
      const auto snapshots = first->cut();
      REQUIRE(snapshots);
      const auto second = world(&*snapshots);
      REQUIRE(second->run());
      CHECK(second->output("output") == expected);
    }
  }
  for (const char* q : {"0", "1", "2"}) {
    const std::string n = q;
    CHECK_THAT(expected, Contains("q" + n + "\tsame" + n + "\t120\t+\t110\n"));
    CHECK_THAT(expected, Contains("q" + n + "\tother" + n + "\t120\t-\t60\n"));
    CHECK_THAT(expected, Contains("q" + n + "\tshorter" + n + "\t"));
  }
  CHECK(std::count(expected.begin(), expected.end(), '\n') == 9);
}

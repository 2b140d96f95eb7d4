/// Outputs as files of this computer.
#include "messaging/real_peer.hpp"
#include "support/test.hpp"

#include <p2pdvm/runtime/output_files.hpp>

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

namespace p2pdvm::test {
namespace {

using runtime::output_files;

struct places {
  const temporary_folder folder;
  const std::string path = folder.path + "/lines.txt";
  std::map<std::string, std::string> named = {{"lines", path}};

  [[nodiscard]] std::string content() const {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  }
  void put(const std::string& text) const { std::ofstream(path, std::ios::binary) << text; }
};

result<> write(output_files& files, std::uint64_t at, std::string_view text) { return files.write("lines", at, as_bytes(text)); }

}  // namespace

TEST_CASE("an output file grows where it stands") {
  places p;
  output_files files(p.named);
  CHECK_FALSE(std::filesystem::exists(p.path));
  REQUIRE(files.mine("lines"));
  REQUIRE(write(files, 0, "one\n").ok());
  CHECK(p.content() == "one\n");
  REQUIRE(write(files, 4, "two\n").ok());
  CHECK(p.content() == "one\ntwo\n");
  files.complete("lines", 8, as_bytes(std::string_view("three\n")));
  CHECK(p.content() == "one\ntwo\nthree\n");
  CHECK(files.finish().ok());
}

TEST_CASE("what an earlier process has written is kept, and what it has not to be there is cut off") {
  places p;
  for (const std::string before : {"", "one\n", "one\ntwo\n", "one\ntwo\nthr", "other\nlines\n", "one\ntwp\n"}) {
    INFO(before);
    p.put(before);
    output_files files(p.named);
    REQUIRE(files.mine("lines"));
    CHECK(p.content() == before);
    REQUIRE(write(files, 0, "one\ntwo\n").ok());
    CHECK(p.content() == "one\ntwo\n");
    REQUIRE(write(files, 8, "three\n").ok());
    CHECK(p.content() == "one\ntwo\nthree\n");
  }
}

TEST_CASE("one process writes a file, and another one takes over when it is gone") {
  places p;
  auto first = std::make_unique<output_files>(p.named);
  output_files second(p.named);
  REQUIRE(first->mine("lines"));
  REQUIRE(write(*first, 0, "one\n").ok());
  CHECK_FALSE(second.mine("lines"));
  CHECK(write(second, 0, "one\n").error().code() == errc::conflict);
  first.reset();
  REQUIRE(second.mine("lines"));
  REQUIRE(write(second, 0, "one\ntwo\n").ok());
  CHECK(p.content() == "one\ntwo\n");
}

TEST_CASE("at the end whoever has the whole file looks whether the writer has left it so") {
  places p;
  auto first = std::make_unique<output_files>(p.named);
  output_files second(p.named);
  REQUIRE(first->mine("lines"));
  REQUIRE(write(*first, 0, "on").ok());
  second.complete("lines", 0, as_bytes(std::string_view("one\ntwo\n")));
  CHECK(p.content() == "on");
  first.reset();  // killed
  CHECK(second.finish().ok());
  CHECK(p.content() == "one\ntwo\n");
}

TEST_CASE("a file that somebody removes or shortens is written again") {
  places p;
  output_files files(p.named);
  REQUIRE(files.mine("lines"));
  REQUIRE(write(files, 0, "one\n").ok());
  SECTION("removed") { std::filesystem::remove(p.path); }
  SECTION("shortened") { p.put("o"); }
  const auto failed = write(files, 4, "two\n");
  REQUIRE_FALSE(failed.ok());
  CHECK_THAT(failed.error().message(), Catch::Matchers::Contains("--lines: somebody has removed or shortened '" + p.path));
  REQUIRE(files.mine("lines"));
  REQUIRE(write(files, 0, "one\ntwo\n").ok());
  CHECK(p.content() == "one\ntwo\n");
}

TEST_CASE("what cannot be a growing file is refused in a sentence") {
  places p;
  for (const std::string& path : {std::string("/dev/null"), p.folder.path, p.folder.path + "/none/lines.txt"}) {
    INFO(path);
    output_files files({{"lines", path}});
    CHECK(files.mine("lines"));
    const auto failed = write(files, 0, "one\n");
    REQUIRE_FALSE(failed.ok());
    CHECK_THAT(failed.error().message(), Catch::Matchers::StartsWith("--lines: ") && Catch::Matchers::Contains("'" + path + "'"));
    files.complete("lines", 0, as_bytes(std::string_view("one\n")));
    CHECK_FALSE(files.finish().ok());
  }
}

}  // namespace p2pdvm::test

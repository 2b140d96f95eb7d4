#include "host/worlds.hpp"

#include <sys/stat.h>

#if defined(__linux__)
#include <dirent.h>
#include <dlfcn.h>

#include <cerrno>

namespace {

int entries_until_failure = -1;  ///< negative: none fails

}  // namespace

/// Stands before the system's, so that reading a folder can fail in the middle.
extern "C" dirent* readdir(DIR* folder) {
  if (entries_until_failure == 0) {
    errno = EIO;
    return nullptr;
  }
  if (entries_until_failure > 0) --entries_until_failure;
  static const auto next = reinterpret_cast<dirent* (*)(DIR*)>(::dlsym(RTLD_NEXT, "readdir"));
  return next(folder);
}
#endif

using namespace p2pdvm;

namespace {

byte_vector text(std::string_view t) { return to_vector(as_bytes(t)); }

}  // namespace

TEMPLATE_TEST_CASE("files are written, read, resized and synced", "", worlds::native_world,
                   worlds::simulated_world) {
  TestType world;
  host::disk& disk = world.first().disk();
  auto opened = disk.open("store/segment-1", true);
  REQUIRE(opened.ok());
  auto& file = **opened;
  CHECK(file.size() == 0);
  REQUIRE(file.write(3, text("abc")).ok());
  REQUIRE(file.write(10'000, worlds::pattern(70'000, 1)).ok());
  CHECK(file.size() == 80'000);
  int done = 0;
  for (int i = 1; i <= 3; ++i)
    file.sync([&, i](const result<>& r) {
      CHECK(r.ok());
      CHECK(++done == i);
    });
  CHECK(done == 0);
  REQUIRE(world.run([&] { return done == 3; }));
  byte_vector head(8);
  REQUIRE(*file.read(0, head) == 8);
  CHECK(head == byte_vector{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{'a'},
                            std::byte{'b'}, std::byte{'c'}, std::byte{0}, std::byte{0}});
  byte_vector tail(100'000);
  CHECK(*file.read(10'000, tail) == 70'000);
  tail.resize(70'000);
  CHECK(tail == worlds::pattern(70'000, 1));
  CHECK(*file.read(80'000, tail) == 0);
  REQUIRE(file.truncate(5).ok());
  REQUIRE(file.truncate(7).ok());
  CHECK(*disk.read_all("store/segment-1", 7) ==
        byte_vector{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{'a'}, std::byte{'b'},
                    std::byte{0}, std::byte{0}});
  auto again = disk.open("store/segment-1", false);
  REQUIRE(again.ok());
  CHECK((*again)->size() == 7);
}

#if defined(__linux__)
TEST_CASE("a folder that cannot be read to its end is an error, not a shorter folder") {
  worlds::native_world world;
  host::disk& disk = world.first().disk();
  for (const char* name : {"store/a", "store/b", "store/c"})
    REQUIRE(disk.replace(name, text("x")).ok());
  for (entries_until_failure = 0; entries_until_failure < 6;) {
    const int left = entries_until_failure;
    const auto listed = disk.list("store");
    REQUIRE_FALSE(listed.ok());
    CHECK(listed.error().message().find("listing ") != std::string::npos);
    entries_until_failure = left + 1;
  }
  entries_until_failure = -1;
  CHECK((*disk.list("store")).size() == 3);
}

TEST_CASE("what the medium cannot read any more is told from what may be better next time") {
  asio::io_context io;
  native::disk system(io, "/proc/self");
  auto opened = system.open("mem", false);  // nothing is mapped at address 0: EIO
  REQUIRE(opened.ok());
  byte_vector bytes(8);
  const auto got = (*opened)->read(0, bytes);
  CHECK(got.error().code() == errc::corrupted);
  CHECK(got.error().message().find("reading /proc/self/mem") != std::string::npos);
}
#endif

TEMPLATE_TEST_CASE("replace gives the new content whole, and read_all keeps its limit", "",
                   worlds::native_world, worlds::simulated_world) {
  TestType world;
  host::disk& disk = world.first().disk();
  CHECK(disk.read_all("identity", 100).error().code() == errc::not_found);
  REQUIRE(disk.replace("identity", text("first")).ok());
  REQUIRE(disk.replace("identity", text("second!")).ok());
  CHECK(*disk.read_all("identity", 7) == text("second!"));
  const auto large = disk.read_all("identity", 6);
  REQUIRE_FALSE(large.ok());
  CHECK(large.error().code() == errc::too_large);
  CHECK(large.error().message().find(disk.describe("identity")) != std::string::npos);
  REQUIRE(disk.replace("deep/er/still", text("x")).ok());
  CHECK(*disk.read_all("deep/er/still", 1) == text("x"));
  CHECK(world.second().disk().read_all("identity", 7).error().code() == errc::not_found);
}

TEMPLATE_TEST_CASE("folders list sorted names and absent ones are empty", "", worlds::native_world,
                   worlds::simulated_world) {
  TestType world;
  host::disk& disk = world.first().disk();
  CHECK(disk.list("").value().empty());
  CHECK(disk.list("nothing/here").value().empty());
  for (const char* name : {"b", "a", "folder/z", "folder/y/x", "c"})
    REQUIRE(disk.replace(name, text(name)).ok());
  CHECK(disk.list("").value() == std::vector<std::string>{"a", "b", "c", "folder"});
  CHECK(disk.list("folder").value() == std::vector<std::string>{"y", "z"});
  REQUIRE(disk.remove("b").ok());
  CHECK(disk.remove("b").error().code() == errc::not_found);
  CHECK(disk.list("").value() == std::vector<std::string>{"a", "c", "folder"});
  CHECK(disk.open("b", false).error().code() == errc::not_found);
}

TEMPLATE_TEST_CASE("paths that lead out of the folder are refused", "", worlds::native_world,
                   worlds::simulated_world) {
  TestType world;
  host::disk& disk = world.first().disk();
  for (const char* path : {"../x", "/etc/passwd", "a/../../b", "a//b", "a/", "./a", ".."}) {
    INFO(path);
    CHECK(disk.open(path, true).error().code() == errc::invalid_argument);
    CHECK(disk.replace(path, text("x")).error().code() == errc::invalid_argument);
    CHECK(disk.read_all(path, 10).error().code() == errc::invalid_argument);
    CHECK(disk.remove(path).error().code() == errc::invalid_argument);
  }
}

TEMPLATE_TEST_CASE("a file may be destroyed while a sync of it is under way", "",
                   worlds::native_world, worlds::simulated_world) {
  TestType world;
  auto doomed = world.first().disk().open("a", true);
  auto other = world.first().disk().open("b", true);
  REQUIRE((doomed.ok() && other.ok()));
  REQUIRE((*doomed)->write(0, text("kept")).ok());
  (*doomed)->sync([](const result<>&) { FAIL("the file is gone"); });
  doomed->reset();
  bool done = false;
  (*other)->sync([&](const result<>& r) {
    done = r.ok();
    other->reset();  // from inside its own callback
  });
  REQUIRE(world.run([&] { return done; }));
  CHECK(*world.first().disk().read_all("a", 10) == text("kept"));
}

TEST_CASE("native files and folders are private to the user") {
  worlds::native_world world;
  REQUIRE(world.first().disk().replace("keys/identity", text("secret")).ok());
  REQUIRE(world.first().disk().open("log", true).ok());
  const auto mode = [&](const char* path) {
    struct stat info {};
    REQUIRE(::stat(world.first().disk().describe(path).c_str(), &info) == 0);
    return info.st_mode & 0777;
  };
  CHECK(mode("keys/identity") == 0600);
  CHECK(mode("log") == 0600);
  CHECK(mode("keys") == 0700);
  CHECK(mode("") == 0700);
}

TEST_CASE("a native machine without a data folder says so") {
  asio::io_context io;
  native::machine machine(io, {});
  const auto refused = machine.disk().open("x", true);
  REQUIRE_FALSE(refused.ok());
  CHECK(refused.error().message() ==
        "cannot store 'x': this peer has no data folder; choose one with --data");
  CHECK_FALSE(machine.disk().replace("x", text("y")).ok());
  CHECK_FALSE(machine.disk().list("").ok());
}

TEST_CASE("a full native disk is reported with the file's name") {
  asio::io_context io;
  native::machine machine(io, {"/dev"});
  if (::access("/dev/full", W_OK) != 0) return;
  const auto full = machine.disk().open("full", false);
  REQUIRE_FALSE(full.ok());  // a device is not a file
  CHECK(full.error().message() == "/dev/full is not a file");
}

TEST_CASE("pending work of a native machine ends with it") {
  asio::io_context io;
  worlds::temporary_folder folder;
  {
    native::machine machine(io, {folder.path()});
    machine.clock().call_at(machine.clock().now() + std::chrono::hours(1), [] { FAIL("late"); });
    auto file = machine.disk().open("x", true);
    REQUIRE(file.ok());
    (*file)->sync([](const result<>&) { FAIL("the machine is gone"); });
    file->reset();
  }
  io.run();  // returns: nothing is left
  CHECK(io.stopped());
}

#include "support/test.hpp"

#include <p2pdvm/sim/simulation.hpp>

#include <set>

using namespace p2pdvm;
using namespace std::chrono_literals;

namespace {

byte_vector filled(std::size_t size, int value) {
  return byte_vector(size, static_cast<std::byte>(value));
}

struct one_machine {
  explicit one_machine(std::uint64_t seed = 1) : simulation(how(seed)) {}
  static sim::options how(std::uint64_t seed) {
    sim::options o;
    o.seed = seed;
    return o;
  }
  void sync(host::file& file, errc expected = errc::ok) {
    bool done = false;
    file.sync([&](const result<>& r) {
      done = true;
      CHECK((r.ok() ? errc::ok : r.error().code()) == expected);
    });
    simulation.run_for(10ms);
    REQUIRE(done);
  }
  byte_vector content(std::string_view path) {
    return machine.disk().read_all(path, 1 << 24).value();
  }
  void crash() {
    machine.crash();
    machine.restart();
  }
  sim::simulation simulation;
  sim::machine& machine = simulation.add_machine();
};

}  // namespace

TEST_CASE("a crash never loses what was synced and may lose, keep, tear or reorder the rest") {
  std::set<int> fates;  // how much of the second write survived: none, all, some
  bool reordered = false;
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    INFO("seed " << seed);
    one_machine t(seed);
    auto file = t.machine.disk().open("log", true).value();
    REQUIRE(file->write(0, filled(10'000, 1)).ok());
    t.sync(*file);
    REQUIRE(file->write(2'000, filled(4'096, 2)).ok());
    REQUIRE(file->write(10'000, filled(3'000, 3)).ok());
    t.crash();
    const byte_vector after = t.content("log");
    REQUIRE(after.size() >= 10'000);
    REQUIRE(after.size() <= 13'000);
    std::size_t second = 0;
    for (std::size_t i = 0; i < 10'000; ++i) {
      const bool inside = i >= 2'000 && i < 6'096;
      const int value = std::to_integer<int>(after[i]);
      REQUIRE((value == 1 || (inside && value == 2)));
      second += value == 2 ? 1 : 0;
      // a sector is old or new, never a mixture
      if (inside && i % 512 != 0 && i > 2'000) REQUIRE(after[i] == after[i - 1]);
    }
    for (std::size_t i = 10'000; i < after.size(); ++i)
      REQUIRE((after[i] == std::byte{3} || after[i] == std::byte{0}));
    fates.insert(second == 0 ? 0 : second == 4'096 ? 1 : 2);
    reordered = reordered || (second == 0 && after.size() == 13'000);
  }
  CHECK(fates == std::set<int>{0, 1, 2});
  CHECK(reordered);
}

TEST_CASE("a sync covers what was written before it began and nothing later") {
  bool lost = false;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    one_machine t(seed);
    auto file = t.machine.disk().open("log", true).value();
    REQUIRE(file->write(0, filled(512, 1)).ok());
    bool done = false;
    file->sync([&](const result<>& r) { done = r.ok(); });
    REQUIRE(file->write(0, filled(512, 2)).ok());
    REQUIRE(t.simulation.run_until([&] { return done; }, time_point(1s)));
    t.crash();
    const byte_vector after = t.content("log");
    REQUIRE(after.size() == 512);
    REQUIRE((after == filled(512, 1) || after == filled(512, 2)));
    lost = lost || after == filled(512, 1);
  }
  CHECK(lost);
}

TEST_CASE("a crash during a sync never calls back, and a new file may vanish with its name") {
  std::set<bool> exists;
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    one_machine t(seed);
    auto file = t.machine.disk().open("new", true).value();
    REQUIRE(file->write(0, filled(100, 1)).ok());
    file->sync([](const result<>&) { FAIL("the machine has crashed"); });
    t.crash();
    t.simulation.run_for(1s);
    exists.insert(t.machine.disk().open("new", false).ok());
  }
  CHECK(exists == std::set<bool>{false, true});
}

TEST_CASE("truncation may be undone by a crash, replacement never") {
  std::set<std::size_t> sizes;
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    one_machine t(seed);
    auto file = t.machine.disk().open("log", true).value();
    REQUIRE(file->write(0, filled(5'000, 1)).ok());
    t.sync(*file);
    REQUIRE(file->truncate(1'000).ok());
    REQUIRE(t.machine.disk().replace("record", filled(700, 7)).ok());
    t.crash();
    sizes.insert(t.content("log").size());
    CHECK(t.content("log") == filled(t.content("log").size(), 1));
    CHECK(t.content("record") == filled(700, 7));
  }
  CHECK(sizes == std::set<std::size_t>{1'000, 5'000});
}

TEST_CASE("a file removed shortly before a crash may be back, one removed long before not") {
  std::set<bool> back;
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    one_machine t(seed);
    REQUIRE(t.machine.disk().replace("early", filled(10, 1)).ok());
    REQUIRE(t.machine.disk().replace("late", filled(10, 2)).ok());
    REQUIRE(t.machine.disk().remove("early").ok());
    t.simulation.run_for(1min);
    REQUIRE(t.machine.disk().remove("late").ok());
    t.crash();
    const auto names = t.machine.disk().list("").value();
    CHECK(std::count(names.begin(), names.end(), "early") == 0);
    back.insert(!names.empty());
  }
  CHECK(back == std::set<bool>{false, true});
}

TEST_CASE("what a failed sync covered is lost at the crash even when a later one succeeds") {
  one_machine t;
  auto file = t.machine.disk().open("log", true).value();
  REQUIRE(file->write(0, filled(512, 1)).ok());
  t.sync(*file);
  t.machine.storage().fail(sim::disk_operation::sync, 1);
  REQUIRE(file->write(0, filled(512, 2)).ok());
  t.sync(*file, errc::io);
  REQUIRE(file->write(1'024, filled(512, 3)).ok());
  t.sync(*file);
  t.crash();
  const byte_vector after = t.content("log");
  REQUIRE(after.size() == 1'536);
  CHECK(after[0] == std::byte{1});
  CHECK(after[1'024] == std::byte{3});
}

TEST_CASE("the nth operation fails as told") {
  one_machine t;
  auto file = t.machine.disk().open("log", true).value();
  t.machine.storage().fail(sim::disk_operation::write, 2);
  t.machine.storage().fail(sim::disk_operation::write, 3, errc::no_space);
  t.machine.storage().fail(sim::disk_operation::read, 1);
  CHECK(file->write(0, filled(10, 1)).ok());
  const auto second = file->write(0, filled(10, 2));
  REQUIRE_FALSE(second.ok());
  CHECK(second.error().code() == errc::io);
  CHECK(second.error().message() == "error while writing machine 0:/log: Input/output error");
  CHECK(file->write(0, filled(10, 3)).error().code() == errc::no_space);
  CHECK(file->write(0, filled(10, 4)).ok());
  byte_vector into(10);
  CHECK_FALSE(file->read(0, into).ok());
  CHECK(*file->read(0, into) == 10);
  CHECK(into == filled(10, 4));
}

TEST_CASE("a full disk refuses growth, allows overwriting, and is usable after cleaning") {
  one_machine t;
  t.machine.storage().set_capacity(10'000);
  auto file = t.machine.disk().open("log", true).value();
  REQUIRE(file->truncate(8'000).ok());
  const auto full = file->write(7'000, filled(4'000, 1));
  REQUIRE_FALSE(full.ok());
  CHECK(full.error().code() == errc::no_space);
  CHECK(full.error().message().find("disk full while writing machine 0:/log") == 0);
  CHECK(t.machine.storage().used() <= 10'000);
  CHECK(file->write(0, filled(8'000, 2)).ok());
  CHECK(t.machine.disk().replace("big", filled(5'000, 1)).error().code() == errc::no_space);
  CHECK(file->truncate(20'000).error().code() == errc::no_space);
  REQUIRE(file->truncate(100).ok());
  CHECK(t.machine.disk().replace("big", filled(5'000, 1)).ok());
}

TEST_CASE("bits rot where told") {
  one_machine t;
  REQUIRE(t.machine.disk().replace("f", filled(5'000, 0)).ok());
  REQUIRE(t.machine.storage().rot("f", 4'999, 3).ok());
  CHECK(t.content("f")[4'999] == std::byte{8});
  CHECK_FALSE(t.machine.storage().rot("f", 5'000, 0).ok());
  REQUIRE(t.machine.storage().rot("f").ok());
  const byte_vector after = t.content("f");
  CHECK(std::count(after.begin(), after.end(), std::byte{0}) >= 4'998);
  CHECK_FALSE(t.machine.storage().rot("g").ok());
}

TEST_CASE("random histories of writes leave what a plain array would hold") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    INFO("seed " << seed);
    one_machine t(seed);
    random_generator random(seed);
    auto file = t.machine.disk().open("f", true).value();
    byte_vector model;
    for (int i = 0; i < 300; ++i) {
      const std::uint64_t kind = random.below(10);
      const auto at = static_cast<std::size_t>(random.below(20'000));
      if (kind == 0) {
        REQUIRE(file->truncate(at).ok());
        model.resize(at);
      } else if (kind == 1) {
        t.sync(*file);
      } else if (kind == 2) {
        t.sync(*file);  // then a crash changes nothing
        t.crash();
        file = t.machine.disk().open("f", false).value();
      } else {
        const std::size_t size = 1 + static_cast<std::size_t>(random.below(9'000));
        const byte_vector bytes = filled(size, i % 255 + 1);
        REQUIRE(file->write(at, bytes).ok());
        if (model.size() < at + bytes.size()) model.resize(at + bytes.size());
        std::copy(bytes.begin(), bytes.end(), model.begin() + static_cast<std::ptrdiff_t>(at));
      }
      REQUIRE(t.content("f") == model);
    }
  }
}

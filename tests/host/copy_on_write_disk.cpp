#include "support/test.hpp"

#include <p2pdvm/host/copy_on_write_disk.hpp>
#include <p2pdvm/sim/simulation.hpp>

#include <string>

namespace p2pdvm::test {
namespace {

struct two_disks {
  sim::simulation net{sim::options()};
  host::disk& real = net.add_machine().disk();
  host::copy_on_write_disk above{real};

  static std::string read(host::disk& disk, const char* path) {
    const auto all = disk.read_all(path, 1 << 20);
    return all.ok() ? std::string(as_text(*all)) : all.error().code() == errc::not_found ? "none" : "error";
  }
};

TEST_CASE("what is written to a copy-on-write disk is seen there and nowhere else") {
  two_disks d;
  REQUIRE(d.real.replace("folder/old", as_bytes("0123456789")).ok());
  auto file = d.above.open("folder/old", false);
  REQUIRE(file.ok());
  REQUIRE((*file)->write(2, as_bytes("ab")).ok());
  REQUIRE((*file)->write(9000, as_bytes("far")).ok());
  CHECK((*file)->size() == 9003);
  byte_vector gap(3);
  REQUIRE((*file)->read(10, gap).value() == 3);
  CHECK(gap == byte_vector(3));
  file->reset();
  const std::string all = two_disks::read(d.above, "folder/old");
  CHECK(all.substr(0, 10) == "01ab456789");
  CHECK(all.substr(9000) == "far");
  REQUIRE(d.above.replace("folder/new", as_bytes("new")).ok());
  CHECK(d.above.list("folder").value() == std::vector<std::string>{"new", "old"});
  CHECK(two_disks::read(d.above, "folder/new") == "new");
  CHECK(two_disks::read(d.real, "folder/old") == "0123456789");
  CHECK(two_disks::read(d.real, "folder/new") == "none");
  CHECK(d.real.list("folder").value() == std::vector<std::string>{"old"});
}

TEST_CASE("what was cut off does not come back when a file grows again") {
  two_disks d;
  REQUIRE(d.real.replace("f", as_bytes(std::string(10000, 'x'))).ok());
  auto file = d.above.open("f", false);
  REQUIRE(file.ok());
  REQUIRE((*file)->write(5000, as_bytes("y")).ok());
  REQUIRE((*file)->truncate(4998).ok());
  REQUIRE((*file)->truncate(10000).ok());
  const std::string all = two_disks::read(d.above, "f");
  CHECK(all == std::string(4998, 'x') + std::string(5002, '\0'));
  CHECK(two_disks::read(d.real, "f") == std::string(10000, 'x'));
}

TEST_CASE("a file that is removed is gone, until it is made again") {
  two_disks d;
  REQUIRE(d.real.replace("f", as_bytes("old")).ok());
  REQUIRE(d.above.remove("f").ok());
  CHECK(two_disks::read(d.above, "f") == "none");
  CHECK(d.above.list("").value().empty());
  CHECK(d.above.open("f", false).error().code() == errc::not_found);
  auto file = d.above.open("f", true);
  REQUIRE(file.ok());
  CHECK((*file)->size() == 0);
  REQUIRE((*file)->write(0, as_bytes("n")).ok());
  CHECK(two_disks::read(d.above, "f") == "n");
  CHECK(two_disks::read(d.real, "f") == "old");
}

}  // namespace
}  // namespace p2pdvm::test

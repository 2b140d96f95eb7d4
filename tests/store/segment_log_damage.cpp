/// Bit rot anywhere, and an error from every single operation of the disk.
#include "crash_disk.hpp"
#include "log_model.hpp"
#include "support/test.hpp"

using namespace p2pdvm;
using log_model::bytes_of_chunk;
using log_model::id_of;
using log_model::state;
using store::segment_log;

namespace {

/// Raise for a longer search.
constexpr std::size_t flips = 3000;

segment_log::options small() {
  segment_log::options o;
  o.segment_bytes = 2048;
  o.quota_bytes = 64 * 1024;
  o.reserve_bytes = 4096;
  o.salt = 5;
  return o;
}

struct written {
  std::unique_ptr<crash::disk> disk = std::make_unique<crash::disk>();
  state expected;
  std::map<std::string, std::set<byte_vector>> values_ever;
};

/// A log with a past: everything durable, nothing in flight.
written write_history(std::uint64_t seed, int calls) {
  written w;
  random_generator random(seed);
  auto opened = segment_log::open(*w.disk, "store", small());
  REQUIRE(opened.ok());
  auto& log = **opened;
  for (int i = 0; i < calls; ++i) {
    const auto c = log_model::random_call(random, w.expected);
    REQUIRE(log_model::make(log, c).ok());
    log_model::make(w.expected, c);
    if (c.what == log_model::call::value) {
      w.values_ever[log_model::name_of(c.target)].insert(c.bytes);
    }
    if (i % 7 == 0) log.sync([](const result<>& r) { REQUIRE(r.ok()); });
    if (i % 3 == 0) w.disk->run();
    if (i % 11 == 0) (void)log.compact(1500);
  }
  log.sync([](const result<>& r) { REQUIRE(r.ok()); });
  w.disk->run();
  return w;
}

std::string random_file(const crash::disk& disk, random_generator& random) {
  for (;;) {
    auto it = disk.files.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(random.below(disk.files.size())));
    if (it->first.ends_with(".seg") && !it->second->now.empty()) return it->first;
  }
}

/// Chunks that ought to be there and are not. Never a wrong byte, never a value of the past.
std::set<std::uint64_t> check_after_damage(segment_log& log, const state& expected) {
  std::set<std::uint64_t> lost;
  for (std::uint64_t n = 0; n < log_model::chunks; ++n) {
    const auto got = log.get(id_of(n));
    if (got) {
      REQUIRE(*got == bytes_of_chunk(n));
    } else {
      REQUIRE_FALSE(log.contains(id_of(n)));
      if (got.error().code() == errc::corrupted) {
        const auto damaged = log.damaged();
        REQUIRE(std::binary_search(damaged.begin(), damaged.end(), id_of(n)));
      }
      if (expected.present.contains(n)) lost.insert(n);
    }
  }
  for (std::uint64_t v = 0; v < log_model::names; ++v) {
    const auto got = log.get_value(log_model::name_of(v));
    const auto it = expected.values.find(log_model::name_of(v));
    INFO(log_model::name_of(v));
    if (got) {
      REQUIRE(it != expected.values.end());
      REQUIRE(*got == it->second);
    }
  }
  return lost;
}

void compact_all(segment_log& log, crash::disk& disk) {
  for (int i = 0; i < 200; ++i) {
    const std::size_t work = log.compact(4096);
    log.sync([](const result<>& r) { REQUIRE(r.ok()); });
    disk.run();
    if (work == 0) return;
  }
  FAIL("compaction does not end");
}

}  // namespace

TEST_CASE("a flipped bit anywhere never gives wrong bytes, nor a value of the past") {
  const written w = write_history(11, 220);
  random_generator random(12);
  std::size_t found = 0;
  for (std::size_t i = 0; i < flips; ++i) {
    const auto disk = w.disk->copy();
    const std::string file = random_file(*disk, random);
    auto& bytes = disk->files.at(file)->now;
    const std::size_t at = static_cast<std::size_t>(random.below(bytes.size()));
    bytes[at] ^= static_cast<std::byte>(1u << random.below(8));
    INFO("flip " << i << ": " << file << " at " << at);
    auto opened = segment_log::open(*disk, "store", small());
    REQUIRE(opened.ok());
    auto lost = check_after_damage(**opened, w.expected);
    if (!(*opened)->damage_found()) REQUIRE(lost.size() <= 1);
    found += (*opened)->damage_found() || !lost.empty() ? 1 : 0;
    if (i % 4 != 0) continue;
    compact_all(**opened, *disk);
    (void)check_after_damage(**opened, w.expected);
    for (const std::uint64_t n : lost) {  // repaired from another holder
      REQUIRE((*opened)->put(id_of(n), bytes_of_chunk(n)).ok());
      REQUIRE(*(*opened)->get(id_of(n)) == bytes_of_chunk(n));
    }
    opened = error(errc::closed);
    opened = segment_log::open(*disk, "store", small());
    REQUIRE(opened.ok());
    REQUIRE(check_after_damage(**opened, w.expected).size() <= lost.size());
  }
  CHECK(found > flips / 10);
}

TEST_CASE("a log that breaks off says so, since nobody can tell damage to what was just written from a crash") {
  crash::disk disk;
  {
    auto opened = segment_log::open(disk, "store", small());
    REQUIRE(opened.ok());
    REQUIRE((*opened)->put_value("first", bytes_of_chunk(1)).ok());
    REQUIRE((*opened)->put_value("second", bytes_of_chunk(2)).ok());
    disk.run();
  }
  auto whole = segment_log::open(disk, "store", small());
  REQUIRE(whole.ok());
  CHECK_FALSE((*whole)->cut_short());
  CHECK((*whole)->get_value("second").ok());
  whole->reset();
  byte_vector& bytes = disk.files.begin()->second->now;
  const auto name = as_bytes("first");
  const auto at = std::search(bytes.begin(), bytes.end(), name.begin(), name.end());
  REQUIRE(at != bytes.end());
  *at ^= std::byte{1};
  auto cut = segment_log::open(disk, "store", small());
  REQUIRE(cut.ok());
  CHECK((*cut)->cut_short());
  CHECK_FALSE((*cut)->damage_found());  // nothing says that it had been durable
  const auto gone = (*cut)->get_value("second");
  REQUIRE_FALSE(gone.ok());
  CHECK(gone.error().code() == errc::not_found);
}

TEST_CASE("bits that flip while the log is open are found by reading and by compaction") {
  for (std::uint64_t i = 0; i < 300; ++i) {
    INFO("round " << i);
    written w = write_history(20 + i % 5, 120);
    random_generator random(i);
    auto opened = segment_log::open(*w.disk, "store", small());
    REQUIRE(opened.ok());
    auto& bytes = w.disk->files.at(random_file(*w.disk, random))->now;
    bytes[random.below(bytes.size())] ^= std::byte{16};
    if (i % 2 == 0) (void)check_after_damage(**opened, w.expected);
    compact_all(**opened, *w.disk);
    (void)check_after_damage(**opened, w.expected);
    opened = error(errc::closed);
    opened = segment_log::open(*w.disk, "store", small());
    REQUIRE(opened.ok());
    (void)check_after_damage(**opened, w.expected);
  }
}

TEST_CASE("whole blocks of zeros never give wrong bytes, and never stop the log from opening") {
  const written w = write_history(31, 220);
  random_generator random(32);
  for (std::size_t i = 0; i < 600; ++i) {
    const auto disk = w.disk->copy();
    const std::string file = random_file(*disk, random);
    auto& bytes = disk->files.at(file)->now;
    const std::size_t at = static_cast<std::size_t>(random.below(bytes.size()) / 512 * 512);
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(at),
              bytes.begin() + static_cast<std::ptrdiff_t>(std::min(bytes.size(), at + 512)),
              std::byte{0});
    INFO("block " << i << ": " << file << " at " << at);
    auto opened = segment_log::open(*disk, "store", small());
    REQUIRE(opened.ok());
    for (std::uint64_t n = 0; n < log_model::chunks; ++n) {
      const auto got = (*opened)->get(id_of(n));
      if (got) REQUIRE(*got == bytes_of_chunk(n));
    }
    for (const auto& [name, ever] : w.values_ever) {
      const auto got = (*opened)->get_value(name);
      if (got) REQUIRE(ever.contains(*got));
    }
    REQUIRE((*opened)->put(id_of(1), bytes_of_chunk(1)).ok());
    compact_all(**opened, *disk);
    REQUIRE(*(*opened)->get(id_of(1)) == bytes_of_chunk(1));
  }
}

TEST_CASE("a chunk or value that cannot be read this time is there the next time") {
  const written w = write_history(41, 120);
  for (const errc code : {errc::io, errc::no_space}) {
    auto opened = segment_log::open(*w.disk, "store", small());
    REQUIRE(opened.ok());
    for (const std::uint64_t n : w.expected.present) {
      w.disk->fail_at = w.disk->operations + 1;
      w.disk->fail_code = code;
      const auto failed = (*opened)->get(id_of(n));
      REQUIRE(failed.error().code() == code);
      REQUIRE(failed.error().message().find("/fake/store") != std::string::npos);
      REQUIRE((*opened)->contains(id_of(n)));
      REQUIRE(*(*opened)->get(id_of(n)) == bytes_of_chunk(n));
    }
    for (const auto& [name, value] : w.expected.values) {
      w.disk->fail_at = w.disk->operations + 1;
      REQUIRE((*opened)->get_value(name).error().code() == code);
      REQUIRE(*(*opened)->get_value(name) == value);
    }
    REQUIRE((*opened)->damaged().empty());
  }
}

TEST_CASE("a range that the disk has lost for good stops neither opening nor compaction") {
  const written w = write_history(51, 220);
  random_generator random(52);
  for (std::size_t i = 0; i < 300; ++i) {
    const auto disk = w.disk->copy();
    const std::string file = random_file(*disk, random);
    const std::uint64_t size = disk->files.at(file)->now.size();
    const std::uint64_t at = random.below(size) / 512 * 512;
    INFO("round " << i << ": " << file << " at " << at);
    result<std::unique_ptr<segment_log>> opened = error(errc::closed);
    if (i % 2 == 0) opened = segment_log::open(*disk, "store", small());
    disk->lost = {file, at, at + 1 + random.below(2048)};
    if (i % 2 != 0) opened = segment_log::open(*disk, "store", small());
    REQUIRE(opened.ok());
    for (std::uint64_t n = 0; n < log_model::chunks; ++n) {
      const auto got = (*opened)->get(id_of(n));
      if (got) REQUIRE(*got == bytes_of_chunk(n));
      if (!got) REQUIRE_FALSE((*opened)->contains(id_of(n)));
    }
    for (const store::pin& p : (*opened)->pins()) REQUIRE((*opened)->drop_pin(p).ok());
    REQUIRE((*opened)->put(id_of(1), bytes_of_chunk(1)).ok());
    REQUIRE((*opened)->add_pin(log_model::pin_of(7), {id_of(1)}).ok());
    (*opened)->drop_unpinned();
    compact_all(**opened, *disk);
    if ((*opened)->damage_found()) continue;
    REQUIRE_FALSE(disk->files.contains(file));
    REQUIRE(*(*opened)->get(id_of(1)) == bytes_of_chunk(1));
  }
}

TEST_CASE("a good segment that a listing leaves out is not overwritten") {
  crash::disk disk;
  auto opened = segment_log::open(disk, "store", small());
  REQUIRE(opened.ok());
  for (std::uint64_t n = 0; n < log_model::chunks; ++n) {
    REQUIRE((*opened)->put(id_of(n), bytes_of_chunk(n)).ok());
  }
  opened = error(errc::closed);
  disk.unlisted = std::prev(disk.files.lower_bound("store/9"))->first;
  REQUIRE(disk.unlisted > "store/00000002.seg");
  const byte_vector before = disk.files.at(disk.unlisted)->now;
  opened = segment_log::open(disk, "store", small());
  REQUIRE(opened.ok());
  for (int i = 0; i < 2; ++i) {  // nor is the next number taken
    const auto put = (*opened)->put(id_of(99), bytes_of_chunk(99));
    REQUIRE_FALSE(put.ok());
    CHECK(put.error().message().find("/fake/" + disk.unlisted) != std::string::npos);
    (*opened)->sync([](const result<>&) {});
    disk.run();
    (void)(*opened)->compact(4096);
  }
  CHECK(disk.files.at(disk.unlisted)->now == before);
  disk.unlisted.clear();
  opened = error(errc::closed);
  opened = segment_log::open(disk, "store", small());
  REQUIRE(opened.ok());
  for (std::uint64_t n = 0; n < log_model::chunks; ++n) CHECK((*opened)->get(id_of(n)).ok());
}

TEST_CASE("bytes inside a chunk that look like a record are not taken for one") {
  crash::disk disk;
  auto opened = segment_log::open(disk, "store", small());
  REQUIRE(opened.ok());
  REQUIRE((*opened)->put(id_of(1), bytes_of_chunk(1)).ok());
  // A stranger guesses the place, but not the salt: every offset of segment 1 is forged.
  byte_vector forged;
  for (std::uint64_t offset = 0; offset < 1400; offset += 48) {
    const auto image = store::segment::encode_record(
        0, {1, offset}, store::segment::record_type::value, 99, as_bytes("v"), as_bytes("evil"));
    append(forged, image);
  }
  REQUIRE((*opened)->put(id_of(2), forged).ok());
  REQUIRE((*opened)->put_value("v", as_bytes("good")).ok());
  (*opened)->sync([](const result<>& r) { REQUIRE(r.ok()); });
  disk.run();
  opened = error(errc::closed);
  for (std::size_t at = 0; at < 1200; at += 8) {
    const auto copy = disk.copy();
    auto& bytes = copy->files.at("store/00000001.seg")->now;
    bytes[at] ^= std::byte{1};
    auto again = segment_log::open(*copy, "store", small());
    REQUIRE(again.ok());
    const auto got = (*again)->get_value("v");
    if (got) REQUIRE(*got == to_vector(as_bytes("good")));
  }
}

TEST_CASE("an error from any operation leaves the log at a version that is not too old") {
  constexpr int calls = 110;
  std::uint64_t hits = 0;
  for (const errc code : {errc::io, errc::no_space}) {
    for (std::uint64_t fault = 1;; ++fault) {
      INFO("operation " << fault << (code == errc::io ? ": EIO" : ": ENOSPC"));
      crash::disk disk;
      disk.fail_at = fault;
      disk.fail_code = code;
      auto opened = segment_log::open(disk, "store", small());
      if (!opened) {
        REQUIRE(disk.operations >= fault);
        REQUIRE(opened.error().message().find("/fake/store") != std::string::npos);
        opened = segment_log::open(disk, "store", small());
      }
      REQUIRE(opened.ok());
      std::vector<state> versions(1);
      std::size_t acked = 0;
      bool failed_sync = false;
      random_generator random(77);
      const auto locate = [&] {
        const std::uint64_t at = std::exchange(disk.fail_at, 0);
        std::size_t v = versions.size();
        while (v-- > acked) {
          if (log_model::difference(**opened, versions[v]).empty()) break;
        }
        REQUIRE(v + 1 > acked);
        REQUIRE(v < versions.size());
        disk.fail_at = at > disk.operations ? at : 0;
        return v;
      };
      for (int i = 0; i < calls; ++i) {
        const auto c = log_model::random_call(random, versions.back());
        state next = versions.back();
        log_model::make(next, c);
        if (log_model::make(**opened, c)) versions.push_back(std::move(next));
        if (i % 5 == 0) {
          (*opened)->sync([&, version = versions.size() - 1](const result<>& r) {
            if (r.ok()) acked = version;
            failed_sync = failed_sync || !r.ok();
          });
        }
        if (i % 3 == 0) disk.run();
        if (i % 9 == 0) (void)(*opened)->compact(1200);
        if (std::exchange(failed_sync, false)) versions.resize(locate() + 1);
        if (i == calls / 2) {
          disk.run();
          if (std::exchange(failed_sync, false)) versions.resize(locate() + 1);
          opened = error(errc::closed);
          opened = segment_log::open(disk, "store", small());
          if (!opened) opened = segment_log::open(disk, "store", small());
          REQUIRE(opened.ok());
          REQUIRE(locate() == versions.size() - 1);
        }
      }
      disk.run();
      if (std::exchange(failed_sync, false)) versions.resize(locate() + 1);
      const bool hit = disk.operations >= fault;
      disk.fail_at = 0;
      for (int i = 0; i < 2; ++i) {
        (*opened)->sync([&](const result<>& r) { failed_sync = !r.ok(); });
        disk.run();
        versions.resize(locate() + 1);
      }
      REQUIRE_FALSE(failed_sync);
      REQUIRE(log_model::difference(**opened, versions.back()) == "");
      if (!hit) break;
      ++hits;
      random_generator chaos(fault);
      const auto after = disk.crashed(chaos, crash::survival::torn);
      opened = error(errc::closed);
      opened = segment_log::open(*after, "store", small());
      REQUIRE(opened.ok());
      REQUIRE(log_model::difference(**opened, versions.back()) == "");
    }
  }
  CHECK(hits > 400);
}

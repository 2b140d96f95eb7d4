/// What both chunk logs promise, and what is particular to the one on disk.
#include "crash_disk.hpp"
#include "log_model.hpp"
#include "support/test.hpp"

#include <p2pdvm/store/memory_log.hpp>
#include <p2pdvm/store/write_behind_log.hpp>

using namespace p2pdvm;
using log_model::bytes_of_chunk;
using log_model::id_of;
using log_model::pin_of;
using store::segment_log;

namespace {

/// Time passes when it is told to run.
class manual_clock final : public host::clock {
 public:
  [[nodiscard]] time_point now() const override { return now_; }
  [[nodiscard]] unix_seconds wall() const override { return 0; }
  host::timer_id call_at(time_point when, std::function<void()> action) override {
    actions_[{when, ++last_}] = std::move(action);
    return last_;
  }
  void cancel(host::timer_id timer) override {
    std::erase_if(actions_, [&](const auto& a) { return a.first.second == timer; });
  }
  void run() {
    while (run_one()) continue;
  }
  bool run_one() {
    if (actions_.empty()) return false;
    now_ = std::max(now_, actions_.begin()->first.first);
    const auto action = std::move(actions_.begin()->second);
    actions_.erase(actions_.begin());
    action();
    return true;
  }
  void run_for(duration time) {
    const time_point end = now_ + time;
    while (!actions_.empty() && actions_.begin()->first.first <= end) (void)run_one();
    now_ = end;
  }

 private:
  std::map<std::pair<time_point, host::timer_id>, std::function<void()>> actions_;
  host::timer_id last_ = 0;
  time_point now_{};
};

segment_log::options small() {
  segment_log::options o;
  o.segment_bytes = 2048;
  o.quota_bytes = 64 * 1024;
  o.reserve_bytes = 8192;
  o.salt = 7;
  return o;
}

std::unique_ptr<segment_log> open(crash::disk& disk, segment_log::options o = small()) {
  auto opened = segment_log::open(disk, "store", o);
  if (!opened) FAIL(opened.error().message());
  return std::move(*opened);
}

/// Everything before it is durable when this returns ok.
result<> synced(store::chunk_log& log, crash::disk& disk) {
  std::optional<result<>> outcome;
  log.sync([&outcome](const result<>& r) { outcome = r; });
  disk.run();
  REQUIRE(outcome.has_value());
  return *outcome;
}

void compact_all(segment_log& log, crash::disk& disk) {
  for (int i = 0; i < 1000; ++i) {
    const std::size_t work = log.compact(4096);
    REQUIRE(synced(log, disk).ok());
    if (work == 0) return;
  }
  FAIL("compaction does not end");
}

byte_vector filled(std::size_t size, char with) {
  return byte_vector(size, static_cast<std::byte>(with));
}

/// One body for both logs. `run` lets pending callbacks happen.
void check_semantics(store::chunk_log& log, const std::function<void()>& run) {
  CHECK_FALSE(log.contains(id_of(1)));
  CHECK(log.get(id_of(1)).error().code() == errc::not_found);
  for (std::uint64_t n = 1; n <= 3; ++n) REQUIRE(log.put(id_of(n), bytes_of_chunk(n)).ok());
  REQUIRE(log.put(id_of(1), bytes_of_chunk(1)).ok());
  const std::uint64_t bytes =
      bytes_of_chunk(1).size() + bytes_of_chunk(2).size() + bytes_of_chunk(3).size();
  CHECK(log.live_bytes() == bytes);
  CHECK(*log.get(id_of(2)) == bytes_of_chunk(2));

  REQUIRE(log.add_pin(pin_of(1), {id_of(1), id_of(2), id_of(1)}).ok());
  REQUIRE(log.add_pin(pin_of(1), {id_of(2)}).ok());
  REQUIRE(log.add_pin(pin_of(2), {id_of(2), id_of(3)}).ok());
  CHECK(log.add_pin(pin_of(3), {id_of(1), id_of(9)}).error().code() == errc::not_found);
  CHECK(log.pins() == std::vector{pin_of(1), pin_of(2)});
  CHECK(log.pinned(pin_of(1)) == std::vector{id_of(1), id_of(2)});
  CHECK(log.pinned(pin_of(3)).empty());
  REQUIRE(log.drop_pin(pin_of(1)).ok());
  REQUIRE(log.drop_pin(pin_of(1)).ok());
  CHECK_FALSE(log.contains(id_of(1)));
  CHECK(log.contains(id_of(2)));
  CHECK(log.pins() == std::vector{pin_of(2)});
  REQUIRE(log.put(id_of(1), bytes_of_chunk(1)).ok());
  CHECK(log.live_bytes() == bytes);

  CHECK(log.get_value("a").error().code() == errc::not_found);
  REQUIRE(log.put_value("a", filled(10, 'x')).ok());
  REQUIRE(log.put_value("a", filled(20, 'y')).ok());
  CHECK(*log.get_value("a") == filled(20, 'y'));
  REQUIRE(log.put_value("a", {}).ok());
  REQUIRE(log.put_value("b", {}).ok());
  CHECK(log.get_value("a").error().code() == errc::not_found);
  CHECK(log.put_value("", filled(1, 'x')).error().code() == errc::too_large);
  CHECK(log.put_value("c", filled(store::log_value_bytes_max + 1, 'x')).error().code() ==
        errc::too_large);
  CHECK(log.put(id_of(5), filled(store::log_chunk_bytes_max + 1, 'x')).error().code() ==
        errc::too_large);

  std::vector<int> order;
  log.sync([&](const result<>& r) {
    CHECK(r.ok());
    order.push_back(1);
    log.sync([&](const result<>& inner) {
      CHECK(inner.ok());
      order.push_back(3);
    });
  });
  log.sync([&](const result<>& r) {
    CHECK(r.ok());
    order.push_back(2);
  });
  CHECK(order.empty());
  run();
  CHECK(order == std::vector{1, 2, 3});
}

/// After a crash at this moment all these chunks can be read, whatever else survives.
void check_whole(const crash::disk& disk, const segment_log::options& o, const std::vector<chunk_id>& ids, random_generator& random) {
  const auto after = disk.crashed(random, random.chance(0.5) ? crash::survival::everything : crash::survival::nothing);
  const auto found = open(*after, o);
  found->drop_unpinned();
  for (const chunk_id& id : ids) CHECK(found->get(id).ok());
}

void check_quota(store::chunk_log& log) {
  std::uint64_t n = 0;
  result<> last;
  while (last.ok() && n < 5000) last = log.put(id_of(++n), filled(1000, 'q'));
  REQUIRE_FALSE(last.ok());
  CHECK(last.error().code() == errc::no_space);
  CHECK(last.error().message().find("quota") != std::string::npos);
  CHECK_FALSE(log.contains(id_of(n)));
}

}  // namespace

TEST_CASE("the log on disk keeps chunks, pins and values as promised") {
  crash::disk disk;
  auto log = open(disk);
  check_semantics(*log, [&] { disk.run(); });
}

TEST_CASE("the log in memory keeps chunks, pins and values as promised") {
  manual_clock clock;
  store::memory_log log(clock);
  check_semantics(log, [&] { clock.run(); });
}

TEST_CASE("a log that writes behind keeps chunks, pins and values as promised") {
  for (const bool from_memory : {false, true}) {
    crash::disk disk;
    manual_clock clock;
    store::write_behind_log log(clock, open(disk));
    log.receipts_from_memory(from_memory);
    check_semantics(log, [&] {
      clock.run();
      disk.run();
    });
  }
}

TEST_CASE("a log that writes behind holds the same whenever it writes") {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    random_generator random(seed);
    crash::disk disk;
    log_model::state expected;
    {
      manual_clock clock;
      store::write_behind_log log(clock, open(disk));
      for (int i = 0; i < 120; ++i) {
        log.receipts_from_memory(random.chance(0.8));
        const auto c = log_model::random_call(random, expected);
        REQUIRE(log_model::make(log, c).ok());
        log_model::make(expected, c);
        if (random.chance(0.2)) clock.run();
        if (random.chance(0.3)) disk.run(1);
        if (random.chance(0.3)) disk.run();
        REQUIRE(log_model::difference(log, expected) == "");
      }
    }
    disk.run();
    CHECK(log_model::difference(*open(disk), expected).empty());  // it has written all as it went
  }
}

TEST_CASE("a log that writes behind confirms from memory what it holds there, and waits for the disk for the rest") {
  crash::disk disk;
  manual_clock clock;
  store::write_behind_log log(clock, open(disk));
  std::string order;
  const auto confirm = [&](char c) {
    log.confirm([&order, c](const result<>& r) { order += r.ok() ? c : '!'; });
  };
  REQUIRE(log.put(id_of(1), bytes_of_chunk(1)).ok());
  REQUIRE(log.add_pin(pin_of(1), {id_of(1)}).ok());
  confirm('a');
  CHECK(order.empty());
  CHECK(log.unwritten_bytes() == 0);
  disk.run();
  CHECK(order == "a");
  log.receipts_from_memory(true);
  REQUIRE(log.put(id_of(2), bytes_of_chunk(2)).ok());
  REQUIRE(log.add_pin(pin_of(1), {id_of(2)}).ok());
  CHECK(log.unwritten_bytes() == bytes_of_chunk(2).size() + store::unwritten_overhead_bytes);
  const std::size_t syncs = disk.sync_calls;
  confirm('b');
  CHECK(order == "a");  // not from inside the call
  clock.run();          // and it writes
  CHECK(order == "ab");
  CHECK(disk.sync_calls == syncs + 1);
  CHECK(log.unwritten_bytes() > 0);  // until that has succeeded
  disk.run();
  clock.run();
  CHECK(log.unwritten_bytes() == 0);
  REQUIRE(log.add_pin(pin_of(2), {id_of(1)}).ok());  // of a chunk on disk, in memory
  confirm('c');
  clock.run();
  CHECK(order == "abc");
  disk.run();
  REQUIRE(log.add_pin(pin_of(3), {id_of(1)}).ok());
  REQUIRE(log.drop_pin(pin_of(1)).ok());
  REQUIRE(log.drop_pin(pin_of(2)).ok());
  clock.run();
  disk.run();
  CHECK(log.contains(id_of(1)));  // by the pin that was only in memory
  CHECK_FALSE(log.contains(id_of(2)));
}

TEST_CASE("nothing is written behind while chunks come, unless they come for long") {
  using namespace std::chrono_literals;
  for (const bool for_long : {false, true}) {
    crash::disk disk;
    manual_clock clock;
    store::write_behind_log log(clock, open(disk));
    log.receipts_from_memory(true);
    const std::size_t before = disk.sync_calls;
    std::uint64_t n = 0;
    for (int i = 0; i < (for_long ? 60 : 20); ++i) {
      ++n;
      REQUIRE(log.put(id_of(n), bytes_of_chunk(n)).ok());
      clock.run_for(10ms);
      if (i < 20) CHECK(disk.sync_calls == before);
    }
    CHECK((disk.sync_calls > before) == for_long);
    clock.run_for(60ms);
    CHECK(disk.sync_calls > before);
    while (log.unwritten_bytes() > 0) {
      disk.run();
      clock.run_for(60ms);
    }
    for (std::uint64_t c = 1; c <= n; ++c) CHECK(log.contains(id_of(c)));
  }
}

TEST_CASE("what exceeds the quota of memory is written at once, and waits for the disk") {
  crash::disk disk;
  manual_clock clock;
  const std::size_t one = bytes_of_chunk(1).size() + store::unwritten_overhead_bytes;
  store::write_behind_log log(clock, open(disk), 2 * one + one / 2);
  log.receipts_from_memory(true);
  for (std::uint64_t n = 1; n <= 4; ++n) {
    REQUIRE(log.put(id_of(n), byte_vector(bytes_of_chunk(1))).ok());
    REQUIRE(log.add_pin(pin_of(1), {id_of(n)}).ok());
    CHECK(log.unwritten_bytes() == std::min<std::uint64_t>(n, 2) * one);
  }
  std::string order;
  log.confirm([&order](const result<>& r) { order += r.ok() ? 'a' : '!'; });
  clock.run();
  CHECK(order.empty());  // two of them are not in memory, so it is the disk that has to confirm
  disk.run();
  CHECK(order == "a");
  clock.run();
  disk.run();
  CHECK(log.unwritten_bytes() == 0);
  for (std::uint64_t n = 1; n <= 4; ++n) CHECK(log.contains(id_of(n)));
}

TEST_CASE("whichever write or sync behind fails, all is still in memory, and is durable in the end") {
  std::size_t failed = 0;
  for (std::uint64_t operation = 1; operation <= 24; ++operation) {
    crash::disk disk;
    manual_clock clock;
    auto below = open(disk);
    segment_log& on_disk = *below;
    store::write_behind_log log(clock, std::move(below));
    log.receipts_from_memory(true);
    std::vector<chunk_id> ids;
    for (std::uint64_t n = 1; n <= 8; ++n) {
      ids.push_back(id_of(n));
      REQUIRE(log.put(ids.back(), bytes_of_chunk(n)).ok());
    }
    REQUIRE(log.add_pin(pin_of(1), ids).ok());
    disk.fail_at = disk.operations + operation;
    for (int turn = 0; turn < 50 && log.unwritten_bytes() > 0; ++turn) {
      (void)on_disk.compact(1 << 20);  // upkeep, as a peer does it, finds that there is room again
      clock.run_one();
      disk.run();
      for (std::uint64_t n = 1; n <= 8; ++n) {
        auto got = log.get(id_of(n));
        if (!got.ok()) got = log.get(id_of(n));  // it was that read which failed
        REQUIRE(got.ok());
        CHECK(*got == bytes_of_chunk(n));
      }
      CHECK(log.pinned(pin_of(1)) == ids);
    }
    CHECK(log.unwritten_bytes() == 0);
    failed += disk.operations >= disk.fail_at ? 1 : 0;
    random_generator random(operation);
    check_whole(disk, small(), ids, random);
  }
  CHECK(failed > 8);
}

TEST_CASE("an epoch is confirmed from memory only when the ones before can be gone back to, whenever the process dies") {
  for (std::uint64_t seed = 1; seed <= 40; ++seed) {
    random_generator random(seed);
    crash::disk disk;
    manual_clock clock;
    auto big = small();
    big.quota_bytes = 1 << 20;
    store::write_behind_log log(clock, open(disk, big));
    log.receipts_from_memory(true);
    std::map<std::uint64_t, std::vector<chunk_id>> epochs;
    for (std::uint64_t e = 1; e <= 12; ++e) {
      for (std::uint64_t n = 0; n < 8; ++n) {
        const std::uint64_t chunk = random.below(log_model::chunks);  // often one that was there some epochs ago
        REQUIRE(log.put(id_of(chunk), bytes_of_chunk(chunk)).ok());
        REQUIRE(log.add_pin(pin_of(e), {id_of(chunk)}).ok());
        epochs[e].push_back(id_of(chunk));
      }
      bool confirmed = false;
      log.confirm([&](const result<>& r) { confirmed = r.ok(); });
      for (int i = 0; i < 100 && !confirmed; ++i) {
        if (random.chance(0.5)) clock.run_one();
        if (random.chance(0.3)) disk.run(1);
        if (e >= 3) check_whole(disk, big, epochs.at(e - 2), random);  // e - 1 has committed
      }
      while (!confirmed) {
        clock.run_one();
        disk.run(1);
      }
      for (const chunk_id& id : epochs.at(e)) REQUIRE(log.contains(id));
      if (e >= 2) check_whole(disk, big, epochs.at(e - 1), random);
      if (e >= 3) REQUIRE(log.drop_pin(pin_of(e - 2)).ok());
    }
  }
}

TEST_CASE("what was in memory when a process died is gone, and nothing else") {
  crash::disk disk;
  manual_clock clock;
  {
    auto log = std::make_unique<store::write_behind_log>(clock, open(disk));
    log->receipts_from_memory(true);
    REQUIRE(log->put(id_of(1), bytes_of_chunk(1)).ok());
    REQUIRE(log->add_pin(pin_of(1), {id_of(1)}).ok());
    clock.run();
    disk.run();
    REQUIRE(log->put(id_of(2), bytes_of_chunk(2)).ok());
    REQUIRE(log->add_pin(pin_of(2), {id_of(1), id_of(2)}).ok());
    REQUIRE(log->put_value("promise", filled(10, 'p')).ok());
    log->sync_values([](const result<>& r) { CHECK(r.ok()); });
    disk.run();
    random_generator random(1);
    const auto after = disk.crashed(random, crash::survival::everything);
    auto again = open(*after);
    CHECK(again->contains(id_of(1)));
    CHECK(again->pins() == std::vector{pin_of(1)});
    CHECK_FALSE(again->contains(id_of(2)));
    CHECK(again->get_value("promise").ok());
  }
}

TEST_CASE("a quota is a clear refusal in both logs") {
  crash::disk disk;
  check_quota(*open(disk));
  manual_clock clock;
  store::memory_log memory(clock, 64 * 1024);
  check_quota(memory);
  CHECK(memory.put_value("a", filled(70000, 'x')).error().code() == errc::no_space);
}

TEST_CASE("a log may be destroyed from inside a callback, and pending callbacks go with it") {
  int calls = 0;
  crash::disk disk;
  auto log = open(disk);
  REQUIRE(log->put(id_of(1), bytes_of_chunk(1)).ok());
  log->sync([&](const result<>&) { ++calls, log.reset(); });
  log->sync([&](const result<>&) { ++calls; });
  disk.run();
  manual_clock clock;
  auto memory = std::make_unique<store::memory_log>(clock);
  memory->sync([&](const result<>&) { ++calls, memory.reset(); });
  memory->sync([&](const result<>&) { ++calls; });
  clock.run();
  CHECK(calls <= 3);
  CHECK(calls >= 2);
}

TEST_CASE("callers that ask while a sync runs share the next one") {
  crash::disk disk;
  auto log = open(disk);
  REQUIRE(log->put(id_of(1), bytes_of_chunk(1)).ok());
  std::string order;
  for (const char c : {'a', 'b', 'c'}) {
    log->sync([&order, c](const result<>& r) { order += r.ok() ? c : '!'; });
  }
  REQUIRE(log->put(id_of(2), bytes_of_chunk(2)).ok());
  log->sync([&order](const result<>& r) { order += r.ok() ? 'd' : '!'; });
  CHECK(disk.sync_calls == 1);
  disk.run(1);
  CHECK(order == "a");
  disk.run();
  CHECK(order == "abcd");
  CHECK(disk.sync_calls == 2);
}

TEST_CASE("a log comes back from its folder as it was") {
  crash::disk disk;
  log_model::state expected;
  random_generator random(5);
  {
    auto log = open(disk);
    for (int i = 0; i < 150; ++i) {
      const auto c = log_model::random_call(random, expected);
      REQUIRE(log_model::make(*log, c).ok());
      log_model::make(expected, c);
      (void)log->compact(2000);
      disk.run();
      if (i % 10 == 0) REQUIRE(synced(*log, disk).ok());
    }
  }
  auto log = open(disk);
  CHECK(log_model::difference(*log, expected) == "");
  CHECK_FALSE(log->damage_found());
  compact_all(*log, disk);
  CHECK(log_model::difference(*log, expected) == "");
  log.reset();
  CHECK(log_model::difference(*open(disk), expected) == "");
}

TEST_CASE("dropping what is pinned gives the space back") {
  crash::disk disk;
  auto log = open(disk);
  REQUIRE(log->put(id_of(0), bytes_of_chunk(0)).ok());
  REQUIRE(log->add_pin(pin_of(0), {id_of(0)}).ok());
  REQUIRE(log->put_value("kept", filled(50, 'k')).ok());
  for (std::uint64_t epoch = 1; epoch <= 60; ++epoch) {
    std::vector<chunk_id> ids;
    for (std::uint64_t n = 0; n < 8; ++n) {
      ids.push_back(id_of(epoch * 100 + n));
      REQUIRE(log->put(ids.back(), filled(700, 'e')).ok());
    }
    REQUIRE(log->add_pin(pin_of(epoch), ids).ok());
    REQUIRE(log->drop_pin(pin_of(epoch - (epoch > 1 ? 1 : 60))).ok());
    compact_all(*log, disk);
  }
  CHECK(log->used_bytes() < 16 * 1024);
  CHECK(log->live_bytes() == bytes_of_chunk(0).size() + 8 * 700);
  log.reset();
  log = open(disk);
  CHECK(log->pins() == std::vector{pin_of(0), pin_of(60)});
  CHECK(*log->get_value("kept") == filled(50, 'k'));
  CHECK(*log->get(id_of(0)) == bytes_of_chunk(0));
  CHECK(log->drop_unpinned() == 0);
}

TEST_CASE("chunks that never got a pin can be let go after a restart") {
  crash::disk disk;
  auto log = open(disk);
  REQUIRE(log->put(id_of(1), bytes_of_chunk(1)).ok());
  REQUIRE(log->put(id_of(2), bytes_of_chunk(2)).ok());
  REQUIRE(log->add_pin(pin_of(1), {id_of(2)}).ok());
  log.reset();
  log = open(disk);
  CHECK(log->contains(id_of(1)));
  CHECK(log->drop_unpinned() == 1);
  CHECK_FALSE(log->contains(id_of(1)));
  CHECK(log->contains(id_of(2)));
  CHECK(log->live_bytes() == bytes_of_chunk(2).size());
}

/// All that the folder takes.
std::uint64_t bytes_on(crash::disk& disk) {
  std::uint64_t sum = 0;
  const auto names = disk.list("store");
  for (const std::string& name : *names) sum += (*disk.open("store/" + name, false))->size();
  return sum;
}

TEST_CASE("a quota that somebody has set is kept with the reserve in it, and what is full can be cleaned") {
  constexpr std::uint64_t quota = segment_log::quota_bytes_min;
  crash::disk disk;
  auto o = segment_log::options::within(quota);
  auto log = open(disk, o);
  std::uint64_t n = 0, most = 0, stored = 0;
  for (std::uint64_t round = 1; round <= 12; ++round) {
    std::vector<chunk_id> ids;
    while (log->put(id_of(++n), filled(60000, 'q')).ok()) {
      ids.push_back(id_of(n));
      if (!log->add_pin(pin_of(round), ids).ok()) break;
      REQUIRE(synced(*log, disk).ok());
      most = std::max(most, bytes_on(disk));
      if (round % 2 == 1 && ids.size() > 9) break;
    }
    CHECK(ids.size() > 9);
    stored += ids.size();
    // A full log lets go of things, writes values and gives all of it back.
    REQUIRE(log->put_value("v", filled(100000, 'v')).ok());
    if (round > 1) REQUIRE(log->drop_pin(pin_of(round - 1)).ok());
    if (round % 2 == 0) REQUIRE(log->drop_pin(pin_of(round)).ok());
    REQUIRE(synced(*log, disk).ok());
    most = std::max(most, bytes_on(disk));
    for (int turn = 0; turn < 100 && log->compact(1 << 20) > 0; ++turn) {
      most = std::max(most, bytes_on(disk));
      REQUIRE(synced(*log, disk).ok());
    }
    most = std::max(most, bytes_on(disk));
  }
  CHECK(stored > 2 * quota / 60000);
  CHECK(most > quota / 4 * 3);
  CHECK(most <= quota);
  // With a lower quota it takes nothing more, and comes below it.
  REQUIRE(log->put(id_of(++n), filled(60000, 'q')).ok());
  std::vector<chunk_id> ids{id_of(n)};
  while (log->put(id_of(++n), filled(60000, 'q')).ok()) ids.push_back(id_of(n));
  REQUIRE(log->add_pin(pin_of(100), ids).ok());
  REQUIRE(synced(*log, disk).ok());
  log.reset();
  o = segment_log::options::within(quota / 2);
  log = open(disk, o);
  CHECK(bytes_on(disk) > quota / 2);
  CHECK(log->put(id_of(++n), filled(60000, 'q')).error().message().find("--quota") != std::string::npos);
  REQUIRE(log->put_value("v", filled(1000, 'v')).ok());
  REQUIRE(log->drop_pin(pin_of(100)).ok());
  REQUIRE(synced(*log, disk).ok());
  compact_all(*log, disk);
  CHECK(bytes_on(disk) <= quota / 2);
  CHECK(log->put(id_of(++n), filled(60000, 'q')).ok());
}

TEST_CASE("a full disk refuses chunks in a sentence and can still be cleaned") {
  crash::disk disk;
  disk.capacity = 40 * 1024;
  auto o = small();
  o.quota_bytes = 1 << 20;
  auto log = open(disk, o);
  std::uint64_t n = 0;
  result<> last;
  std::vector<chunk_id> ids;
  while ((last = log->put(id_of(++n), filled(1000, 'f'))).ok()) {
    ids.push_back(id_of(n));
    if (ids.size() % 8 == 0) REQUIRE(log->add_pin(pin_of(n / 8), ids).ok());
  }
  CHECK(last.error().code() == errc::no_space);
  CHECK(last.error().message().find("/fake/store") != std::string::npos);
  CHECK(log->put(id_of(9999), filled(1000, 'f')).error().code() == errc::no_space);
  for (int i = 0; i < 10; ++i) REQUIRE(log->put_value("v", filled(100, 'v')).ok());
  for (const store::pin& p : log->pins()) REQUIRE(log->drop_pin(p).ok());
  REQUIRE(synced(*log, disk).ok());
  compact_all(*log, disk);
  REQUIRE(log->put(id_of(9999), filled(1000, 'f')).ok());
  REQUIRE(synced(*log, disk).ok());
  log.reset();
  log = open(disk, o);
  CHECK(*log->get_value("v") == filled(100, 'v'));
  CHECK(log->contains(id_of(9999)));
  CHECK_FALSE(log->contains(id_of(1)));
}

TEST_CASE("a full disk is not filled again and again by each chunk that it refuses") {
  crash::disk disk;
  disk.capacity = 40 * 1024;
  auto o = small();
  o.quota_bytes = 1 << 20;
  auto log = open(disk, o);
  std::uint64_t n = 0;
  while (log->put(id_of(++n), filled(1000, 'f')).ok()) {
  }
  // Values go into the reserve, for which there is no room afterwards.
  std::uint64_t values = 0;
  while (log->put(id_of(9999), filled(1, 'f')).ok() || values < 10)
    REQUIRE(log->put_value("v" + std::to_string(++values), filled(100, 'v')).ok());
  const auto before = disk.operations;
  for (std::uint64_t i = 0; i < 50; ++i)
    CHECK(log->put(id_of(10000 + i), filled(1000, 'f')).error().code() == errc::no_space);
  CHECK(disk.operations == before);
  disk.capacity = 1 << 20;  // the user made room: the next turn of upkeep finds it
  (void)log->compact(1 << 20);
  CHECK(log->put(id_of(9999), filled(1000, 'f')).ok());
}

TEST_CASE("a failed sync loses what was not durable, says so once to each, and is not retried") {
  crash::disk disk;
  auto log = open(disk);
  REQUIRE(log->put(id_of(1), bytes_of_chunk(1)).ok());
  REQUIRE(log->put_value("v", filled(5, 'a')).ok());
  REQUIRE(synced(*log, disk).ok());
  REQUIRE(log->put(id_of(2), bytes_of_chunk(2)).ok());
  REQUIRE(log->put_value("v", filled(5, 'b')).ok());
  disk.fail_at = disk.operations + 1;
  std::string told;
  log->sync([&](const result<>& r) { told += r.ok() ? "1" : "x"; });
  REQUIRE(log->put(id_of(3), bytes_of_chunk(3)).ok());
  log->sync([&](const result<>& r) { told += r.ok() ? "2" : "y"; });
  REQUIRE(log->put(id_of(4), bytes_of_chunk(4)).ok());
  disk.run();
  CHECK(told == "xy");
  CHECK(log->contains(id_of(1)));
  for (std::uint64_t n = 2; n <= 4; ++n) CHECK_FALSE(log->contains(id_of(n)));
  CHECK(*log->get_value("v") == filled(5, 'a'));
  CHECK_FALSE(synced(*log, disk).ok());  // chunk 4 was never reported
  CHECK(synced(*log, disk).ok());

  REQUIRE(log->put(id_of(4), bytes_of_chunk(4)).ok());
  REQUIRE(synced(*log, disk).ok());
  random_generator random(3);
  for (const auto how : {crash::survival::nothing, crash::survival::everything,
                         crash::survival::some, crash::survival::torn}) {
    const auto after = disk.crashed(random, how);
    auto again = open(*after);
    CHECK(again->contains(id_of(1)));
    CHECK(again->contains(id_of(4)));
    CHECK_FALSE(again->contains(id_of(2)));
    CHECK(*again->get_value("v") == filled(5, 'a'));
  }
}

TEST_CASE("a log that cannot be read back after a failed sync is there again once it can be") {
  crash::disk disk;
  auto log = open(disk);
  REQUIRE(log->put(id_of(1), bytes_of_chunk(1)).ok());
  REQUIRE(log->put_value("v", filled(5, 'a')).ok());
  REQUIRE(synced(*log, disk).ok());
  const auto used = log->used_bytes();
  REQUIRE(log->put(id_of(2), bytes_of_chunk(2)).ok());
  disk.fail_at = disk.operations + 1;
  disk.unreadable = true;
  CHECK_FALSE(synced(*log, disk).ok());
  for (int i = 0; i < 3; ++i) {
    CHECK(log->put_value("v", filled(5, 'c')).error().code() == errc::io);
    CHECK(log->get_value("v").error().code() == errc::io);
    CHECK_FALSE(synced(*log, disk).ok());
  }
  disk.unreadable = false;
  int refused = 0;
  while (!log->put_value("v", filled(5, 'c')).ok()) REQUIRE(++refused < 10);
  CHECK(log->contains(id_of(1)));
  CHECK_FALSE(log->contains(id_of(2)));
  CHECK(log->used_bytes() >= used);
  CHECK(log->used_bytes() < used + 2048);
  REQUIRE(synced(*log, disk).ok());
  random_generator random(3);
  for (const auto how : {crash::survival::nothing, crash::survival::everything,
                         crash::survival::some, crash::survival::torn}) {
    const auto after = disk.crashed(random, how);
    auto again = open(*after);
    CHECK(again->contains(id_of(1)));
    CHECK_FALSE(again->contains(id_of(2)));
    CHECK(*again->get_value("v") == filled(5, 'c'));
  }
}

TEST_CASE("a folder of a newer format, or without a readable header, is refused in a sentence") {
  crash::disk disk;
  {
    auto log = open(disk);
    REQUIRE(log->put(id_of(1), bytes_of_chunk(1)).ok());
  }
  auto& bytes = disk.files.at("store/00000001.seg")->now;
  SECTION("newer") {
    bytes[8] = bytes[8 + store::segment::header_bytes] = std::byte{2};
    const auto opened = segment_log::open(disk, "store", small());
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code() == errc::unsupported_version);
    CHECK(opened.error().message().find("newer p2pdvm") != std::string::npos);
  }
  SECTION("cut off") {
    bytes.resize(20);
    const auto opened = segment_log::open(disk, "store", small());
    REQUIRE_FALSE(opened.ok());
    CHECK(opened.error().code() == errc::corrupted);
    CHECK(opened.error().message().find("move the folder away") != std::string::npos);
    CHECK(bytes.size() == 20);
  }
  SECTION("another file in the folder does no harm") {
    disk.files["store/notes.txt"] = std::make_shared<crash::node>();
    CHECK(open(disk)->contains(id_of(1)));
  }
}

TEST_CASE("options that cannot work are refused") {
  crash::disk disk;
  auto o = small();
  o.quota_bytes = o.reserve_bytes;
  CHECK(segment_log::open(disk, "store", o).error().code() == errc::invalid_argument);
}

#include "support/test.hpp"

#include <p2pdvm/host/native/machine.hpp>

#include <asio/io_context.hpp>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

using namespace p2pdvm;

TEST_CASE("works run on other threads, and what follows them on the one that runs the context") {
  asio::io_context io;
  native::machine machine(io, {});
  host::workers& workers = *machine.workers();
  CHECK(workers.count() >= 1);
  const std::thread::id self = std::this_thread::get_id();
  std::atomic<int> elsewhere{0};
  int done = 0;
  std::vector<int> results(100);
  for (int i = 0; i < 100; ++i) {
    workers.run(
        i % 2 == 0 ? host::workers::length::brief : host::workers::length::any,
        [&, i] {
          results[static_cast<std::size_t>(i)] = i * i;
          elsewhere += std::this_thread::get_id() != self ? 1 : 0;
        },
        [&] {
          CHECK(std::this_thread::get_id() == self);
          ++done;
        });
  }
  CHECK(done == 0);
  io.run();  // ends when nothing is under way
  CHECK(done == 100);
  CHECK(elsewhere == 100);
  for (int i = 0; i < 100; ++i) CHECK(results[static_cast<std::size_t>(i)] == i * i);
}

TEST_CASE("a machine that goes waits for the works that run and drops the others") {
  asio::io_context io;
  std::optional<native::machine> machine;
  machine.emplace(io, native::options());
  std::atomic<int> begun{0}, ended{0};
  int done = 0;
  for (int i = 0; i < 1000; ++i) {
    machine->workers()->run(
        host::workers::length::any,
        [&] {
          ++begun;
          ++ended;
        },
        [&] { ++done; });
  }
  machine.reset();
  CHECK(begun == ended);
  io.run();
  CHECK(done == 0);
}

TEST_CASE("a driver helps with brief works, and with no others") {
  asio::io_context io;
  native::machine machine(io, {});
  host::workers& workers = *machine.workers();
  CHECK_FALSE(workers.help());
  const std::thread::id self = std::this_thread::get_id();
  std::atomic<int> here{0}, elsewhere{0};
  int done = 0;
  for (int i = 0; i < 2000; ++i) {
    workers.run(
        i % 2 == 0 ? host::workers::length::brief : host::workers::length::any,
        [&, i] {
          const bool own = std::this_thread::get_id() == self;
          ++(own ? here : elsewhere);
          if (own && i % 2 != 0) here += 1'000'000;
        },
        [&] { ++done; });
    if (i % 4 == 3) (void)workers.help();
  }
  while (workers.help()) continue;
  io.run();
  CHECK(done == 2000);
  CHECK(here + elsewhere == 2000);
}

TEST_CASE("what is shared is done part by part, once each, before the call returns") {
  asio::io_context io;
  native::machine machine(io, {});
  host::workers& workers = *machine.workers();
  CHECK(workers.idle() <= workers.count());
  for (int round = 0; round < 300; ++round) {
    const auto parts = static_cast<std::size_t>(round % 20);
    std::vector<int> times(parts, 0);
    workers.share(parts, [&](std::size_t n) { ++times[n]; });
    CHECK(times == std::vector<int>(parts, 1));
  }
}

TEST_CASE("a part that shares, works beside what is shared, and a machine that goes afterwards") {
  asio::io_context io;
  std::optional<native::machine> machine;
  machine.emplace(io, native::options());
  host::workers& workers = *machine->workers();
  std::atomic<int> parts{0}, works{0};
  int done = 0;
  for (int i = 0; i < 50; ++i) {
    workers.run(host::workers::length::brief, [&] { ++works; }, [&] { ++done; });
    workers.share(4, [&](std::size_t) { workers.share(3, [&](std::size_t) { ++parts; }); });
    CHECK(parts == 12 * (i + 1));
  }
  io.run();
  CHECK(works == 50);
  CHECK(done == 50);
  workers.share(4, [&](std::size_t) { ++parts; });
  machine.reset();
  CHECK(parts == 604);
}

/// Whichever way a collective takes, the bytes are the same.
#include "support/local_world.hpp"

#include <p2pdvm/async/nursery.hpp>
#include <p2pdvm/peal/mpi.hpp>

#include <algorithm>
#include <bit>
#include <chrono>

using namespace p2pdvm;
using namespace std::chrono_literals;
using test::local_world;
using Catch::Matchers::Contains;

namespace {

/// Associative, not commutative: the two halves of an affine map.
struct affine {
  std::uint32_t factor = 1;
  std::uint32_t offset = 0;
};
struct compose {
  affine operator()(const affine& a, const affine& b) const {
    return {a.factor * b.factor, a.factor * b.offset + a.offset};
  }
};

std::string hex(byte_view bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    text += "0123456789abcdef"[std::to_integer<int>(b) >> 4];
    text += "0123456789abcdef"[std::to_integer<int>(b) & 15];
  }
  return text;
}

/// Sums that round differently in every bracketing.
std::vector<double> addends(int rank, std::size_t count) {
  std::vector<double> all(count);
  for (std::size_t i = 0; i < count; ++i)
    all[i] = 1.0 / static_cast<double>(3 + rank * 7 + static_cast<int>(i % 1000)) * (rank % 3 == 0 ? 1e6 : 1);
  return all;
}

task<> all_collectives(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const int p = world.size();
  std::string seen;
  co_await world.barrier();
  const auto counts = rank.option("counts");
  std::vector<std::size_t> sizes{0, 1, 5, 100};
  if (counts == "large") sizes.push_back(30'000);
  for (const std::size_t count : sizes) {
    std::vector<double> sum = addends(rank.id(), count);
    co_await world.allreduce(std::span(sum));
    std::vector<double> on_first = addends(rank.id(), count);
    on_first = co_await world.reduce(std::span<const double>(on_first));
    if (rank.id() == 0) CHECK(hex(std::as_bytes(std::span(on_first))) == hex(std::as_bytes(std::span(sum))));
    seen += hex(std::as_bytes(std::span(sum).first(std::min<std::size_t>(sum.size(), 40))));
    for (const double x : sum) seen += x < 0 ? "-" : "";
  }
  const affine mine{3u + 2u * static_cast<std::uint32_t>(rank.id()), static_cast<std::uint32_t>(rank.id())};
  const affine all = co_await world.allreduce(mine, compose());
  affine right;
  for (int r = 0; r < p; ++r)
    right = compose()(right, {3u + 2u * static_cast<std::uint32_t>(r), static_cast<std::uint32_t>(r)});
  CHECK(all.factor == right.factor);
  CHECK(all.offset == right.offset);
  std::string word(1, static_cast<char>('a' + rank.id() % 26));
  const auto concatenate = [](const std::string& a, const std::string& b) { return a + b; };
  const std::string words = co_await world.allreduce(word, concatenate);
  const std::string name(static_cast<std::size_t>(rank.id() % 5), 'x');
  const auto names = co_await world.allgather(name);
  for (int r = 0; r < p; ++r) CHECK(names[static_cast<std::size_t>(r)].size() == static_cast<std::size_t>(r % 5));
  mpi::communicator half = co_await world.split(rank.id() % 2, -rank.id());
  const double of_half = co_await half.allreduce(0.1 * rank.id());
  co_await half.barrier();
  seen += words + hex(bytes_of(all)) + hex(bytes_of(of_half));
  rank.result("seen", seen + "\n");
}

/// A plane of machines, some pairs of which are badly connected.
std::optional<duration> far(int a, int b) {
  if (a == b) return duration::zero();
  const int x = std::min(a, b), y = std::max(a, b);
  if ((x * 7 + y * 3) % 11 == 0) return 900ms;
  return std::chrono::milliseconds(20 + (x * 31 + y * 17) % 200);
}

std::string seen(std::uint32_t ranks, const local_world::round_trips& network, std::vector<std::string>* told = nullptr,
                 const std::string& counts = "small") {
  local_world w(ranks, all_collectives, {{"counts", counts}});
  if (network) w.network(network);
  REQUIRE(w.run());
  if (told != nullptr) *told = w.explained();
  return w.result("seen");
}

}  // namespace

TEST_CASE("every way of every collective gives the same bytes, at every number of ranks") {
  std::vector<std::uint32_t> sizes;
  for (std::uint32_t n = 1; n <= 17; ++n) sizes.push_back(n);
  for (const std::uint32_t n : {32u, 33u, 64u}) sizes.push_back(n);
  for (const std::uint32_t ranks : sizes) {
    INFO(ranks << " ranks");
    std::vector<std::string> told;
    const std::string classic = seen(ranks, {}, &told);
    const std::string apart = seen(ranks, far, &told);
    CHECK(apart == classic);
    CHECK(seen(ranks, [](int a, int b) { return std::optional(duration(a == b ? 0us : 100us)); }) == classic);
    if (ranks < 3) continue;
    REQUIRE_FALSE(told.empty());
    CHECK_THAT(told.front(), Contains("barrier of " + std::to_string(ranks) + " ranks"));
    if (ranks >= 8) CHECK_THAT(told.front(), Contains("exchange, predicted"));
  }
}

TEST_CASE("processes that share cores meet at one of them, with the same bytes") {
  const auto near = [](int a, int b) { return std::optional(duration(a == b ? 0ns : 300ns)); };
  for (const std::uint32_t ranks : {3u, 5u, 8u, 16u}) {
    INFO(ranks << " ranks");
    const std::string classic = seen(ranks, {});
    for (const std::uint32_t cores : {1u, 2u, 16u}) {
      local_world w(ranks, all_collectives, {{"counts", "small"}});
      w.network(near).cores(cores);
      REQUIRE(w.run());
      CHECK(w.result("seen") == classic);
      REQUIRE_FALSE(w.explained().empty());
      const bool shared = w.explained().front().find("hub, these processes share cores") != std::string::npos;
      CHECK(shared == (cores < ranks));
    }
  }
}

TEST_CASE("where peers have several ranks, the first of each speaks for them, with the same bytes") {
  // Of unequal sizes, and ranks of one peer not always side by side.
  const auto blocks = [](int a, int b) { return a / 5 == b / 5 ? std::optional(duration(0)) : far(a / 5, b / 5); };
  const auto scattered = [](int a, int b) { return a % 7 == b % 7 ? std::optional(duration(0)) : far(a % 7, b % 7); };
  for (const std::uint32_t ranks : {9u, 16u, 23u, 48u, 64u}) {
    INFO(ranks << " ranks");
    const std::string classic = seen(ranks, {});
    std::vector<std::string> told;
    CHECK(seen(ranks, blocks, &told) == classic);
    if (ranks > 16) CHECK_THAT(told.front(), Contains("by peers, predicted"));
    CHECK(seen(ranks, scattered, &told) == classic);
    if (ranks > 16) CHECK_THAT(told.front(), Contains("by peers, predicted") && Contains(", 7 peers"));
  }
}

namespace {

task<> one_collective(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const auto name = rank.option("name");
  std::vector<double> values = addends(rank.id(), name == "large allreduce" ? 30'000 : 3);
  if (name == "barrier") co_await world.barrier();
  if (name == "broadcast") co_await world.bcast(std::span(values), 1);
  if (name == "reduce") values = co_await world.reduce(std::span<const double>(values));
  if (name == "allreduce" || name == "large allreduce") co_await world.allreduce(std::span(values));
  if (name == "gather") (void)co_await world.gather(rank.id());
  if (name == "allgather") (void)co_await world.allgather(rank.id());
  if (name == "scan") values[0] = co_await world.scan(values[0]);
}

}  // namespace

TEST_CASE("no collective of more than 16 ranks goes through one of them") {
  const std::vector<std::pair<std::string, local_world::round_trips>> networks{
      {"one peer", {}},
      {"a LAN", [](int a, int b) { return std::optional(duration(a == b ? 0us : 100us)); }},
      {"far apart", far},
      {"peers of four", [](int a, int b) { return a / 4 == b / 4 ? std::optional(duration(0)) : far(a / 4, b / 4); }}};
  for (const std::uint32_t ranks : {17u, 32u, 64u}) {
    for (const auto& [where, network] : networks) {
      for (const std::string name : {"barrier", "broadcast", "reduce", "allreduce", "large allreduce", "gather",
                                     "allgather", "scan"}) {
        INFO(name << " of " << ranks << " ranks, " << where);
        local_world w(ranks, one_collective, {{"name", name}});
        if (network) w.network(network);
        REQUIRE(w.run());
        const auto counts = w.message_counts();
        std::uint64_t sent = 0, received = 0, most = 0;
        for (const auto& n : counts) {
          sent += n.sent;
          received += n.received;
          most = std::max({most, n.sent, n.received});
        }
        CHECK(sent == received);
        // Trees have log2 at their root; where everybody has one for everybody, so has each.
        CHECK(most <= 3 * sent / ranks + 2 * std::bit_width(ranks));
      }
    }
  }
}

TEST_CASE("large reductions give the same bytes in slices") {
  for (const std::uint32_t ranks : {5u, 8u, 16u, 17u}) {
    INFO(ranks << " ranks");
    std::vector<std::string> told;
    const std::string classic = seen(ranks, {}, nullptr, "large");
    const auto uniform = [](int a, int b) { return std::optional<duration>(a == b ? 0ms : 100ms); };
    CHECK(seen(ranks, uniform, &told, "large") == classic);
    CHECK(seen(ranks, far, nullptr, "large") == classic);
    const auto slices = std::count_if(told.begin(), told.end(), [](const std::string& s) {
      return s.find("slices, predicted") != std::string::npos;
    });
    CHECK(slices >= 1);
  }
}

namespace {

task<> halved(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  std::vector<double> sum = addends(rank.id(), rank.option<std::size_t>("count"));
  co_await world.allreduce(std::span(sum));
  rank.result("sum", payload::copy_of(std::as_bytes(std::span(sum))));
}

}  // namespace

TEST_CASE("on one machine large reductions go by halves, with the same bytes") {
  for (const std::uint32_t ranks : {8u, 16u}) {
    for (const std::string count : {"524288", "524291"}) {
      local_world one(ranks, halved, {{"count", count}});
      REQUIRE(one.run());
      local_world lan(ranks, halved, {{"count", count}});
      lan.network([](int a, int b) { return std::optional(duration(a == b ? 0us : 10us)); });
      REQUIRE(lan.run());
      CHECK((one.result("sum") == lan.result("sum")));
      REQUIRE(lan.explained().size() == 1);
      CHECK_THAT(lan.explained().front(), Contains("halving, predicted"));
    }
  }
}

namespace {

task<> two_at_once(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  double sum = 1;
  nursery children(co_await asio::this_coro::executor);
  if (rank.id() % 2 == 0) {
    children.spawn(world.allreduce(std::span(&sum, 1)));  // begins when the barrier waits
    co_await world.barrier();
  } else {
    co_await world.barrier();
    co_await world.allreduce(std::span(&sum, 1));
  }
  co_await children.join();
  CHECK(sum == rank.size());
}

task<> stops_between(peal::rank& rank) {
  mpi::communicator world(rank);
  int step = 0;
  double sum = 0;
  rank.state("step", step);
  rank.state("sum", sum);
  co_await rank.restore();
  while (step < 6) {
    sum += co_await world.allreduce(0.1 * rank.id() + sum);
    ++step;
    co_await rank.safe_point();
  }
  rank.result("sum", payload::copy_of(bytes_of(sum)));
}

task<> different(peal::rank& rank) {
  mpi::communicator world(rank);
  co_await rank.restore();
  const std::string what = rank.option("what");
  double x = 1;
  if (what == "later") co_await world.barrier();
  if (rank.id() == 2) {
    co_await world.bcast(x);
  } else if (what == "operation" && rank.id() == 1) {
    x = co_await world.allreduce(x, mpi::maximum());
  } else {
    x = co_await world.allreduce(x);
  }
}

std::string mistake(const std::string& what) {
  local_world w(7, different, {{"what", what}});
  w.network(far);
  return w.failure();
}

}  // namespace

TEST_CASE("a collective that begins while ranks learn of the network waits for that") {
  local_world w(5, two_at_once);
  w.network(far);
  CHECK(w.run());
}

TEST_CASE("a rollback makes all ranks learn anew of the network, with the same bytes") {
  const auto ranks = GENERATE(6u, 12u);  // of twelve, what is told by neighbours is left behind
  local_world undisturbed(ranks, stops_between);
  REQUIRE(undisturbed.run());
  local_world first(ranks, stops_between);
  first.network(far).cut_at(3);
  REQUIRE(first.run());
  const auto snapshots = first.cut();
  REQUIRE(snapshots);
  CHECK(first.result("sum") == undisturbed.result("sum"));
  local_world second(ranks, stops_between, {}, &*snapshots);
  second.network([](int a, int b) { return far(b + 1, a + 1); });  // ranks may be elsewhere
  REQUIRE(second.run());
  CHECK(second.result("sum") == undisturbed.result("sum"));
  CHECK(second.explained().size() == 1);
}

TEST_CASE("mismatched collectives are explained also while ranks learn of the network") {
  CHECK_THAT(mistake("first"), Contains("collectives do not match") && Contains("bcast") && Contains("allreduce"));
  CHECK_THAT(mistake("later"), Contains("collectives do not match") && Contains("bcast") && Contains("allreduce"));
  CHECK_THAT(mistake("operation"), Contains("collectives do not match"));
}

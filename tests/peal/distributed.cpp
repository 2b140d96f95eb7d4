/// Arrays in blocks, and snapshots that other numbers of ranks go on from.
#include "../examples/applications/heat.hpp"
#include "support/local_world.hpp"

#include <p2pdvm/peal/bsp.hpp>
#include <p2pdvm/peal/distributed.hpp>
#include <p2pdvm/store/chunker.hpp>

#include <numeric>

using namespace p2pdvm;
using test::local_world;

namespace {

/// Snapshots as they lie in a store.
class stored_snapshots {
 public:
  explicit stored_snapshots(const local_world::snapshots& taken) {
    const crypto::secret_key secret;
    for (std::uint32_t r = 0; r < taken.size(); ++r) {
      store::chunker chunker(secret, rank_number(r));
      std::vector<store::section_data> sections;
      for (const auto& p : taken[r].pieces()) sections.push_back({p.name, p.parts, p.bulk});
      REQUIRE(chunker.start(epoch_number(1), std::move(sections)).ok());
      while (!chunker.step(64)) {
      }
      auto cut = chunker.take();
      for (const auto& c : cut.chunks) chunks_.emplace(c.chunk.id, to_vector(c.plain.view()));
      manifests.push_back(std::move(cut.manifest));
    }
  }
  [[nodiscard]] result<peal::reshaping> plan(std::uint32_t to) const {
    return peal::reshaping::plan(manifests, to, [this](const store::section& s) -> result<byte_vector> {
      byte_vector laid;
      for (const auto& c : s.chunks) append(laid, chunks_.at(c.id));
      laid.erase(laid.begin(), laid.begin() + static_cast<std::ptrdiff_t>(s.skip));
      laid.resize(static_cast<std::size_t>(s.bytes));
      return laid;
    });
  }
  [[nodiscard]] local_world::snapshots with(std::uint32_t to) const {
    const auto planned = plan(to);
    INFO((planned.ok() ? std::string() : planned.error().message()));
    REQUIRE(planned.ok());
    local_world::snapshots made;
    for (std::uint32_t r = 0; r < to; ++r) made.push_back(planned->make(rank_number(r), 17).value());
    return made;
  }
  [[nodiscard]] std::string refusal(std::uint32_t to) const {
    const auto planned = plan(to);
    if (planned.ok()) return "";
    CHECK(planned.error().code() == errc::invalid_argument);
    return planned.error().message();
  }
  std::vector<store::manifest> manifests;

 private:
  std::map<chunk_id, byte_vector> chunks_;
};

local_world::snapshots cut(local_world& w, std::uint64_t at) {
  w.cut_at(at);
  const bool ran = w.run();
  REQUIRE(ran);
  auto taken = w.cut();
  REQUIRE(taken);
  return std::move(*taken);
}

constexpr std::uint64_t elements = 30'000, unit = 6;

/// A prefix sum by BSP: each rank adds up its block, gets what the ranks before it have, and writes a line.
task<> prefix_sums(peal::rank& rank) {
  bsp::world world(rank);
  const peal::block mine = rank.block(elements, unit);
  std::vector<std::uint64_t> values(mine.count);
  std::iota(values.begin(), values.end(), mine.first);
  int step = 0;
  rank.common("step", step);
  rank.distributed("values", values, elements, unit);
  co_await rank.restore();
  peal::output lines = world.output("lines");
  while (step < 6) {
    for (std::uint64_t& v : values) v %= 1000;
    const std::uint64_t sum = std::accumulate(values.begin(), values.end(), std::uint64_t{0});
    for (int to = rank.id() + 1; to < rank.size(); ++to) world.send(to, 0, sum);
    co_await world.sync();
    std::uint64_t before = 0;
    for (const bsp::message& m : world.messages()) before += m.value<std::uint64_t>();
    for (std::uint64_t& v : values) v = before = before + v;
    if (rank.id() == rank.size() - 1) lines.write(std::to_string(before) + "\n");
    ++step;
    co_await world.safe_sync();
  }
  rank.result("values", payload::copy_of(std::as_bytes(std::span(values))));
}

task<> awkward(peal::rank& rank) {
  mpi::communicator world(rank);
  const std::string what = rank.option("what");
  std::vector<int> some(4, rank.id()), block(rank.block(10).count);
  int step = 0, own = rank.id();
  if (what == "odd") (void)rank.block(10, 3);
  rank.common("step", step);
  if (what == "state") rank.state("own", own);
  if (what == "region") rank.region("some", some);
  if (what == "unequal") rank.common("own", own);
  if (what == "size") rank.distributed("block", block, 20);
  rank.distributed("block", block, 10);
  co_await rank.restore();
  if (what == "random") (void)rank.random()();
  if (what == "unread" && rank.id() == 0) co_await world.send(7, 1);
  if (what == "grown") block.push_back(1);
  ++step;
  co_await rank.safe_point();
  if (what == "unread" && rank.id() == 1) (void)co_await world.recv<int>(0);
  ++step;
  co_await rank.safe_point();
}

std::string refused(const std::string& what, std::uint64_t at = 1) {
  local_world w(3, awkward, {{"what", what}});
  try {
    return stored_snapshots(cut(w, at)).refusal(2);
  } catch (const std::system_error& e) {
    return e.what();
  }
}

}  // namespace

TEST_CASE("blocks cover an array once, in whole units, as evenly as can be") {
  for (const std::uint64_t each : {1u, 3u, 7u}) {
    for (const std::uint64_t units : {0u, 1u, 5u, 8u, 64u}) {
      for (int ranks = 1; ranks <= 10; ++ranks) {
        std::uint64_t next = 0;
        for (int r = 0; r < ranks; ++r) {
          const peal::block b = peal::block_of(units * each, r, ranks, each);
          CHECK(b.first == next);
          CHECK(b.count % each == 0);
          CHECK(b.count / each >= units / static_cast<std::uint64_t>(ranks));
          CHECK(b.count / each <= units / static_cast<std::uint64_t>(ranks) + 1);
          next = b.first + b.count;
        }
        CHECK(next == units * each);
      }
    }
  }
}

TEST_CASE("supersteps over a distributed array go on with any number of ranks") {
  local_world whole(1, prefix_sums);
  REQUIRE(whole.run());
  const std::string right = whole.result("values"), lines = whole.output("lines");
  REQUIRE(right.size() == elements * 8);
  for (const std::uint32_t n : {1u, 3u, 4u}) {
    local_world first(n, prefix_sums);
    const stored_snapshots stored(cut(first, 2 + n % 3));
    for (std::uint32_t m = 1; m <= 2 * n; ++m) {
      INFO(n << " ranks, then " << m);
      const auto snapshots = stored.with(m);
      local_world second(m, prefix_sums, {}, &snapshots);
      REQUIRE(second.run());
      CHECK((second.result("values") == right));
      CHECK(second.output("lines") == lines);
    }
  }
}

TEST_CASE("a plate of heat goes on with any number of ranks, also with more than it has rows") {
  const local_world::options how = {{"size", "7"}, {"steps", "12"}};
  local_world whole(1, heat::body, how);
  REQUIRE(whole.run());
  const std::string image = whole.result("output"), field = whole.result("field");
  for (const std::uint32_t n : {1u, 3u, 4u}) {
    local_world first(n, heat::body, how);
    const stored_snapshots stored(cut(first, 5));
    for (std::uint32_t m = 1; m <= 2 * n; ++m) {
      INFO(n << " ranks, then " << m);
      const auto snapshots = stored.with(m);
      local_world second(m, heat::body, how, &snapshots);
      REQUIRE(second.run());
      CHECK((second.result("output") == image));
      CHECK((second.result("field") == field));
      if (m == n) continue;
      // And from there to the old number again.
      local_world third(m, heat::body, how, &snapshots);
      const stored_snapshots later(cut(third, 8));
      const auto back = later.with(n);
      local_world fourth(n, heat::body, how, &back);
      REQUIRE(fourth.run());
      CHECK((fourth.result("field") == field));
    }
  }
}

TEST_CASE("what belongs to ranks is named, and stands in the way of another number of them") {
  using Catch::Matchers::Contains;
  CHECK(refused("nothing").empty());
  CHECK_THAT(refused("state"), Contains("what 3 ranks have saved cannot go on with 2 ranks: 'own' belongs to each rank (rank.state)"));
  CHECK_THAT(refused("region"), Contains("'some' belongs to each rank (rank.region)"));
  CHECK_THAT(refused("unequal"), Contains("'own' is declared by rank.common, but is not the same on rank 0 and on rank 1"));
  CHECK_THAT(refused("random"), Contains("rank 0 has drawn random numbers"));
  CHECK_THAT(refused("unread"), Contains("rank 1 has not read a message of rank 0"));
  CHECK(refused("unread", 2).empty());
  CHECK_THAT(refused("odd"), Contains("10 elements are shared out in units of 3"));
  CHECK_THAT(refused("size"), Contains("'block' has 4 elements in the memory of rank 0, whose block has 7 and 0 on either side"));
  CHECK_THAT(refused("grown"), Contains("'block' has another size than when it was declared"));
}

TEST_CASE("ranks that have returned cannot be shared out again") {
  local_world w(2, awkward, {{"what", "nothing"}});
  REQUIRE(w.run());
  (void)w.result("none");
  local_world::snapshots ended = w.last_snapshots();
  CHECK_THAT(stored_snapshots(ended).refusal(3), Catch::Matchers::Contains("rank 0 has returned in it; take the checkpoint before"));
}

TEST_CASE("messages of supersteps that nobody has read yet stand in the way") {
  local_world w(
      2, +[](peal::rank& rank) -> task<> {
        bsp::world world(rank);
        co_await rank.restore();
        world.send(1 - rank.id(), 0, 5);
        co_await world.safe_sync();
      });
  CHECK_THAT(stored_snapshots(cut(w, 1)).refusal(1), Catch::Matchers::Contains("the adapter 'bsp' of rank 0 holds something that belongs to it"));
}

TEST_CASE("another array than was saved is refused in a sentence") {
  local_world first(2, prefix_sums);
  const stored_snapshots stored(cut(first, 2));
  const auto snapshots = stored.with(3);
  local_world second(
      3, +[](peal::rank& rank) -> task<> {
        bsp::world world(rank);
        int step = 0;
        std::vector<std::uint64_t> values(rank.block(3000).count);
        rank.common("step", step);
        rank.distributed("values", values, 3000);
        co_await rank.restore();
      },
      {}, &snapshots);
  CHECK_THROWS_WITH(second.run(), Catch::Matchers::Contains("the snapshot's 'values' does not fit the program: it is not this rank's block"));
}

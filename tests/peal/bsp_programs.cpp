/// Generated programs of random supersteps, held against a model that does them one after the other. P2PDVM_PROGRAMS=n runs more.
#include "support/local_world.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/peal/bsp.hpp>

#include <cstdlib>
#include <span>

using namespace p2pdvm;
using test::local_world;

namespace {

struct call {
  enum class kind : std::uint8_t { put, get, add, send };
  kind what = kind::put;
  int other = 0;
  std::size_t first = 0;
  std::vector<std::int64_t> values;  ///< of a get: as many as it reads
};

/// A program, and what each rank has at each of its moments.
struct generated {
  std::size_t ranks = 1;
  std::size_t part_bytes = bsp::detail::part_bytes_max;
  std::vector<double> round_trips;  ///< between all ranks; none: they are near
  struct moment {
    std::vector<std::vector<std::int64_t>> cells, sums;
    /// By rank: what its gets brought, and what was sent to it, each with source and tag.
    std::vector<std::vector<std::int64_t>> got;
    std::vector<std::vector<std::vector<std::int64_t>>> received;
    std::int64_t folded = 0;
  };
  std::vector<std::vector<std::vector<call>>> steps;  ///< step, rank
  std::vector<moment> moments;                        ///< one more than steps
};

std::int64_t folding(std::int64_t a, std::int64_t b) { return a * 3 + b; }
/// Not commutative, so that the order matters.
struct shifted {
  std::int64_t operator()(std::int64_t element, std::int64_t value) const noexcept { return element * 5 + value; }
};

generated generate(std::uint64_t seed) {
  random_generator random(seed);
  generated g;
  static constexpr std::array<std::size_t, 6> sizes = {1, 2, 3, 4, 7, 5};
  g.ranks = sizes[random.below(sizes.size())];
  if (random.below(2) == 0) g.part_bytes = bsp::detail::head_bytes + random.below(200);
  if (random.below(2) == 0) {
    g.round_trips.resize(g.ranks * g.ranks);
    for (double& time : g.round_trips) time = random.below(10) == 0 ? -1 : 0.3 * random.unit();
  }
  generated::moment now;
  for (std::size_t r = 0; r < g.ranks; ++r) {
    now.cells.emplace_back(random.below(7));
    now.sums.emplace_back(1 + random.below(3));
    for (std::int64_t& x : now.cells[r]) x = static_cast<std::int64_t>(random.below(1000));
  }
  g.moments.push_back(now);
  const std::size_t steps = 1 + random.below(7);
  for (std::size_t s = 0; s < steps; ++s) {
    auto& calls = g.steps.emplace_back(g.ranks);
    generated::moment next = now;
    next.got.assign(g.ranks, {});
    next.received.assign(g.ranks, {});
    next.folded = 0;
    for (std::size_t r = 0; r < g.ranks; ++r) {
      for (std::size_t n = random.below(9); n > 0; --n) {
        call c;
        c.what = static_cast<call::kind>(random.below(4));
        const std::size_t other = random.below(g.ranks);
        c.other = static_cast<int>(other);
        const std::size_t room = c.what == call::kind::add ? now.sums[other].size() : now.cells[other].size();
        const std::size_t count = random.below((c.what == call::kind::send ? 40 : room) + 1);
        c.first = c.what == call::kind::send ? random.below(100) : random.below(room - count + 1);
        for (std::size_t i = 0; i < count; ++i) c.values.push_back(static_cast<std::int64_t>(random.below(1000)));
        calls[r].push_back(std::move(c));
      }
    }
    const auto each = [&](call::kind what, auto&& does) {
      for (std::size_t r = 0; r < g.ranks; ++r) {
        for (const call& c : calls[r]) {
          if (c.what == what) does(r, c, static_cast<std::size_t>(c.other));
        }
      }
    };
    each(call::kind::get, [&](std::size_t r, const call& c, std::size_t other) {
      for (std::size_t i = 0; i < c.values.size(); ++i) next.got[r].push_back(now.cells[other][c.first + i]);
    });
    each(call::kind::put, [&](std::size_t, const call& c, std::size_t other) {
      for (std::size_t i = 0; i < c.values.size(); ++i) next.cells[other][c.first + i] = c.values[i];
    });
    each(call::kind::add, [&](std::size_t, const call& c, std::size_t other) {
      for (std::size_t i = 0; i < c.values.size(); ++i) {
        std::int64_t& sum = next.sums[other][c.first + i];
        sum = shifted()(sum, c.values[i]);
      }
    });
    each(call::kind::send, [&](std::size_t r, const call& c, std::size_t other) {
      std::vector<std::int64_t> m = {static_cast<std::int64_t>(r), static_cast<std::int64_t>(c.first)};
      m.insert(m.end(), c.values.begin(), c.values.end());
      next.received[other].push_back(std::move(m));
    });
    for (std::size_t r = 0; r < g.ranks; ++r) next.folded = r == 0 ? static_cast<std::int64_t>(calls[0].size()) : folding(next.folded, static_cast<std::int64_t>(calls[r].size()));
    g.moments.push_back(next);
    now = std::move(next);
  }
  return g;
}

const generated* running = nullptr;

task<> body(peal::rank& rank) {
  const generated& g = *running;
  const auto me = static_cast<std::size_t>(rank.id());
  bsp::detail::world_setting how;
  how.part_bytes = g.part_bytes;
  bsp::world world(rank, how);
  std::vector<std::int64_t> cells = g.moments[0].cells[me], sums = g.moments[0].sums[me];
  std::uint64_t step = 0;
  rank.state("cells", cells);
  rank.state("sums", sums);
  rank.state("step", step);
  bsp::array<std::int64_t> array(world, cells);
  bsp::accumulator<std::int64_t, shifted> summed(world, sums);
  co_await rank.restore();
  for (; step < g.steps.size(); ++step) {
    std::vector<std::int64_t> got;
    std::size_t reads = 0;
    for (const call& c : g.steps[step][me]) reads += c.what == call::kind::get ? c.values.size() : 0;
    got.resize(reads, -1);
    reads = 0;
    const auto calls = static_cast<std::int64_t>(g.steps[step][me].size());
    for (const call& c : g.steps[step][me]) {
      switch (c.what) {
        case call::kind::put: array.put(c.other, c.first, c.values); break;
        case call::kind::add: summed.add(c.other, c.first, c.values); break;
        case call::kind::send: world.send(c.other, static_cast<std::int64_t>(c.first), c.values); break;
        case call::kind::get:
          array.get(c.other, c.first, std::span(got).subspan(reads, c.values.size()));
          reads += c.values.size();
      }
    }
    // Registered for this superstep alone, which must not disturb what is there for longer.
    std::vector<int> brief(3, 0);
    std::optional<bsp::array<int>> passing;
    if (step % 2 == 1) {
      passing.emplace(world, brief);
      passing->put((rank.id() + 1) % rank.size(), step % 3, rank.id() + 1);
    }
    const bsp::future<std::int64_t> folded = world.fold(calls, [](std::int64_t a, std::int64_t b) { return folding(a, b); });
    co_await world.sync();
    const generated::moment& then = g.moments[step + 1];
    CHECK(cells == then.cells[me]);
    CHECK(sums == then.sums[me]);
    CHECK(got == then.got[me]);
    CHECK(folded.value() == then.folded);
    if (passing) CHECK(brief[step % 3] == (rank.id() + rank.size() - 1) % rank.size() + 1);
    std::vector<std::vector<std::int64_t>> received;
    for (const bsp::message& m : world.messages()) {
      received.push_back({m.source(), m.tag()});
      for (const std::int64_t x : m.values<std::int64_t>()) received.back().push_back(x);
    }
    CHECK(received == then.received[me]);
  }
}

bool runs(const generated& g) {
  running = &g;
  local_world world(static_cast<std::uint32_t>(g.ranks), body);
  if (!g.round_trips.empty()) {
    world.network([&g](int from, int to) -> std::optional<duration> {
      const double time = g.round_trips[static_cast<std::size_t>(from) * g.ranks + static_cast<std::size_t>(to)];
      if (time < 0) return std::nullopt;
      return from_seconds(time);
    });
  }
  return world.run();
}

}  // namespace

TEST_CASE("random supersteps do what they do one after the other") {
  const char* const text = std::getenv("P2PDVM_PROGRAMS");
  const std::uint64_t count = text == nullptr ? 10'000 : std::strtoull(text, nullptr, 10);
  for (std::uint64_t seed = 1; seed <= count; ++seed) {
    INFO("program " << seed);
    const generated g = generate(seed);
    REQUIRE(runs(g));
  }
}

TEST_CASE("random supersteps do what they do one after the other, a million programs", "[.long]") {
  for (std::uint64_t seed = 1'000'001; seed <= 2'000'000; ++seed) {
    INFO("program " << seed);
    const generated g = generate(seed);
    REQUIRE(runs(g));
  }
}

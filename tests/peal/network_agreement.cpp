#include "support/test.hpp"

#include <p2pdvm/base/random.hpp>
#include <p2pdvm/peal/mpi/network_agreement.hpp>

#include <map>
#include <memory>

using namespace p2pdvm;
using mpi::network_agreement;
using mpi::network_view;

namespace {

/// Members with messages that take their time, and what each measured before.
struct exchange {
  struct letter {
    int from;
    int to;
    byte_vector data;
  };
  explicit exchange(int n) : members(n) {
    for (int i = 0; i < n; ++i) agreements.push_back(std::make_unique<network_agreement>(n, i));
  }
  void flush(int i) {
    for (auto& out : agreements[static_cast<std::size_t>(i)]->take_output()) {
      const std::pair path(i, out.to);
      double at = now + distance(i, out.to) + (slow_start && !used[path] ? 0.5 : 0);
      used[path] = true;
      at = std::max(at, last[path]);  // a pair keeps its order
      last[path] = at;
      on_the_way.emplace(at, letter{i, out.to, std::move(out.data)});
      ++sent;
    }
  }
  void begin(int i) {
    std::vector<std::optional<double>> known(static_cast<std::size_t>(members));
    for (int j = 0; j < members; ++j) {
      if (knows && knows(i, j)) known[static_cast<std::size_t>(j)] = 2 * distance(i, j);
    }
    agreements[static_cast<std::size_t>(i)]->begin(now, known, cores ? cores(i) : 0);
    begun[i] = true;
    flush(i);
  }
  /// Those who are not there yet find their letters when they come.
  void run(const std::map<double, int>& arrivals) {
    auto next = arrivals.begin();
    while (next != arrivals.end() || !on_the_way.empty()) {
      if (next != arrivals.end() && (on_the_way.empty() || next->first <= on_the_way.begin()->first)) {
        now = next->first;
        const int i = next->second;
        begin(i);
        for (const letter& l : std::exchange(early[i], {})) deliver(l);
        ++next;
        continue;
      }
      now = on_the_way.begin()->first;
      const letter l = std::move(on_the_way.begin()->second);
      on_the_way.erase(on_the_way.begin());
      if (begun[l.to]) {
        deliver(l);
      } else {
        early[l.to].push_back(l);
      }
    }
  }
  void deliver(const letter& l) {
    network_agreement& a = *agreements[static_cast<std::size_t>(l.to)];
    REQUIRE_FALSE(a.done());  // a rank that is done takes no more messages
    REQUIRE(a.on_message(now, l.from, l.data).ok());
    flush(l.to);
  }
  [[nodiscard]] double distance(int i, int j) const { return i == j ? 0 : 0.01 * (1 + (i * j + i + j) % 7); }

  int members;
  bool slow_start = false;
  std::function<bool(int, int)> knows;
  std::function<std::uint32_t(int)> cores;
  double now = 0;
  std::size_t sent = 0;
  std::vector<std::unique_ptr<network_agreement>> agreements;
  std::multimap<double, letter> on_the_way;
  std::map<int, std::vector<letter>> early;
  std::map<int, bool> begun;
  std::map<std::pair<int, int>, bool> used;
  std::map<std::pair<int, int>, double> last;
};

void check_right(exchange& world) {
  std::vector<network_view> views;
  for (auto& a : world.agreements) {
    REQUIRE(a->done());
    views.push_back(a->take());
  }
  for (int i = 0; i < world.members; ++i) {
    for (int j = 0; j < world.members; ++j) {
      for (const network_view& v : views) CHECK(v.one_way(i, j) == views.front().one_way(i, j));
      const double off = to_seconds(views.front().one_way(i, j)) - world.distance(i, j);
      CHECK((off >= -1e-6 && off <= 1e-6));
    }
  }
}

}  // namespace

TEST_CASE("members agree on the round trips between them, however late each comes") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    INFO("seed " << seed);
    random_generator random(seed);
    exchange world(3 + static_cast<int>(random() % 10));
    world.slow_start = seed % 2 == 0;
    std::map<double, int> arrivals;
    for (int i = 0; i < world.members; ++i) {
      const double at = static_cast<double>(random() % 3000) * 1e-3 + i * 1e-6;
      arrivals[at] = i;
    }
    world.run(arrivals);
    check_right(world);
  }
}

TEST_CASE("what a member knows it does not measure") {
  exchange world(6);
  world.knows = [](int, int) { return true; };
  world.run({{0.0, 0}, {0.1, 1}, {0.2, 2}, {0.3, 3}, {0.4, 4}, {0.5, 5}});
  check_right(world);
  CHECK(world.sent == 6 * 5);  // a row to each

  exchange half(6);
  half.knows = [](int i, int j) { return i < j; };
  half.run({{0.0, 3}, {0.1, 1}, {0.2, 2}, {0.3, 0}, {0.4, 4}, {0.5, 5}});
  check_right(half);
}

TEST_CASE("members agree on how many cores they have, unless one does not know") {
  for (const bool one_does_not_know : {false, true}) {
    exchange world(4);
    world.knows = [](int i, int j) { return i < j; };
    world.cores = [&](int i) { return i == 2 && one_does_not_know ? 0u : 3u - (i == 1 ? 1u : 0u); };
    world.run({{0.0, 3}, {0.1, 1}, {0.2, 2}, {0.3, 0}});
    for (auto& a : world.agreements) {
      const network_view n = a->take();
      for (int i = 0; i < 4; ++i) CHECK(n.one_way(i, i) == duration::zero());
      CHECK(n.cores() == (one_does_not_know ? 0 : 2));
    }
  }
}

TEST_CASE("a damaged message about round trips is refused") {
  network_agreement a(3, 0);
  a.begin(0, {std::nullopt, 0.1, 0.1});
  const auto refused = [&](int from, byte_vector data) {
    const auto taken = a.on_message(0, from, data);
    return !taken.ok() && taken.error().code() == errc::malformed;
  };
  CHECK(refused(1, {}));
  CHECK(refused(1, byte_vector(1, std::byte(9))));
  CHECK(refused(1, byte_vector(1, std::byte(1))));  // a pong to no ping
  CHECK(refused(1, byte_vector(12, std::byte(2))));
  CHECK(refused(0, byte_vector(13, std::byte(2))));
  CHECK(refused(3, byte_vector(13, std::byte(2))));
  CHECK(a.on_message(0, 1, byte_vector(13, std::byte(2))).ok());
  CHECK(refused(1, byte_vector(13, std::byte(2))));  // a second row
}

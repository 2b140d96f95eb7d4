#include "support/test.hpp"

#include <p2pdvm/peal/mpi/uplink_agreement.hpp>

#include <map>
#include <memory>

using namespace p2pdvm;
using mpi::network_view;
using mpi::uplink_agreement;

namespace {

/// Members behind uplinks, who begin at their own times.
struct burst_world {
  struct letter {
    int from;
    int to;
    byte_vector data;
  };
  burst_world(int n, double way)
      : members(n), one_way(way), view(n, std::vector<std::uint32_t>(static_cast<std::size_t>(n * n),
                                                                     static_cast<std::uint32_t>(2 * way * 1e7))) {
    for (int i = 0; i < n; ++i) agreements.push_back(std::make_unique<uplink_agreement>(view, i));
  }
  [[nodiscard]] double rate(int i) const { return 1e6 * (1 + i); }
  void flush(int i) {
    for (auto& out : agreements[static_cast<std::size_t>(i)]->take_output()) {
      double& free = uplink_free[i];
      free = std::max(free, now) + static_cast<double>(out.data.size()) / rate(i);
      on_the_way.emplace(free + one_way, letter{i, out.to, std::move(out.data)});
    }
  }
  void deliver(const letter& l) {
    REQUIRE_FALSE(agreements[static_cast<std::size_t>(l.to)]->done());
    REQUIRE(agreements[static_cast<std::size_t>(l.to)]->on_message(now, l.from, l.data).ok());
    flush(l.to);
  }
  void run() {
    std::multimap<double, int> arrivals;
    for (int i = 0; i < members; ++i) arrivals.emplace((i * 7 % members) * 0.3, i);
    while (!arrivals.empty() || !on_the_way.empty()) {
      if (!arrivals.empty() && (on_the_way.empty() || arrivals.begin()->first <= on_the_way.begin()->first)) {
        now = arrivals.begin()->first;
        const int i = arrivals.begin()->second;
        arrivals.erase(arrivals.begin());
        begun[i] = true;
        agreements[static_cast<std::size_t>(i)]->begin(now);
        flush(i);
        for (const letter& l : std::exchange(early[i], {})) deliver(l);
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

  int members;
  double one_way;
  network_view view;
  double now = 0;
  std::vector<std::unique_ptr<uplink_agreement>> agreements;
  std::multimap<double, letter> on_the_way;
  std::map<int, double> uplink_free;
  std::map<int, std::vector<letter>> early;
  std::map<int, bool> begun;
};

}  // namespace

TEST_CASE("members agree on how fast each of them can send, however late each comes") {
  for (const int members : {3, 4, 9, 40}) {
    burst_world world(members, 0.05);
    world.run();
    for (const auto& a : world.agreements) {
      REQUIRE(a->done());
      CHECK(a->rates() == world.agreements.front()->rates());
    }
    for (int i = 0; i < members; ++i) {
      const double measured = world.agreements.front()->rates()[static_cast<std::size_t>(i)];
      CHECK(measured <= world.rate(i) * 1.1);
      CHECK(measured >= world.rate(i) * 0.5);  // a slow receiver may answer late
    }
  }
}

TEST_CASE("a damaged message about uplinks is refused") {
  const network_view view(3, std::vector<std::uint32_t>(9, 1000));
  uplink_agreement a(view, 0);
  a.begin(0);
  const auto refused = [&](int from, byte_vector data) {
    const auto taken = a.on_message(0, from, data);
    return !taken.ok() && taken.error().code() == errc::malformed;
  };
  CHECK(refused(1, {}));
  CHECK(refused(1, byte_vector(1, std::byte(9))));
  CHECK(refused(1, byte_vector(1, std::byte(3))));  // got what was not sent
  CHECK(refused(1, byte_vector(4, std::byte(4))));
  CHECK(refused(3, byte_vector(1, std::byte(0))));
  byte_vector zero(1, std::byte(4));
  zero.resize(5);
  CHECK(refused(1, zero));
}

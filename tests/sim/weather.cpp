#include "support/test.hpp"

#include <p2pdvm/sim/simulation.hpp>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <vector>

using namespace p2pdvm;
using namespace std::chrono_literals;

namespace {

/// Numbered datagrams from one machine to another, and when each arrived how often.
class course final : host::datagram_handler {
 public:
  static constexpr std::size_t packets = 5000;
  struct arrival {
    std::size_t number;
    duration took;
  };

  course(const std::function<void(sim::network_conditions&)>& change, duration spacing)
      : world(calm()),
        from(world.add_machine()),
        to(world.add_machine()),
        in(to.network().open_datagrams(address::v4(0, 0, 0, 0, 9), *this).value()),
        out(from.network().open_datagrams(address::v4(0, 0, 0, 0, 9), *this).value()) {
    change(world.conditions());
    for (std::size_t i = 0; i < packets; ++i) world.call_at(sent_at(i, spacing), [this, i] { send(i); });
    spacing_ = spacing;
    world.run_until(sent_at(packets, spacing) + 1min);
  }
  [[nodiscard]] duration one_way() { return world.round_trip(from, to) / 2; }
  [[nodiscard]] double share() const {
    return static_cast<double>(arrivals.size()) / static_cast<double>(packets);
  }

  sim::simulation world;
  sim::machine& from;
  sim::machine& to;
  std::vector<arrival> arrivals;

 private:
  static sim::options calm() {
    sim::options o;
    o.profile = sim::latency_profile::planetlab;
    o.conditions = sim::network_conditions();
    o.conditions->jitter = 0;
    return o;
  }
  static time_point sent_at(std::size_t i, duration spacing) {
    return time_point(spacing * static_cast<std::int64_t>(i));
  }
  void send(std::size_t i) {
    byte_vector bytes(sizeof i);
    std::memcpy(bytes.data(), &i, sizeof i);
    out->send(to.address().with_port(9), bytes);
  }
  void on_datagram(const address&, byte_view bytes) override {
    std::size_t i = 0;
    std::memcpy(&i, bytes.data(), sizeof i);
    arrivals.push_back({i, world.now() - sent_at(i, spacing_)});
  }

  duration spacing_{};
  std::unique_ptr<host::datagram_socket> in, out;
};

bool in_order(const std::vector<course::arrival>& all) {
  return std::is_sorted(all.begin(), all.end(),
                        [](const auto& a, const auto& b) { return a.number < b.number; });
}

}  // namespace

TEST_CASE("on a calm network every datagram takes the base latency and nothing else happens") {
  course c([](auto&) {}, 100ms);
  CHECK(c.share() == 1);
  CHECK(in_order(c.arrivals));
  for (const auto& a : c.arrivals) CHECK(a.took - c.one_way() < 20us);  // the access link's share
}

TEST_CASE("jitter delays by up to its share of the latency, small delays being likelier") {
  course c([](auto& weather) { weather.jitter = 0.3; }, 100ms);
  std::vector<duration> late;
  for (const auto& a : c.arrivals) late.push_back(a.took - c.one_way());
  std::sort(late.begin(), late.end());
  const double one_way = to_seconds(c.one_way());
  CHECK(to_seconds(late.front()) >= 0);
  CHECK(to_seconds(late.back()) < one_way * 0.3 + 20e-6);
  CHECK(to_seconds(late.back()) > one_way * 0.29);
  CHECK(to_seconds(late[late.size() / 2]) < one_way * 0.1);
}

TEST_CASE("datagrams are lost and duplicated as often as told") {
  course lossy([](auto& weather) { weather.loss = 0.1; }, 100ms);
  CHECK(lossy.share() > 0.88);
  CHECK(lossy.share() < 0.92);
  course twice([](auto& weather) { weather.duplication = 0.1; }, 100ms);
  CHECK(twice.share() > 1.08);
  CHECK(twice.share() < 1.12);
  std::set<std::size_t> different;
  for (const auto& a : twice.arrivals) different.insert(a.number);
  CHECK(different.size() == course::packets);
}

TEST_CASE("reordered datagrams are overtaken by later ones and come within one more latency") {
  course c([](auto& weather) { weather.reordering = 0.1; }, 1ms);
  CHECK(c.share() == 1);
  CHECK_FALSE(in_order(c.arrivals));
  for (const auto& a : c.arrivals) CHECK(a.took < 2 * c.one_way() + 20us);
}

TEST_CASE("routes shift for an interval at a time, rarely, and come back to the base latency") {
  course c(
      [](auto& weather) {
        weather.shift_share = 0.1;
        weather.shift_max = 0.5;
        weather.shift_interval = 1min;
      },
      1s);
  std::size_t shifted = 0, changes = 0;
  duration last{};
  for (const auto& a : c.arrivals) {
    const duration more = a.took - c.one_way();
    CHECK(more < c.one_way() / 2 + 20us);
    shifted += more > 20us ? 1 : 0;
    changes += a.number > 0 && more - last > 20us ? 1 : 0;
    last = more;
  }
  CHECK(shifted > course::packets / 25);  // a tenth of 83 intervals: they differ much by seed
  CHECK(shifted < course::packets / 5);
  CHECK(changes <= course::packets / 60);
  CHECK(shifted > 40 * changes);  // whole intervals
}

TEST_CASE("pairs shift at different times, both directions of one alike, a stream with datagrams") {
  sim::options o;
  o.profile = sim::latency_profile::planetlab;
  o.conditions = sim::network_conditions();
  o.conditions->jitter = 0;
  o.conditions->shift_share = 0.5;
  sim::latency_map map(o.profile, 1);
  sim::detail::links net(std::move(map), *o.conditions, 7);
  sim::machine_options unlimited;
  unlimited.up = unlimited.down = 0;
  for (int i = 0; i < 20; ++i) net.add_machine(unlimited);
  const auto late = [&](std::uint32_t a, std::uint32_t b, sim::detail::tick now) {
    return net.stream_arrival(a, b, 1, now) - now - net.round_trip(a, b).count() / 2 > 20'000;
  };
  const auto minute = sim::detail::tick{60'000'000'000};
  std::set<sim::detail::tick> first_changes;
  for (std::uint32_t b = 1; b < 20; ++b) {
    for (sim::detail::tick t = 0; t < 60; ++t) {
      CHECK(late(0, b, t * minute) == late(b, 0, t * minute));
      const auto datagram = net.datagram_arrival(0, b, 1, t * minute);
      REQUIRE(datagram);
      CHECK((*datagram - t * minute - net.round_trip(0, b).count() / 2 > 20'000) ==
            late(0, b, t * minute));
    }
    for (sim::detail::tick t = 1; t < 60; ++t)
      if (late(0, b, t * minute) != late(0, b, 0)) {
        first_changes.insert(t);
        break;
      }
  }
  CHECK(first_changes.size() > 5);
}

TEST_CASE("a one-way partition stops datagrams of one direction and no others") {
  sim::simulation s({});
  sim::machine& a = s.add_machine();
  sim::machine& b = s.add_machine();
  sim::machine& c = s.add_machine();
  struct counter final : host::datagram_handler {
    explicit counter(sim::machine& m)
        : socket(m.network().open_datagrams(address::v4(0, 0, 0, 0, 9), *this).value()) {}
    void on_datagram(const address&, byte_view) override { ++count; }
    int count = 0;
    std::unique_ptr<host::datagram_socket> socket;
  } at_a(a), at_b(b), at_c(c);
  const auto everybody_sends = [&] {
    for (counter* from : {&at_a, &at_b, &at_c})
      for (sim::machine* to : {&a, &b, &c})
        from->socket->send(to->address().with_port(9), byte_vector(1));
    s.run_for(1s);
  };
  const sim::fault_id cut = s.partition({&a}, {&b, &c}, sim::direction::forward);
  everybody_sends();
  CHECK(at_a.count == 3);
  CHECK(at_b.count == 2);
  CHECK(at_c.count == 2);
  s.heal(cut);
  everybody_sends();
  CHECK(at_a.count == 6);
  CHECK(at_b.count == 5);
  CHECK(at_c.count == 5);
}

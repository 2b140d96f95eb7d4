/// Who gets everybody's parts, and the result of them, whatever comes late.
#include "support/test.hpp"

#include <p2pdvm/peal/mpi/part_exchange.hpp>

#include <algorithm>
#include <cmath>
#include <deque>
#include <map>
#include <optional>
#include <random>

using namespace p2pdvm;
using mpi::exchange_plan;
using mpi::network_view;
using mpi::part_exchange;

namespace {

/// Random places on a plane 100 ms wide, and some pairs with a bad path.
network_view wide_network(int members, std::uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<std::pair<double, double>> places;
  for (int i = 0; i < members; ++i)
    places.emplace_back(static_cast<double>(random() % 1000), static_cast<double>(random() % 1000));
  const auto n = static_cast<std::size_t>(members);
  std::vector<std::uint32_t> round_trips(n * n);
  for (std::size_t i = 0; i < n; ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const double x = places[i].first - places[j].first, y = places[i].second - places[j].second;
      const auto way = static_cast<std::uint32_t>(std::hypot(x, y) * 1000) + 100;
      round_trips[i * n + j] = round_trips[j * n + i] = random() % 9 == 0 ? way * 5 : way;
    }
  }
  return network_view(members, std::move(round_trips));
}

payload text(const std::string& s) { return payload::copy_of(as_bytes(s)); }

payload joined(const std::vector<payload>& parts) {
  byte_vector all;
  for (const payload& p : parts) append(all, p.view());
  return payload(std::move(all));
}

/// Members and what is on its way between each two, in order.
class circle {
 public:
  circle(int members, std::uint32_t seed, bool combined)
      : network_(wide_network(members, seed)), plan_(network_), random_(seed) {
    for (int i = 0; i < members; ++i) {
      all_.emplace_back(plan_, i, as_bytes("HEAD"), text("<" + std::to_string(i) + ">"),
                        combined ? part_exchange::combining(joined) : part_exchange::combining());
      expected_ += "<" + std::to_string(i) + ">";
      collect(i);
    }
  }

  using link = std::pair<int, int>;
  /// Delivers everything but what comes after the first `before` messages of that link.
  void run(std::optional<link> held = {}, std::size_t before = 0) {
    for (;;) {
      std::vector<link> ready;
      for (const auto& [l, queue] : on_their_way_) {
        if (!queue.empty() && (l != held || delivered_[l] < before)) ready.push_back(l);
      }
      if (ready.empty()) return;
      const link next = ready[random_() % ready.size()];
      auto& queue = on_their_way_[next];
      const payload data = std::move(queue.front());
      queue.pop_front();
      ++delivered_[next];
      REQUIRE(data.size() >= 4);
      REQUIRE(all_[static_cast<std::size_t>(next.second)].on_message(next.first, data.slice(4, data.size() - 4)).ok());
      collect(next.second);
    }
  }

  [[nodiscard]] std::vector<part_exchange>& members() { return all_; }
  [[nodiscard]] const exchange_plan& plan() const { return plan_; }
  [[nodiscard]] const std::string& expected() const { return expected_; }
  [[nodiscard]] const std::map<link, std::size_t>& sent() const { return sent_; }

 private:
  void collect(int member) {
    for (auto& out : all_[static_cast<std::size_t>(member)].take_output()) {
      ++sent_[{member, out.to}];
      on_their_way_[{member, out.to}].push_back(std::move(out.data));
    }
  }
  network_view network_;
  exchange_plan plan_;
  std::mt19937 random_;
  std::vector<part_exchange> all_;
  std::string expected_;
  std::map<link, std::deque<payload>> on_their_way_;
  std::map<link, std::size_t> sent_, delivered_;
};

}  // namespace

TEST_CASE("an exchange gives everybody all parts, and leaves nothing behind") {
  for (const int members : {1, 2, 3, 7, 8, 20, 64}) {
    for (std::uint32_t seed = 1; seed <= 5; ++seed) {
      INFO(members << " members, seed " << seed);
      circle c(members, seed, false);
      c.run();
      for (part_exchange& m : c.members()) {
        REQUIRE(m.done());
        CHECK(m.left() == 0);
        CHECK(as_text(joined(m.take_parts()).view()) == c.expected());
      }
    }
  }
}

TEST_CASE("what is combined is the same for everybody, and every message that was announced comes") {
  for (const int members : {1, 2, 7, 8, 20, 64}) {
    for (std::uint32_t seed = 1; seed <= 5; ++seed) {
      INFO(members << " members, seed " << seed);
      circle c(members, seed, true);
      c.run();
      for (part_exchange& m : c.members()) {
        REQUIRE(m.done());
        CHECK(m.left() == 0);
        CHECK(as_text(m.take_result().view()) == c.expected());
      }
    }
  }
}

TEST_CASE("whichever message is late, everybody has the result without it") {
  std::size_t relays = 0;
  for (const int members : {8, 13, 24}) {
    for (std::uint32_t seed = 1; seed <= 3; ++seed) {
      circle undisturbed(members, seed, true);
      undisturbed.run();
      relays += undisturbed.plan().relayed_pairs();
      for (const auto& [link, count] : undisturbed.sent()) {
        for (std::size_t before = 0; before < count; ++before) {
          INFO(members << " members, seed " << seed << ", from " << link.first << " to " << link.second << " after "
                       << before);
          circle c(members, seed, true);
          c.run(link, before);
          for (part_exchange& m : c.members()) REQUIRE(m.done());
          c.run();
          for (part_exchange& m : c.members()) {
            REQUIRE(m.left() == 0);
            REQUIRE(as_text(m.take_result().view()) == c.expected());
          }
        }
      }
    }
  }
  CHECK(relays > 0);
}

TEST_CASE("nobody tells more than twice as many members as tell it") {
  for (std::uint32_t seed = 1; seed <= 5; ++seed) {
    const exchange_plan plan(wide_network(64, seed));
    for (int m = 0; m < 64; ++m) {
      CHECK(plan.tellers(m).size() == mpi::tellers_max);
      CHECK(plan.told_by(m).size() <= 2 * mpi::tellers_max);
    }
  }
  CHECK(exchange_plan(wide_network(7, 1)).tellers(0).empty());
}

TEST_CASE("damaged messages of an exchange are refused") {
  const exchange_plan plan(wide_network(20, 1));
  REQUIRE_FALSE(plan.bundles().empty());
  const exchange_plan::bundle* const relayed = plan.bundles().data();
  const int self = relayed->target;
  part_exchange m(plan, self, {}, text("x"), joined);
  CHECK_FALSE(m.on_message(-1, text("a")).ok());
  CHECK_FALSE(m.on_message(20, text("a")).ok());
  CHECK_FALSE(m.on_message(self, text("a")).ok());
  REQUIRE(m.on_message(relayed->relay, text("part")).ok());
  CHECK_FALSE(m.on_message(relayed->relay, payload()).ok());
  CHECK_FALSE(m.on_message(relayed->relay, text("no bundle")).ok());
  byte_vector bundle;
  mpi::append_parts(bundle, std::vector<payload>(relayed->sources.size() + 1));
  bundle.push_back(std::byte{0});
  CHECK_FALSE(m.on_message(relayed->relay, payload(bundle)).ok());
  CHECK_FALSE(mpi::parts_of(text("1234567")).ok());
  CHECK_FALSE(mpi::parts_of(text(std::string("\x09\0\0\0\0\0\0\0x", 9))).ok());
  CHECK_FALSE(m.done());
}

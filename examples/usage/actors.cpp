/// Actors: an epidemic over places. Each place is an actor, its travellers are messages; no place waits for any but its neighbours.
#include <p2pdvm/p2pdvm.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace actors = p2pdvm::actors;

/// From one place to a neighbour at the end of a day: how many of those who went there carry the disease.
struct travellers {
  std::int32_t day = 0;
  std::int64_t carriers = 0;
  template <class Archive>
  void serialize(Archive& archive) { archive(day, carriers); }
};

/// How many days there are.
struct begin {
  std::int32_t days = 0;
  template <class Archive>
  void serialize(Archive& archive) { archive(days); }
};

struct place {
  std::uint64_t number = 0;
  std::int32_t day = 0, days = 0;
  std::int64_t susceptible = 0, infected = 0, recovered = 0;
  std::vector<actors::address> neighbours;
  std::map<std::int32_t, std::pair<std::size_t, std::int64_t>> arrived;  ///< on each day: messages, and carriers in them

  void receive(actors::system& here, const begin& b) {
    days = b.days;
    send_off(here);
    go_on(here);
  }
  /// All of a day that a neighbour sends comes in one message; a neighbour may be one day ahead.
  void receive(actors::system& here, const travellers& t) {
    auto& of_day = arrived[t.day];
    ++of_day.first;
    of_day.second += t.carriers;
    go_on(here);
  }
  void go_on(actors::system& here) {
    while (day < days && arrived[day].first == neighbours.size()) {
      end_day(arrived[day].second);
      arrived.erase(day++);
      if (day < days) send_off(here);
    }
  }
  /// Whole numbers and a hash in place of chance, so that every run gives the same.
  void end_day(std::int64_t visitors) {
    const std::int64_t people = susceptible + infected + recovered;
    const std::int64_t met = 35 * (infected + visitors) * susceptible / people;
    const std::int64_t caught = std::min(susceptible, (met + chance(100)) / 100);
    const std::int64_t healed = (infected + chance(8)) / 8;
    susceptible -= caught;
    infected += caught - healed;
    recovered += healed;
  }
  void send_off(actors::system& here) {
    for (const actors::address& to : neighbours) here.send(to, travellers{day, (infected + chance(50)) / 50});
  }
  [[nodiscard]] std::int64_t chance(std::uint64_t below) const {
    std::uint64_t x = number * 0x9e3779b97f4a7c15u + static_cast<std::uint64_t>(day) * 0xbf58476d1ce4e5b9u + 1;
    x = (x ^ x >> 31) * 0x94d049bb133111ebu;
    return static_cast<std::int64_t>((x ^ x >> 29) % below);
  }
  template <class Archive>
  void serialize(Archive& archive) {
    archive(number, day, days, susceptible, infected, recovered, neighbours, arrived);
  }
};

/// Place n is the (n / ranks)th actor of rank n % ranks: an address that all know.
actors::address address_of(std::uint64_t n, int ranks) {
  const auto size = static_cast<std::uint64_t>(ranks);
  const auto at = static_cast<std::int32_t>(n % size);
  return {at, at, n / size};
}

/// Towns on a cylinder, numbered row by row; the disease begins in the middle of the north.
place make_place(std::uint64_t n, std::uint64_t side, int ranks) {
  place p;
  p.number = n;
  p.susceptible = 1000 + 100 * p.chance(20);
  p.infected = n == side / 2 ? 10 : 0;
  const std::uint64_t row = n - n % side;
  std::vector<std::uint64_t> near{row + (n + 1) % side, row + (n + side - 1) % side};
  if (n >= side) near.push_back(n - side);
  if (n + side < side * side) near.push_back(n + side);
  for (const std::uint64_t m : near) p.neighbours.push_back(address_of(m, ranks));
  return p;
}

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  actors::system world(rank);
  world.type<place, begin, travellers>("place");
  co_await rank.restore();

  const auto side = rank.option<std::uint64_t>("side");
  if (side < 3) throw std::invalid_argument("--side must be 3 at least");
  const auto mine = static_cast<std::uint64_t>(rank.id()), ranks = static_cast<std::uint64_t>(rank.size());
  if (!world.running()) {  // not again after a restart
    for (std::uint64_t n = mine; n < side * side; n += ranks) {
      const actors::address at = world.create(rank.id(), make_place(n, side, rank.size()));
      world.send(at, begin{rank.option<std::int32_t>("days")});
    }
  }
  co_await world.run();  // until no place has anything to do; checkpoints fall between messages

  std::string lines;
  world.each<place>([&](const actors::address&, const place& p) {
    if (p.infected + p.recovered == 0) return;
    lines += "town " + std::to_string(p.number) + ": " + std::to_string(p.infected + p.recovered) + " of ";
    lines += std::to_string(p.susceptible + p.infected + p.recovered) + " people have had it\n";
  });
  rank.result("output", lines);
}

int main(int argc, char** argv) {
  p2pdvm::program program("actors", body);
  program.describe("An epidemic over towns, each of which is an actor.");
  program.option("side", "12", "towns in a row, and rows").option("days", "60", "how long it is followed");
  program.output("output", "how many have had the disease, by town");
  return p2pdvm::main(argc, argv, program);
}

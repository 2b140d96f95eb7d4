/// A bag of tasks: a parameter study whose parts take very different times, and what follows from all of them.
#include <p2pdvm/p2pdvm.hpp>

#include <cmath>
#include <cstddef>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

namespace pool = p2pdvm::pool;

/// Steps until a driven pendulum with this damping swings over: some take a thousand times as long as others.
std::uint64_t steps_to_turn(double damping, double drive) {
  constexpr std::uint64_t steps_max = 400'000;
  double angle = 0.1, speed = 0;
  for (std::uint64_t step = 0; step < steps_max; ++step) {
    speed += 1e-3 * (drive * std::cos(2e-3 * static_cast<double>(step) / 3) - damping * speed - std::sin(angle));
    angle += 1e-3 * speed;
    if (std::abs(angle) > 3.14159) return step;
  }
  return steps_max;
}

std::size_t longest_of(const std::vector<std::uint64_t>& steps) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < steps.size(); ++i) {
    if (steps[i] > steps[at]) at = i;
  }
  return at;
}

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  pool::bag bag(rank);
  bag.check(0.05);  // one task in twenty is done by two ranks
  int round = 0;
  double drive = 1.0;
  std::string table;
  rank.state("round", round);
  rank.state("drive", drive);
  rank.state("table", table);
  co_await rank.restore();

  while (round < 5) {
    std::vector<double> dampings;
    for (int i = 0; i < 64; ++i) dampings.push_back(0.05 + 0.02 * i);
    const double by = drive;
    // All ranks submit the same; who does what is found out while it is done.
    const auto steps = bag.map(dampings, [by](double damping) { return steps_to_turn(damping, by); });
    const auto longest = bag.submit(longest_of, steps);  // begins when all steps are there
    co_await bag.run();                                  // checkpoints fall between tasks
    char line[80];
    std::snprintf(line, sizeof line, "drive %.2f: longest at damping %.2f\n", drive, dampings[longest.value()]);
    table += line;
    drive += 0.2;
    ++round;
  }
  if (rank.id() == 0) rank.result("output", table);
}

int main(int argc, char** argv) {
  p2pdvm::program program("pool", body);
  program.output("output", "the damping at which it takes longest, for each drive");
  return p2pdvm::main(argc, argv, program);
}

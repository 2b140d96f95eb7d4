/// What survives a loss: what the program names as state or as a region.
#include <p2pdvm/p2pdvm.hpp>

#include <cstddef>
#include <map>
#include <string>
#include <vector>

/// A class is state once it says what it consists of (cereal).
struct progress {
  int step = 0;
  std::string phase = "warming up";
  std::map<std::string, double> measured;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(step, phase, measured);
  }
};

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  progress now;
  std::vector<float> cells(1 << 16);  // bulk data: copied as it is, only changes are sent
  rank.state("progress", now);
  rank.region("cells", cells);
  const bool again = co_await rank.restore();
  if (!again) {
    for (std::size_t i = 0; i < cells.size(); ++i) cells[i] = static_cast<float>(rank.id());
  }

  while (now.step < 200) {
    // Random numbers replay from the snapshot too, so that the result stays the same.
    const std::size_t at = rank.random().below(cells.size());
    cells[at] += 1.0f;
    now.measured["last cell"] = static_cast<double>(at);
    if (now.step == 100) now.phase = "running";
    ++now.step;  // count before the safe point: a restored body goes on behind restore()
    co_await rank.safe_point();
  }
  double sum = 0;
  for (const float c : cells) sum += c;
  rank.result("output", now.phase + " " + std::to_string(sum) + " " +
                            std::to_string(now.measured["last cell"]) + "\n");
}

int main(int argc, char** argv) {
  p2pdvm::program program("checkpoint_state", body);
  program.output("output", "one line for each rank");
  return p2pdvm::main(argc, argv, program);
}

/// A whole program as the umbrella header gives it: four ranks in this process.
#include <p2pdvm/p2pdvm.hpp>

#include <filesystem>
#include <stdexcept>
#include <string>

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  int sum = 0;
  rank.state("sum", sum);
  co_await rank.restore();
  sum = co_await world.allreduce(rank.id());
  if (sum != 6 || world.size() != 4) throw std::runtime_error("four ranks add up to " + std::to_string(sum));
  if (rank.id() == 0) rank.result("sum", std::to_string(sum));
}

int main(int argc, char** argv) {
  // Beside this program, whose two forms are run at the same time.
  const std::string folder = std::string(argv[0]) + ".data";
  std::filesystem::remove_all(folder);
  const char* const line[] = {argv[0], "--ranks", "4", "--data", folder.c_str()};
  return p2pdvm::main(argc == 1 ? 5 : argc, argc == 1 ? const_cast<char**>(line) : argv,
                      p2pdvm::program("whole_program", body));
}

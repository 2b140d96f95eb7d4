/// Options and files that travel with the job, and results that no single loss takes away.
///
///     inputs_and_results --ranks 4 -- --input notes.txt --word peer --output counts.txt
#include <p2pdvm/p2pdvm.hpp>

#include <cstddef>
#include <string>
#include <string_view>

namespace {

/// Occurrences of `word` that begin in this rank's part of the text.
std::size_t count_part(std::string_view text, std::string_view word, int rank, int ranks) {
  const std::size_t begin = text.size() * static_cast<std::size_t>(rank) / ranks;
  const std::size_t end = text.size() * static_cast<std::size_t>(rank + 1) / ranks;
  std::size_t count = 0;
  for (std::size_t at = text.find(word, begin); at < end; at = text.find(word, at + 1)) ++count;
  return count;
}

p2pdvm::task<> body(p2pdvm::peal::rank& rank) {
  p2pdvm::mpi::communicator world(rank);
  co_await rank.restore();
  const std::string word = rank.option("word");
  const int repeat = rank.option<int>("repeat");  // a number, or an error in a sentence
  const p2pdvm::payload file = co_await rank.input("input");

  std::size_t count = 0;
  for (int i = 0; i < repeat && !word.empty(); ++i)
    count = count_part(p2pdvm::as_text(file.view()), word, rank.id(), rank.size());
  const std::size_t total = co_await world.allreduce(count);

  // The parts of one name are joined in rank order; each peer started with --output writes them.
  std::string part = "rank " + std::to_string(rank.id()) + ": " + std::to_string(count) + "\n";
  if (rank.id() + 1 == rank.size()) part += "total: " + std::to_string(total) + "\n";
  rank.result("output", part);
}

}  // namespace

int main(int argc, char** argv) {
  p2pdvm::program program("inputs_and_results", body);
  program.describe("Counts a word in a file.")
      .input("input", "text to search")
      .option("word", "the", "what to look for")
      .option("repeat", "1", "how often to look")
      .output("output", "the counts");
  return p2pdvm::main(argc, argv, program);
}

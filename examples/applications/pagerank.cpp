/// pagerank: the most important names of a graph, computed in supersteps.
///
///     pagerank --ranks 8 --local 4 -- --input links.txt --iterations 50 --output top.txt

#include "pagerank.hpp"

#include <p2pdvm/runtime/main.hpp>

int main(int argc, char** argv) {
  p2pdvm::peal::program pagerank("pagerank", p2pdvm::pagerank::body);
  pagerank.describe("Ranks the vertices of a graph by the edges that lead to them.")
      .input("input", "edges: two names a line, # starts a comment")
      .option("iterations", "30", "supersteps to compute")
      .option("top", "20", "names in the table")
      .output("output", "the table of the most important names");
  return p2pdvm::main(argc, argv, pagerank);
}

/// align: looks for DNA sequences in a database, by exact local alignment; one line a hit, as it is found.
///
///     align --ranks 8 --local 4 -- --database genomes.fasta --queries genes.fasta --output hits.tsv

#include "align.hpp"

#include <p2pdvm/runtime/main.hpp>

int main(int argc, char** argv) {
  p2pdvm::peal::program align("align", p2pdvm::align::body);
  align.describe("Finds where sequences of a database are most like each of the queries (Smith and Waterman).")
      .input("database", "DNA sequences in FASTA format")
      .input("queries", "what to look for, likewise")
      .option("hits", "10", "lines for each query")
      .option("check", "0.02", "share of the work that two ranks do, to find out who computes wrongly")
      .output("output", "query, record, score, strand, end in the record, with tabs between them");
  return p2pdvm::main(argc, argv, align);
}

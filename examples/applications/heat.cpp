/// heat: two-dimensional heat diffusion that survives the loss of its machines.
///
///     heat --ranks 8 --local 4 -- --size 512 --steps 2000 --output warm.pgm

#include "heat.hpp"

#include <p2pdvm/runtime/main.hpp>

int main(int argc, char** argv) {
  p2pdvm::peal::program heat("heat", p2pdvm::heat::body);
  heat.describe("Diffuses heat over a plate whose rim keeps its temperature.")
      .option("size", "256", "cells on each side of the built-in plate")
      .option("steps", "500", "steps to compute")
      .input("input", "grey image (PGM) of the temperatures at the start")
      .output("output", "grey image (PGM) of the temperatures at the end");
  return p2pdvm::main(argc, argv, heat);
}

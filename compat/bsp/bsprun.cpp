/// p2pdvm-bsprun: runs BSPlib programs on this computer, and together with others behind a ticket.
#include "../common/launcher.hpp"

int main(int argc, char** argv) {
  static constexpr p2pdvm::compat::environment bsp = {"p2pdvm-bsprun", "a BSPlib program that was compiled by p2pdvm-bspcc or p2pdvm-bspcxx",
                                                      "bsp_begin", "bsp_end", "BSPRUN_TIMEOUT"};
  return p2pdvm::compat::launch(bsp, argc, argv);
}

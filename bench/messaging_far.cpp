#include "messaging.hpp"
namespace p2pdvm::bench {
void measure_far_ranks(const settings&, comparison&) {}
void measure_idle_connections(const settings&, comparison&) {}
int hold_connections(int, char**) { return 0; }
}

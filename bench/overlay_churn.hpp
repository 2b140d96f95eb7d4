/// The part of the suite overlay whose figures scripts/plot draws: what churn does to the swarm and to a job.
#pragma once

#include "suites.hpp"

namespace p2pdvm::bench {

/// lookup_failure_rate, upkeep_messages_per_s and upkeep_bytes_per_s of a swarm against the median
/// session; crash_agreed_time (median, worst) of a job against its number of members, against the
/// median session of members that are replaced by others, against loss, and against the share of
/// members that stall. The parameter `sweep` says which of them: sessions, members, churn, loss, stalls.
void measure_churn(const settings& how, report& out);

}  // namespace p2pdvm::bench

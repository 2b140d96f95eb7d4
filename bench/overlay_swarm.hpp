/// overlay: whole peers in the swarm, coming and going.
#pragma once

#include "suites.hpp"

namespace p2pdvm::bench {

/// 10,000 peers with sessions of 2.9 hours on average, 1 % loss, planetlab (or the matrix):
/// lookup_failure_rate (the peer nearest to a random target is not the first of the answer),
/// find_failure_rate and lookup_time_p50, _p99 (to the first valid value of a record),
/// simulator_events_per_s, simulator_speedup and peer_bytes of that run; upkeep_messages_per_s and
/// upkeep_bytes_per_s of another one without searches. Bytes are UDP payload, seal included.
void measure_mild_churn(const settings& how, report& out);
/// The same of 1000 peers with median sessions of 84 seconds.
void measure_harsh_churn(const settings& how, report& out);
/// hostile_lookup_success: values found by honest peers of 1000 of which a fifth lies.
void measure_hostile(const settings& how, report& out);

/// The figures of harsh churn for 500 peers over median sessions from 84 s to 2.9 hours: for plots.
void sweep_sessions(const settings& how, report& out);

}  // namespace p2pdvm::bench

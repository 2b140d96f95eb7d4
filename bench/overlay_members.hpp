/// overlay: membership inside a job of many peers.
#pragma once

#include "suites.hpp"

namespace p2pdvm::bench {

/// crash_agreed_time: from the crash of one member of 1024 until each of the others has had
/// `agreed_dead`. Several members crash one after another in each run; median and worst of all.
/// Also what the detector costs in health: detector_bytes_per_s, detector_datagrams_per_s, per member.
void measure_crash_agreement(const settings& how, report& out);

/// false_evictions: members that did not stall but were agreed dead by somebody, in 10⁴ peer-hours at
/// 5 % loss in planetlab. One member in ten stalls: for 20 s at a time, and after a random pause of at most 3 minutes again.
void measure_false_evictions(const settings& how, report& out);

/// roster_time: whole peers, one of which has made a job of them, read its ticket and begin at once (in
/// planetlab); the time until each has the job's record, started, with all as members. Their ranks
/// wait and no checkpoint is taken. 16 to 256 peers with three seeds each, 1024 with one.
void measure_roster(const settings& how, report& out);

}  // namespace p2pdvm::bench

/// Scenarios that p2pdvm-sim swarm found jobs to fail by, shrunk: each was seen to fail once.
#include "runtime/cluster.hpp"

#include <p2pdvm/runtime/scenario_run.hpp>

namespace p2pdvm::test {
namespace {

void must_be_right(const std::string& text) {
  const auto s = runtime::scenario::parse("profile lan\ncheckpoint-every 0.04\n" + text, "scenario");
  INFO((s.ok() ? "" : s.error().message()));
  REQUIRE(s.ok());
  const auto v = try_scenario(*s, small_program(s->program));
  INFO(text << v.reason);
  CHECK(v.right());
}

TEST_CASE("what is said to a peer that restarts before it hears it is said again") {
  // Peer 2 hears late that peer 0 is another process; it had told the old one that its rank is ready.
  must_be_right(
      "program supersteps\noption steps 50\nseed 442\npeers 3\nranks 3\n"
      "at 0.153 deafen peer 2 for 2.56\nat 0.871 crash-silent peer 0 for 0.02\n");
}

TEST_CASE("a peer that was cut off while the others ended may have no end, whichever side was called cut off") {
  // Peers 0 and 1 are cut off, but they are the majority that goes on and ends.
  must_be_right(
      "program supersteps\noption steps 6\nseed 371\npeers 4\nranks 1\n"
      "after rank_started 1 +0 crash-reset maker\nat 0.582 isolate peer 0 group 2 for 10.24\n");
}

TEST_CASE("a keeper whose disk can be read only later, after a failed sync, is a keeper again") {
  must_be_right(
      "program both\nseed 195\npeers 4\nranks 7\nloss 0.01\n"
      "after rank_started 6 +4 crash-silent anyone\nat 0.06 fail-sync peer 3\n"
      "at 0.896 fail-sync peer 3\nat 0.731 fail-read peer 1\n");
}

TEST_CASE("a keeper that was evicted and is back counts until the change of keepers has ended") {
  // Peer 1 is cut off and evicted; peer 0 dies in the middle of the change of keepers that follows.
  must_be_right(
      "program halo\nseed 376\npeers 3\nspares 1\nranks 5\nreordering 0.05\nduplication 0.02\n"
      "after rank_started 8 +4 crash-silent maker\nat 0.534 isolate peer 1 for 5.12\n"
      "at 0.39 lose peer 1 share 0.4 for 0.32\nat 0.161 lose peer 2 share 0.25 for 2.56\n");
}

TEST_CASE("a peer that restarts right after it was taken in, and whose disk does not know, comes in") {
  must_be_right(
      "program halo\nseed 20024\npeers 5\nspares 1\nranks 8\nloss 0.01\nreordering 0.05\n"
      "after started 8 +350 crash-reset maker\nafter recovering 1 +0 in-recovery crash-silent anyone\n"
      "after recovering 1 +0 in-recovery crash-reset teller\nat 0.986 crash-silent peer 2 for 0.16\n"
      "at 0.001 crash-silent peer 4 for 0.01\n");
}

TEST_CASE("a newcomer whose admitter dies asks the members that it was told of") {
  // The maker answers peer 4 and dies before it admits; the job is short.
  must_be_right(
      "program supersteps\noption steps 50\nseed 719\npeers 4\nspares 1\nranks 6\n"
      "after rank_started 5 +331 crash-silent maker\nat 0.874 crash-silent peer 2 for 5.12\n");
}

TEST_CASE("a folder that rots before anything says that it was durable is damaged, not empty") {
  // Peer 2 restarts, and its log breaks off before the job: it has no job to resume, but had one.
  must_be_right(
      "program halo\noption steps 1\nseed 4\npeers 3\nranks 1\n"
      "at 0.125 rot peer 2 bits 16\nat 0 crash-reset peer 2 for 0.64\n");
}

TEST_CASE("a peer whose disk failed once, when it took its reserve, takes chunks again") {
  // Else the only copies of later checkpoints are those of the maker, which dies.
  must_be_right(
      "program both\noption steps 100\nseed 200531\npeers 3\nranks 2\nloss 0.01\nreordering 0.05\n"
      "after drained 7 +1 crash-reset maker\nat 0.186 fail-write peer 2\nat 0.077 fail-write peer 1\n");
}

TEST_CASE("who left is known to all to have left, also to whom only somebody else could have told it") {
  // Peers 4 and 5 are reached through peer 2, which hears first that peer 4 has left, and forgets its way to peer 5.
  must_be_right(
      "program both\noption steps 12\nseed 2000647\npeers 6\nhidden 2\nranks 8\nprofile lan\ncheckpoint-every 0.04\n"
      "at 0.523 leave peer 4\n");
}

TEST_CASE("messages of ranks outlive a session that ends between two living peers") {
  must_be_right(
      "program both\noption steps 12\nseed 2001169\npeers 4\nranks 3\nprofile lan\ncheckpoint-every 0.04\nloss 0.01\n"
      "reordering 0.05\nat 0.114 crash-reset peer 1 for 0.01\n");
}

TEST_CASE("who may be late has time until somebody has the result") {
  // Peers 5, 6 and 0 are cut off and go on, 1 and 4 come back; 2 and 3 have lost their disks and ended long before.
  must_be_right(
      "program both\noption steps 100\nseed 1001969\npeers 7\nhidden 2\nranks 5\nprofile planetlab\ncheckpoint-every 2\n"
      "receipts memory\nloss 0.01\nat 4.017 rot peer 3 bits 256\nat 3.937 crash-reset peer 3 for 0.16\n"
      "at 9.486 isolate peer 2 group 3 for 10.24\nat 2.398 rot peer 2 bits 16\nat 1.758 crash-silent peer 2 for 1.28\n");
}

TEST_CASE("what has lost all copies of a checkpoint goes back to the one before, and is not blamed for it") {
  must_be_right(
      "program both\noption steps 100\nseed 2003083\npeers 4\nranks 4\nprofile planetlab\ncheckpoint-every 2\n"
      "after recovering 1 +2 in-recovery crash-silent teller\nat 7.526 rot peer 0 bits 128\n"
      "at 6.886 crash-silent peer 0 for 1.28\nat 13.535 rot peer 3 bits 256\n");
}

TEST_CASE("a newcomer that nobody has heard of is made no keeper") {
  // Peer 3 is behind a NAT and knows nobody but the maker, which dies before peer 3 hears that it is a member.
  must_be_right(
      "program halo\noption steps 12\nseed 12005486\npeers 7\nhidden 5\nranks 1\nprofile lan\ncheckpoint-every 0.04\nloss 0.01\n"
      "after started 3 +3 crash-reset maker\n");
}

TEST_CASE("who was never let in need not end when only one that is cut off is left") {
  // The maker stalls, the others end without it; peer 3 waits with it.
  must_be_right(
      "program both\noption steps 12\nseed 13004800\npeers 3\nspares 1\nranks 1\nprofile lan\ncheckpoint-every 0.04\n"
      "at 0.041 stall peer 0 for 5.12\nat 0.011 stall peer 0 for 0.08\n");
}

TEST_CASE("the number of a format that has rotted is damage, not a newer program's") {
  // Peer 5's first segment is torn within its header, whose version rots.
  must_be_right(
      "program both\noption steps 100\nseed 13060962\npeers 6\nspares 1\nranks 8\nprofile lan\ncheckpoint-every 0.04\n"
      "after cut 7 +1 crash-reset anyone\nat 0.279 rot peer 5 bits 64\nat 0.279 crash-silent peer 5 for 0.04\n");
}

TEST_CASE("copies that full disks did not take may be missing") {
  must_be_right(
      "program halo\noption steps 50\nseed 13000953\npeers 3\nranks 8\nprofile lan\ncheckpoint-every 0.04\nloss 0.01\n"
      "after rank_returned 1 +0 crash-silent anyone\nat 0.181 fill-disk peer 1 for 0.04\nat 0.489 fill-disk peer 0 for 1.28\n");
}

TEST_CASE("a peer whose disk may have lost that its ranks began does not begin them again") {
  // Peer 3 dies when ranks have begun, and its log breaks off before it says so.
  must_be_right(
      "program supersteps\noption steps 12\nseed 3002444\npeers 6\nranks 4\nprofile lan\ncheckpoint-every 0.04\n"
      "at 0.223 rot peer 3 bits 4\nat 0.063 crash-silent peer 3 for 0.32\nat 0.006 isolate peer 2 group 3 for 0.32\n");
}

}  // namespace
}  // namespace p2pdvm::test

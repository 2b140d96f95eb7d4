#!/usr/bin/env python3
"""Kills peers of real jobs, at random and at chosen events of the protocol, and compares digests.

  chaos.py --runs 30                     30 random runs of each program
  chaos.py --runs 1 --seed 17            replays one choice of victims
  chaos.py Chaos.test_killed_at_a_cut    one test
"""
import os
import random
import tempfile
import unittest

import support
from support import Job, Trouble, check_recoveries, options, program

PEERS = 5
RANKS = 8
PATIENCE = 120  # seconds without what a test waits for; far more than any of it takes
# How often a run may end before the wanted event came to the chosen peer: who hosts which rank
# depends on the order in which the peers joined.
ATTEMPTS = 12


class Workload:
  """A program, its options, and its digest when nothing fails."""

  def __init__(self, name, arguments):
    self.name, self.arguments = name, arguments
    self._digest = None

  def embedded(self, ranks=RANKS, **how):
    return Job(program(self.name), ["--ranks", ranks, "--checkpoint-every", how.pop("every", "off"),
                                    *how.pop("more", []), "--", *self.arguments], **how)

  def local(self, peers=PEERS, ranks=RANKS, every=0.2, **how):
    return Job(program(self.name), ["--ranks", ranks, "--local", peers, "--checkpoint-every", every,
                                    *how.pop("more", []), "--", *self.arguments], **how)

  @property
  def digest(self):
    if self._digest is None:
      with self.embedded() as job:
        job.wait_for_exit(PATIENCE)
        if not job.digest:
          raise Trouble("the undisturbed run failed" + job.report())
        self._digest = job.digest
    return self._digest


WORKLOADS = {}
# For one process: without a network a run takes a tenth of the time, and must outlast some
# checkpoints on a disk that is slow to sync.
ALONE = {}
# For runs that nobody disturbs.
SHORT = {}


def setUpModule():
  folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
  unittest.addModuleCleanup(folder.cleanup)
  graph = os.path.join(folder.name, "edges.txt")
  with open(graph, "w", encoding="utf-8") as f:
    f.write(support.edges(2000, 12000, seed=1))
  WORKLOADS["heat"] = Workload("heat", ["--size", 64, "--steps", options.steps])
  WORKLOADS["pagerank"] = Workload(
      "pagerank", ["--input", graph, "--iterations", options.iterations])
  SHORT["heat"] = Workload("heat", ["--size", 64, "--steps", options.steps // 10])
  SHORT["pagerank"] = Workload(
      "pagerank", ["--input", graph, "--iterations", options.iterations // 10])
  ALONE["heat"] = Workload("heat", ["--size", 64, "--steps", 5 * options.steps])
  ALONE["pagerank"] = Workload(
      "pagerank", ["--input", graph, "--iterations", 5 * options.iterations])


class Chaos(unittest.TestCase):
  def finish(self, workload, job, kills=1):
    """The run ends as if nothing had happened, after at least `kills` recoveries."""
    code = job.wait_for_exit(PATIENCE)
    self.assertEqual(code, 0, job.report())
    self.assertEqual(job.digest, workload.digest, job.report())
    self.assertIsNone(check_recoveries(job), job.report())
    recoveries = {e["incarnation"] for e in job.of_kind("recovering")}
    self.assertGreaterEqual(len(recoveries), min(kills, 1), job.report())

  def kill_two(self, workload, draw, first=None):
    with workload.local() as job:
      job.wait_for_commits(2, PATIENCE)
      victims = draw.sample(range(PEERS), 2)
      if first is not None:
        victims = [first, draw.choice([p for p in range(PEERS) if p != first])]
      seen = len(job.events)
      job.kill_peer(victims[0])
      recovered = job.wait_for("recovered", PATIENCE, after=seen)
      job.wait_for_commits(1, PATIENCE, beyond=recovered["epoch"])
      seen = len(job.events)
      job.kill_peer(victims[1])
      job.wait_for("recovered", PATIENCE,
                   lambda e: e["incarnation"] > recovered["incarnation"], after=seen)
      self.finish(workload, job, kills=2)

  def random_runs(self, name):
    for run in range(options.runs):
      seed = options.seed + run
      with self.subTest(program=name, seed=seed):
        self.kill_two(WORKLOADS[name], random.Random("%s %d" % (name, seed)))

  def test_heat_loses_two_random_peers(self):
    self.random_runs("heat")

  def test_pagerank_loses_two_random_peers(self):
    self.random_runs("pagerank")

  def test_the_peer_that_made_the_job_dies(self):
    for name, workload in WORKLOADS.items():
      with self.subTest(program=name):
        self.kill_two(workload, random.Random(options.seed), first=0)

  def test_receipts_from_memory_survive_as_many_peers(self):
    workload = WORKLOADS["heat"]
    with workload.local(more=["--receipts", "memory"]) as job:
      job.wait_for_commits(2, PATIENCE)
      before = 0
      for victim in (1, 3):
        job.kill_peer(victim)
        recovered = job.wait_for("recovered", PATIENCE, lambda e: e["incarnation"] > before)
        before = recovered["incarnation"]
        job.wait_for_commits(1, PATIENCE, beyond=recovered["epoch"])
      self.finish(workload, job, kills=2)

  # --- kills at events of the protocol ---

  def dies_at(self, event, number, peer, helper=None):
    """`peer` dies at its own `number`-th `event`; `helper` is killed first, after two commits,
    where the event belongs to a recovery. Says whether it happened in time."""
    workload = WORKLOADS["heat"]
    wish = {"P2PDVM_DIE_AT": "%s:%d:%d" % (event, number, peer)}
    with workload.local(environment=wish) as job:
      if helper is not None:
        job.wait_for_commits(2, PATIENCE)
        job.kill_peer(helper)
      code = job.wait_for_exit(PATIENCE)
      self.assertEqual(code, 0, job.report())
      self.assertEqual(job.digest, workload.digest, job.report())
      self.assertIsNone(check_recoveries(job), job.report())
      told = [i for i, e in enumerate(job.events) if e["peer"] == peer]
      last = told[-1]
      killed = "killed by signal 9" in "\n".join(
          line for line in job.lines if line.startswith("peer %d " % peer))
      if not killed or job.events[last]["event"] != event:
        return False
      committed = {e["epoch"] for e in job.events[:last + 1] if e["event"] == "committed"}
      done = any(e["event"] == "done" for e in job.events[:last])
      recovered = any(e["event"] == "recovered" for e in job.events[last:])
      return len(committed) >= 2 and not done and recovered

  def happens(self, event, number, peer, helper=None):
    for _ in range(ATTEMPTS):
      if self.dies_at(event, number, peer, helper):
        return
    self.fail("in %d runs no peer died at %s after two commits" % (ATTEMPTS, event))

  # Peer 0 hosts two ranks from the beginning, so its fifth event of a rank is in epoch 3.
  def test_killed_at_a_cut(self):
    self.happens("cut", 5, 0)

  def test_killed_between_the_cuts_of_its_ranks(self):
    self.happens("cut", 6, 0)

  def test_killed_when_a_rank_has_drained(self):
    self.happens("drained", 5, 0)

  def test_killed_when_a_rank_is_sealed(self):
    self.happens("sealed", 6, 0)

  def test_killed_when_an_epoch_commits(self):
    self.happens("committed", 3, 0)

  def test_killed_when_a_recovery_begins(self):
    self.happens("recovering", 1, 0, helper=1)

  def test_killed_when_a_moved_rank_was_fetched(self):
    # Ranks move to the peers with the fewest; which these are depends on who joined when.
    self.happens("fetched", 1, 3, helper=0)

  def test_killed_when_a_rank_starts_again(self):
    self.happens("rank_started", 3, 0, helper=2)

  # --- the same bytes everywhere ---

  def test_the_digest_does_not_depend_on_where_ranks_run(self):
    for name, workload in SHORT.items():
      for peers in (1, 2, 3, 5):
        with self.subTest(program=name, peers=peers), workload.local(peers) as job:
          self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
          self.assertEqual(job.digest, workload.digest, job.report())
      for ranks in (1, 3, 5):
        with self.subTest(program=name, ranks=ranks), workload.embedded(ranks) as job:
          self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
          self.assertEqual(job.digest, workload.digest, job.report())


class Resume(unittest.TestCase):
  def resumed(self, workload, start, forgets=0):
    """kill -9 of everything after two commits, then --resume in the same folder; at most `forgets` commits back."""
    data = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(data.cleanup)
    with start(data=data.name) as job:
      newest = job.wait_for_commits(2 + forgets, PATIENCE)
      epochs = sorted({e["epoch"] for e in job.of_kind("committed")})
      job.kill_all()
    with start(data=data.name, more=["--resume"]) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      self.assertEqual(job.digest, workload.digest, job.report())
      from_epochs = {e.get("epoch", 0) for e in job.of_kind("rank_started")}
      self.assertGreaterEqual(min(from_epochs), epochs[-1 - forgets] if forgets else newest, job.report())

  def test_one_process(self):
    for name, workload in ALONE.items():
      with self.subTest(program=name):
        self.resumed(workload, lambda w=workload, **how: w.embedded(every=0.03, **how))

  def test_one_process_with_receipts_from_memory(self):
    self.resumed(ALONE["heat"], lambda w=ALONE["heat"], more=(), **how: w.embedded(
        every=0.03, more=["--receipts", "memory", *more], **how), forgets=1)

  def test_all_local_peers(self):
    for name, workload in WORKLOADS.items():
      with self.subTest(program=name):
        self.resumed(workload, lambda w=workload, **how: w.local(4, **how))


def arguments(parser):
  parser.add_argument("--runs", type=int, default=2, help="random runs of each program")
  parser.add_argument("--seed", type=int, default=1, help="of the first run")
  parser.add_argument("--steps", type=int, default=120000, help="of heat")
  parser.add_argument("--iterations", type=int, default=5000, help="of pagerank")


if __name__ == "__main__":
  support.main(__doc__, arguments)

#!/usr/bin/env python3
"""What real jobs go through besides deaths: full and damaged disks, ranks that compute for long,
too few keepers.

  faults.py --busy 30               a rank computes for 30 s
  faults.py --all                   also what takes more than ten seconds
  faults.py Busy                    one class
"""
import math
import os
import signal
import subprocess
import tempfile
import threading
import time
import unittest

import support
from support import Job, check_recoveries, options, program

PATIENCE = 120  # seconds without what a test waits for; far more than any of it takes
RANKS = 6
MIB = 2 ** 20
RESERVE = 32 * MIB  # the store keeps it free: store/segment_log.hpp


class FaultTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def fresh(self, name):
    """A path of this test that nobody else has; there is nothing at it."""
    return os.path.join(tempfile.mkdtemp(dir=self.folder), name)

  def side_by_side(self, *scenarios):
    """Runs them at the same time: most of each is waiting."""
    failures = {}

    def run(scenario):
      try:
        scenario()
      except Exception as failure:  # pylint: disable=broad-except
        failures[scenario.__name__] = failure

    threads = [threading.Thread(target=run, args=[s]) for s in scenarios]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    for name, failure in failures.items():
      with self.subTest(scenario=name):
        raise failure

  def start(self, name, *arguments, **how):
    job = Job(program(name), arguments, **how)
    self.addCleanup(job.close)
    return job

  def reference(self, name, *program_options):
    with Job(program(name), ["--ranks", RANKS, "--checkpoint-every", "off",
                             "--", *program_options]) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      return job.digest

  def warnings(self, job):
    return [e["text"] for e in job.of_kind("warning")]

  def assert_sentence(self, text, words):
    """One line for people that holds each of `words`."""
    self.assertEqual(len(text.splitlines()), 1, text)
    for word in words:
      self.assertIn(word, text)
    for never in ("terminate called", "Assertion", "what():", "std::", ".ipp", ".cpp"):
      self.assertNotIn(never, text)
    self.assertNotRegex(text, r"\b0x")  # an address; the name of a folder may hold 0x

  def start_apart(self, name, peers, *program_options, hows=None, every=0.2):
    """A job of several peers that were started one by one: its maker and the joiners."""
    hows = hows or [{} for _ in range(peers)]
    maker = self.start(name, "--host", "--peers", peers, "--ranks", RANKS, "--listen",
                       "127.0.0.1:0", "--checkpoint-every", every, "--", *program_options,
                       **hows[0])
    ticket = maker.wait_for("ticket", PATIENCE)["text"]
    return [maker] + [self.start(name, "--join", ticket, "--listen", "127.0.0.1:0",
                                 "--checkpoint-every", every, **how) for how in hows[1:]]

  def all_end_well(self, jobs, digest):
    for job in jobs:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      self.assertEqual(job.digest, digest, job.report())
      self.assertIsNone(check_recoveries(job), job.report())

  def gate(self):
    """The options of `gated`, and what opens its gate."""
    path = self.fresh("gate")
    return ["--steps", 2000, "--gate", path], lambda: open(path, "w", encoding="ascii").close()


# --- disks ---

def own_disk(folder, size):
  """Words before a command for which `folder` is a disk of its own, of `size` bytes."""
  os.makedirs(folder, exist_ok=True)
  script = 'mount -t tmpfs -o size="$1" tmpfs "$0"; shift; exec "$@"'
  return ["unshare", "--mount", "sh", "-ec", script, folder, str(size)]


def why_no_disks():
  """None, or why `own_disk` cannot work here."""
  with tempfile.TemporaryDirectory(prefix="p2pdvm-") as folder:
    try:
      done = subprocess.run([*own_disk(folder, MIB), "true"], capture_output=True, text=True,
                            check=False)
    except OSError as missing:
      return str(missing)
    return None if done.returncode == 0 else done.stderr.strip()


class FullDisk(FaultTest):
  @classmethod
  def setUpClass(cls):
    refused = why_no_disks()
    if refused:
      reason = "a peer cannot be given a disk of its own here: %s" % refused
      print("skipped: " + reason, flush=True)
      raise unittest.SkipTest(reason)

  def disk(self, name, size):
    folder = self.fresh(name)
    return {"data": folder, "prefix": own_disk(folder, size)}

  def filler(self, job):
    """A file on the disk of a running program, by the way that leads into its namespace."""
    return "/proc/%d/root%s" % (job.process.pid, os.path.join(job.data, "filler"))

  def fill(self, job):
    """Writes until the disk takes no more."""
    with open(self.filler(job), "wb", buffering=0) as f:
      block = b"\1" * MIB
      try:
        while True:
          if f.write(block) < len(block):
            block = block[:max(1, len(block) // 2)]
      except OSError as full:
        self.assertIn("No space left", str(full))

  def assert_told(self, job, words=()):
    # Who stores on others says besides that there are fewer copies, in the words of the one that is full.
    said = {w for w in self.warnings(job) if "is full" in w and "copies instead of" not in w}
    self.assertEqual(len(said), 1, job.report())
    self.assert_sentence(said.pop(), [job.data, "free some space there", "--data", *words])

  def test_a_disk_that_fills_up(self):
    self.side_by_side(self.one_of_three_peers, self.alone_and_cleaned_later)

  def one_of_three_peers(self):
    gated, open_gate = self.gate()
    # Twice the reserve: at first there is space for checkpoints.
    hows = [{}, {}, self.disk("small", 2 * RESERVE)]
    jobs = self.start_apart("gated", 3, *gated, hows=hows)
    full = jobs[-1]
    full.wait_for_commits(2, PATIENCE)
    self.assertEqual(self.warnings(full), [], full.report())
    self.fill(full)
    full.wait_for("warning", PATIENCE, lambda e: "is full" in e["text"])
    # The others keep the copies: commits go on, with one copy less.
    newest = jobs[0].of_kind("committed")[-1]["epoch"]
    jobs[0].wait_for_commits(3, PATIENCE, beyond=newest)
    jobs[0].wait_for("committed", PATIENCE, lambda e: e["count"] < 3)
    # Nothing that is committed now needs the full disk: its peer may die.
    newest = jobs[0].of_kind("committed")[-1]["epoch"]
    full.process.kill()
    recovered = jobs[0].wait_for("recovered", PATIENCE)
    self.assertGreaterEqual(recovered["epoch"], newest, jobs[0].report())
    open_gate()
    self.all_end_well(jobs[:2], self.reference("gated", *gated[:3], "/"))
    self.assert_told(full)

  def test_a_disk_that_is_full_from_the_beginning(self):
    self.side_by_side(self.it_is_one_of_three, self.it_is_the_only_one)

  def it_is_one_of_three(self):
    gated, open_gate = self.gate()
    # Less than the reserve: full from the beginning.
    hows = [{}, {}, self.disk("small", RESERVE // 4)]
    jobs = self.start_apart("gated", 3, *gated, hows=hows)
    jobs[2].wait_for("warning", PATIENCE, lambda e: "is full" in e["text"])
    jobs[0].wait_for_commits(3, PATIENCE)
    open_gate()
    self.all_end_well(jobs, self.reference("gated", *gated[:3], "/"))
    self.assertEqual({e["count"] for e in jobs[0].of_kind("committed")}, {2}, jobs[0].report())
    self.assertTrue(jobs[2].of_kind("rank_started"), jobs[2].report())
    self.assert_told(jobs[2])

  def it_is_the_only_one(self):
    heat = ["--size", 64, "--steps", 200]
    job = self.start("heat", "--ranks", RANKS, "--checkpoint-every", 0.05, "--", *heat,
                     **self.disk("small", RESERVE // 4))
    self.all_end_well([job], self.reference("heat", *heat))
    self.assertEqual(job.of_kind("committed"), [], job.report())
    self.assertTrue(any("results" in w and "not kept" in w for w in self.warnings(job)),
                    job.report())
    self.assertIn("is full", self.warnings(job)[0])
    self.assert_sentence(self.warnings(job)[0], [job.data, "free some space there", "--data"])

  def alone_and_cleaned_later(self):
    gated, open_gate = self.gate()
    job = self.start("gated", "--ranks", RANKS, "--checkpoint-every", 0.1, "--", *gated,
                     **self.disk("small", 2 * RESERVE))
    job.wait_for_commits(2, PATIENCE)
    self.fill(job)
    given_up = job.wait_for("abandoned", PATIENCE)
    self.assert_sentence(given_up["text"], ["cannot be stored", job.data, "is full",
                                            "free some space there"])
    os.remove(self.filler(job))
    job.wait_for_commits(2, PATIENCE, beyond=given_up["epoch"])
    open_gate()
    self.all_end_well([job], self.reference("gated", *gated[:3], "/"))
    self.assert_told(job)

  def test_no_space_even_to_begin(self):
    folder = self.disk("tiny", 4096)
    done = subprocess.run([*folder["prefix"], program("heat"), "--data", folder["data"]],
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
    self.assert_sentence(done.stderr, [folder["data"], "full", "free some space there"])


class DamagedDisk(FaultTest):
  def spoil(self, what, folder):
    """Damages a store; how many of its records."""
    done = subprocess.run([program("spoil_store"), what, folder], capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    self.assertEqual(done.returncode, 0, done.stderr)
    self.assertGreater(int(done.stdout), 0)
    return int(done.stdout)

  def killed(self, mode, arguments, name="heat"):
    """The data folder of a job that was killed altogether after two commits, and the newest."""
    data = self.fresh("data")
    job = self.start(name, *mode, "--ranks", RANKS, "--checkpoint-every", 0.1,
                     "--", *arguments, data=data)
    newest = job.wait_for_commits(2, PATIENCE)
    job.kill_all()
    return data, newest

  def edges(self):
    return support.temporary_file(self, "edges", support.edges(2000, 12000, seed=1))

  def heals(self, name, arguments):
    peers = 3
    data, newest = self.killed(["--local", peers], arguments, name)
    # Every piece lies on three peers. Those of two are damaged: one good copy of each is left.
    for peer in range(peers - 1):
      self.spoil("pieces", os.path.join(data, "peer-%d" % peer))
    job = self.start(name, "--local", peers, "--resume", data=data)
    self.all_end_well([job], self.reference(name, *arguments))
    started = job.of_kind("rank_started")
    self.assertEqual({e["rank"] if "rank" in e else 0 for e in started}, set(range(RANKS)))
    self.assertGreaterEqual(min(e.get("epoch", 0) for e in started), newest, job.report())
    found = job.of_kind("damaged")
    self.assertTrue(found, job.report())
    for e in found:
      self.assertLess(e["peer"], peers - 1)
      self.assert_sentence(e["text"], [data, "peer-%d" % e["peer"], "another holder"])

  def test_pieces_of_a_checkpoint_are_fetched_from_another_peer(self):
    self.heals("heat", ["--size", 64, "--steps", 200000])

  def test_pieces_of_an_input_are_fetched_from_another_peer(self):
    self.heals("pagerank", ["--input", self.edges(), "--iterations", 8000])

  @support.long
  def test_a_peer_that_cannot_read_its_job_any_more_stays_out(self):
    arguments = ["--size", 64, "--steps", 200000]
    data, _ = self.killed(["--local", 3], arguments)
    self.spoil("values", os.path.join(data, "peer-1"))
    job = self.start("heat", "--local", 3, "--resume", data=data)
    self.all_end_well([job], self.reference("heat", *arguments))
    said = [line for line in job.lines if line.startswith("peer 1 stops: ")]
    self.assertEqual(len(said), 1, job.report())
    self.assert_sentence(said[0], ["peer-1", "damaged", "remove"])

  def refused(self, data, words):
    job = self.start("heat", "--resume", data=data)
    self.assertEqual(job.wait_for_exit(PATIENCE), 1, job.report())
    self.assertIsNone(job.digest, job.report())
    self.assert_sentence(job.errors, words)

  def test_alone_with_damaged_pieces(self):
    data, newest = self.killed([], ["--size", 64, "--steps", 10 ** 9])
    self.spoil("pieces", data)
    self.refused(data, ["checkpoint", "cannot be read", "damaged"])
    self.assertGreater(newest, 0)

  def test_alone_with_a_job_that_cannot_be_read_any_more(self):
    data, _ = self.killed([], ["--size", 64, "--steps", 10 ** 9])
    self.spoil("values", data)
    self.refused(data, [data, "damaged", "remove"])


# --- detection ---

def forgiven(members):
  """Seconds within which a member that does not answer is suspected and agreed dead at the
  latest, by the defaults of overlay/detector_options.hpp (`wan`)."""
  suspicion = 1.9 + 0.1 * math.ceil(math.log2(members))
  return 5 * 0.4 + 3 * 0.5 + 2 * suspicion


class Busy(FaultTest):
  PEERS = 3

  def test_a_rank_that_computes_for_long_is_not_suspected(self):
    self.assertGreater(options.busy, forgiven(self.PEERS))
    # Side by side: they mostly wait for time to pass.
    apart = self.start_apart("busy", self.PEERS, "--busy", options.busy)
    local = self.start("busy", "--ranks", RANKS, "--local", self.PEERS, "--", "--busy",
                       options.busy)
    self.all_end_well([*apart, local], self.reference("busy", "--busy", 0))
    for job in [*apart, local]:
      for kind in ("suspected", "lost", "evicted", "recovering", "no_majority"):
        self.assertEqual(job.of_kind(kind), [], job.report())
      started = max(e["time"] for e in job.of_kind("started"))
      ended = min(e["time"] for e in job.of_kind("done"))
      self.assertGreaterEqual(ended - started, options.busy, job.report())

  def replaced(self, jobs, kill, open_gate):
    witness = jobs[0]
    witness.wait_for_commits(2, PATIENCE)
    killed_at = time.monotonic()  # the clock of the events
    kill()
    recovered = witness.wait_for("recovered", PATIENCE)
    self.assertGreater(recovered["time"], killed_at, witness.report())
    self.assertLess(recovered["time"] - killed_at, 10, witness.report())
    self.assertTrue(witness.of_kind("evicted"), witness.report())
    open_gate()

  def test_a_killed_peer_is_replaced_within_ten_seconds(self):
    self.side_by_side(self.killed_apart, self.killed_local)

  def killed_apart(self):
    gated, open_gate = self.gate()
    jobs = self.start_apart("gated", self.PEERS, *gated)
    self.replaced(jobs, jobs[-1].process.kill, open_gate)
    self.all_end_well(jobs[:-1], self.reference("gated", *gated[:3], "/"))

  def killed_local(self):
    gated, open_gate = self.gate()
    job = self.start("gated", "--ranks", RANKS, "--local", self.PEERS, "--checkpoint-every", 0.2,
                     "--", *gated)
    self.replaced([job], lambda: job.kill_peer(self.PEERS - 1), open_gate)
    self.all_end_well([job], self.reference("gated", *gated[:3], "/"))


# --- keepers ---

class TooFewKeepers(FaultTest):
  WORDS = ["2 of 3 keepers", "waits", "start the missing peers again", "Ctrl-C", "--resume"]

  def waits(self, job):
    """It waits, says so in one sentence, and commits nothing."""
    event = job.wait_for("no_majority", PATIENCE)
    self.assert_sentence(event["text"], self.WORDS)
    self.assertIsNone(job.process.poll(), job.report())
    return event

  def committed_after(self, job, event):
    return [e for e in job.of_kind("committed") if e["time"] > event["time"]]

  def test_two_of_three_are_gone(self):
    self.side_by_side(self.stopped_peers_go_on, self.ctrl_c_and_resume,
                      self.missing_peers_are_started_again, self.ctrl_c_on_the_peer_that_waits)

  def stopped_peers_go_on(self):
    gated, open_gate = self.gate()
    job = self.start("gated", "--ranks", RANKS, "--local", 3, "--checkpoint-every", 0.2,
                     "--", *gated)
    job.wait_for_commits(2, PATIENCE)
    for peer in (1, 2):
      os.kill(job.pids[peer], signal.SIGSTOP)
    event = self.waits(job)
    self.assertEqual(self.committed_after(job, event), [], job.report())
    for peer in (1, 2):
      os.kill(job.pids[peer], signal.SIGCONT)
    job.wait_for("majority_again", PATIENCE)
    open_gate()
    self.all_end_well([job], self.reference("gated", *gated[:3], "/"))

  def ctrl_c_and_resume(self):
    gated, open_gate = self.gate()
    data = self.fresh("data")
    job = self.start("gated", "--ranks", RANKS, "--local", 3, "--checkpoint-every", 0.2,
                     "--", *gated, data=data)
    newest = job.wait_for_commits(2, PATIENCE)
    for peer in (1, 2):
      job.kill_peer(peer)
    event = self.waits(job)
    job.process.send_signal(signal.SIGINT)
    self.assertEqual(job.wait_for_exit(PATIENCE), 130, job.report())
    self.assertEqual(self.committed_after(job, event), [], job.report())
    self.assertIn("--resume", job.lines[-1])
    open_gate()
    again = self.start("gated", "--local", 3, "--resume", data=data)
    self.all_end_well([again], self.reference("gated", *gated[:3], "/"))
    self.assertGreaterEqual(min(e.get("epoch", 0) for e in again.of_kind("rank_started")), newest)

  def missing_peers_are_started_again(self):
    gated, open_gate = self.gate()
    hows = [{"data": self.fresh("peer-%d" % n)} for n in range(3)]
    jobs = self.start_apart("gated", 3, *gated, hows=hows)
    jobs[0].wait_for_commits(2, PATIENCE)
    for job in jobs[1:]:
      job.process.kill()
    self.waits(jobs[0])
    again = [self.start("gated", "--resume", "--checkpoint-every", 0.2, data=how["data"])
             for how in hows[1:]]
    jobs[0].wait_for("majority_again", PATIENCE)
    # Both work on the job again, also one that was evicted before it was up.
    newest = jobs[0].of_kind("committed")[-1]["epoch"]
    for job in again:
      job.wait_for_commits(3, PATIENCE, beyond=newest)
    open_gate()
    self.all_end_well([jobs[0], *again], self.reference("gated", *gated[:3], "/"))

  def ctrl_c_on_the_peer_that_waits(self):
    gated, _ = self.gate()
    jobs = self.start_apart("gated", 3, *gated)
    jobs[0].wait_for_commits(2, PATIENCE)
    for job in jobs[1:]:
      job.process.kill()
    self.waits(jobs[0])
    jobs[0].process.send_signal(signal.SIGINT)
    self.assertEqual(jobs[0].wait_for_exit(PATIENCE), 130, jobs[0].report())
    self.assertIn("--resume", jobs[0].lines[-1])


def arguments(parser):
  parser.add_argument("--busy", type=float, default=12, help="seconds that a rank computes")
  parser.add_argument("--all", action="store_true", help="also what takes more than ten seconds")


if __name__ == "__main__":
  support.main(__doc__, arguments)

#!/usr/bin/env python3
"""Peers without ranks (p2pdvm peer) in jobs of real processes: what dies with others comes from them,
and they keep within the quotas that they were given."""
import json
import os
import signal
import subprocess
import tempfile
import unittest

import support
from support import Job, bytes_on_disk, program

PATIENCE = 120  # seconds
MIB = 2 ** 20


class PeerTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(folder.cleanup)
    self.folder = folder.name
    self.gate = self.path("gate")

  def path(self, name):
    return os.path.join(self.folder, name)

  def start(self, name, *arguments, **how):
    job = Job(program(name), arguments, **how)
    self.addCleanup(job.close)
    return job

  def open_gate(self):
    with open(self.gate, "w", encoding="ascii"):
      pass

  def hold(self, job, *options, data):
    """A peer without ranks in this job, and the node id that it has there."""
    ticket = job.wait_for("ticket", PATIENCE)["text"]
    seen = len(job.events)
    holder = self.start("p2pdvm", "peer", "--join", ticket, "--listen", "127.0.0.1:0", *options, data=data)
    node = holder.wait_for("listening", PATIENCE)["node"]
    job.wait_for("joined", PATIENCE, lambda e: e["node"] == node, after=seen)
    return holder, node

  def status(self, data):
    done = subprocess.run([program("p2pdvm"), "status", "--json", "--data", data], capture_output=True, text=True,
                          timeout=PATIENCE, check=False)
    self.assertEqual(done.returncode, 0, done.stderr)
    [status] = json.loads(done.stdout)
    return status

  def reference(self, name, ranks, *options):
    with Job(program(name), ["--ranks", ranks, "--checkpoint-every", "off", "--", *options]) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      return job.digest

  def test_what_died_with_another_peer_comes_from_it(self):
    self.open_gate()
    digest = self.reference("gated", 12, "--gate", self.gate)
    os.remove(self.gate)
    job = self.start("gated", "--ranks", 12, "--local", 2, "--replicas", 2, "--checkpoint-every", 0.1,
                     "--", "--gate", self.gate)
    data = self.path("holder")
    holder, _ = self.hold(job, "--quota", "100MB", data=data)
    newest = job.wait_for_commits(2, PATIENCE)
    job.wait_for_commits(3, PATIENCE, beyond=newest)  # with copies on the newcomer
    status = self.status(data)
    self.assertTrue(status["running"])
    self.assertEqual(status["program"], "gated")
    self.assertEqual(status["quota_bytes"], 100_000_000)
    self.assertIn("without ranks", status["role"])
    self.assertIn("keeps the record", status["role"])
    self.assertGreater(status["chunk_bytes"], 0)
    self.assertTrue(any(k["epoch"] > 0 and k["chunks"] > 0 for k in status["kept"]), status)
    seen = len(job.events)
    job.kill_peer(1)
    job.wait_for("recovered", PATIENCE, after=seen)
    job.wait_for_commits(2, PATIENCE, beyond=job.wait_for("recovered", PATIENCE, after=seen)["epoch"])
    self.open_gate()
    self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
    self.assertEqual(job.digest, digest, job.report())
    self.assertIsNone(support.check_recoveries(job), job.report())
    self.assertEqual(holder.wait_for_exit(PATIENCE), 0, holder.report())
    self.assertEqual(holder.of_kind("rank_started"), [])
    [told] = holder.of_kind("holds")
    self.assertGreater(told["count"], 0)
    self.assertRegex(told["text"], r"of job [0-9a-f]{8} \(gated\), on disk .* of its quota of 100 MB; it gave others ")
    self.assertNotIn("gave others 0 B", told["text"])
    self.assertTrue(any(told["text"] in line for line in holder.lines), holder.report())
    self.assertFalse(self.status(data)["running"])

  def test_it_may_be_killed_stopped_and_started_again(self):
    self.open_gate()
    digest = self.reference("gated", 4, "--gate", self.gate)
    os.remove(self.gate)
    job = self.start("gated", "--ranks", 4, "--local", 2, "--checkpoint-every", 0.1, "--", "--gate", self.gate)
    data = self.path("holder")
    holder, node = self.hold(job, data=data)
    job.wait_for_commits(2, PATIENCE)
    seen = len(job.events)
    holder.kill_all()
    job.wait_for("evicted", PATIENCE, lambda e: e["node"] == node, after=seen)
    for how, end in (("--resume", signal.SIGINT), ("--resume", signal.SIGTERM)):
      seen = len(job.events)
      holder = self.start("p2pdvm", "peer", how, "--listen", "127.0.0.1:0", data=data)
      self.assertEqual(holder.wait_for("listening", PATIENCE)["node"], node)
      job.wait_for("joined", PATIENCE, lambda e: e["node"] == node, after=seen)
      holder.process.send_signal(end)
      job.wait_for("left", PATIENCE, lambda e: e["node"] == node, after=seen)
      self.assertEqual(holder.wait_for_exit(PATIENCE), 130, holder.report())
      self.assertEqual(len(holder.of_kind("holds")), 1, holder.report())
    self.assertEqual(job.of_kind("recovering"), [], job.report())
    self.open_gate()
    self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
    self.assertEqual(job.digest, digest)

  def test_it_stays_within_its_quota(self):
    steps, size = 300, 1800
    digest = self.reference("heat", 6, "--size", size, "--steps", steps)
    job = self.start("heat", "--ranks", 6, "--local", 3, "--compression", "off", "--checkpoint-every", 0.3,
                     "--", "--size", size, "--steps", steps)
    data = self.path("holder")
    quota = 12 * MIB  # its share of one checkpoint, 26 MB of state in three copies on four peers, is 19 MB
    holder, _ = self.hold(job, "--quota", "12MiB", data=data)
    most = 0

    def over():
      nonlocal most
      most = max(most, bytes_on_disk(data))
      return bool(job.of_kind("done"))

    job.wait_until(over, PATIENCE, "end of the job")
    self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
    self.assertEqual(job.digest, digest)
    self.assertEqual(holder.wait_for_exit(PATIENCE), 0, holder.report())
    self.assertGreater(most, quota / 3, holder.report())
    self.assertLessEqual(most, quota + 100_000)  # identity, lock, folders
    self.assertTrue(any("used its quota of 13 MB" in e["text"] for e in holder.of_kind("warning")), holder.report())

  def test_wrong_words_get_a_sentence(self):
    def refused(words, *arguments, code):
      done = subprocess.run([program("p2pdvm"), *arguments], capture_output=True, text=True, timeout=PATIENCE,
                            check=False, env={**os.environ, "XDG_STATE_HOME": self.folder})
      self.assertEqual(done.returncode, code, done.stdout + done.stderr)
      self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
      self.assertIn(words, done.stderr)

    refused("--join TICKET", "peer", code=1)
    refused("excludes", "peer", "--join", "x", "--resume", code=2)
    refused("20GB or 500MiB", "peer", "--resume", "--quota", "much", code=2)
    refused("ticket", "peer", "--join", "x", code=1)
    refused("holds no job to resume", "peer", "--resume", code=1)
    refused("no folder", "status", "--data", self.path("nowhere"), code=1)


if __name__ == "__main__":
  support.main(__doc__)

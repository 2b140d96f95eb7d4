#!/usr/bin/env python3
"""Files that a program writes while it runs, on real processes that are killed: byte for byte those of a run
that nobody disturbs."""
import os
import random
import tempfile
import unittest

import support
from support import Job, options, program

PATIENCE = 120  # seconds
RANKS = 4
PEERS = 3
STEPS = 4000000
NAMES = ("walks", "widest")


class OutputTest(unittest.TestCase):
  @classmethod
  def setUpClass(cls):
    cls.shared = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    cls.addClassCleanup(cls.shared.cleanup)
    files = cls.paths(cls.shared.name)
    with Job(program("outputs"), ["--ranks", RANKS, "--checkpoint-every", "off", *cls.after(files)]) as job:
      assert job.wait_for_exit(PATIENCE) == 0, job.report()
      cls.digest = job.digest
    cls.right = {name: cls.content(path) for name, path in files.items()}
    assert cls.right["walks"].count(b"\n") == RANKS * STEPS / 1000, cls.right["walks"][:1000]
    assert cls.right["walks"].startswith(b"step 1000: rank 0 is at "), cls.right["walks"][:1000]

  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  @staticmethod
  def paths(folder, peer=""):
    return {name: os.path.join(folder, name + str(peer)) for name in NAMES}

  @staticmethod
  def after(files):
    return ["--", "--steps", STEPS, *(word for name, path in files.items() for word in ("--" + name, path))]

  @staticmethod
  def content(path):
    with open(path, "rb") as f:
      return f.read()

  def local(self, files, data=None, *more, **how):
    return Job(program("outputs"), ["--ranks", RANKS, "--local", PEERS, "--checkpoint-every", 0.1, *more, *self.after(files)],
               data=data, **how)

  def check_beginnings(self, files):
    """What is there while the job runs, or where it stopped."""
    for name, path in files.items():
      if os.path.exists(path):
        self.assertTrue(self.right[name].startswith(self.content(path)), path)

  def check_whole(self, files, job):
    self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
    self.assertEqual(job.digest, self.digest, job.report())
    for name, path in files.items():
      self.assertEqual(self.content(path), self.right[name], path + job.report())

  def test_a_file_grows_while_the_job_runs(self):
    files = self.paths(self.folder)
    with self.local(files) as job:
      first = job.wait_for("written", PATIENCE, lambda e: e["text"] == "walks")
      then = self.content(files["walks"])
      self.assertGreaterEqual(len(then), first["count"])
      self.check_beginnings(files)
      job.wait_for("written", PATIENCE, lambda e: e["text"] == "walks" and e["count"] > len(then))
      self.check_beginnings(files)
      self.check_whole(files, job)

  def test_whoever_is_killed_whenever(self):
    for run in range(options.runs):
      seed = options.seed + run
      with self.subTest(seed=seed):
        draw = random.Random(seed)
        files = self.paths(self.folder, "-%d" % seed)
        with self.local(files) as job:
          job.wait_for_commits(draw.randint(1, 6), PATIENCE)
          seen = len(job.events)
          job.kill_peer(draw.randrange(PEERS))
          job.wait_for("recovered", PATIENCE, after=seen)
          self.check_beginnings(files)
          self.check_whole(files, job)

  def test_the_writer_is_killed_at_each_of_its_moments(self):
    for moment in ("written:1", "written:3", "committed:2", "cut:3", "sealed:4", "rank_returned:1"):
      for peer in range(PEERS):
        with self.subTest(moment=moment, peer=peer):
          files = self.paths(self.folder, "-%s-%d" % (moment.replace(":", "-"), peer))
          with self.local(files, environment={"P2PDVM_DIE_AT": "%s:%d" % (moment, peer)}) as job:
            self.check_whole(files, job)

  def test_all_are_killed_and_go_on_later(self):
    files = self.paths(self.folder)
    data = os.path.join(self.folder, "data")
    with self.local(files, data) as job:
      job.wait_for("written", PATIENCE, lambda e: e["text"] == "walks")
      job.wait_for_commits(3, PATIENCE)
      job.kill_all()
    self.check_beginnings(files)
    before = {name: self.content(path) for name, path in files.items()}
    self.assertTrue(before["walks"])
    outputs = self.after(files)
    with Job(program("outputs"), ["--local", PEERS, "--resume", "--", *outputs[3:]], data=data) as job:
      self.check_whole(files, job)

  def test_a_file_of_another_job_is_replaced_and_a_damaged_one_mended(self):
    files = self.paths(self.folder)
    with open(files["walks"], "wb") as f:
      f.write(self.right["walks"][:5000] + b"nonsense" + self.right["walks"] * 2)
    with self.local(files) as job:
      self.check_whole(files, job)

  def test_each_machine_writes_its_own(self):
    first_files, second_files = self.paths(self.folder, 1), self.paths(self.folder, 2)
    with Job(program("outputs"), ["--ranks", RANKS, "--peers", 2, "--host", "--listen", "127.0.0.1:0",
                                  "--checkpoint-every", 0.1, *self.after(first_files)]) as first:
      ticket = first.wait_for("ticket", PATIENCE)["text"]
      with Job(program("outputs"), ["--join", ticket, "--listen", "127.0.0.1:0", "--", "--walks",
                                    second_files["walks"]]) as second:
        self.check_whole(first_files, first)
        self.check_whole({"walks": second_files["walks"]}, second)
    self.assertFalse(os.path.exists(second_files["widest"]))

  def test_in_the_simulator_too(self):
    files = self.paths(self.folder)
    with Job(program("outputs"), ["--ranks", RANKS, "--simulate", "lan", "--checkpoint-every", 1,
                                  *self.after(files)]) as job:
      self.check_whole(files, job)

  def test_what_cannot_be_written_is_said(self):
    files = {"walks": os.path.join(self.folder, "none", "walks")}
    with Job(program("outputs"), ["--ranks", RANKS, "--checkpoint-every", 0.05, *self.after(files)]) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 1, job.report())
      self.assertIn("outputs: --walks: cannot write '%s': No such file or directory" % files["walks"], job.errors)


if __name__ == "__main__":
  def extra(parser):
    parser.add_argument("--runs", type=int, default=4, help="random runs")
    parser.add_argument("--seed", type=int, default=1, help="of the first of them")
  support.main(__doc__, extra)

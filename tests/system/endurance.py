#!/usr/bin/env python3
"""A job of real processes for as long as one likes. By and by one of them is killed -9 and started again on its own data, like a desktop
that is rebooted. At the end the digest is right, and neither memory nor disks have grown since the first quarter.

  tests/system/endurance.py --bin build/release/bin --minutes 60 --every 60
"""
import os
import random
import re
import subprocess
import time
import unittest

import support
from support import Job, Trouble, bytes_on_disk, program

PATIENCE = 180  # seconds
PEERS, RANKS = 4, 4
REST = 0.02     # seconds in each step
SPARED = 1      # never killed: whoever forgets to give memory back shows it there
MIB = 2 ** 20


def resident_bytes(pid):
  with open("/proc/%d/status" % pid, encoding="ascii") as f:
    return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024


def ended_within(job, seconds):
  try:
    job.process.wait(seconds)
    return True
  except subprocess.TimeoutExpired:
    return False


class Endurance(unittest.TestCase):
  def reference(self, steps):
    with Job(program("endure"), ["--ranks", RANKS, "--checkpoint-every", "off", "--", "--rest", 0, "--steps", steps]) as job:
      self.assertEqual(job.wait_for_exit(3600), 0, job.report())
      return job.digest

  def peer(self, data, *arguments):
    job = Job(program("endure"), ["--listen", "127.0.0.1:0", *arguments], data=data)
    self.addCleanup(job.close)
    return job

  def test_kills_for_a_long_time(self):
    steps = int(60 * options.minutes / REST * 0.9)  # what is lost with each kill, and the steps' own time, are the rest
    digest = self.reference(steps)
    draw = random.Random(options.seed)
    folder = Job(program("endure"), ["--help"], trace=False)
    self.addCleanup(folder.close)
    data = [os.path.join(folder.folder, "data%d" % i) for i in range(PEERS)]
    common = ["--checkpoint-every", 2, "--", "--steps", steps, "--rest", int(REST * 1000)]
    jobs = [self.peer(data[0], "--host", "--ranks", RANKS, "--peers", PEERS, *common)]
    ticket = jobs[0].wait_for("ticket", PATIENCE)["text"]
    jobs += [self.peer(d, "--join", ticket) for d in data[1:]]
    spared = jobs[SPARED]
    spared.wait_for_commits(2, PATIENCE)
    memory, disk, kills, recoveries = [], [], 0, []
    next_kill = time.monotonic() + options.every
    while not ended_within(spared, min(1, options.every)):
      try:
        memory.append(resident_bytes(spared.process.pid))
      except (FileNotFoundError, AttributeError):
        break  # it has just ended
      disk.append(sum(bytes_on_disk(d) for d in data))
      if time.monotonic() < next_kill:
        continue
      victim = draw.choice([i for i in range(PEERS) if i != SPARED])
      if jobs[victim].process.poll() is not None:
        break  # the job is over
      seen = len(spared.events)
      began = time.monotonic()
      jobs[victim].kill_all()
      kills += 1
      if ended_within(spared, draw.random() * 5):
        break
      jobs[victim] = self.peer(data[victim], "--resume")
      try:
        # Its ranks run elsewhere, or by itself again, before the next one goes.
        spared.wait_for("recovered", PATIENCE, after=seen)
        newest = max([e["epoch"] for e in spared.events if e["event"] == "committed"])
        spared.wait_for_commits(1, PATIENCE, beyond=newest)
      except Trouble:
        if spared.process.poll() == 0:
          break
        raise
      recoveries.append(time.monotonic() - began)
      next_kill = max(next_kill + options.every, time.monotonic() + 1)
    for i, job in enumerate(jobs):
      code = job.wait_for_exit(PATIENCE)
      self.assertEqual(code, 0, "peer %d: %s" % (i, job.report()))
      if job.digest is not None:
        self.assertEqual(job.digest, digest, "peer %d" % i)
    self.assertEqual(spared.digest, digest)
    quarter = max(len(memory) // 4, 1)
    for name, figures in (("memory of the peer that was never killed", memory), ("all data folders", disk)):
      early, late = max(figures[:quarter]), max(figures[-quarter:])
      print("%s: at most %.1f MiB in the first quarter, %.1f in the last" % (name, early / MIB, late / MIB))
      self.assertLess(late, 1.25 * early + 8 * MIB, name)
    print("%d kills; from each until the next checkpoint: median %.1f s, at most %.1f" % (
        kills, sorted(recoveries)[len(recoveries) // 2] if recoveries else 0, max(recoveries, default=0)))
    self.assertGreaterEqual(kills, int(options.minutes * 60 / options.every / 2))


def more(parser):
  parser.add_argument("--minutes", type=float, default=5, help="about how long the job takes")
  parser.add_argument("--every", type=float, default=15, help="seconds from kill to kill")
  parser.add_argument("--seed", type=int, default=1, help="of who is killed")


options = support.options
if __name__ == "__main__":
  support.main(__doc__, more)

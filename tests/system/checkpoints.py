#!/usr/bin/env python3
"""What a person does with the checkpoints of a job that does not run: p2pdvm ls, verify, diff,
export, import and fork, on the folders of real processes that were killed."""
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest

import support
from support import Job, program

PATIENCE = 120  # seconds
RANKS = 6
LENGTH = ["--size", 64, "--steps", 60000]


class CheckpointTest(unittest.TestCase):
  @classmethod
  def setUpClass(cls):
    cls.shared = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    cls.addClassCleanup(cls.shared.cleanup)
    cls.digest = cls.reference("reference", *LENGTH)
    cls.killed = os.path.join(cls.shared.name, "killed")
    with Job(program("heat"), ["--ranks", RANKS, "--local", 3, "--checkpoint-every", 0.1, "--", *LENGTH],
             data=cls.killed) as job:
      cls.newest = job.wait_for_commits(2, PATIENCE)
      job.kill_all()

  @classmethod
  def reference(cls, name, *options):
    with Job(program("heat"), ["--ranks", RANKS, "--checkpoint-every", "off", "--", *options],
             data=os.path.join(cls.shared.name, name)) as job:
      assert job.wait_for_exit(PATIENCE) == 0, job.report()
      return job.digest

  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def path(self, name):
    return os.path.join(self.folder, name)

  def p2pdvm(self, *words, code=0):
    """Its standard output; of a failure the one sentence on the other one."""
    done = subprocess.run([program("p2pdvm"), *[str(w) for w in words]], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=PATIENCE, check=False)
    self.assertEqual(done.returncode, code, done.stdout + done.stderr)
    if code == 0:
      self.assertEqual(done.stderr, "")
    if done.stderr:
      self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
      self.assertTrue(done.stderr.startswith("p2pdvm: "), done.stderr)
    return done.stderr or done.stdout

  def ends_with(self, digest, data, *mode):
    """The job in `data` goes on from a checkpoint and ends with these bytes."""
    with Job(program("heat"), [*mode, "--resume"], data=data) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      self.assertEqual(job.digest, digest, job.report())
      starts = [e.get("epoch", 0) for e in job.of_kind("rank_started")]
      self.assertGreaterEqual(min(starts), 1, job.report())

  def spoil(self, what, folder):
    subprocess.run([program("spoil_store"), what, folder], stdout=subprocess.DEVNULL, timeout=PATIENCE, check=True)

  def test_what_is_there_is_listed(self):
    text = self.p2pdvm("ls", self.killed)
    self.assertRegex(text, r"(?m)^job [0-9a-f]{8}: heat, 6 ranks, 3 peers, unfinished$")
    newest = max(int(n) for n in re.findall(r"checkpoint (\d+)  20\d\d-", text))
    self.assertGreaterEqual(newest, self.newest)
    for peer in range(3):
      self.assertIn(os.path.join(self.killed, "peer-%d" % peer), text)
    [job] = json.loads(self.p2pdvm("ls", "--json", self.killed))
    self.assertEqual([e["epoch"] for e in job["checkpoints"]][0], newest)
    self.assertEqual({e["copies_min"] for e in job["checkpoints"]}, {3})
    self.assertEqual(job["options"], {"size": "64", "steps": str(LENGTH[-1])})

  def test_moved_by_a_file_it_ends_with_the_same_bytes(self):
    self.assertIn("is whole", self.p2pdvm("verify", self.killed))
    self.p2pdvm("export", self.killed, self.path("job"))
    self.assertEqual(stat.S_IMODE(os.stat(self.path("job")).st_mode), 0o600)
    self.assertIn("is whole", self.p2pdvm("verify", self.path("job")))
    self.p2pdvm("import", self.path("job"), self.path("elsewhere"))
    self.assertIn("is whole", self.p2pdvm("verify", self.path("elsewhere")))
    self.assertIn("--resume", self.p2pdvm("import", self.path("job"), self.path("elsewhere"), code=1))
    self.ends_with(self.digest, self.path("elsewhere"))
    # Also with other peers, while the job that was exported goes on, too.
    self.p2pdvm("import", self.path("job"), self.path("local"), "--local", 3)
    self.ends_with(self.digest, self.path("local"), "--local", 3)
    shutil.copytree(self.killed, self.path("original"))
    self.ends_with(self.digest, self.path("original"), "--local", 3)

  def test_moved_in_parts_of_which_some_are_lost_it_ends_with_the_same_bytes(self):
    part = lambda n: self.path("job.%dof6" % n)  # noqa: E731
    text = self.p2pdvm("export", self.killed, self.path("job"), "--parts", "4+2")
    self.assertIn("of which any 4 are enough", text)
    self.assertEqual(sorted(os.listdir(self.folder)), ["job.%dof6" % n for n in range(1, 7)])
    self.assertEqual(stat.S_IMODE(os.stat(part(3)).st_mode), 0o600)
    every = [part(n) for n in range(1, 7)]
    self.assertIn("is whole", self.p2pdvm("verify", *every))
    self.assertIn("exists already", self.p2pdvm("export", self.killed, self.path("job"), "--parts", "4+2", code=1))
    self.assertIn("--parts 4: it is K+M", self.p2pdvm("export", self.killed, self.path("other"), "--parts", "4", code=1))
    self.assertIn("is in parts: name these", self.p2pdvm("verify", self.path("job"), code=1))
    # One is damaged, one is gone.
    with open(part(2), "r+b") as f:
      f.seek(1000)
      f.write(b"damage")
    os.remove(part(5))
    left = [part(n) for n in (1, 2, 3, 4, 6)]
    text = self.p2pdvm("verify", *left, code=1)
    self.assertIn("part 5 of 6 was not named", text)
    self.assertRegex(text, r"job.2of6' is damaged in 1 of \d+ places")
    self.assertIn("is whole", text)
    self.assertIn("name 1 more of parts 2, 4, 5", self.p2pdvm("import", part(1), part(3), part(6), self.path("never"), code=1))
    self.p2pdvm("import", *left, self.path("elsewhere"))
    self.ends_with(self.digest, self.path("elsewhere"))
    # All six anew, from what is left.
    self.p2pdvm("export", *left, self.path("again"), "--parts", "4+2")
    self.assertIn("is whole", self.p2pdvm("verify", *[self.path("again.%dof6" % n) for n in range(1, 7)]))

  def test_another_build_goes_on_with_a_warning(self):
    shutil.copytree(self.killed, self.path("original"))
    other = self.path("heat")
    shutil.copy2(program("heat"), other)
    with open(other, "ab") as f:
      f.write(b"\0")
    with Job(other, ["--local", 3, "--resume"], data=self.path("original")) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      self.assertEqual(job.digest, self.digest, job.report())
      told = [line for line in job.lines if "another build of heat" in line]
      self.assertEqual(len(told), 1, job.report())  # of three peers

  def test_a_joiner_comes_into_an_imported_job(self):
    self.p2pdvm("export", self.killed, self.path("job"))
    self.p2pdvm("import", self.path("job"), self.path("two"), "--peers", 2)
    with Job(program("heat"), ["--resume", "--listen", "127.0.0.1:0"], data=self.path("two")) as first:
      ticket = first.wait_for("ticket", PATIENCE)["text"]
      with Job(program("heat"), ["--join", ticket, "--listen", "127.0.0.1:0"]) as second:
        for job in (first, second):
          self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
          self.assertEqual(job.digest, self.digest, job.report())
        started = {e.get("rank", 0): e["epoch"] for e in first.of_kind("rank_started") + second.of_kind("rank_started")}
        self.assertEqual(set(started), set(range(RANKS)), first.report())
        self.assertGreaterEqual(min(started.values()), self.newest)

  def test_damage_is_named_and_does_not_stand_in_the_way(self):
    spoilt = self.path("spoilt")
    shutil.copytree(self.killed, spoilt)
    self.spoil("pieces", os.path.join(spoilt, "peer-1"))
    text = self.p2pdvm("verify", spoilt, code=1)
    damaged = [line for line in text.splitlines() if line.startswith("damaged: ")]
    self.assertTrue(damaged, text)
    for line in damaged:
      self.assertRegex(line, r"^damaged: chunk [0-9a-f]{8} of ")
      self.assertTrue(line.endswith("in " + os.path.join(spoilt, "peer-1")), line)
    self.assertTrue(any(re.search(r"checkpoint \d+, rank \d, array/field", line) for line in damaged), text)
    self.assertRegex(text.splitlines()[-1], r"^checkpoint \d+ can be restored")
    # The good copies of the others are exported.
    self.p2pdvm("export", spoilt, self.path("job"))
    self.p2pdvm("import", self.path("job"), self.path("elsewhere"))
    self.ends_with(self.digest, self.path("elsewhere"))

  def test_lost_copies_are_said_to_be_lost(self):
    spoilt = self.path("spoilt")
    shutil.copytree(self.killed, spoilt)
    for peer in range(3):
      self.spoil("pieces", os.path.join(spoilt, "peer-%d" % peer))
    text = self.p2pdvm("verify", spoilt, code=1)
    self.assertIn("no checkpoint can be restored", text.splitlines()[-1])
    sentence = self.p2pdvm("export", spoilt, self.path("job"), code=1)
    self.assertRegex(sentence, r"checkpoint \d+ of rank 0 cannot be read")
    self.assertEqual(os.listdir(self.folder), ["spoilt"])
    self.spoil("values", os.path.join(spoilt, "peer-0"))
    sentence = self.p2pdvm("ls", os.path.join(spoilt, "peer-0"), code=1)
    self.assertIn("damaged", sentence)

  def test_a_fork_goes_on_with_other_options(self):
    shorter = ["--size", 64, "--steps", 50000]
    before = self.p2pdvm("ls", self.killed)
    text = self.p2pdvm("fork", self.killed, self.path("fork"), "--", "--steps", 50000)
    self.assertIn("heat --data %s --resume" % self.path("fork"), text)
    self.ends_with(self.reference("shorter", *shorter), self.path("fork"))
    self.assertEqual(self.p2pdvm("ls", self.killed), before)
    for words, said in ((["--ranks", 0], "a job has 1 to 65536 ranks"), (["--epoch", 10 ** 6], "has no checkpoint"),
                        (["--", "--step", 3], "it has --size, --steps"), (["--", "--steps"], "needs a value")):
      sentence = self.p2pdvm("fork", self.killed, self.path("never"), *words, code=1)
      self.assertIn(said, sentence)
    self.assertEqual(os.listdir(self.folder), ["fork"])

  def test_any_number_of_ranks_goes_on_from_a_distributed_array(self):
    before = self.p2pdvm("ls", self.killed)
    for ranks in (1, 4, 9, 2 * RANKS):
      with self.subTest(ranks=ranks):
        fork = self.path("fork-%d" % ranks)
        self.p2pdvm("fork", self.killed, fork, "--ranks", ranks)
        self.assertIn("is whole", self.p2pdvm("verify", fork))
        self.assertIn("%d rank" % ranks, self.p2pdvm("ls", fork))
        with Job(program("heat"), ["--resume"], data=fork) as job:
          self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
          self.assertEqual(job.digest, self.digest, job.report())
          starts = {e.get("rank", 0): e.get("epoch", 0) for e in job.of_kind("rank_started")}
          self.assertEqual(set(starts), set(range(ranks)), job.report())
          self.assertGreaterEqual(min(starts.values()), 1, job.report())
    # On several peers that may be killed, too, and with the file of the old job.
    self.p2pdvm("export", self.killed, self.path("job"))
    self.p2pdvm("fork", self.path("job"), self.path("three"), "--local", 3, "--ranks", 7)
    self.ends_with(self.digest, self.path("three"), "--local", 3)
    self.assertEqual(self.p2pdvm("ls", self.killed), before)

  def test_what_belongs_to_ranks_is_named_when_another_number_is_wanted(self):
    data = self.path("walks")
    with Job(program("outputs"), ["--ranks", 3, "--checkpoint-every", 0.05, "--", "--steps", 10 ** 8], data=data) as job:
      job.wait_for_commits(2, PATIENCE)
      job.kill_all()
    sentence = self.p2pdvm("fork", data, self.path("never"), "--ranks", 2, code=1)
    self.assertIn("what 3 ranks have saved cannot go on with 2 ranks: ", sentence)
    self.assertRegex(sentence, r"rank 0 has drawn random numbers|'(at|step)' belongs to each rank")
    self.assertFalse(os.path.exists(self.path("never")))

  def test_changes_are_counted(self):
    text = self.p2pdvm("diff", self.killed)
    self.assertEqual(len(re.findall(r"(?m)^ +\d  array/field ", text)), RANKS, text)
    self.assertRegex(text.splitlines()[0], r"^from checkpoint \d+ to \d+:$")

  def test_files_that_are_none_are_refused(self):
    self.p2pdvm("export", self.killed, self.path("job"))
    self.assertIn("exists already", self.p2pdvm("export", self.killed, self.path("job"), code=1))
    with open(self.path("job"), "rb") as f:
      good = f.read()
    for name, bytes_, said in (("cut", good[:len(good) // 2], "ends too early"), ("empty", b"", "is no file"),
                               ("changed", good[:-1] + bytes([good[-1] ^ 1]), "is not as it was written"),
                               ("newer", good[:16] + b"\x63" + good[17:], "format 99")):
      with open(self.path(name), "wb") as f:
        f.write(bytes_)
      self.assertIn(said, self.p2pdvm("import", self.path(name), self.path("never"), code=1))
    self.assertFalse(os.path.exists(self.path("never")))
    self.assertIn("holds no data of a peer", self.p2pdvm("ls", self.folder, code=1))

  def test_a_folder_in_use_is_left_alone(self):
    with Job(program("heat"), ["--ranks", RANKS, "--checkpoint-every", 0.1, "--", "--size", 64, "--steps", 10 ** 9],
             data=self.path("data")) as job:
      job.wait_for_commits(2, PATIENCE)
      for words in (["ls"], ["verify"], ["diff"]):
        self.assertIn("a running peer uses", self.p2pdvm(*words, self.path("data"), code=1))
      self.assertIn("used by another process", self.p2pdvm("fork", self.killed, self.path("data"), code=1))
      job.process.send_signal(signal.SIGINT)
      self.assertEqual(job.wait_for_exit(PATIENCE), 130, job.report())
    self.assertIn("is whole", self.p2pdvm("verify", self.path("data")))


if __name__ == "__main__":
  support.main(__doc__)

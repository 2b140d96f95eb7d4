"""C programs that call BSPlib, at several numbers of processes; what they must not do; the compiler wrappers."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "system"))
sys.dont_write_bytecode = True

from support import main, options, program  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def bsprun(*words):
  return subprocess.run([program("p2pdvm-bsprun"), "--timeout", "60", *words], capture_output=True, text=True, check=False, timeout=90)


def compiled(name):
  return os.path.join(options.programs, "bsp_" + name)


class Programs(unittest.TestCase):
  def run_at(self, name, sizes, *words):
    for size in sizes:
      with self.subTest(program=name, processes=size):
        done = bsprun("-n", str(size), compiled(name), *words)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        yield size, done.stdout

  def test_every_primitive(self):
    for size, text in self.run_at("primitives", (1, 2, 3, 4, 7)):
      self.assertEqual(text, "all primitives on %d processes\n" % size)

  def test_without_a_launcher_a_program_is_one_process(self):
    done = subprocess.run([compiled("primitives")], capture_output=True, text=True, check=False, timeout=60)
    self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "all primitives on 1 processes\n", ""))

  def test_a_program_may_only_ask_how_many_there_are(self):
    for size in (1, 3):
      done = bsprun("-n", str(size), compiled("primitives"), str(size))
      self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))

  def test_a_sort(self):
    for size, text in self.run_at("sort", (1, 2, 3, 4, 7)):
      self.assertEqual(text, "sorted %d numbers\n" % (2000 * size))

  def test_a_parallel_part_that_is_not_main(self):
    for size, text in self.run_at("begins", (1, 2, 3, 5)):
      take_part = min(size, 2)
      parts = ["process %d of %d\n" % (r, take_part) for r in range(take_part)]
      lines = text.splitlines(keepends=True)
      self.assertEqual(lines[0], "before, with %d processes at most\n" % size)
      self.assertEqual(sorted(lines[1:]), ["after, on 0\n", *parts])

  def test_the_first_process_gives_the_exit_code(self):
    done = bsprun("-n", "2", compiled("begins"), "9")
    self.assertEqual((done.returncode, done.stderr), (9, ""))

  def test_checkpoints(self):
    whole = bsprun("-n", "3", compiled("restarts"), "30")
    self.assertEqual((whole.returncode, whole.stderr), (0, ""))
    done = bsprun("-n", "3", "--on-loss", "restart", compiled("restarts"), "30", "22")
    self.assertEqual((done.returncode, done.stdout), (0, "again at step 20\n" + whole.stdout), done.stderr)
    self.assertIn("(rank 1) was ended by signal 9 (Killed); all begin again at checkpoint", done.stderr)

  def test_a_ticket_brings_two_launchers_together(self):
    with subprocess.Popen([program("p2pdvm-bsprun"), "-n", "1", "--ranks", "3", "--quiet", "--host", "--listen", "127.0.0.1:0",
                           compiled("sort")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
      ticket = host.stderr.readline().strip()
      joined = bsprun("-n", "2", "--join", ticket, compiled("sort"))
      out, err = host.communicate(timeout=60)
    self.assertEqual((host.returncode, err, joined.returncode, joined.stderr), (0, "", 0, ""))
    self.assertEqual(out + joined.stdout, "sorted 6000 numbers\n")


class Mistakes(unittest.TestCase):
  """Each ends the job, with a sentence that says which call was wrong, where, and why."""

  def ends(self, what, *words, code=1):
    done = bsprun("-n", "2", compiled("mistakes"), what)
    self.assertEqual(done.returncode, code, done.stderr)
    lines = done.stderr.splitlines()
    self.assertTrue(any(all(word in line for word in words) for line in lines), done.stderr)
    # Both processes may come to say it; and the launcher, where they have not told it that they had begun.
    self.assertLessEqual(len(lines), 3, done.stderr)

  def test_calls_at_the_wrong_time(self):
    self.ends("nobody yet", "bsp_pid: it was called before bsp_begin")
    self.ends("before", "bsp_sync (mistakes.c:9): it was called before bsp_begin")
    self.ends("twice", "bsp_begin (mistakes.c:", "called once")
    self.ends("none", "there cannot be 0 processes")
    self.ends("after", "after bsp_end")
    self.ends("again", "called once")

  def test_registrations(self):
    self.ends("too early", "bsp_put (mistakes.c:", "from the next superstep on")
    self.ends("unregistered", "bsp_put (mistakes.c:", "not registered")
    self.ends("null", "NULL is registered with a size of 8 bytes")
    self.ends("negative", "the size is negative")
    self.ends("not pushed", "bsp_pop_reg (mistakes.c:", "not registered")
    self.ends("pops twice", "taken back before")

  def test_what_is_not_collective(self):
    self.ends("pushes", "rank 0 called bsp_push_reg once in superstep 0, and rank 1 2 times")
    self.ends("pops", "rank 0 called bsp_pop_reg 0 times in superstep 1, and rank 1 once")
    self.ends("other pops", "rank 0 takes the 1st registration back in superstep 2, and rank 1 the 2nd")
    self.ends("other nulls", "rank 0 takes the 2nd registration back in superstep 1, and rank 1 the 3rd")
    self.ends("order", "not call bsp_push_reg and bsp_pop_reg in superstep 1 in the same order")
    self.ends("tag size", "rank 0 called bsp_set_tagsize 0 times in superstep 1, and rank 1 once")
    self.ends("tag sizes", "rank 0 gives tags a size of 0 in superstep 1, and rank 1 one of 1")
    self.ends("ends", "ends it with")

  def test_memory_and_processes_that_are_not_there(self):
    self.ends("outside", "rank 1 puts 4 elements at index 2", "has 4 elements", "mistakes.c:")
    self.ends("outside get", "rank 1 gets 1 elements at index 4", "mistakes.c:")
    self.ends("nobody", "puts to rank 2", "ranks 0 to 1")
    self.ends("nobody sends", "sends to rank -1")
    self.ends("no message", "there is no message")
    self.ends("less than nothing", "bsp_move (mistakes.c:", "the size is negative")

  def test_processes_that_end_too_early(self):
    self.ends("abort", "the matrix is singular in row 17")
    self.ends("leaves", "ended with code 5 before bsp_end", code=5)
    self.ends("returns", "ended without calling bsp_end")


class Wrappers(unittest.TestCase):
  def test_they_compile_and_link(self):
    with tempfile.TemporaryDirectory(prefix="p2pdvm-") as folder:
      for wrapper, words in (("p2pdvm-bspcc", ["-std=c99", "-Wall", "-Wextra", "-pedantic", "-Werror"]),
                             ("p2pdvm-bspcxx", ["-x", "c++", "-fpermissive", "-w"])):
        subprocess.run([program(wrapper), *words, os.path.join(HERE, "sort.c"), "-x", "none", "-o", "sort"], cwd=folder, check=True, capture_output=True)
        done = bsprun("-n", "2", os.path.join(folder, "sort"))
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "sorted 4000 numbers\n", ""))


def extra(parser):
  parser.add_argument("--programs", required=True, help="folder of the compiled C programs")


if __name__ == "__main__":
  main(__doc__, extra)

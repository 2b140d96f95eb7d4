"""C programs that call MPI, at several numbers of ranks; how they end; the compiler wrappers."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "system"))
sys.dont_write_bytecode = True

from support import main, options, program  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))


def mpiexec(*words, **how):
  return subprocess.run([program("p2pdvm-mpiexec"), *words], capture_output=True, text=True, check=False, timeout=300, **how)


def compiled(name):
  return os.path.join(options.programs, "mpi_" + name)


class Programs(unittest.TestCase):
  def run_at(self, name, sizes):
    for size in sizes:
      with self.subTest(program=name, ranks=size):
        done = mpiexec("-n", str(size), compiled(name))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        yield size, done

  def test_a_message_goes_round_and_a_sum_is_everywhere(self):
    for size, done in self.run_at("ring", (1, 2, 3, 4)):
      self.assertEqual(done.stdout, "sum over %d ranks: %d\n" % (size, size * (size - 1) // 2))

  def test_without_a_launcher_a_program_is_one_rank(self):
    done = subprocess.run([compiled("ring")], capture_output=True, text=True, check=False, timeout=60)
    self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "sum over 1 ranks: 0\n", ""))

  def test_messages(self):
    list(self.run_at("messages", (1, 2, 3)))

  def test_collectives(self):
    list(self.run_at("collectives", (1, 2, 3, 4, 7)))

  def test_datatypes(self):
    list(self.run_at("datatypes", (1, 3)))

  def test_communicators(self):
    list(self.run_at("communicators", (1, 2, 5)))

  def test_topologies(self):
    list(self.run_at("topologies", (1, 3, 6)))

  def test_errors(self):
    list(self.run_at("errors", (1, 2)))

  def test_a_program_can_have_functions_of_mpi_for_itself(self):
    list(self.run_at("profiling", (1,)))


class Ends(unittest.TestCase):
  """How p2pdvm-mpiexec ends, and what it says."""

  def ends(self, how, code, *words):
    done = mpiexec("-n", "3", compiled("ends"), how)
    self.assertEqual(done.returncode, code, done.stderr)
    for word in words:
      self.assertIn(word, done.stderr)
    self.assertLessEqual(done.stderr.count("\n"), 1, done.stderr)

  def test_well(self):
    self.ends("well", 0)

  def test_by_abort(self):
    self.ends("abort", 17, "called MPI_Abort with code 17")

  def test_by_exit_before_the_end(self):
    self.ends("exit", 5, "ended with code 5 before MPI_Finalize")

  def test_by_exit_without_finalize(self):
    self.ends("quietly", 1, "ended without calling MPI_Finalize")

  def test_by_a_signal(self):
    self.ends("signal", 137, "was ended by signal 9")

  def test_by_an_error_that_is_fatal(self):
    self.ends("error", 6, "MPI_Send failed", "rank 6", "MPI_ERR_RANK")

  def test_with_a_code_of_its_own(self):
    self.ends("later", 4)

  def test_after_the_time_that_it_was_given(self):
    done = mpiexec("-n", "2", "--timeout", "1", compiled("ends"), "forever")
    self.assertEqual(done.returncode, 124)
    self.assertIn("ended after 1 s", done.stderr)

  def test_without_init(self):
    self.ends("without", 0, "never called MPI_Init")

  def test_what_is_wrong_with_the_command_line_is_one_sentence(self):
    for words, code, text in ((["--nonsense"], 2, "there is no option --nonsense"),
                              (["-n", "many", "x"], 2, "not 'many'"), (["-n"], 2, "needs a value"), ([], 2, "no program"),
                              (["-n", "2", "/no/such/program"], 127, "there is no program '/no/such/program'"),
                              (["--host", "--join", "T", "x"], 2, "name one of them")):
      done = mpiexec(*words)
      self.assertEqual(done.returncode, code, words)
      self.assertIn(text, done.stderr)
      self.assertEqual(done.stderr.count("\n"), 1)

  def test_a_ticket_brings_two_launchers_together(self):
    with subprocess.Popen([program("p2pdvm-mpiexec"), "-n", "1", "--ranks", "3", "--quiet", "--host", "--listen", "127.0.0.1:0",
                           compiled("ring")], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
      ticket = host.stderr.readline().strip()
      joined = mpiexec("-n", "2", "--join", ticket, compiled("ring"))
      out, err = host.communicate(timeout=60)
    self.assertEqual((host.returncode, err, joined.returncode, joined.stderr), (0, "", 0, ""))
    self.assertEqual(out + joined.stdout, "sum over 3 ranks: 3\n")


class Checkpoints(unittest.TestCase):
  """p2pdvm.h: what a program names is there again."""

  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(folder.cleanup)
    self.folder = os.path.join(folder.name, "job")
    whole = mpiexec("-n", "3", compiled("restarts"), "23")
    self.assertEqual((whole.returncode, whole.stderr), (0, ""))
    self.result = whole.stdout

  def test_when_a_process_is_killed_all_begin_again_at_the_last_checkpoint(self):
    done = mpiexec("-n", "3", "--on-loss", "restart", "--timeout", "60", compiled("restarts"), "23", "13")
    self.assertEqual((done.returncode, done.stdout), (0, "again at step 10\n" + self.result), done.stderr)
    self.assertIn("(rank 2) was ended by signal 9 (Killed); all begin again at checkpoint", done.stderr)
    self.assertEqual(done.stderr.count("\n"), 1, done.stderr)

  def test_without_progress_they_do_not_begin_for_ever(self):
    done = mpiexec("-n", "3", "--on-loss", "restart", "--timeout", "60", compiled("restarts"), "23", "13", "always")
    self.assertEqual((done.returncode, done.stdout), (137, "again at step 10\n"), done.stderr)
    self.assertIn("no checkpoint since they began again", done.stderr)
    done = mpiexec("-n", "3", "--on-loss", "restart", "--timeout", "60", compiled("restarts"), "23", "3")
    self.assertEqual(done.returncode, 137, done.stderr)
    self.assertIn("no checkpoint since the beginning", done.stderr)

  def test_they_are_kept_where_all_are_killed(self):
    done = mpiexec("-n", "3", "--data", self.folder, "--timeout", "60", compiled("restarts"), "23", "18")
    self.assertEqual(done.returncode, 137, done.stderr)
    done = mpiexec("-n", "3", "--data", self.folder, "--restart", "--timeout", "60", compiled("restarts"), "23")
    self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "again at step 15\n" + self.result, ""))

  def test_launchers_of_one_job_begin_again_together(self):
    with subprocess.Popen([program("p2pdvm-mpiexec"), "-n", "2", "--ranks", "3", "--quiet", "--host", "--on-loss", "restart", "--timeout", "120",
                           compiled("restarts"), "23", "13"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as host:
      ticket = host.stderr.readline().strip()
      joined = mpiexec("-n", "1", "--join", ticket, "--on-loss", "restart", "--timeout", "120", compiled("restarts"), "23", "13")
      out, err = host.communicate(timeout=120)
    self.assertEqual((host.returncode, joined.returncode), (0, 0), err + joined.stderr)
    self.assertEqual(out + joined.stdout, "again at step 10\n" + self.result)

  def test_what_is_wrong_is_said(self):
    done = mpiexec("-n", "1", "--data", self.folder, compiled("restarts"), "12", "7")
    self.assertEqual(done.returncode, 137)
    for words, text in ((["-n", "1", "--data", self.folder], "has a job already"),
                        (["-n", "2", "--data", self.folder, "--restart"], "has 1 processes here, and -n says 2"),
                        (["-n", "1", "--data", self.folder + "-not", "--restart"], "there is no job in"),
                        (["-n", "1", "--restart"], "--restart needs --data"),
                        (["-n", "1", "--on-loss", "hope"], "--on-loss is end or restart")):
      done = mpiexec(*words, compiled("restarts"))
      self.assertNotEqual(done.returncode, 0)
      self.assertIn(text, done.stderr)
      self.assertEqual(done.stderr.count("\n"), 1, done.stderr)


class Wrappers(unittest.TestCase):
  def test_they_compile_and_link(self):
    with tempfile.TemporaryDirectory(prefix="p2pdvm-") as folder:
      for wrapper, name in (("p2pdvm-mpicc", "ring"), ("p2pdvm-mpicxx", "profiling")):
        source = os.path.join(HERE, name + ".c")
        words = ["-x", "c"] if wrapper.endswith("cc") else ["-x", "c++", "-fpermissive", "-w"]
        subprocess.run([program(wrapper), *words, source, "-x", "none", "-o", name], cwd=folder, check=True, capture_output=True)
        done = mpiexec("-n", "2", os.path.join(folder, name))
        self.assertEqual((done.returncode, done.stderr), (0, ""))

  def test_what_is_not_there_does_not_link(self):
    with tempfile.TemporaryDirectory(prefix="p2pdvm-") as folder:
      with open(os.path.join(folder, "window.c"), "w", encoding="ascii") as f:
        f.write("#include <mpi.h>\nint main(void) { return MPI_Win_fence(0, MPI_WIN_NULL); }\n")
      done = subprocess.run([program("p2pdvm-mpicc"), "window.c"], cwd=folder, capture_output=True, text=True, check=False)
      self.assertNotEqual(done.returncode, 0)
      self.assertIn("MPI_Win_fence", done.stderr)

  def test_cmake_finds_mpi_through_them(self):
    with tempfile.TemporaryDirectory(prefix="p2pdvm-") as folder:
      with open(os.path.join(folder, "CMakeLists.txt"), "w", encoding="ascii") as f:
        f.write("cmake_minimum_required(VERSION 3.25)\nproject(found C)\nfind_package(MPI REQUIRED COMPONENTS C)\n"
                "add_executable(ring %s)\ntarget_link_libraries(ring MPI::MPI_C)\n" % os.path.join(HERE, "ring.c"))
      for words in (["-B", "build", "-DMPI_C_COMPILER=" + program("p2pdvm-mpicc")], ["--build", "build"]):
        made = subprocess.run(["cmake", *words], cwd=folder, capture_output=True, text=True, check=False)
        self.assertEqual(made.returncode, 0, made.stdout + made.stderr)
      done = mpiexec("-n", "2", os.path.join(folder, "build", "ring"))
      self.assertEqual((done.returncode, done.stdout), (0, "sum over 2 ranks: 1\n"))


def extra(parser):
  parser.add_argument("--programs", required=True, help="folder of the compiled C programs")


if __name__ == "__main__":
  main(__doc__, extra)

#!/usr/bin/env python3
"""What programs say to bad input and to strangers: one clear sentence, a non-zero exit, no hang."""
import json
import os
import pty
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import support
from support import Job, check_recoveries, program, temporary_file

PATIENCE = 120  # seconds
LONG_RUN = ["--size", 64, "--steps", 10 ** 9]
SOME_SECONDS = ["--size", 64, "--steps", 100000]


class CommandLineTest(unittest.TestCase):
  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def path(self, name):
    return os.path.join(self.folder, name)

  def run_program(self, name, *arguments, data="data"):
    words = [str(a) for a in arguments]
    if data is not None:
      words = ["--data", self.path(data), *words]
    return subprocess.run([program(name), *words], stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, timeout=PATIENCE, check=False)

  def start(self, name, *arguments, **how):
    job = Job(program(name), arguments, **how)
    self.addCleanup(job.close)
    return job

  def assert_one_sentence(self, errors, words, of="heat"):
    """`errors` is one line that begins with the program's name and holds each of `words`."""
    self.assertEqual(len(errors.splitlines()), 1, errors)
    self.assertTrue(errors.startswith(of + ": "), errors)
    for word in words:
      self.assertIn(word, errors)
    for never in ("terminate called", "Assertion", "what():", "std::", ".ipp", ".cpp"):
      self.assertNotIn(never, errors)
    self.assertNotRegex(errors, r"\b0x")  # an address; the name of a folder may hold 0x

  def refused(self, words, *arguments, name="heat", **how):
    done = self.run_program(name, *arguments, **how)
    self.assertGreater(done.returncode, 0, done.stdout + done.stderr)
    self.assert_one_sentence(done.stderr, words, name)
    return done

  def job_refused(self, job, words, of="heat"):
    self.assertGreater(job.wait_for_exit(PATIENCE), 0, job.report())
    self.assert_one_sentence(job.errors, words, of)

  def host(self, peers, *after, **how):
    """A job on this machine's loopback that waits for peers, and its ticket."""
    job = self.start("heat", "--host", "--peers", peers, "--ranks", 6, "--listen", "127.0.0.1:0",
                     "--checkpoint-every", 0.2, "--", *(after or SOME_SECONDS), **how)
    return job, job.wait_for("ticket", PATIENCE)["text"]

  def join(self, ticket, name="heat", **how):
    return self.start(name, "--join", ticket, "--listen", "127.0.0.1:0",
                      "--checkpoint-every", 0.2, **how)


class Simulator(CommandLineTest):
  """p2pdvm-sim."""
  SCENARIO = ("program halo\noption steps 30\nseed 7\npeers 3\nranks 3\n"
              "at 0.05 stall peer 1 for 0.02\nat 0.1 crash-reset peer 2\n")

  def run_sim(self, *arguments):
    return self.run_program("p2pdvm-sim", *arguments, data=None)

  def sim_refused(self, words, *arguments):
    self.refused(words, *arguments, name="p2pdvm-sim", data=None)

  def scenario(self, text):
    with open(self.path("scenario"), "w", encoding="ascii") as f:
      f.write(text)
    return self.path("scenario")

  def test_wrong_words_get_a_sentence(self):
    self.sim_refused(["subcommand", "--help"])
    self.sim_refused(["--help"], "dance")
    self.sim_refused(["--seeds"], "swarm", "--seeds", 0)
    self.sim_refused(["--seeds"], "swarm", "--seeds", "many")
    self.sim_refused(["--seed", "--help"], "replay")
    self.sim_refused(["file", "--seed"], "replay", "somewhere", "--seed", 1)
    self.sim_refused(["cannot read the scenario /nonexistent"], "replay", "/nonexistent")
    for text, words in {
        "": ["names no program"],
        self.SCENARIO + "at 1 explode peer 1\n": ["line 8", "no fault 'explode'"],
        self.SCENARIO.replace("halo", "solitaire"): ["solitaire", "halo, supersteps, both"],
    }.items():
      with self.subTest(text=text):
        file = self.scenario(text)
        self.sim_refused([file, *words], "replay", file)
    self.sim_refused(["--peers"], "overlay", "--peers", 1)
    self.sim_refused(["'often' is no session model"], "overlay", "--churn", "often")
    self.sim_refused(["'often' is no session model"], "interval", "--churn", "often")
    self.sim_refused(["'stable' has no mean lifetime"], "interval", "--churn", "stable")
    self.sim_refused(["--blocking", "--recovery", "belong together"], "interval", "--blocking", 1)
    self.sim_refused(["latency matrix /nonexistent"], "overlay", "--latency-matrix", "/nonexistent")
    self.sim_refused(["cannot write", "/nonexistent/t"], "replay", self.scenario(self.SCENARIO),
                     "--timeline", "/nonexistent/t")

  def test_a_scenario_replays_with_a_trace_and_a_timeline(self):
    file, picture = self.scenario(self.SCENARIO), self.path("timeline.json")
    done = self.run_sim("replay", file, "--trace", "--timeline", picture)
    self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
    for words in ("program halo", "peer 2 evicted", "fault: at 0.1 crash-reset peer 2",
                  "over:  at 0.05 stall peer 1", "right:"):
      self.assertRegex(done.stdout, words.replace("peer 2 evicted", r"peer [01] evicted"))
    with open(picture, encoding="utf-8") as f:
      names = {e["name"] for e in json.load(f)["traceEvents"]}
    self.assertLessEqual({"up", "incarnation 1", "incarnation 2", "at 0.1 crash-reset peer 2"}, names)
    digest = re.search("digest of all: [0-9a-f]{16}", done.stdout).group()
    self.assertIn(digest, self.run_sim("replay", file).stdout)

  def test_intervals_are_compared_and_the_same_again(self):
    arguments = ("interval", "--costs", "planetlab", "--churn", "exponential:30min,heavy-tailed:30min", "--ranks", 32,
                 "--job", 20000, "--jobs", 4, "--json")
    done = self.run_sim(*arguments)
    self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    losses = {(m["system"], m["parameters"]["lifetimes"]): m["value"] for m in lines if m["metric"] == "loss"}
    self.assertEqual(set(losses), {(system, lifetimes) for system in ("p2pdvm", "young")
                                   for lifetimes in ("exponential", "heavy-tailed")})
    self.assertLess(max(losses.values()), 0.03)
    self.assertEqual(self.run_sim(*arguments).stdout, done.stdout)

  def test_an_overlay_under_churn_is_measured_and_the_same_again(self):
    arguments = ("overlay", "--peers", 40, "--churn", "2min", "--settling", 60, "--time", 30,
                 "--records", 10, "--json")
    done = self.run_sim(*arguments)
    self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
    results = json.loads(done.stdout)
    self.assertGreater(results["lookups"]["begun"], 300)
    self.assertLess(results["lookups"]["failed"], 30)
    self.assertGreater(results["finds"]["begun"], 100)
    self.assertEqual(self.run_sim(*arguments).stdout, done.stdout)
    table = self.run_sim(*arguments[:-1]).stdout
    for words in ("40 peers, sessions 2min, seed 1, datagrams encrypted", results["digest"]):
      self.assertIn(words, table)

  def test_a_swarm_reports_each_seed_and_replays_it(self):
    done = self.run_sim("swarm", "--seeds", 2, "--json", "--out", self.folder)
    self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
    *seeds, total = [json.loads(line) for line in done.stdout.splitlines()]
    self.assertEqual([(s["seed"], s["right"]) for s in seeds], [(1, True), (2, True)])
    self.assertEqual((total["seeds"], total["failed"]), (2, 0))
    self.assertIn(seeds[1]["digest"], self.run_sim("replay", "--seed", 2).stdout)

  def test_a_swarm_draws_the_kinds_of_faults_that_it_is_told(self):
    self.sim_refused(["--faults", "explosion"], "swarm", "--faults", "rot,explosion")
    scenarios = [self.run_sim("replay", "--seed", n, "--faults", "rot,leave").stdout for n in range(1, 9)]
    kinds = set(re.findall(r"^at [0-9.]+ ([a-z-]+)", "".join(scenarios), re.MULTILINE))
    self.assertLessEqual({"rot"}, kinds)
    self.assertLessEqual(kinds, {"rot", "leave", "crash-reset", "crash-silent"})


class Answers(CommandLineTest):
  def test_help_is_for_a_newcomer(self):
    done = self.run_program("heat", "--help", data=None)
    self.assertEqual((done.returncode, done.stderr), (0, ""))
    for word in ("--ranks", "--local", "--host", "--join", "--simulate", "--resume", "--size",
                 "--steps", "Examples:", "heat --join TICKET"):
      self.assertIn(word, done.stdout)
    for hidden in ("--local-index", "--event-fd"):
      self.assertNotIn(hidden, done.stdout)

  def test_version(self):
    done = self.run_program("heat", "--version", data=None)
    self.assertEqual((done.returncode, done.stderr), (0, ""))
    self.assertRegex(done.stdout, r"^heat on p2pdvm \d+\.\d+\.\d+\n$")

  def test_json_is_one_object_a_line(self):
    for mode in ([], ["--local", 3]):
      with self.subTest(mode=mode):
        done = self.run_program("heat", "--json", "--ranks", 4, *mode, "--", "--steps", 20,
                                data="json%d" % len(mode))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        events = [json.loads(line) for line in done.stdout.splitlines()]
        for e in events:
          self.assertLessEqual({"event", "time", "peer"}, e.keys())
        digests = {e["digest"] for e in events if e["event"] == "done"}
        self.assertEqual(len(digests), 1)

  def test_a_terminal_sees_one_live_line(self):
    for where in ([], ["--local", "2"]):
      main, terminal = pty.openpty()
      process = subprocess.Popen(
          [program("heat"), "--ranks", "4", *where, "--data", os.path.join(self.folder, "live%d" % len(where)),
           "--", "--size", "64", "--steps", "1000000000"], stdout=terminal, stderr=terminal)
      self.addCleanup(process.kill)
      os.close(terminal)
      shown = b""
      live = re.compile(rb"\r\x1b\[K4 ranks on (\d) peers? \| step (\d+) \(([\d.]+)/s\) \| checkpoint \d+ \|")
      # On a busy machine a line may say what the one before said.
      while len({step for _, step, _ in live.findall(shown)}) < 2:
        shown += os.read(main, 4096)  # an end would be an error
      process.send_signal(signal.SIGINT)
      os.set_blocking(main, True)
      try:
        while os.read(main, 4096):
          pass
      except OSError:
        pass  # what a terminal says when the other side is closed
      self.assertEqual(process.wait(PATIENCE), 130)
      os.close(main)
      lines = live.findall(shown)
      (peers, first, _), (_, last, rate) = lines[0], next(line for line in lines if line[1] != lines[0][1])
      self.assertEqual(int(peers), 2 if where else 1)
      self.assertGreater(int(last), int(first))
      self.assertGreater(float(rate), 0)

  def test_quiet_prints_the_result_only(self):
    for mode in ([], ["--local", 3]):
      with self.subTest(mode=mode):
        done = self.run_program("heat", "--quiet", "--ranks", 4, *mode, "--", "--steps", 20,
                                data="quiet%d" % len(mode))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^digest: [0-9a-f]{64}\n$")

  def test_local_peers_as_if_far_apart(self):
    far = ["--ranks", 4, "--local", 3, "--profile", "lan"]
    with Job(program("heat"), [*far, "--", "--size", 32, "--steps", 50]) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      told = [e["text"] for e in job.of_kind("listening")]
      self.assertEqual({t.rsplit(".", 1)[0] for t in told}, {"127.77.0"}, job.report())
      with Job(program("heat"), ["--ranks", 4, "--", "--size", 32, "--steps", 50]) as near:
        self.assertEqual(near.wait_for_exit(PATIENCE), 0, near.report())
        self.assertEqual(job.digest, near.digest)

  def test_one_output_file_with_local_peers(self):
    out = self.path("out.pgm")
    done = self.run_program("heat", "--ranks", 4, "--local", 3, "--", "--steps", 5, "--size", 16,
                            "--output", out)
    self.assertEqual(done.returncode, 0, done.stderr)
    with open(out, "rb") as f:
      self.assertEqual(len(f.read()), len(b"P5\n16 16\n255\n") + 256)
    self.assertEqual([n for n in os.listdir(self.folder) if n.startswith("out")], ["out.pgm"])


class BadInput(CommandLineTest):
  def test_options(self):
    self.refused(["--profile goes with --local"], "--profile", "lan")
    self.refused(["no latency profile 'mars'", "planetlab"], "--local", 2, "--profile", "mars")
    self.refused(["--bogus", "--help"], "--bogus")
    self.refused(["--bogus", "--help"], "--", "--bogus", "1")
    self.refused(["extra"], "extra")
    self.refused(["--ranks"], "--ranks", 0)
    self.refused(["--ranks"], "--ranks", "many")
    self.refused(["--local"], "--local", 0)
    self.refused(["--checkpoint-every", "soon"], "--checkpoint-every", "soon")
    for where in ("nowhere", "3", "127.0.0.1", "127.0.0.1:99999", "1.2.3:4"):
      self.refused(["--listen", "'%s'" % where, "ADDRESS:PORT"], "--listen", where)
    self.refused(["--local"], "--local", 3, "--host")
    self.refused(["moon", "planetlab"], "--simulate", "moon", "--ranks", 2)
    self.refused(["'often' is no session model", "heavy-tailed:TIME"], "--simulate", "lan", "--churn", "often")
    self.refused(["--steps", "abc"], "--", "--steps", "abc")
    self.refused(["--size"], "--", "--size", 0)

  def test_a_latency_matrix_that_is_wrong_is_refused_with_its_line(self):
    matrix = self.path("matrix")
    for text, words in {
        "": ["line 1", "holds no row"],
        "0 1\n1 0 3\n": ["line 2", "has 3 numbers where the first row has 2"],
        "0 1 2\n1 0 3\n": ["line 2", "is not square"],
        "0 1\n-1 0\n": ["line 2", "-1 is negative"],
        "0 1\n1 fast\n": ["line 2", "'fast' is not a time"],
        "0 1\n1 0\n": ["line 2", "ends after 2 rows", "too few for 3 machines"],
    }.items():
      with self.subTest(text=text):
        with open(matrix, "w", encoding="ascii") as f:
          f.write(text)
        self.refused([matrix, *words], "--simulate", "lan", "--latency-matrix", matrix,
                     "--ranks", 4, "--peers", 3)
    self.refused(["cannot read", "/nonexistent"], "--simulate", "lan", "--latency-matrix",
                 "/nonexistent")
    with open(matrix, "w", encoding="ascii") as f:
      f.write("0 1 2\n1 0 3\n2 3 0\n")
    done = self.run_program("heat", "--simulate", "lan", "--latency-matrix", matrix, "--ranks", 4,
                            "--peers", 3, "--", "--size", 16, "--steps", 20)
    self.assertEqual((done.returncode, done.stderr), (0, ""))

  def test_a_simulated_job_whose_peers_go_and_come_back_ends_with_the_same_digest(self):
    def digest(*sessions):
      done = self.run_program("heat", "--simulate", "lan", "--peers", 5, "--ranks", 4, *sessions,
                              "--checkpoint-every", 0.2, "--", "--size", 16, "--steps", 20000)
      self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
      departures = re.search(r"([0-9]+) departures?, [0-9]+ of them with a return", done.stdout)
      return int(departures.group(1)), re.search("digest: [0-9a-f]+", done.stdout).group()
    departures, disturbed = digest("--churn", "exponential:2s")
    self.assertGreater(departures, 0)
    self.assertEqual((0, disturbed), digest())

  def test_a_timeline_of_a_simulated_run_is_json_with_a_track_for_each_peer(self):
    self.refused(["--timeline", "--simulate"], "--timeline", self.path("t"), "--ranks", 2)
    self.refused(["cannot write", "/nonexistent/t"], "--simulate", "lan", "--timeline",
                 "/nonexistent/t", "--ranks", 2, "--", "--size", 16, "--steps", 20)
    picture = self.path("timeline.json")
    done = self.run_program("heat", "--simulate", "lan", "--peers", 3, "--ranks", 4, "--timeline",
                            picture, "--", "--size", 16, "--steps", 20)
    self.assertEqual((done.returncode, done.stderr), (0, ""))
    with open(picture, encoding="utf-8") as f:
      events = json.load(f)["traceEvents"]
    tracks = {e["args"]["name"] for e in events if e["name"] == "process_name"}
    self.assertEqual(tracks, {"peer 0", "peer 1", "peer 2"})

  def test_unreadable_and_broken_files(self):
    truncated = temporary_file(self, "truncated.pgm", b"P5\n8 8\n255\nabc")
    nonsense = temporary_file(self, "nonsense.pgm", b"\x00\x01 no picture")
    for n, mode in enumerate(([], ["--ranks", 3, "--local", 3])):
      def refuse(words, *after, name="heat", data):
        self.refused(words, *mode, "--", *after, name=name, data="%s%d" % (data, n))
      with self.subTest(mode=mode):
        missing = self.path("missing.pgm")
        refuse(["--input", missing, "No such file"], "--input", missing, data="missing")
        refuse(["--input", "folder"], "--input", self.folder, data="folder")
        refuse(["PGM", "3 bytes"], "--input", truncated, data="truncated")
        refuse(["PGM"], "--input", nonsense, data="nonsense")
        refuse(["--output", "No such file"], "--steps", 2, "--output",
               self.path("no/where.pgm"), data="output")
        for text, words in (("a b\nc\n", ["line 2", "one name"]),
                            ("a b c\n", ["line 1", "more than two names"]),
                            ("a \x01\n", ["line 1", "not text"]),
                            ("a " + "b" * 300 + "\n", ["line 1", "300 bytes"])):
          refuse(words, "--input", temporary_file(self, "edges", text), name="pagerank",
                 data="edges%d" % len(text))
        refuse(["--input"], name="pagerank", data="none")
        edges = temporary_file(self, "edges", "a b\n")
        for option, value in (("--iterations", "-1"), ("--iterations", "9" * 20), ("--top", "1e3")):
          refuse([option, "number", value], "--input", edges, option, value, name="pagerank",
                 data="number%s%s" % (option, value))

  def test_folders(self):
    self.refused(["holds no job to resume"], "--resume")
    file = temporary_file(self, "file", "")
    self.refused([file], "--data", file, data=None)
    self.refused(["identity", "damaged"], data=self.damaged_identity())
    self.refused(["trace"], "--trace", self.path("no/trace"), data="traced")

  def damaged_identity(self):
    os.makedirs(self.path("damaged"))
    with open(self.path("damaged/identity"), "wb") as f:
      f.write(b"short")
    return "damaged"

  def test_a_folder_with_another_job(self):
    data = self.path("data")
    with Job(program("heat"), ["--checkpoint-every", 0.1, "--ranks", 2, "--", *LONG_RUN],
             data=data) as job:
      job.wait_for_commits(1, PATIENCE)
      self.refused(["used by another process", "--data"])
      job.kill_all()
    self.refused(["unfinished job", "--resume", "--data"], "--", "--steps", 3)
    graph = temporary_file(self, "edges", "a b\n")
    self.refused(["unfinished job", "--resume"], "--", "--input", graph, name="pagerank")
    self.refused(["'heat'", "'pagerank'"], "--resume", name="pagerank")

  def test_another_identity_than_the_jobs(self):
    data = self.path("data")
    with Job(program("heat"), ["--checkpoint-every", 0.1, "--ranks", 2, "--", *LONG_RUN],
             data=data) as job:
      job.wait_for_commits(1, PATIENCE)
      job.kill_all()
    self.assertEqual(self.run_program("heat", "--", "--steps", 1, data="other").returncode, 0)
    shutil.copy(self.path("other/identity"), self.path("data/identity"))
    self.refused([self.path("data/identity"), "own identity back"], "--resume")

  def test_a_local_peer_that_cannot_start_ends_all(self):
    os.makedirs(self.path("data"))
    in_the_way = temporary_file(self, "peer-1", "")
    os.rename(in_the_way, self.path("data/peer-1"))
    self.refused([self.path("data/peer-1"), "data folder"], "--local", 3, "--", *LONG_RUN)

  def test_a_port_in_use(self):
    with socket.socket() as taken:
      taken.bind(("127.0.0.1", 0))
      taken.listen()
      where = "127.0.0.1:%d" % taken.getsockname()[1]
      words = [where, "another program uses this port"]
      self.refused(words, "--host", "--peers", 2, "--listen", where)
      _, ticket = self.host(2, *LONG_RUN)
      self.refused(words, "--join", ticket, "--listen", where, data="joiner")

  def test_an_exception_in_the_program_ends_the_job_everywhere(self):
    words = ["rank 1", "the data make no sense"]
    self.refused(words, "--ranks", 4, "--", "--thrower", 1, name="faulty", data="alone")
    self.refused(words, "--ranks", 4, "--local", 3, "--", "--thrower", 1, name="faulty")
    first = self.start("faulty", "--host", "--peers", 3, "--ranks", 4, "--listen", "127.0.0.1:0",
                       "--", "--thrower", 1)
    ticket = first.wait_for("ticket", PATIENCE)["text"]
    for job in (first, self.join(ticket, "faulty"), self.join(ticket, "faulty")):
      self.job_refused(job, words, "faulty")


class Tickets(CommandLineTest):
  def spoilt(self, how, ticket, *more):
    done = subprocess.run([program("spoil_ticket"), how, *more, ticket], capture_output=True,
                          text=True, timeout=PATIENCE, check=True)
    return done.stdout.strip()

  def test_no_ticket_at_all(self):
    for text in ("nonsense", "p2pdvm1-", "p2pdvm1-aaaa", "p2pdvm1-" + "a" * 5000):
      self.refused(["ticket"], "--join", text)
    self.refused(["another version"], "--join", "p2pdvm9-" + "a" * 50)

  def test_spoilt_tickets(self):
    job, ticket = self.host(2, *LONG_RUN)
    middle = len(ticket) // 2
    mistyped = ticket[:middle] + ("a" if ticket[middle] != "a" else "b") + ticket[middle + 1:]
    self.refused(["not a whole ticket"], "--join", mistyped)
    self.refused(["not a whole ticket"], "--join", ticket[:-9])
    self.refused(["altered"], "--join", self.spoilt("altered", ticket))
    self.refused(["expired"], "--join", self.spoilt("expired", ticket))
    self.refused(["not one of this job's maker"], "--join", self.spoilt("forged", ticket))
    self.assertIsNone(job.process.poll(), job.report())

  def test_nobody_answers_or_somebody_else(self):
    gone, ticket = self.host(2, *LONG_RUN)
    gone.kill_all()
    job, other_ticket = self.host(2, *LONG_RUN)
    # Side by side: both try for a while.
    nobody = self.join(ticket)
    stranger = self.join(self.spoilt("stranger", other_ticket))
    self.job_refused(nobody, ["127.0.0.1", "reachable"])
    self.job_refused(stranger, ["127.0.0.1", "closed the connection"])
    self.assertIsNone(job.process.poll(), job.report())

  def test_another_build_and_another_program(self):
    _, ticket = self.host(2, *LONG_RUN)
    other = self.path("heat")
    shutil.copy(program("heat"), other)
    with open(other, "ab") as f:
      f.write(b"\0")
    joiner = self.start(other, "--join", ticket)
    self.job_refused(joiner, ["another build"])
    joiner = self.join(ticket, "pagerank")
    self.assertGreater(joiner.wait_for_exit(PATIENCE), 0)
    self.assert_one_sentence(joiner.errors, [], "pagerank")

  def test_options_of_the_program_are_not_the_joiners(self):
    _, ticket = self.host(2, *LONG_RUN)
    self.refused(["--steps", "joiner"], "--join", ticket, "--", "--steps", 3)


class Strangers(CommandLineTest):
  def address_of(self, job):
    host, port = job.wait_for("listening", PATIENCE)["text"].rsplit(":", 1)
    return host, int(port)

  def answer_to(self, where, noise):
    """What the peer says to these bytes before it closes the connection."""
    with socket.create_connection(where, timeout=PATIENCE) as stranger:
      answer = b""
      try:
        stranger.sendall(noise)
        while part := stranger.recv(4096):
          answer += part
      except (ConnectionError, BrokenPipeError):
        pass
      return answer

  def finishes(self, job, joiner):
    digests = set()
    for j in (job, joiner):
      self.assertEqual(j.wait_for_exit(PATIENCE), 0, j.report())
      digests.add(j.digest)
    done = self.run_program("heat", "--ranks", 2, "--", *SOME_SECONDS, data="reference")
    self.assertEqual(digests, {done.stdout.split()[-1]})

  def test_noise_changes_nothing(self):
    job, ticket = self.host(2)
    where = self.address_of(job)
    draw = random.Random(1)
    self.answer_to(where, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
    silent = socket.create_connection(where, timeout=PATIENCE)
    self.addCleanup(silent.close)
    joiner = self.join(ticket)
    job.wait_for("started", PATIENCE)
    for size in (1, 7, 100, 70000):
      self.answer_to(where, draw.randbytes(size) + b"\0" * 600)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
      for size in (0, 1, 50, 1200):
        sender.sendto(draw.randbytes(size), where)
    self.finishes(job, joiner)

  def test_an_unknown_protocol_version_is_answered_and_refused(self):
    job, ticket = self.host(2)
    where = self.address_of(job)
    preamble = PREAMBLE_MAGIC + (99).to_bytes(2, "little") + b"\0"
    answer = self.answer_to(where, preamble + b"\0" * 600)
    self.assertEqual(answer[:4], PREAMBLE_MAGIC)
    self.finishes(job, self.join(ticket))

  def test_a_joiner_meets_an_unknown_protocol_version(self):
    _, ticket = self.host(2, *LONG_RUN)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
      def answer():
        while True:
          try:
            connection = stranger.accept()[0]
          except OSError:
            return
          with connection:
            connection.sendall(PREAMBLE_MAGIC + (99).to_bytes(2, "little") + b"\0")
      threading.Thread(target=answer, daemon=True).start()
      where = "127.0.0.1:%d" % stranger.getsockname()[1]
      spoilt = subprocess.run([program("spoil_ticket"), "at", where, ticket], capture_output=True,
                              text=True, timeout=PATIENCE, check=True).stdout.strip()
      self.refused(["version 99", where], "--join", spoilt)
      stranger.shutdown(socket.SHUT_RDWR)


class Leaving(CommandLineTest):
  def hands_over(self, machines):
    """Three peers, each with the words of `machines` before its command; one leaves."""
    job, ticket = self.host(3, prefix=machines[0])
    leaver, other = [self.join(ticket, prefix=m) for m in machines[1:]]
    leaver.wait_for("rank_started", PATIENCE)
    job.wait_for_commits(2, PATIENCE)
    leaver.process.send_signal(signal.SIGINT)
    self.assertGreater(leaver.wait_for_exit(PATIENCE), 0, leaver.report())
    self.assertTrue(leaver.of_kind("leaving"), leaver.report())
    self.assertEqual(leaver.errors, "")
    self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
    self.assertEqual(other.wait_for_exit(PATIENCE), 0, other.report())
    self.assertTrue(job.of_kind("left"), job.report())
    self.assertIsNone(check_recoveries(job), job.report())
    done = self.run_program("heat", "--ranks", 2, "--", *SOME_SECONDS, data="reference")
    self.assertEqual({job.digest, other.digest}, {done.stdout.split()[-1]})

  def test_ctrl_c_on_one_joined_peer_hands_its_ranks_over(self):
    refused = support.machines_permitted()
    if refused:
      self.skipTest("no machines of their own here: " + refused)
    self.hands_over([support.machine("machine-%d" % m, self.folder) for m in range(3)])

  def test_ctrl_c_on_one_of_several_peers_on_a_machine_hands_its_ranks_over(self):
    self.hands_over([(), (), ()])

  def test_a_second_ctrl_c_quits_at_once(self):
    gate = self.path("gate")
    gated = ["--steps", 2000, "--gate", gate]
    job = self.start("gated", "--host", "--peers", 3, "--ranks", 6, "--listen", "127.0.0.1:0",
                     "--checkpoint-every", 0.2, "--", *gated)
    ticket = job.wait_for("ticket", PATIENCE)["text"]
    leaver, other = [self.join(ticket, "gated") for _ in range(2)]
    job.wait_for_commits(2, PATIENCE)
    # While another peer stands still no checkpoint is completed, so nothing can be handed over.
    other.process.send_signal(signal.SIGSTOP)
    leaver.process.send_signal(signal.SIGINT)
    leaver.wait_for("leaving", PATIENCE)
    leaver.wait_for_line("Ctrl-C again stops at once", PATIENCE)
    leaver.process.send_signal(signal.SIGINT)
    self.assertEqual(leaver.wait_for_exit(PATIENCE), 130, leaver.report())
    other.process.send_signal(signal.SIGCONT)
    self.assertEqual(leaver.errors, "")
    # It did not leave, it was lost.
    job.wait_for("recovered", PATIENCE)
    self.assertTrue(job.of_kind("evicted"), job.report())
    self.assertEqual(job.of_kind("left"), [], job.report())
    open(gate, "w", encoding="ascii").close()
    for j in (job, other):
      self.assertEqual(j.wait_for_exit(PATIENCE), 0, j.report())
      self.assertIsNone(check_recoveries(j), j.report())
    done = self.run_program("gated", "--ranks", 6, "--", *gated[:3], "/", data="reference")
    self.assertEqual({job.digest, other.digest}, {done.stdout.split()[-1]})

  def test_a_second_ctrl_c_quits_all_local_peers_at_once(self):
    job = self.start("heat", "--ranks", 4, "--local", 3, "--checkpoint-every", "off",
                     "--", *LONG_RUN)
    job.wait_for("started", PATIENCE)
    # A peer that stands still would never stop by itself.
    os.kill(job.pids[2], signal.SIGSTOP)
    job.process.send_signal(signal.SIGINT)
    job.wait_for("wished", PATIENCE)  # for the last checkpoint: there are no others
    job.process.send_signal(signal.SIGINT)
    self.assertEqual(job.wait_for_exit(PATIENCE), 130, job.report())
    self.assertEqual(job.of_kind("committed"), [], job.report())
    self.assertEqual(job.errors, "")
    for pid in job.pids.values():
      self.assertRaises(ProcessLookupError, os.kill, pid, 0)

  def test_ctrl_c_stops_a_whole_job_which_can_be_resumed(self):
    # Ranks of one process need no network, so they are much faster.
    for n, (mode, steps) in enumerate(((["--ranks", 4], 800000),
                                       (["--ranks", 4, "--local", 3], 200000))):
      with self.subTest(mode=mode):
        data = self.path("data%d" % n)
        length = ["--size", 64, "--steps", steps]
        job = self.start("heat", *mode, "--checkpoint-every", 0.2, "--", *length, data=data)
        newest = job.wait_for_commits(2, PATIENCE)
        job.process.send_signal(signal.SIGINT)
        self.assertEqual(job.wait_for_exit(PATIENCE), 130, job.report())
        self.assertIn("--resume", job.lines[-1])
        again = self.start("heat", *mode, "--resume", data=data)
        self.assertEqual(again.wait_for_exit(PATIENCE), 0, again.report())
        self.assertGreaterEqual(
            min(e.get("epoch", 0) for e in again.of_kind("rank_started")), newest)
        done = self.run_program("heat", "--ranks", 2, "--", *length, data="ref%d" % n)
        self.assertEqual(again.digest, done.stdout.split()[-1])


PREAMBLE_MAGIC = b"p2pd"

if __name__ == "__main__":
  support.main(__doc__)

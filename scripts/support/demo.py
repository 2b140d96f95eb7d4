"""What scripts/demo shows, once the examples are built. See scripts/demo --help."""
import math
import os
import re
import subprocess
import sys
import time

from job import Job, Trouble, check_recoveries

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
BIN = os.path.join(ROOT, os.environ.get("P2PDVM_DEMO_BIN", "build/release/bin"))
OUT = os.path.join(ROOT, "build", "demo")
RANKS, PEERS = 8, 4
PATIENCE = 120  # seconds; a run takes some


def say(text=""):
  print(text, flush=True)


def duration(seconds):
  return "%.0f ms" % (seconds * 1e3) if seconds < 1 else "%.1f s" % seconds


def numbers(values):
  """"1", "1 and 2", "1, 2 and 3"."""
  words = [str(v) for v in sorted(values)]
  return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]])) if words else "none"


def plural(word, values):
  return "%s%s %s" % (word, "" if len(values) == 1 else "s", numbers(values))


class Application:
  """A program with options that make it run for some seconds on this machine."""

  def __init__(self, name, length_option, length, arguments, seconds):
    self.name, self.length_option, self.length = name, length_option, length
    self.arguments, self.seconds = arguments, seconds
    self.digest = self.output = None

  def start(self, output):
    self.output = os.path.join(OUT, output)
    return Job(os.path.join(BIN, self.name),
               ["--ranks", RANKS, "--local", PEERS, "--checkpoint-every", 0.3, "--",
                *self.arguments, "--" + self.length_option, self.length, "--output", self.output])

  def command(self):
    return "%s --ranks %d --local %d -- … --%s %d" % (
        self.name, RANKS, PEERS, self.length_option, self.length)

  def run_undisturbed(self, output):
    """Takes the digest to compare with. A fast machine gets more steps, so that the job is still
    at work when a peer is killed after two checkpoints."""
    for _ in range(4):
      with self.start(output) as job:
        finish(job)
        began = min(e["time"] for e in job.of_kind("started"))
        took = max(e["time"] for e in job.of_kind("done")) - began
        epochs = {e["epoch"] for e in job.of_kind("committed")}
        self.digest = job.digest
      if took >= 0.6 * self.seconds and len(epochs) >= 4:
        break
      self.length = math.ceil(self.length * min(20, 1.2 * self.seconds / max(took, 0.05)))
    say("  $ %s" % self.command())
    say("  %s and %d checkpoints; digest %s" % (duration(took), len(epochs), self.digest))

  def run_and_kill(self, output, choose):
    undisturbed = self.output
    with self.start(output) as job:
      job.wait_for_commits(2, PATIENCE)
      first = {}
      for rank, peer in job.hosts(1).items():
        first.setdefault(peer, []).append(rank)
      victim = choose(first)
      killed_at = time.monotonic()
      job.kill_peer(victim)
      say("  peer %d, which runs %s, is killed (kill -9 %d)" % (
          victim, plural("rank", first[victim]), job.pids[victim]))
      finish(job)
      tell_recovery(job, victim, first[victim], killed_at)
      trouble = check_recoveries(job)
      if trouble:
        raise Trouble(trouble + job.report())
      digest = job.digest
    same_file = contents(self.output) == contents(undisturbed)
    if digest != self.digest or not same_file:
      raise Trouble("the result DIFFERS: digest %s, undisturbed %s, %s %s" % (
          digest, self.digest, self.output, "is the same" if same_file else "differs"))
    say("  the same result to the last bit: digest %s" % digest)


def finish(job):
  code = job.wait_for_exit(PATIENCE)
  if code != 0:
    raise Trouble("it ended with exit code %d%s" % (code, job.report()))


def tell_recovery(job, victim, ranks, killed_at):
  """What the survivors did about it, from their own events."""
  recovering = job.of_kind("recovering")
  if not recovering:
    raise Trouble("the job ended before it noticed the loss" + job.report())
  incarnation = max(e["incarnation"] for e in recovering)

  def first(kind):
    times = [e["time"] for e in job.of_kind(kind)
             if e["time"] >= killed_at]
    return min(times) if times else None

  decided = min(e["time"] for e in recovering)
  epoch = recovering[-1]["epoch"]
  suspected, lost = first("suspected"), first("lost")
  notes = []
  if suspected:
    notes.append("suspected after %s" % duration(suspected - killed_at))
  if lost:
    notes.append("agreed to be lost after %s" % duration(lost - killed_at))
  notes.append("out of the job after %s" % duration(decided - killed_at))
  say("    " + ", ".join(notes))
  newest = max(e["epoch"] for e in job.of_kind("committed") if e["time"] <= decided)
  say("    all ranks go back to checkpoint %d (newest committed: %d)" % (epoch, newest))
  now = job.hosts(incarnation)
  to = {}
  for rank in ranks:
    to.setdefault(now.get(rank), []).append(rank)
  say("    " + "; ".join("%s now on peer %s" % (plural("rank", r), p)
                         for p, r in sorted(to.items(), key=lambda i: str(i[0]))))
  fetched = [e for e in job.of_kind("fetched") if e.get("incarnation") == incarnation
             and e.get("epoch") == epoch and e.get("rank") in ranks]
  for e in fetched:
    say("    peer %d fetched %d kB of rank %d from holders, %s after the decision" % (
        e["peer"], round(e.get("count", 0) / 1000), e["rank"], duration(e["time"] - decided)))
  recovered = [e for e in job.of_kind("recovered") if e["incarnation"] == incarnation]
  if not recovered:
    raise Trouble("the ranks never ran again all together" + job.report())
  say("    every rank runs again %s after the kill, %s of it recovery" % (
      duration(min(e["time"] for e in recovered) - killed_at),
      duration(max(e["seconds"] for e in recovered))))


def contents(path):
  with open(path, "rb") as f:
    return f.read()


def draw_plate(path, side):
  """A grey picture: a ring, a bar and a chequered corner, hot on a cold plate."""
  pixels = bytearray()
  for y in range(side):
    for x in range(side):
      u, v = x / side - 0.4, y / side - 0.42
      ring = 0.04 < u * u + v * v < 0.075
      bar = 0.84 < y / side < 0.9 and 0.1 < x / side < 0.9
      chequer = x / side > 0.72 and y / side < 0.3 and (x * 16 // side + y * 16 // side) % 2
      pixels.append(250 if ring else 210 if bar else 160 if chequer else 20)
  with open(path, "wb") as f:
    f.write(b"P5\n%d %d\n255\n" % (side, side) + bytes(pixels))


def package_paragraphs():
  """Debian's package index, or else what is installed here, and which of them it is."""
  try:
    text = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=True).stdout
    if text.count(b"\nPackage:") > 1000:
      return text.decode("utf-8", "replace"), "Debian's package index"
  except (OSError, subprocess.CalledProcessError):
    pass
  try:
    with open("/var/lib/dpkg/status", encoding="utf-8", errors="replace") as f:
      return f.read(), "the packages installed here (no package lists: apt-get update)"
  except OSError:
    return None, None


def write_dependencies(path, packages_max):
  """Edge list: who depends on whom, of alternatives the first. Gives vertices, edges, source."""
  text, source = package_paragraphs()
  if text is None:
    return 0, 0, None
  edges, names = set(), set()
  for paragraph in text.split("\n\n"):
    fields = dict(re.findall(r"(?m)^(Package|Depends|Pre-Depends): *(.*(?:\n .*)*)", paragraph))
    package = fields.get("Package")
    if not package:
      continue
    if len(names) >= packages_max and package not in names:
      continue
    for field in ("Depends", "Pre-Depends"):
      for wanted in fields.get(field, "").split(","):
        first = re.match(r"\s*([a-z0-9][a-z0-9+.-]*)", wanted)
        if first:
          edges.add((package, first.group(1)))
          names.update((package, first.group(1)))
  with open(path, "w", encoding="utf-8") as f:
    f.write("# %s\n" % source)
    f.writelines("%s %s\n" % edge for edge in sorted(edges))
  return len(names), len(edges), source


def fullest_but_maker(hosts):
  return max((p for p in hosts if p != 0), key=lambda p: (len(hosts[p]), p))


def show_heat(short):
  say("heat: diffusion on a plate, %d ranks on %d peers" % (RANKS, PEERS))
  before = os.path.join(OUT, "before.pgm")
  draw_plate(before, 128 if short else 256)
  heat = Application("heat", "steps", 2000, ["--input", before], 4 if short else 8)
  heat.run_undisturbed("after.pgm")
  heat.run_and_kill("after-a-kill.pgm", fullest_but_maker)
  if not short:
    say("  once more, and now the peer that made the job dies:")
  heat.run_and_kill("after-the-maker-died.pgm", lambda hosts: 0)
  say("  pictures: build/demo/before.pgm and build/demo/after.pgm")


def show_pagerank(short):
  graph = os.path.join(OUT, "dependencies.txt")
  vertices, edges, source = write_dependencies(graph, 8000 if short else 10 ** 9)
  if source is None:
    raise Trouble("pagerank needs Debian's package index, or dpkg's status file, for its graph")
  say()
  say("pagerank: %d packages, %d dependencies, from %s" % (vertices, edges, source))
  pagerank = Application("pagerank", "iterations", 100, ["--input", graph, "--top", 10],
                         4 if short else 8)
  pagerank.run_undisturbed("top.txt")
  pagerank.run_and_kill("top-after-a-kill.txt", fullest_but_maker)
  say("  the ten most depended-on packages (build/demo/top.txt):")
  say("\n".join("    " + line for line in contents(os.path.join(OUT, "top.txt")).decode().splitlines()))


def main():
  short = "--short" in sys.argv[1:]
  os.makedirs(OUT, exist_ok=True)
  began = time.monotonic()
  try:
    show_heat(short)
    show_pagerank(short)
  except Trouble as trouble:
    sys.stderr.write("scripts/demo: %s\n" % trouble)
    return 1
  say()
  say("every result was the same; %s" % duration(time.monotonic() - began))
  return 0


if __name__ == "__main__":
  sys.exit(main())

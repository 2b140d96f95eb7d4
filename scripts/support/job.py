"""One run of a p2pdvm program as a child process: what it says, what happens in it, its peers' ends.

Shared by scripts/demo and tests/system. Every event arrives through a named pipe (--trace), so
whoever waits for one wakes when it happens; nothing polls.
"""
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time


class Trouble(Exception):
  """A run did not do what was waited for; the text says what it did instead."""


class Job:
  """Starts `program arguments…`. Use it as a context manager: at the end nothing of it is left."""

  def __init__(self, program, arguments, data=None, environment=None, trace=True, prefix=()):
    self.folder = tempfile.mkdtemp(prefix="p2pdvm-")
    self.data = data or os.path.join(self.folder, "data")
    self.events, self.lines, self.pids = [], [], {}
    self._changed = threading.Condition()
    self._threads = []
    own, after = _split([str(a) for a in arguments])
    own += ["--data", self.data]
    if trace:
      pipe = os.path.join(self.folder, "trace")
      os.mkfifo(pipe)
      own += ["--trace", pipe]
      # Both ends here: the opening never blocks, and the end of the program is not its end.
      self._trace = os.open(pipe, os.O_RDWR)
      self._spawn(self._read_trace)
    else:
      self._trace = None
    self.command = [*prefix, program, *own, *(["--", *after] if after else [])]
    self._errors = open(os.path.join(self.folder, "stderr"), "w+", encoding="utf-8")
    self.process = subprocess.Popen(
        self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._errors,
        text=True, start_new_session=True, env={**os.environ, **(environment or {})})
    self._spawn(self._read_output)

  def _spawn(self, work):
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    self._threads.append(thread)

  def _read_trace(self):
    with os.fdopen(os.dup(self._trace), encoding="utf-8") as pipe:
      for line in pipe:
        if line == "end\n":
          return
        event = json.loads(line)
        with self._changed:
          self.events.append(event)
          self._changed.notify_all()

  def _read_output(self):
    for line in self.process.stdout:
      pid = re.match(r"peer (\d+) pid (\d+)$", line)
      with self._changed:
        self.lines.append(line.rstrip("\n"))
        if pid:
          self.pids[int(pid.group(1))] = int(pid.group(2))
        self._changed.notify_all()
    with self._changed:
      self.process.wait()
      self._changed.notify_all()

  # --- waiting ---

  def wait_until(self, condition, seconds, what):
    """What `condition()` gives once it is true; Trouble when the program ends or time is up."""
    deadline = time.monotonic() + seconds
    with self._changed:
      while True:
        found = condition()
        if found:
          return found
        if self.process.returncode is not None:
          raise Trouble("the program ended (%d) before %s%s" % (
              self.process.returncode, what, self.report()))
        left = deadline - time.monotonic()
        if left <= 0:
          raise Trouble("no %s within %g seconds%s" % (what, seconds, self.report()))
        self._changed.wait(left)

  def wait_for(self, kind, seconds, matches=lambda event: True, after=0):
    """The first event of this kind, from the `after`-th event of all on."""
    return self.wait_until(lambda: next(
        (e for e in self.events[after:] if e["event"] == kind and matches(e)), None),
        seconds, "event '%s'" % kind)

  def wait_for_commits(self, count, seconds, beyond=0):
    """Until `count` epochs above `beyond` are committed; gives the newest."""
    def enough():
      epochs = {e["epoch"] for e in self.events if e["event"] == "committed" and e["epoch"] > beyond}
      return max(epochs) if len(epochs) >= count else None
    return self.wait_until(enough, seconds, "%d commits above epoch %d" % (count, beyond))

  def wait_for_line(self, pattern, seconds):
    """The match of a line of its standard output."""
    def search():
      return next((m for m in (re.search(pattern, line) for line in self.lines) if m), None)
    return self.wait_until(search, seconds, "line '%s'" % pattern)

  def wait_for_exit(self, seconds):
    """Its exit code; Trouble when it hangs."""
    deadline = time.monotonic() + seconds
    with self._changed:
      while self.process.returncode is None:
        left = deadline - time.monotonic()
        if left <= 0:
          raise Trouble("it did not end within %g seconds%s" % (seconds, self.report()))
        self._changed.wait(left)
    self._end_trace()
    return self.process.returncode

  def _end_trace(self):
    """Reads what is left in the pipe; nobody writes to it any more."""
    if self._trace is None:
      return
    os.write(self._trace, b"end\n")
    self._threads[0].join(10)
    os.close(self._trace)
    self._trace = None

  # --- killing ---

  def kill_peer(self, peer):
    os.kill(self.pids[peer], signal.SIGKILL)

  def kill_all(self):
    """kill -9 of every peer and of the parent, as when the power fails."""
    for pid in [self.process.pid, *self.pids.values()]:
      try:
        os.kill(pid, signal.SIGKILL)
      except ProcessLookupError:
        pass
    self.process.wait()
    self._end_trace()

  # --- what it said ---

  @property
  def digest(self):
    return next((line[8:] for line in reversed(self.lines) if line.startswith("digest: ")), None)

  @property
  def errors(self):
    with open(self._errors.name, encoding="utf-8") as f:
      return f.read()

  def of_kind(self, kind):
    return [e for e in self.events if e["event"] == kind]

  def hosts(self, incarnation):
    """{rank: peer} as the ranks of one incarnation started."""
    return {e.get("rank", 0): e["peer"] for e in self.of_kind("rank_started")
            if e.get("incarnation") == incarnation}

  def report(self):
    """For a failure: the command, the last lines and the last events."""
    told = [json.dumps(e) for e in self.events[-25:]]
    return "\n  ".join(["", "command: " + " ".join(self.command), *self.lines[-15:],
                        *self.errors.splitlines()[-5:], *told])

  def close(self):
    if self.process.returncode is None:
      self.kill_all()
    self._threads[-1].join(10)
    self._end_trace()
    self.process.stdout.close()
    self._errors.close()
    shutil.rmtree(self.folder, ignore_errors=True)

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.close()


def _split(arguments):
  """What stands before and after '--'."""
  at = arguments.index("--") if "--" in arguments else len(arguments)
  return arguments[:at], arguments[at + 1:]


def check_recoveries(job):
  """None when every recovery went back to the newest committed epoch and never to the beginning;
  else a sentence."""
  newest, seen = 0, {}
  for e in job.events:
    incarnation = e.get("incarnation", 0)
    if e["event"] == "committed":
      newest = max(newest, e["epoch"])
    elif e["event"] == "recovering":
      epoch = e.get("epoch", 0)
      if incarnation not in seen:
        seen[incarnation] = epoch
        if epoch < max(newest, 2):
          return "recovery %d went back to epoch %d; epoch %d was committed" % (
              incarnation, epoch, newest)
      if seen[incarnation] != epoch:
        return "recovery %d went back to epochs %d and %d" % (incarnation, seen[incarnation], epoch)
    elif e["event"] == "rank_started" and incarnation in seen:
      if e.get("epoch", 0) != seen[incarnation]:
        return "rank %d started from epoch %d in recovery %d, the others from %d" % (
            e.get("rank", 0), e.get("epoch", 0), incarnation, seen[incarnation])
  return None

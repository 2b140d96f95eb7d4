"""What the system tests share: where the programs are, inputs, reference digests."""
import argparse
import functools
import hashlib
import os
import random
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
sys.path.insert(0, os.path.join(ROOT, "scripts", "support"))
sys.dont_write_bytecode = True

from job import Job, Trouble, check_recoveries  # noqa: E402, F401  (the tests take them from here)

options = argparse.Namespace()


def program(name):
  return os.path.join(options.bin, name)


def main(description, extra=lambda parser: None):
  """Runs the calling file's tests; what is no option of ours goes to unittest."""
  parser = argparse.ArgumentParser(description=description)
  parser.add_argument("--bin", default=os.path.join(ROOT, "build", "release", "bin"),
                      help="folder of the programs")
  extra(parser)
  _, rest = parser.parse_known_args(namespace=options)
  options.bin = os.path.abspath(options.bin)
  unittest.main(argv=[sys.argv[0], *rest], verbosity=2)


def long(test):
  """A test that only runs with the option --all."""
  @functools.wraps(test)
  def run(self):
    if not options.all:
      self.skipTest("it takes long; run it with --all")
    test(self)
  return run


def machine(name, folder):
  """Words before a command that give it a machine id and a host name of its own: another failure
  domain, as on another computer. Needs the right to make namespaces."""
  with open(os.path.join(folder, name), "w", encoding="ascii") as f:
    f.write(hashlib.md5(name.encode()).hexdigest() + "\n")
  script = ('hostname "$1"; [ ! -e /etc/machine-id ] || mount --bind "$0" /etc/machine-id; '
            'shift; exec "$@"')
  return ["unshare", "--mount", "--uts", "sh", "-ec", script, f.name, name]


def machines_permitted():
  """None, or why `machine` cannot work here."""
  with tempfile.TemporaryDirectory(prefix="p2pdvm-") as folder:
    try:
      done = subprocess.run([*machine("probe", folder), "true"], capture_output=True, text=True,
                            check=False)
    except OSError as missing:
      return str(missing)
    return None if done.returncode == 0 else done.stderr.strip()


def bytes_on_disk(folder):
  """As du counts."""
  sum_of_blocks = 0
  for where, _, names in os.walk(folder):
    for name in names:
      try:
        sum_of_blocks += os.stat(os.path.join(where, name)).st_blocks * 512
      except FileNotFoundError:
        pass  # a segment that was just compacted away
  return sum_of_blocks


def edges(vertices, count, seed):
  """The text of a random graph in which early vertices have more edges."""
  draw = random.Random(seed)
  lines = ["n%d n%d" % (draw.randrange(vertices), int(vertices * draw.random() ** 3))
           for _ in range(count)]
  return "# a made-up graph\n" + "\n".join(lines) + "\n"


def temporary_file(test, name, text):
  """A file that goes when the test is over."""
  folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
  test.addCleanup(folder.cleanup)
  path = os.path.join(folder.name, name)
  with open(path, "wb") as f:
    f.write(text if isinstance(text, bytes) else text.encode())
  return path

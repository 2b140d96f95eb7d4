#!/usr/bin/env python3
"""Four hosts that are really apart: network namespaces with addresses of their own, joined by
ticket; one is cut off in mid-run and reconnected later; two are each behind a NAT. Needs root; skips where that is
refused."""
import os
import subprocess
import tempfile
import unittest

import support
from support import Job, check_recoveries, options, program

HOSTS = 4
RANKS = 8
PATIENCE = 120  # seconds


def ip(*arguments):
  done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
  if done.returncode != 0:
    raise OSError("ip %s: %s" % (" ".join(arguments), done.stderr.strip()))


# What home routers do: whoever is inside may call, and nobody from outside.
ROUTER_RULES = """
table ip nat {
  chain postrouting { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
}
table ip filter {
  chain forward {
    type filter hook forward priority filter; policy drop;
    ct state established,related accept
    iifname "lan" accept
  }
  chain input { type filter hook input priority filter; iifname "eth0" ct state new drop; }
}
"""


class Network:
  """Namespaces around a bridge in a namespace of its own: nothing outside of them changes. The hosts in `hidden` are
  each behind a router of their own, with the same private address."""

  def __init__(self, hosts, hidden=()):
    self.hosts = hosts
    self.hidden = hidden
    self.made = []
    self.switch = "p2pdvm-%d" % os.getpid()

  def name(self, host):
    return "%s-%d" % (self.switch, host)

  def address(self, host):
    return "10.77.0.%d" % (host + 1)

  def make(self):
    self.make_namespace(self.switch)
    ip("-n", self.switch, "link", "add", "bridge", "type", "bridge")
    ip("-n", self.switch, "link", "set", "bridge", "up")
    for host in range(self.hosts):
      self.make_namespace(self.name(host))
      ip("-n", self.name(host), "link", "set", "lo", "up")
      outside = self.name(host)
      if host in self.hidden:
        outside = self.name(host) + "-router"
        self.make_router(host, outside)
      ip("-n", self.switch, "link", "add", "port%d" % host, "type", "veth",
         "peer", "name", "eth0", "netns", outside)
      ip("-n", self.switch, "link", "set", "port%d" % host, "master", "bridge", "up")
      ip("-n", outside, "address", "add", self.address(host) + "/24", "dev", "eth0")
      ip("-n", outside, "link", "set", "eth0", "up")

  def make_router(self, host, router):
    self.make_namespace(router)
    ip("-n", router, "link", "add", "lan", "type", "veth", "peer", "name", "eth0", "netns", self.name(host))
    for namespace, device, address in ((router, "lan", "192.168.1.1/24"), (self.name(host), "eth0", "192.168.1.2/24")):
      ip("-n", namespace, "address", "add", address, "dev", device)
      ip("-n", namespace, "link", "set", device, "up")
    ip("-n", self.name(host), "route", "add", "default", "via", "192.168.1.1")
    inside = ["ip", "netns", "exec", router]
    subprocess.run([*inside, "sysctl", "-qw", "net.ipv4.ip_forward=1"], check=True)
    subprocess.run([*inside, "nft", "-f", "-"], input=ROUTER_RULES, text=True, check=True)

  def make_namespace(self, name):
    ip("netns", "add", name)
    self.made.append(name)

  def remove(self):
    while self.made:
      ip("netns", "delete", self.made.pop())

  def set_link(self, host, state):
    """Pulls the plug of a host ("down") or puts it back ("up")."""
    ip("-n", self.switch, "link", "set", "port%d" % host, state)

  def inside(self, host, folder):
    """Words that run a command on a host."""
    return ["ip", "netns", "exec", self.name(host), *support.machine("host-%d" % host, folder)]


class Hosts(unittest.TestCase):
  """What tests on several hosts share."""
  network = None
  hidden = ()

  @classmethod
  def setUpClass(cls):
    cls.network = Network(HOSTS, cls.hidden)
    try:
      refused = support.machines_permitted()
      if refused:
        raise OSError(refused)
      cls.network.make()
    except OSError as refused:
      cls.network.remove()
      reason = "network namespaces are not permitted here: %s" % refused
      print("skipped: " + reason, flush=True)
      raise unittest.SkipTest(reason) from refused

  @classmethod
  def tearDownClass(cls):
    cls.network.remove()

  def setUp(self):
    folder = tempfile.TemporaryDirectory(prefix="p2pdvm-")
    self.addCleanup(folder.cleanup)
    self.folder = folder.name

  def start_all(self, name, *program_options):
    """The job's maker in namespace 0 and its joiners in the others."""
    def start(host, *arguments):
      job = Job(program(name), ["--checkpoint-every", 0.3, *arguments],
                prefix=self.network.inside(host, self.folder))
      self.addCleanup(job.close)
      return job

    maker = start(0, "--host", "--peers", HOSTS, "--ranks", RANKS, "--", *program_options)
    ticket = maker.wait_for("ticket", PATIENCE)["text"]
    return [maker] + [start(h, "--join", ticket) for h in range(1, HOSTS)]

  def reference(self, name, *program_options):
    with Job(program(name), ["--ranks", RANKS, "--checkpoint-every", "off",
                             "--", *program_options]) as job:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      return job.digest


class Namespaces(Hosts):
  def cut_off(self, host):
    # The job cannot end before this file exists, however fast the machine is.
    gate = os.path.join(self.folder, "gate")
    jobs = self.start_all("gated", "--steps", options.steps, "--gate", gate)
    self.addCleanup(self.network.set_link, host, "up")
    lonely = jobs[host]
    rest = [j for h, j in enumerate(jobs) if h != host]
    rest[0].wait_for_commits(2, PATIENCE)
    self.network.set_link(host, "down")

    # The majority goes on without it.
    recovered = rest[0].wait_for("recovered", PATIENCE)
    rest[0].wait_for_commits(2, PATIENCE, beyond=recovered["epoch"])
    # It waits, says so, and commits nothing of its own.
    waits = lonely.wait_for("no_majority", PATIENCE)
    own = [e for e in lonely.of_kind("committed") if e["time"] > waits["time"]]
    self.assertEqual(own, [], lonely.report())
    self.assertIsNone(lonely.process.poll(), lonely.report())

    # It comes back in mid-run, as a member again.
    seen = len(rest[0].events)
    self.network.set_link(host, "up")
    rest[0].wait_for("joined", PATIENCE, lambda e: e["node"] == identity(lonely), after=seen)
    open(gate, "w", encoding="ascii").close()
    digests = set()
    for job in [*rest, lonely]:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      digests.add(job.digest)
    self.assertEqual(digests, {self.reference("gated", "--steps", options.steps, "--gate", "/")})
    for job in rest:
      self.assertIsNone(check_recoveries(job), job.report())

  def test_a_joined_peer_is_cut_off_and_reconnected(self):
    self.cut_off(HOSTS - 1)

  def test_the_maker_is_cut_off_and_reconnected(self):
    self.cut_off(0)

  def test_an_undisturbed_job_over_four_hosts(self):
    heat = ["heat", "--size", 64, "--steps", options.steps]
    jobs = self.start_all(*heat)
    for job in jobs:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
    self.assertEqual({job.digest for job in jobs}, {self.reference(*heat)})


class BehindNats(Hosts):
  hidden = (2, 3)

  def test_hosts_behind_nats_take_part_and_outlive_the_one_that_passed_on_for_them(self):
    # The job cannot end before this file exists, however fast the machine is.
    gate = os.path.join(self.folder, "gate")
    jobs = self.start_all("gated", "--steps", options.steps, "--gate", gate)
    jobs[0].wait_for_commits(2, PATIENCE)
    hidden = [jobs[host] for host in self.hidden]
    for job, other in zip(hidden, reversed(hidden)):
      job.wait_for("relayed", PATIENCE, lambda e, other=other: e["node"] == identity(other))
    # Of the two that were asked to pass on one dies: the other is left.
    relays = {identity(job)[:8]: job for job in jobs[:2]}
    victim = relays[hidden[0].of_kind("relayed")[-1]["text"]]
    victim.process.kill()
    rest = [job for job in jobs if job is not victim]
    recovered = rest[0].wait_for("recovered", PATIENCE)
    rest[0].wait_for_commits(2, PATIENCE, beyond=recovered["epoch"])
    open(gate, "w", encoding="ascii").close()
    digests = set()
    for job in rest:
      self.assertEqual(job.wait_for_exit(PATIENCE), 0, job.report())
      digests.add(job.digest)
      self.assertIsNone(check_recoveries(job), job.report())
      for event in job.of_kind("evicted"):
        self.assertEqual(event["node"], identity(victim), job.report())
    self.assertEqual(digests, {self.reference("gated", "--steps", options.steps, "--gate", "/")})


def identity(job):
  """The node id of a process."""
  return job.of_kind("listening")[0]["node"]


def arguments(parser):
  parser.add_argument("--steps", type=int, default=5000, help="of each program")


if __name__ == "__main__":
  support.main(__doc__, arguments)

"""Runs one suite of p2pdvm-bench with tiny counts and checks the form of its JSON lines."""
import json
import math
import subprocess
import sys

KEYS = ["benchmark", "system", "profile", "parameters", "metric", "unit", "value"]
UNITS = {"seconds", "bytes", "per second", "bytes per second", "fraction", "count"}
METRICS = {
    "messaging": {"half_rtt", "half_rtt_ratio", "open_time", "open_time_ratio", "seal_time", "seal_time_ratio", "message_rate", "bandwidth", "barrier_time",
                  "barrier_time_ratio", "allreduce_time", "allreduce_time_ratio", "superstep_time", "superstep_time_ratio", "connection_bytes",
                  "idle_cpu"},
    "checkpoint": {"pause", "pause_ratio", "commit_latency", "commit_ratio", "incremental_bytes_fraction",
                   "incremental_time_fraction", "run_time", "checkpoint_time", "checkpoint_overhead", "detection_time",
                   "rank_replacement_time"},
    "store": {"chunk_id_rate", "chunk_id_ratio", "seal_rate", "ingest", "ingest_ratio", "restore", "restore_ratio", "repair_time", "repair_time_ratio",
              "repair_traffic_ratio"},
    "simulator": {"event_rate", "speedup"},
    "pool": {"task_rate", "efficiency", "occupancy"},
    "bsp": {"l", "g", "superstep_time"},
    "conformance": {"simulated_time", "delayed_time", "conformance_ratio"},
    "overlay": {"lookup_failure_rate", "find_failure_rate", "lookup_time_p50", "lookup_time_p99",
                "upkeep_messages_per_s", "upkeep_bytes_per_s", "hostile_lookup_success",
                "simulator_events_per_s", "simulator_speedup", "peer_bytes",
                "coordinate_error", "placement_stretch", "placement_round_trip",
                "neighbour_round_trip", "relay_share", "relay_gain", "crash_agreed_time",
                "detector_bytes_per_s", "detector_datagrams_per_s", "false_evictions", "roster_time"},
}


def main():
  program, suite = sys.argv[1:]
  run = subprocess.run([program, suite, "--json", "--quick"], stdout=subprocess.PIPE, text=True)
  if run.returncode != 0:
    sys.exit("p2pdvm-bench %s ended with status %d" % (suite, run.returncode))
  seen, paths = set(), set()
  for line in run.stdout.splitlines():
    m = json.loads(line)
    assert list(m) == KEYS, line
    assert m["benchmark"] == suite and m["unit"] in UNITS, line
    assert isinstance(m["parameters"], dict) and m["parameters"]["processes"] >= 1, line
    assert math.isfinite(m["value"]), line
    seen.add(m["metric"])
    paths.add(m["parameters"].get("path"))
  assert seen == METRICS[suite], "metrics %s" % sorted(seen ^ METRICS[suite])
  assert suite != "messaging" or paths == {"process", "shm", "tcp", "cipher", "sim"}, paths


if __name__ == "__main__":
  main()

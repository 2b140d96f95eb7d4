"""Draws what scripts/bench printed as JSON; see scripts/plot. Here: the part churn of overlay."""
import collections
import json
import os
import sys

import plot_interval
import plot_messaging
from plot_style import BLUE, GREY, ORANGE, plt, ticker

GOAL = {"color": "#a0407a", "linewidth": 1.2, "linestyle": (0, (5, 3)), "zorder": 1}
SESSIONS = {60: "1 min", 300: "5 min", 1200: "20 min", 3600: "1 h", 10440: "2.9 h"}


def measurements_in(path):
  measurements = []
  try:
    with open(path, encoding="utf-8") as lines:
      for number, line in enumerate(lines, 1):
        try:
          m = json.loads(line)
          [m[key] for key in ("benchmark", "system", "profile", "metric", "value")], m["parameters"].get("path")
          measurements.append(m)
        except (ValueError, KeyError, TypeError, AttributeError):
          sys.exit("%s, line %d: no measurement of scripts/bench --json" % (path, number))
  except OSError as e:
    sys.exit("cannot read %s: %s" % (path, e.strerror))
  return measurements


def grouped(measurements):
  """Measurements of sweeps by what they belong to."""
  groups = collections.defaultdict(list)
  for m in measurements:
    sweep = m["parameters"].get("sweep")
    if m["system"] == "p2pdvm" and sweep:
      groups[sweep, m["metric"], m["profile"], m["parameters"].get("of")].append(m)
  return groups


def points(groups, key, parameter):
  """The values of one line, by a parameter; of several seeds the mean."""
  values = collections.defaultdict(list)
  for m in groups.get(key, []):
    values[parameter(m["parameters"])].append(m["value"])
  if not values:
    sys.exit("there is nothing about %s in the file: is it from --part churn?" % " ".join(filter(None, key)))
  xs = sorted(values)
  return xs, [sum(values[x]) / len(values[x]) for x in xs]


def median_session(parameters):
  if "median_session" in parameters:
    return parameters["median_session"]
  return parameters["mean_session"] * 0.693147180559945


def session_axis(axes):
  axes.set_xscale("log")
  axes.set_xlim(60, 15000)
  axes.xaxis.set_major_locator(ticker.FixedLocator(list(SESSIONS)))
  axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: SESSIONS.get(round(x), "")))
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.set_xlabel("median session")


def goal(axes, value, text, x=0.98, where="right"):
  axes.axhline(value, **GOAL)
  axes.annotate(text, (x, value), xycoords=("axes fraction", "data"), ha=where, fontsize=9,
                color=GOAL["color"], xytext=(0, 4), textcoords="offset points")


def draw_swarm(groups):
  figure, (failed, size, count) = plt.subplots(1, 3, figsize=(12, 3.9))
  rows = sorted(groups["sessions", "lookup_failure_rate", "planetlab", None],
                key=lambda m: m["parameters"]["mean_session"])
  if not rows:
    sys.exit("there are no lookups in the file: is it from --part churn?")
  totals = collections.OrderedDict()
  for m in rows:
    lookups, failures = totals.get(median_session(m["parameters"]), (0, 0))
    n = m["parameters"]["lookups"]
    totals[median_session(m["parameters"])] = (lookups + n, failures + round(m["value"] * n))
  some = [(x, f / n) for x, (n, f) in totals.items() if f]
  none = [(x, 3 / n) for x, (n, f) in totals.items() if not f]
  if some:
    failed.plot(*zip(*some), "o", color=BLUE, label="failed / begun")
  if none:
    failed.plot(*zip(*none), "v", color=BLUE, markerfacecolor="white", markeredgewidth=1.6,
                label="none failed: true rate is below\n(95 % sure)")
  failed.set_yscale("log")
  failed.set_ylim(1e-5, 1e-2)
  goal(failed, 1e-3, "goal at 84 s: 0.001")
  fewest = min(n for n, _ in totals.values())
  failed.set_title("Lookups that fail")
  failed.set_ylabel("share of lookups (at least {:,} each)".format(fewest))
  failed.legend(loc="upper right")

  for axes, metric, title, unit, limit, text, top in (
      (size, "upkeep_bytes_per_s", "Upkeep in bytes", "bytes/s per peer", 450, "goal at 84 s: 450", None),
      (count, "upkeep_messages_per_s", "Upkeep in messages", "messages/s per peer", 0.25,
       "goal at 2.9 h: 0.25", None)):
    xs, ys = points(groups, ("sessions", metric, "planetlab", None), median_session)
    axes.plot(xs, ys, "o-", color=BLUE)
    for x, y in zip(xs, ys):
      under = y < limit < 5 * y and x > 1000  # else it would stand on the goal's name
      axes.annotate("{:.3g}".format(y), (x, y), xytext=(0, -16) if under else (4, 7),
                    ha="center" if x > 1000 else "left", textcoords="offset points", fontsize=9,
                    color="#333333")
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_minor_locator(ticker.NullLocator())
    axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: "{:g}".format(y)))
    axes.set_ylim(min(ys) / 2.2, max(max(ys), limit) * 2)
    goal(axes, limit, text)
    axes.set_title(title)
    axes.set_ylabel(unit)
  for axes in (failed, size, count):
    session_axis(axes)
  peers = rows[0]["parameters"]["peers"]
  loss = 100 * rows[0]["parameters"]["loss"]
  figure.text(0.005, 0.01, "%d peers, planetlab, %g %% loss; who leaves is replaced at once by a new peer. "
              "Joins included, searches not." % (peers, loss), fontsize=9, color=GREY)
  figure.tight_layout(rect=(0, 0.045, 1, 1), w_pad=2.5)
  return figure


def draw_crashes(groups):
  figure, grid = plt.subplots(2, 2, figsize=(10, 7.2))
  (members, churn), (loss, stalls) = grid

  def lines(axes, sweep, parameter, profiles=(("planetlab", BLUE),)):
    for profile, colour in profiles:
      for of, style, marker in (("median", "-", "o"), ("worst", (0, (2, 1.5)), "^")):
        xs, ys = points(groups, (sweep, "crash_agreed_time", profile, of), parameter)
        axes.plot(xs, ys, marker=marker, linestyle=style, color=colour, label="%s, %s" % (profile, of),
                  markerfacecolor=colour if of == "median" else "white", markeredgewidth=1.5)
    axes.set_ylabel("seconds from crash to agreement")
    axes.set_ylim(0, max(9.5, axes.get_ylim()[1] * 1.05))

  both = (("planetlab", BLUE), ("lan", ORANGE))
  lines(members, "members", lambda p: p["members"], both)
  members.set_xscale("log", base=2)
  members.xaxis.set_major_locator(ticker.FixedLocator([16, 64, 256, 1024]))
  members.xaxis.set_major_formatter(ticker.ScalarFormatter())
  members.set_xlabel("members of the job")
  members.set_title("Size of the job")
  goal(members, 8, "goal of 1024, planetlab: 8 s")
  goal(members, 3, "lan: 3 s", x=0.02, where="left")
  members.legend(loc="upper left", bbox_to_anchor=(0, 0.84), ncol=2)

  lines(churn, "churn", median_session)
  session_axis(churn)
  churn.set_title("Churn: members crash, others enter")
  lines(loss, "loss", lambda p: 100 * p["loss"])
  loss.set_xlabel("datagrams lost [%]")
  loss.xaxis.set_major_locator(ticker.MultipleLocator(5))
  loss.set_title("Loss")
  lines(stalls, "stalls", lambda p: 100 * p["stalling"])
  stalls.set_xlabel("other members that stall, 20 s at a time [%]")
  stalls.set_title("Stalls")
  for axes in (churn, loss, stalls):
    goal(axes, 8, "8 s", x=0.02, where="left")
    axes.legend(loc="lower right", ncol=2)
  some = groups["churn", "crash_agreed_time", "planetlab", "median"][0]["parameters"]["members"]
  figure.text(0.005, 0.008, "Agreed: by every member that lives and does not stall. %d members where nothing else is said; "
              "planetlab's own loss is 0.5 %%." % some, fontsize=9, color=GREY)
  figure.tight_layout(rect=(0, 0.025, 1, 1), w_pad=2.5, h_pad=2.5)
  return figure


def main():
  folder, *sources = sys.argv[1:]
  pictures = {"overlay": (("overlay-churn", lambda all: draw_swarm(grouped(all))),
                          ("crash-agreement", lambda all: draw_crashes(grouped(all)))),
              "interval": (("interval", plot_interval.draw),),
              "messaging": (("messaging", plot_messaging.draw),)}
  os.makedirs(folder, exist_ok=True)
  for source in sources:
    measurements = measurements_in(source)
    suite = measurements[0]["benchmark"] if measurements else "nothing"
    if suite not in pictures:
      sys.exit("%s holds %s, of which there is no picture" % (source, suite))
    for name, draw in pictures[suite]:
      path = os.path.join(folder, name + ".svg")
      draw(measurements).savefig(path, metadata={"Date": None, "Creator": None})
      print(path)


if __name__ == "__main__":
  main()

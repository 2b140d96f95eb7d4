"""Draws what intervals of checkpoints keep, of `p2pdvm-sim interval --json`; see scripts/plot."""
import collections
import sys

from plot_style import BLUE, GREY, ORANGE, plt, ticker

COSTS = collections.OrderedDict([("lan", "LAN"), ("planetlab", "PlanetLab"), ("large", "Ranks of several GiB")])
LIFETIMES = {1800: "30 min", 3600: "1 h", 10800: "3 h", 43200: "12 h", 172800: "2 d", 604800: "1 week"}
INTERVALS = {0.1: "0.1 s", 1: "1 s", 10: "10 s", 60: "1 min", 600: "10 min", 3600: "1 h", 36000: "10 h"}
RANKS = {8: ("o", -0.09), 32: ("s", -0.03), 128: ("D", 0.03), 1024: ("^", 0.09)}
GOAL = "#a0407a"
HOPELESS = 0.01  # of what little is kept nobody can lose much


def of_cost(measurements, cost, system, metric, **parameters):
  return [m for m in measurements
          if (m["profile"], m["system"], m["metric"]) == (cost, system, metric)
          and all(m["parameters"][key] == value for key, value in parameters.items())]


def seconds(value):
  return "{:g} ms".format(value * 1000) if value < 1 else "{:g} s".format(value) if value < 60 else "{:g} min".format(value / 60)


def ticks(axes, names):
  axes.set_xscale("log")
  axes.xaxis.set_major_locator(ticker.FixedLocator(list(names)))
  axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: next(
      (name for at, name in names.items() if abs(x - at) < 1e-6 * at), "")))
  axes.xaxis.set_minor_locator(ticker.NullLocator())


def draw_curves(axes, measurements, cost):
  curves = collections.defaultdict(list)
  for m in of_cost(measurements, cost, "curve", "utilisation", lifetimes="exponential"):
    curves[m["parameters"]["mean_lifetime"]].append((m["parameters"]["interval"], m["value"]))
  if not curves:
    sys.exit("there are no curves of %s in the file: is it from p2pdvm-sim interval --json --curves 128?" % cost)
  shades = plt.get_cmap("Greys")
  means = sorted(curves)
  for i, mean in enumerate(means):
    points = sorted(curves[mean])
    axes.plot(*zip(*points), color=shades(0.38 + 0.45 * i / max(1, len(means) - 1)), linewidth=1.5, zorder=2)
    level = max(y for _, y in points) * (0.56 if i % 2 else 0.42)
    falls = [(a, b) for a, b in zip(points, points[1:]) if a[1] >= level > b[1]]
    if level > 0.05 and falls:
      (x0, y0), (x1, y1) = falls[-1]
      x = x0 * (x1 / x0) ** ((y0 - level) / (y0 - y1))
      axes.text(x, level, LIFETIMES.get(round(mean), "%g s" % mean), ha="center", va="center", fontsize=8, color="#222222",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.2}, zorder=4)
  for system, colour, marker, size, name in (("young", ORANGE, "D", 9, "Young's, lifetimes known"),
                                             ("p2pdvm", BLUE, "o", 6, "p2pdvm's, on average")):
    points = [(max(m["parameters"]["interval"], 1e-9), m["value"])
              for m in of_cost(measurements, cost, system, "utilisation", lifetimes="exponential", ranks=128)
              if m["parameters"]["interval"] > 0]
    axes.plot(*zip(*points), linestyle="none", marker=marker, markersize=size, color=colour, label=name, zorder=3,
              markerfacecolor="none" if system == "young" else colour, markeredgewidth=1.5)
  ticks(axes, INTERVALS)
  axes.set_xlim(0.7 * min(x for c in curves.values() for x, _ in c), 60000)
  axes.set_ylim(0, 1.06)
  axes.yaxis.set_major_formatter(ticker.PercentFormatter(1, decimals=0))
  p = of_cost(measurements, cost, "p2pdvm", "utilisation")[0]["parameters"]
  axes.set_title(COSTS[cost], pad=20)
  axes.annotate("a cut blocks %s, commits after %s; a death costs %s" % (
      seconds(p["blocking"]), seconds(p["commit_latency"]), seconds(p["recovery"])), (0, 1), xycoords="axes fraction",
                xytext=(0, 6), textcoords="offset points", fontsize=8.5, color=GREY).set_in_layout(False)
  axes.set_xlabel("from cut to cut")
  for text in axes.get_xticklabels():
    text.set_fontsize(8.5)


def draw_losses(axes, measurements, cost):
  kept = {(m["parameters"]["lifetimes"], m["parameters"]["mean_lifetime"], m["parameters"]["ranks"]): m["value"]
          for m in of_cost(measurements, cost, "best_fixed", "utilisation")}
  means = sorted({mean for _, mean, _ in kept})
  for m in of_cost(measurements, cost, "p2pdvm", "loss"):
    p = m["parameters"]
    if kept[p["lifetimes"], p["mean_lifetime"], p["ranks"]] < HOPELESS:
      continue
    marker, shift = RANKS.get(p["ranks"], ("x", 0))
    heavy = p["lifetimes"] == "heavy-tailed"
    x = means.index(p["mean_lifetime"]) + 2.2 * shift + (0.05 if heavy else 0)
    axes.errorbar(x, 100 * m["value"], 100 * p["standard_error"], marker=marker, markersize=5, color=BLUE,
                  markerfacecolor="white" if heavy else BLUE, markeredgewidth=1.2, elinewidth=1, linestyle="none")
  axes.axhline(0, color=GREY, linewidth=1, zorder=1)
  axes.axhline(1, color=GOAL, linewidth=1.2, linestyle=(0, (5, 3)), zorder=1)
  axes.annotate("goal: at most 1 %", (0.98, 1), xycoords=("axes fraction", "data"), ha="right", fontsize=9, color=GOAL,
                xytext=(0, 4), textcoords="offset points")
  axes.set_xticks(range(len(means)), [LIFETIMES.get(round(mean), "%g s" % mean) for mean in means])
  axes.set_xlim(-0.5, len(means) - 0.5)
  axes.set_ylim(-0.3, 1.25)
  axes.set_xlabel("mean lifetime of a peer")


def draw(measurements):
  costs = [cost for cost in COSTS if of_cost(measurements, cost, "p2pdvm", "loss")]
  figure, (upper, lower) = plt.subplots(2, len(costs), figsize=(12.5, 7.6), sharey="row", squeeze=False)
  for column, cost in enumerate(costs):
    draw_curves(upper[column], measurements, cost)
    draw_losses(lower[column], measurements, cost)
  upper[0].set_ylabel("kept work, share of the time\n128 ranks, exponential lifetimes")
  upper[-1].legend(loc="upper right", handletextpad=0.3)
  lower[0].set_ylabel("kept less than by the best\nfixed interval [%]")
  handles = [plt.Line2D([], [], marker=marker, linestyle="none", color=BLUE, markersize=5, label="%d ranks" % ranks)
             for ranks, (marker, _) in RANKS.items()]
  handles.append(plt.Line2D([], [], marker="o", linestyle="none", color=BLUE, markersize=5, markerfacecolor="white",
                            markeredgewidth=1.2, label="hollow: heavy-tailed"))
  lower[0].legend(handles=handles, loc="upper left", bbox_to_anchor=(0, 0.8), ncol=2, columnspacing=1)
  hours = measurements[0]["parameters"]["job"] / 3600
  figure.text(0.005, 0.008, "Jobs of %g h in virtual time, whose peers are replaced when they die. Each line above: fixed intervals, for one mean lifetime. "
              "Bars: standard errors. Not shown: cells in which nothing keeps 1 %%." % hours, fontsize=9, color=GREY)
  figure.tight_layout(rect=(0, 0.025, 1, 1), w_pad=1.5, h_pad=1.8)
  return figure

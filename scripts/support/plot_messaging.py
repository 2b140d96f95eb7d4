"""Draws the half round trips and bandwidths of `scripts/bench messaging --json`; see scripts/plot."""
import collections
import sys

from plot_style import BLUE, GREEN, GREY, ORANGE, plt, ticker

SYSTEMS = collections.OrderedDict([
    ("p2pdvm", ("p2pdvm", BLUE, "o")), ("openmpi", ("Open MPI", ORANGE, "s")), ("mpich", ("MPICH", GREEN, "^"))])
COLUMNS = (("Within a process, and shared memory", ("process", "shm")), ("TCP over loopback", ("tcp",)))
SIZES = {8: "8 B", 64: "64 B", 1 << 10: "1 KiB", 8 << 10: "8 KiB", 64 << 10: "64 KiB", 512 << 10: "512 KiB",
         4 << 20: "4 MiB"}


def series(measurements, metric):
  """Points by path and system."""
  lines = collections.defaultdict(list)
  for m in measurements:
    p = m["parameters"]
    if m["metric"] == metric and p.get("path") != "sim" and m["system"] in SYSTEMS:
      lines[p["path"], m["system"]].append((p["bytes"], m["value"]))
  if not lines:
    sys.exit("there is no %s in the file: is it from scripts/bench messaging --json?" % metric)
  return lines


def name_of(path, system):
  label = SYSTEMS[system][0]
  if system == "p2pdvm":
    label += {"process": ", ranks of one process", "shm": ", two processes", "tcp": ", encrypted"}[path]
  elif path == "tcp":
    label += ", in the clear"
  return label


def draw_lines(axes, lines, paths, scale):
  for path in paths:
    for system, (_, colour, marker) in SYSTEMS.items():
      points = sorted(lines.get((path, system), []))
      if not points:
        continue
      inner = path == "process"
      axes.plot([x for x, _ in points], [y * scale for _, y in points], marker=marker, color=colour,
                linestyle=(0, (4, 2)) if inner else "-", markerfacecolor="white" if inner else colour,
                markeredgewidth=1.5, label=name_of(path, system))
  axes.set_xscale("log", base=2)
  axes.set_yscale("log")
  axes.xaxis.set_major_locator(ticker.FixedLocator(list(SIZES)))
  axes.xaxis.set_major_formatter(ticker.FuncFormatter(lambda x, _: SIZES.get(round(x), "")))
  axes.xaxis.set_minor_locator(ticker.NullLocator())
  axes.yaxis.set_minor_locator(ticker.NullLocator())
  axes.yaxis.set_major_formatter(ticker.FuncFormatter(lambda y, _: "{:g}".format(y)))


def draw(measurements):
  figure, grid = plt.subplots(2, 2, figsize=(11, 7.6), sharex=True, sharey="row")
  rows = (("half_rtt", 1e6, "half round trip [µs]"), ("bandwidth", 1e-6, "bandwidth [MB/s]"))
  for row, (metric, scale, label) in zip(grid, rows):
    lines = series(measurements, metric)
    for axes, (title, paths) in zip(row, COLUMNS):
      draw_lines(axes, lines, paths, scale)
      if metric == "half_rtt":
        axes.set_title(title)
        axes.legend(loc="upper left")
      else:
        axes.set_xlabel("size of a message")
        for text in axes.get_xticklabels():
          text.set_fontsize(9)
    row[0].set_ylabel(label)
  figure.text(0.005, 0.008, "Medians of one run in which all systems took turns; all on one machine.",
              fontsize=9, color=GREY)
  figure.tight_layout(rect=(0, 0.025, 1, 1), w_pad=2, h_pad=1.5)
  return figure

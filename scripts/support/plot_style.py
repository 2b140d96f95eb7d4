"""How all pictures look."""
import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib import ticker  # noqa: E402,F401

# Okabe and Ito: told apart by the colour-blind, too.
BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#555555"

plt.rcParams.update({
    "svg.hashsalt": "p2pdvm", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 10,
    "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left",
    "axes.labelcolor": "#333333", "axes.edgecolor": "#888888", "axes.spines.top": False,
    "axes.spines.right": False, "axes.grid": True, "grid.color": "#e4e4e4", "grid.linewidth": 0.8,
    "axes.axisbelow": True, "xtick.color": "#444444", "ytick.color": "#444444",
    "lines.linewidth": 2, "lines.markersize": 6, "legend.frameon": False, "legend.fontsize": 9,
    "figure.facecolor": "white", "savefig.facecolor": "white"})

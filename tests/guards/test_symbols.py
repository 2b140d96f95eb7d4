#!/usr/bin/env python3
"""Fails when an object of the header-only form defines a symbol that a second unit of the same
program would define again."""
import subprocess
import sys

nm, *objects = sys.argv[1:]
listing = subprocess.run([nm, "-C", "--defined-only", "--extern-only", *objects],
                         capture_output=True, text=True, check=True).stdout
symbols = [line.split(maxsplit=2) for line in listing.splitlines() if line]
if len(symbols) < 1000:
  sys.exit("there are only %d symbols in %s: is that the whole library?" % (len(symbols), objects))
PROGRAM = ("main", "body")  # of the program that the unit is as well
strong = [s[2] for s in symbols if len(s) == 3 and s[1] in "TDBRG" and s[2].split("(")[0] not in PROGRAM]
if strong:
  sys.exit("without P2PDVM_DECL or inline:\n  " + "\n  ".join(strong))
print("%d symbols, each allowed in many units" % len(symbols))

#!/usr/bin/env python3
"""Prints the NAB scores of the series in this folder, from the service's anomaly scores, by the benchmark's own code.

usage: nab_scores.py NAB_DIR    where NAB_DIR is a copy of https://github.com/numenta/NAB

The threshold is the best one for each profile; 0 is the score of a detector that finds nothing, 100 that of one that finds
every window at its first row and nothing else. tests/recorded_scores.rs compares with what is printed.
"""

import csv
import importlib.util
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def main(nab):
    spec = importlib.util.spec_from_file_location("sweeper", os.path.join(nab, "nab", "sweeper.py"))
    sweeper = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sweeper)
    with open(os.path.join(HERE, "labels", "combined_windows.json")) as file:
        labels = json.load(file)
    with open(os.path.join(nab, "config", "profiles.json")) as file:
        profiles = json.load(file)
    for name, profile in profiles.items():
        costs = profile["CostMatrix"]
        judge = sweeper.Sweeper(probationPercent=0.15, costMatrix=costs)
        points = []
        for series, windows in labels.items():
            kind, file = series.split("/")
            with open(os.path.join(HERE, "results", "randomCutForest", kind, "randomCutForest_" + file)) as text:
                rows = list(csv.DictReader(text))
            limits = [tuple(limit.split(".")[0] for limit in window) for window in windows]
            times, scores = [row["timestamp"] for row in rows], [float(row["anomaly_score"]) for row in rows]
            points += judge.calcSweepScore(times, scores, limits, series)
        best = max(threshold.score for threshold in judge.calcScoreByThreshold(points))
        count = sum(len(windows) for windows in labels.values())
        nothing, perfect = -costs["fnWeight"] * count, costs["tpWeight"] * count
        print(f"{name}: {100 * (best - nothing) / (perfect - nothing):.10f}")


main(sys.argv[1])

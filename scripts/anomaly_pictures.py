#!/usr/bin/env python3
"""Draws docs/pictures/anomaly-explanation.svg and hotspots.svg from what the two examples answer.

Needs Python's standard library alone: `scripts/anomaly_pictures.py path/to/kinesql`.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
INK, SOFT, HOT, COOL = "#333333", "#bbbbbb", "#c0392b", "#2471a3"


def answers(kinesql, example, stream):
    """All rows of a stream of an example."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "rows.jsonl"
        command = [kinesql, "run", "app.sql", "--quiet", "--sink", f"{stream}={file}"]
        subprocess.run(command, cwd=ROOT / "sql-examples" / example, check=True, stdout=subprocess.DEVNULL)
        return [json.loads(line) for line in file.read_text().splitlines()]


def svg(width, height, parts):
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">'
    return "\n".join([head, f'<rect width="{width}" height="{height}" fill="white"/>', *parts, "</svg>"]) + "\n"


def text(x, y, words, anchor="start", colour=INK):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{words}</text>'


def line(points, colour, width=1):
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>'


def explanation(rows):
    """Three metrics and the score, one below the other; at each peak, what the score is made of."""
    width, left, panel = 820, 70, 90
    parts = []
    x_of = lambda i: left + i * (width - left - 20) / len(rows)
    for place, name in enumerate(["cpu", "memory", "latency", "score"]):
        values = [row[name] for row in rows]
        low, high, top = min(values), max(values), 20 + place * (panel + 20)
        y_of = lambda value: top + panel - (value - low) / (high - low) * panel
        parts += [line([(left, top + panel), (width - 20, top + panel)], SOFT), text(left - 8, top + panel / 2, name, "end")]
        parts += [text(left - 8, top + 10, f"{high:.1f}", "end", SOFT), text(left - 8, top + panel, f"{low:.1f}", "end", SOFT)]
        parts.append(line([(x_of(i), y_of(value)) for i, value in enumerate(values)], HOT if name == "score" else COOL))
        if name == "score":
            peaks = [i for i, value in enumerate(values) if value > 2.2 and value == max(values[max(0, i - 20) : i + 20])]
            for i in peaks:
                shares = json.loads(rows[i]["explanation"])
                cause, share = max(shares.items(), key=lambda item: float(item[1]["ATTRIBUTION_SCORE"]))
                words = f'{cause} {share["DIRECTION"]}: {share["ATTRIBUTION_SCORE"]} of {values[i]:.2f}'
                parts.append(text(x_of(i) - 6, y_of(values[i]) + 10, words, "end"))
    bottom = 20 + 4 * (panel + 20)
    parts += [text(left, bottom, rows[0]["at"][11:19]), text(width - 20, bottom, rows[-1]["at"][11:19], "end")]
    return svg(width, bottom + 12, parts)


def hotspots(rows):
    """The last 1000 positions and the hotspots among them."""
    size, edge = 520, 30
    place = lambda x, y: (edge + x / 10 * (size - 2 * edge), size - edge - y / 10 * (size - 2 * edge))
    parts = [f'<rect x="{edge}" y="{edge}" width="{size - 2 * edge}" height="{size - 2 * edge}" fill="none" stroke="{SOFT}"/>']
    for row in rows[-1000:]:
        x, y = place(row["x"], row["y"])
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="{COOL}"/>')
    for spot in json.loads(rows[-1]["hotspots"])["hotspots"]:
        (x0, y1), (x1, y0) = place(*spot["minValues"]), place(*spot["maxValues"])
        parts.append(f'<rect x="{x0:.1f}" y="{y0:.1f}" width="{x1 - x0:.1f}" height="{y1 - y0:.1f}" fill="none" stroke="{HOT}" stroke-width="2"/>')
        parts.append(text(x1 + 6, y0 + 10, f'density {spot["density"]:.0f}', colour=HOT))
    return svg(size, size, parts + [text(edge, size - 10, f'at {rows[-1]["at"][11:19]}, kilometres')])


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    kinesql = str(pathlib.Path(sys.argv[1]).resolve())
    pictures = ROOT / "docs" / "pictures"
    pictures.mkdir(exist_ok=True)
    (pictures / "anomaly-explanation.svg").write_text(explanation(answers(kinesql, "anomaly-explanation", "SCORES")))
    (pictures / "hotspots.svg").write_text(hotspots(answers(kinesql, "hotspots", "SPOTS")))


main()

"""Writes dbscan.txt: what scikit-learn's DBSCAN says of some windows. Run as `python3 dbscan.py > dbscan.txt`.

A line `window COLUMNS RADIUS POINTS_MIN ROWS` and a line for each row: its values, 1 for a core row, and its label.
"""

import numpy
import sklearn
from sklearn.cluster import DBSCAN

random = numpy.random.default_rng(2018)


def window(rows, radius, points_min):
    # kd_tree compares squared distances of the points themselves; the default may go through rounded dot products.
    result = DBSCAN(eps=radius, min_samples=points_min, algorithm="kd_tree").fit(rows)
    core = set(result.core_sample_indices_)
    print("window", rows.shape[1], radius, points_min, len(rows))
    for number, (row, label) in enumerate(zip(rows, result.labels_)):
        print(*map(float, row), int(number in core), label)


def blobs(count, columns, blob_count, spread, field):
    centres = random.uniform(0, field, (blob_count, columns))
    noise = random.uniform(0, field, (count // 3, columns))
    points = centres[random.integers(0, blob_count, count - len(noise))] + random.normal(0, spread, (count - len(noise), columns))
    rows = numpy.concatenate([noise, points])
    random.shuffle(rows)
    return rows.round(3)


print("# scikit-learn", sklearn.__version__)
window(blobs(150, 1, 3, 0.4, 20.0), 0.3, 5)
window(blobs(200, 2, 4, 0.3, 10.0), 0.45, 6)
window(blobs(300, 2, 6, 0.8, 10.0), 0.5, 5)
window(blobs(150, 3, 3, 0.5, 10.0), 1.0, 4)
window(blobs(120, 6, 2, 0.5, 4.0), 1.5, 6)
window(random.uniform(0, 10, (200, 2)).round(3), 0.2, 17)
# Distances that are exactly the radius.
window(random.integers(0, 12, (130, 2)).astype(float), 1.0, 5)

"""Sketches: summaries of values that add up exactly, in any order, over windows, partitions and workers.

=================  =========================================================  ==================  ======================
sketch             answers                                                    error               state
=================  =========================================================  ==================  ======================
`Histogram`        counts over the frozen bins of a reference; mean, variance  exact counts        872 bytes at 100 bins
`LogHistogram`     quantiles of values without a reference (latency)          1 % of the value    8 bytes a bin in use
`Distinct`         how many different categories                              6.5 %, one sigma    256 bytes
`HeavyHitters`     which categories are frequent                              that of 256 rows    4 KiB
=================  =========================================================  ==================  ======================

All of them: `update(values)` counts a batch in place, `merge(other)` returns a new sketch (`ValueError` when the layouts
differ), `to_bytes()` and `from_bytes(data)` keep the state (`StateNewer`, `StateCorrupt`), `==` compares it. Merging is
associative and commutative, an empty sketch changes nothing, and batches may be cut anywhere: the state is the same to
the byte. A state holds integers and 64-bit hashes, no text. `HeavyHitters.update` also takes the ids of the rows;
`Histogram.from_bytes` also takes the bins, which stay with the reference.

>>> import numpy as np
>>> rng = np.random.default_rng(1)
>>> latency_ms = rng.lognormal(3, 1, 100_000)
>>> morning, evening = LogHistogram(), LogHistogram()
>>> morning.update(latency_ms[:40_000])
>>> evening.update(latency_ms[40_000:])
>>> day = morning.merge(evening)
>>> exact = np.quantile(latency_ms, 0.99, method="lower")
>>> print(abs(day.quantile(0.99) - exact) <= day.relative_error * exact)
True
"""

from detectors.sketches.bins import Bins
from detectors.sketches.distinct import Distinct
from detectors.sketches.hashing import category_hash
from detectors.sketches.heavy_hitters import HeavyHitters, Hitter
from detectors.sketches.histogram import Histogram
from detectors.sketches.log_histogram import LogHistogram
from detectors.sketches.sketch import Sketch

__all__ = ["Bins", "Distinct", "HeavyHitters", "Histogram", "Hitter", "LogHistogram", "Sketch", "category_hash"]

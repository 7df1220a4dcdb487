"""What numbers mean: references, drift statistics, sequential detectors, performance and decision statistics.

Pure: no client, no clock, no environment. Usable alone, in a notebook, without Kafka. Imports `schemas` and nothing
else of driftline.
"""

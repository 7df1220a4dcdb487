"""Data quality: missing values, wrong types, unseen categories, values out of range, constant features, names, age.

Each is an exact one-sided test of a share, with the reference's own sampling error in it. What the drift tests count is
enough: a slot vector of each feature.

>>> from detectors.quality import quality_test
>>> from detectors.reference import Reference
>>> country, = Reference.build({"country": ["de", "fr"] * 500}).features
>>> for found in quality_test(country, country.slots_of(["de"] * 60 + ["fr"] * 30 + ["xx"] * 10)):
...     print(found.sentence, f"{found.p_value:.1g}")
country is missing in 0.00% of 100 rows (0.00% in the reference) 1
country has the wrong type in 0.00% of 100 rows (0.00% in the reference) 1
country has categories that the reference does not know in 10.00% of 100 values (0.00% expected) 4e-11
country lies in its commonest bin in 60.00% of 100 values (50.00% in the reference) 1
"""

from detectors.quality.checks import LEAST_N, Checks, quality_test
from detectors.quality.freshness import AgeCounts, FreshnessResult, count_ages, freshness_test
from detectors.quality.names import NamesResult, compare_names
from detectors.quality.result import CHECKS, Check, CheckResults, QualityResult
from detectors.quality.severity import CRITICAL_RISE, WARNING_RISE, quality_severity
from detectors.shares import rise_p_values

__all__ = [
    "CHECKS",
    "CRITICAL_RISE",
    "LEAST_N",
    "WARNING_RISE",
    "AgeCounts",
    "Check",
    "CheckResults",
    "Checks",
    "FreshnessResult",
    "NamesResult",
    "QualityResult",
    "compare_names",
    "count_ages",
    "freshness_test",
    "quality_severity",
    "quality_test",
    "rise_p_values",
]

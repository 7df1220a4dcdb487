"""How bad a finding is, as the table in `detectors.quality.severity` says."""

from __future__ import annotations

import pytest

from detectors.quality import QualityResult, quality_severity


def risen(share: float, before: float = 0.0, hits: int = 1) -> QualityResult:
    alone = False
    return QualityResult("f", "missing", share, before, 0.0, hits, 1_000, insufficient=False, decides_alone=alone)


@pytest.mark.parametrize(
    ("share", "before", "expected"),
    [
        (0.049, 0.0, ("info", "info", "warning")),
        (0.05, 0.0, ("info", "warning", "critical")),
        (0.299, 0.05, ("info", "warning", "critical")),
        (0.25, 0.0, ("warning", "critical", "critical")),
        (0.8, 0.78, ("info", "info", "warning")),
    ],
)
def test_severity_is_how_far_the_share_has_risen_and_the_tier(
    share: float, before: float, expected: tuple[str, str, str]
) -> None:
    assert expected == tuple(quality_severity(risen(share, before), tier) for tier in ("low", "normal", "high"))


def test_a_feature_that_is_gone_is_as_bad_as_can_be_however_rare_it_was() -> None:
    assert quality_severity(risen(1.0, 0.99, hits=1_000)) == "critical"
    assert quality_severity(risen(1.0, 1.0, hits=1_000)) == "info"  # it never was there

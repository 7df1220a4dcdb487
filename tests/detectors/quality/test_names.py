"""Names of features: gone, new, and said so."""

from __future__ import annotations

import pytest

from detectors.quality import compare_names


@pytest.mark.parametrize(
    ("expected", "found", "gone", "new", "sentence"),
    [
        (["a", "b"], ["b", "a", "a"], (), (), "the features are those of the reference"),
        (["b", "a", "c"], ["c"], ("a", "b"), (), "2 features of the reference did not come (a, b)"),
        (["a"], ["z", "a"], (), ("z",), "1 feature came that the reference does not know (z)"),
        (["a"], [], ("a",), (), "1 feature of the reference did not come (a)"),
        (
            [],
            list("gfedcba"),
            (),
            tuple("abcdefg"),
            "7 features came that the reference does not know (a, b, c, d, e, ...)",
        ),
    ],
)
def test_what_is_gone_and_what_is_new(
    expected: list[str], found: list[str], gone: tuple[str, ...], new: tuple[str, ...], sentence: str
) -> None:
    result = compare_names(expected, found)
    assert (result.gone, result.new, result.ok, result.sentence) == (gone, new, not gone and not new, sentence)

"""The error tree and the two closed vocabularies."""

import pickle
import re

import pytest

from schemas import errors
from schemas.errors import ConfigError, DeadLetterReason, DriftlineError, Outcome, StateCorrupt, StateError, TaskError


def _tree(error: type[DriftlineError]) -> set[str]:
    return {error.__name__}.union(*(_tree(child) for child in error.__subclasses__()))


def test_the_docstring_draws_exactly_the_errors_that_exist() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"^ {4}[│├└─ ]*([A-Z][A-Za-z]+)  ", errors.__doc__, re.MULTILINE)
    assert _tree(DriftlineError) == set(drawn)


@pytest.mark.parametrize("what", ["topic labels does not exist", "topic labels does not exist."])
def test_an_error_reads_as_what_happened_and_what_to_do(what: str) -> None:
    assert str(errors.TopicMissing(what, "Create it")) == "topic labels does not exist. Create it"


def test_several_problems_keep_a_line_each() -> None:
    assert str(ConfigError("a\nb", "Correct them")) == "a\nb\nCorrect them"


def test_one_base_catches_everything_and_exits_with_two() -> None:
    error = StateCorrupt("checksum differs", "Restore Redis")
    assert (isinstance(error, StateError), isinstance(error, TaskError), error.exit_status) == (True, True, 2)


def test_an_error_survives_the_way_between_processes() -> None:
    error = pickle.loads(pickle.dumps(StateCorrupt("checksum differs", "Restore Redis")))  # noqa: S301  # our own
    assert (type(error), error.what, error.remedy) == (StateCorrupt, "checksum differs", "Restore Redis")


def test_the_outcomes_are_those_of_the_design_and_waiting_is_none_of_them() -> None:
    expected = "applied late duplicate conflict orphan expired filtered sampled_out unknown_model future dead_letter"
    assert expected.split() == [str(outcome) for outcome in Outcome]


def test_the_dead_letter_reasons_can_be_metric_labels() -> None:
    assert all(re.fullmatch(r"[a-z_]+", reason) for reason in DeadLetterReason)

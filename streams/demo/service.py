"""The service that serves the model: a river classifier behind a version number, and how a version comes to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from river import tree

from detectors.reference import Reference
from streams.demo.world import APPROVE, DECLINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streams.demo.world import Features

MODEL: Final = "loans"
"""The model's name in events and in the configuration."""
_GRACE_PERIOD = 100
"""Rows between two attempts to split a leaf: half of river's default, because a version learns from a few thousand rows."""
_DELTA = 1e-4
"""How sure a split must be; river's default of 1e-7 would wait longer than the story lasts."""


class ScoringService:
    """Answers applications with the version that is deployed."""

    def __init__(self, version: str, classifier: Any) -> None:  # noqa: ANN401  # river's classifiers are untyped
        """Serve ``classifier`` as ``version``."""
        self.version, self._classifier = version, classifier

    def deploy(self, version: str, classifier: Any) -> None:  # noqa: ANN401  # as above
        """Serve another version from the next application on."""
        self.version, self._classifier = version, classifier

    def answer(self, features: Features) -> tuple[str, float]:
        """The answer, and the probability that it is ``APPROVE``."""
        return answer(self._classifier, features)


def answer(classifier: Any, features: Features) -> tuple[str, float]:  # noqa: ANN401  # river's classifiers are untyped
    """What a classifier says about one application: the answer, and the probability that it is ``APPROVE``."""
    score = float(classifier.predict_proba_one(features).get(APPROVE, 0.0))
    return (APPROVE if score >= 0.5 else DECLINE), score  # noqa: PLR2004  # the likelier class


def train(rows: Sequence[tuple[Features, str]]) -> Any:  # noqa: ANN401  # river's classifiers are untyped
    """A Hoeffding tree that has seen the rows once, in order."""
    classifier: Any = tree.HoeffdingTreeClassifier(grace_period=_GRACE_PERIOD, delta=_DELTA)
    for features, decision in rows:
        classifier.learn_one(features, decision)
    return classifier


def make_reference(classifier: Any, rows: Sequence[tuple[Features, str]]) -> Reference:  # noqa: ANN401  # as above
    """The reference of a version, from rows that it has not learned from: else its performance would look too good."""
    answers = [answer(classifier, features) for features, _ in rows]
    table: dict[str, list[Any]] = {name: [features[name] for features, _ in rows] for name in rows[0][0]}
    table["prediction"] = [a for a, _ in answers]
    table["score"] = [s for _, s in answers]
    table["label"] = [decision for _, decision in rows]
    return Reference.build(table, task="binary", positive_class=APPROVE)

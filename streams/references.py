"""Where references come from: files that the configuration names, and what was published to the store (R8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detectors.reference import Reference
from schemas.config import ModelConfig
from schemas.errors import PUBLISH_AGAIN, ConfigError, ReferenceMismatch, ReferenceNewer, StateCorrupt, StateNewer
from streams.engine.plan import Plan, compile_plan
from streams.hosting.deployment import FEATURE_EVENTS, PREDICTIONS

if TYPE_CHECKING:
    from pathlib import Path

    from schemas.config import Config
    from streams.engine.store import Store


def load(path: Path, where: str) -> Reference:
    """A reference from its file. Raises ConfigError when there is none, ReferenceMismatch when it cannot be used."""
    if not path.is_file():
        what = f"{where}: there is no reference at {path}"
        raise ConfigError(what, f"make it with `driftline reference build TABLE --out {path}`")
    return Reference.load(path)


def plans(config: Config) -> dict[str, Plan]:
    """The plans of the topic groups that have something to watch, with the references of the configuration.

    Raises ConfigError or ReferenceMismatch.
    """
    found = {}
    if config.models:
        references = {}
        for name, model in config.models.items():
            own = [load(p, f"models.{name}.references.{v}") for v, p in sorted(model.references.items())]
            references[name] = [load(model.reference, f"models.{name}.reference"), *own]
        found[PREDICTIONS] = compile_plan(PREDICTIONS, config.models, references, config.future)
    if config.feature_sets:
        sets = {n: [load(f.reference, f"feature_sets.{n}.reference")] for n, f in config.feature_sets.items()}
        found[FEATURE_EVENTS] = compile_plan(FEATURE_EVENTS, config.feature_sets, sets, config.future)
    return found


class ReferenceBook:
    """The reference of a version: the configuration's, else the published one, else none of its own."""

    def __init__(self, config: Config, store: Store) -> None:
        """Ask the store when the configuration names none."""
        self._config, self._store = config, store

    def reference_for(self, model: str, version: str) -> Reference | None:
        """As ``streams.engine.plan.References``; may raise ConnectionProblem, StateMissing, StateCorrupt or StateNewer."""
        config = self._config.models.get(model)
        if not isinstance(config, ModelConfig):
            return None
        if version in config.references:
            return load(config.references[version], f"models.{model}.references.{version}")
        published = self._store.reference(model, version)
        if published is None:
            return None
        which, (content_hash, data) = (
            f"the reference that was published for version {version!r} of model {model!r}",
            published,
        )
        try:
            found = Reference.from_json(data)
        except ReferenceNewer as error:
            what = f"{which}: {error.what}"
            raise StateNewer(what, "upgrade driftline") from error
        except (ConfigError, ReferenceMismatch) as error:
            what = f"{which}: {error.what}"
            raise StateCorrupt(what, PUBLISH_AGAIN) from error
        if found.content_hash != content_hash:
            what = f"{which} is {content_hash}, and what is kept there is {found.content_hash}"
            raise StateCorrupt(what, PUBLISH_AGAIN)
        return found

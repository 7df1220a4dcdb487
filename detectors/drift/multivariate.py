"""Has the relation between features changed, though no feature has? Principal components of the reference's rows.

Idea: features move together. The directions in which the reference's rows vary (principal components of its correlation
matrix) are learned once; of every later row two numbers are kept:

- `residual` = sqrt(sum over dropped components of t_c^2): how far the row lies from the plane of the k components that
  explain a stated share of the variance, its reconstruction error (Q or SPE in process control);
- `spread` = sqrt(sum over kept components of t_c^2 / lambda_c): how far out it lies within that plane (Hotelling's T).

Both become ordinary numeric subjects with bins frozen on the reference. So a window's state is one vector of counts, and
its test is that of any feature (`cell_test`): with a p-value, an effect size and the bins that moved.

Numeric columns are standardised, a missing value is the median; booleans are 0 and 1, a missing one the commoner;
categories are replaced by their frequency in the reference (one it does not know by 0, missing ones count as a category)
and standardised. Components are learned on every other row and the bins on the rows between, because scores of the rows
that taught the components are too small. Where rows are many, a fixed share of them is enough (`taken`).

Guarantee: that of `cell_test` on two subjects, for independent rows. What it cannot see: a change that leaves the
distribution of both distances alone, as a rotation among features of equal variance and no correlation; and categories
of equal frequency are one to it. It sees what moves the columns one by one, too: read it beside the drift of features, and
take its share of the budget into account (two cells).
Cost: 0.23 microseconds a row of 20 numeric columns, 8 of 200 (it grows with their square; `python -m loadtest detectors`),
and more for categorical ones. State: two slot vectors, below 2 KiB a pane whatever the columns. The model: 8 columns^2 bytes
(200 columns: 0.3 MiB, 0.8 MiB as `to_json` writes it).
Merge: slot vectors add up exactly. A row's scores do not depend on the batch it comes in, to the last bit.
State format: JSON with `format`, `version`, `checksum`; older versions are read, newer ones raise StateNewer.
References: Jackson & Mudholkar 1979, Technometrics 21 (Q and T^2); Jolliffe 2002, Principal Component Analysis, 6.1;
NannyML's data reconstruction for the use on models. Deviations from NannyML: bins and a test in place of three standard
deviations over chunks, a second score, at least one component is always dropped.

>>> import numpy as np
>>> rng = np.random.default_rng(1)
>>> height, weight = rng.normal(size=(2, 20_000))
>>> model = Reconstruction.fit({"height": height, "weight": 0.9 * height + 0.4 * weight})
>>> height, weight = rng.normal(size=(2, 500))
>>> [found.p_value < 0.001 for found in model.test({"height": height, "weight": 0.9 * height + 0.4 * weight})]
[False, False]
>>> [found.p_value < 0.001 for found in model.test({"height": height, "weight": weight})]
[True, True]
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import orjson

from detectors.compiled import compiled
from detectors.drift.cell import cell_test
from detectors.reference.build import subject
from detectors.reference.columns import Column, as_booleans, as_numbers, as_texts
from detectors.reference.read import read_table
from detectors.reference.subject import NUMERIC, Subject
from detectors.sketches.hashing import mixed
from schemas.errors import StateCorrupt, StateNewer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from numpy.typing import NDArray

    from detectors.drift.cells import CellResult

FORMAT: Final = "driftline.reconstruction"
"""What a saved model says it is."""
VERSION: Final = 1
"""The format that is written, and the newest that is read."""
SCORES: Final = ("residual", "spread")
"""The two scores of a row, and the names of their subjects."""
EXPLAINED: Final = 0.65
"""Share of the variance that the kept components explain at least: NannyML's default."""
LEAST_ROWS: Final = 200
"""Rows of a reference: half of them learn components, half of them bins."""
MOST_COLUMNS: Final = 1000
"""Above it a row costs half a millisecond and the model 8 MiB: choose columns."""
MOST_CATEGORIES: Final = 1000
"""Categories whose frequency is kept; rarer ones are 0, which they almost are."""
_BINS = 100
_FLOOR = 1e-12
"""A squared residual below this part of the columns is rounding, of columns that are sums of others."""
_FAR = 1e6
"""Standard deviations at which a value is cut off, so that squares stay finite."""
_REMEDY = "take a sound copy, or fit the model again"


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """How a column becomes a number: (x - centre) / scale, of the value or, for categories, of its share.

    `missing` is what a missing value counts as. `shares` maps categories to their share, None for numbers.
    """

    name: str
    kind: str
    centre: float
    scale: float
    missing: float
    shares: Mapping[str, float] | None

    @classmethod
    def of(cls, name: str, source: Column) -> Coding | None:
        """Return the coding of a reference's column; None for one that is constant or holds neither numbers nor text."""
        if source.kind not in {*NUMERIC, "boolean", "categorical"}:
            return None
        shares: dict[str, float] | None = None
        if source.kind in NUMERIC:
            numbers = as_numbers(source)[0]
            known = numbers[~np.isnan(numbers)]
            if not len(known):
                return None
            missing = float(np.median(known))
        elif source.kind == "boolean":
            missing = float(np.nanmean(source.values) > 0.5)  # noqa: PLR2004  # the commoner of two
        else:
            texts = as_texts(source)
            counted = Counter(t for t in texts if t is not None)
            ranked = sorted(counted, key=lambda text: (-counted[text], text))[:MOST_CATEGORIES]
            shares = {text: counted[text] / len(texts) for text in ranked}
            missing = sum(t is None for t in texts) / len(texts)
        raw = cls(name, source.kind, 0.0, 1.0, missing, shares).encode(source)
        centre, scale = float(raw.mean()), float(raw.std())
        # A standard deviation that is rounding beside the values themselves is none.
        if not np.isfinite(scale) or scale <= 1e-12 * max(abs(centre), 1e-300):
            return None
        return cls(name, source.kind, centre, scale, missing, shares)

    def encode(self, source: Column | None, rows: int = 0) -> NDArray[np.float64]:
        """Return the number of every value, float64[n]; a column that is not there counts as missing in all `rows`."""
        if source is None:
            values = np.full(rows, self.missing)
        elif self.shares is not None:
            values = np.array([self.missing if t is None else self.shares.get(t, 0.0) for t in as_texts(source)])
        elif self.kind == "boolean":
            values = np.array([self.missing if t is None else float(t == "true") for t in as_booleans(source)[0]])
        else:
            # In a batch of mixed values a boolean is no number; so it is none in a batch of booleans.
            values = np.full(len(source.values), np.nan) if source.kind == "boolean" else as_numbers(source)[0]
            values = np.where(np.isnan(values), self.missing, values)
        coded: NDArray[np.float64] = np.clip((values.astype(np.float64) - self.centre) / self.scale, -_FAR, _FAR)
        return coded


@dataclass(frozen=True, slots=True, eq=False)
class Reconstruction:
    """Principal components of a reference, and the distributions of its rows' two scores.

    `columns` are codings of the d columns that vary, `rotation` is float64[d, d] with a component per column of the
    matrix, `variances` float64[d] theirs, descending; the first `kept` explain the stated share. `subjects` are those of
    `SCORES`.
    """

    columns: tuple[Coding, ...]
    rotation: NDArray[np.float64]
    variances: NDArray[np.float64]
    kept: int
    subjects: tuple[Subject, Subject]

    @classmethod
    def fit(cls, table: object, *, explained: float = EXPLAINED, ignore: Collection[str] = ()) -> Reconstruction:
        """Learn from a reference: a mapping of columns, a polars DataFrame, a pyarrow Table, or the file at a path.

        `explained` is the share of variance that the kept components explain at least; one is dropped at any rate.
        Columns named in `ignore` take no part, nor do constant ones.

        Raises:
            ValueError: `explained` is not between 0 and 1, or fewer than 200 rows, or not 2 to 1000 columns that vary.
            ConfigError: the table cannot be read.
        """
        if not 0 < explained <= 1:
            message = f"the explained share must lie above 0 and not above 1, got {explained}"
            raise ValueError(message)
        read = read_table(table)
        given = {**read.columns, **(read.nested or {})}
        if read.rows < LEAST_ROWS:
            message = f"{LEAST_ROWS} rows are needed, got {read.rows}"
            raise ValueError(message)
        learn = {n: Column(c.kind, c.values[::2]) for n, c in given.items() if n not in ignore}
        coded = [c for c in (Coding.of(name, source) for name, source in learn.items()) if c is not None]
        if not 2 <= len(coded) <= MOST_COLUMNS:  # noqa: PLR2004  # one column has no relation
            message = f"2 to {MOST_COLUMNS} columns that vary are needed, got {len(coded)} of {len(learn)}"
            raise ValueError(message)
        z = np.column_stack([c.encode(learn[c.name]) for c in coded])
        values, vectors = np.linalg.eigh(z.T @ z / len(z))
        values, vectors = np.maximum(values[::-1], 0.0), np.ascontiguousarray(vectors[:, ::-1])
        shares = np.cumsum(values) / values.sum()
        kept = min(int(np.searchsorted(shares, explained - 1e-12)) + 1, len(values) - 1)
        blank = Subject("blank", "numeric", np.array([0.0, 1.0]), (), (), np.zeros(5, np.int64))
        made = cls(tuple(coded), vectors, values, kept, (blank, blank))
        scores = made.scores({n: Column(c.kind, c.values[1::2]) for n, c in given.items() if n not in ignore})
        residual, spread = (
            subject(name, Column("numeric", row), "numeric", _BINS) for name, row in zip(SCORES, scores, strict=True)
        )
        return cls(tuple(coded), vectors, values, kept, (residual, spread))

    def scores(self, table: object) -> NDArray[np.float64]:
        """Return the residual and the spread of every row, float64[2, rows].

        A column that the table does not have counts as missing, one that the model does not know is left out.

        Raises:
            ConfigError: the table cannot be read.
            ReferenceMismatch: its columns differ in length.
        """
        read = read_table(table)
        given = {**read.columns, **(read.nested or {})}
        z = np.empty((read.rows, len(self.columns)))
        for j, coding in enumerate(self.columns):
            z[:, j] = coding.encode(given.get(coding.name), read.rows)
        out = np.empty((2, read.rows))
        _score(z, self.rotation, self.variances, self.kept, _FLOOR, out)
        return out

    def counts(self, table: object) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the slot vectors of a table's rows, one per subject: what a pane keeps and what adds up."""
        residual, spread = self.scores(table)
        return self.subjects[0].slots_of(residual), self.subjects[1].slots_of(spread)

    def test(self, table: object) -> tuple[CellResult, CellResult]:
        """Test the rows of a window; from slot vectors, `cell_test(model.subjects[i], counts[i])` does the same."""
        residual, spread = self.counts(table)
        return cell_test(self.subjects[0], residual), cell_test(self.subjects[1], spread)

    def to_json(self) -> bytes:
        """Return the model as JSON; the same model gives the same bytes."""
        content = {
            "columns": [[c.name, c.kind, c.centre, c.scale, c.missing, c.shares] for c in self.columns],
            "rotation": self.rotation.tolist(),
            "variances": self.variances.tolist(),
            "kept": self.kept,
            "subjects": [s.to_dict() for s in self.subjects],
        }
        return orjson.dumps({"format": FORMAT, "version": VERSION, "checksum": _checksum(content), "content": content})

    @classmethod
    def from_json(cls, data: bytes) -> Reconstruction:
        """Return the model that `to_json` wrote.

        Raises:
            StateNewer: a newer driftline wrote it.
            StateCorrupt: it is no such model, or damaged.
        """
        try:
            saved = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise StateCorrupt(f"the saved reconstruction is no JSON: {error}", _REMEDY) from error
        version = saved.get("version") if isinstance(saved, dict) and saved.get("format") == FORMAT else None
        if not isinstance(version, int) or version < 1:
            raise StateCorrupt("the JSON is no saved reconstruction of driftline", _REMEDY)
        if version > VERSION:
            what = f"the reconstruction was written in format {version}, this driftline reads up to {VERSION}"
            raise StateNewer(what, "read it with the driftline that wrote it, or a later one")
        content = saved.get("content")
        if saved.get("checksum") != _checksum(content):
            raise StateCorrupt("the checksum of the saved reconstruction does not match its content", _REMEDY)
        try:
            return cls._restored(content)
        except (KeyError, TypeError, ValueError) as error:
            raise StateCorrupt(f"the saved reconstruction cannot be used: {error}", _REMEDY) from error

    @classmethod
    def _restored(cls, content: Any) -> Reconstruction:  # noqa: ANN401  # JSON
        columns = tuple(Coding(*values) for values in content["columns"])
        rotation, variances = np.array(content["rotation"], np.float64), np.array(content["variances"], np.float64)
        residual, spread = (Subject.from_dict(s) for s in content["subjects"])
        d, kept = len(columns), int(content["kept"])
        if rotation.shape != (d, d) or variances.shape != (d,) or not 0 < kept < d:
            message = f"{d} columns do not fit components of shape {rotation.shape} with {kept} kept"
            raise ValueError(message)
        return cls(columns, rotation, variances, kept, (residual, spread))


def taken(keys: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Return which rows are sampled, bool[n]: those whose mixed key lies in the lowest `share` of all 64-bit numbers.

    `keys` are uint64[n], a hash of each event's identifier, say: the same event is taken or left wherever and however
    often it is seen. The mixing is splitmix64's (Steele, Lea & Flood 2014), so that running numbers do as keys.

    Raises:
        ValueError: `share` is not between 0 and 1.
    """
    if not 0 <= share <= 1:
        message = f"the share of sampled rows must lie between 0 and 1, got {share}"
        raise ValueError(message)
    rank = mixed(np.asarray(keys, np.uint64) + np.uint64(0x9E3779B97F4A7C15))
    chosen: NDArray[np.bool_] = (rank >> np.uint64(11)).astype(np.float64) < share * 2.0**53
    return chosen


def _checksum(content: object) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]


@compiled
def _score(
    z: NDArray[np.float64],
    rotation: NDArray[np.float64],
    variances: NDArray[np.float64],
    kept: int,
    floor: float,
    out: NDArray[np.float64],
) -> None:
    """Write both scores of every row of z, float64[n, d]: one row at a time, so that a batch's size changes nothing."""
    d = len(variances)
    t = np.zeros(d)
    for r in range(len(z)):
        t[:] = 0.0
        for j in range(d):
            for c in range(d):
                t[c] += z[r, j] * rotation[j, c]
        inside, outside = 0.0, 0.0
        for c in range(d):
            if c >= kept:
                outside += t[c] * t[c]
            elif variances[c] > floor:
                inside += t[c] * t[c] / variances[c]
        out[0, r] = np.sqrt(outside) if outside > floor * d else 0.0
        out[1, r] = np.sqrt(inside)

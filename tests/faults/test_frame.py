"""The frame of the fault suite itself: a truth that is counted by hand, outcomes that mean what they say, figures that are right."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import orjson
import pytest

from tests.faults import cell, cells_sabotage, report
from tests.faults.__main__ import cells, main
from tests.faults.absences import last_words, stopped
from tests.faults.cell import Cell, Inconclusive, Missed, Outcome, Stage
from tests.faults.cells_commit import EVERY
from tests.faults.cells_recovery import MISSES, landing
from tests.faults.deployment import NotInTime
from tests.faults.load import BEGIN, CLOSING, MODELS, Generator, Spec, place, truth_of
from tests.faults.nursery import Nursery
from tests.faults.processes import WorkerProcess
from tests.faults.results import Results, against_calm, against_truth
from tests.faults.sabotage_patches import DYING
from tests.faults.soak import Sample, slope
from tests.faults.watch import Seen, Watch

SPEC = Spec(predictions=20_000, partitions=3, regime=5_000)


def records(spec: Spec) -> tuple[list[tuple[str, int, int, str, str]], Generator]:
    made = Generator(spec)
    return [r for _, block in made.blocks() for r in block], made


def test_the_same_spec_gives_the_same_records() -> None:
    assert records(SPEC)[0] == records(SPEC)[0]
    assert records(SPEC)[0] != records(Spec(predictions=20_000, partitions=3, regime=5_000, seed=2))[0]


def test_the_truth_counts_what_is_sent_record_by_record() -> None:
    sent, made = records(SPEC)
    counted: dict[str, Counter[int]] = {"predictions": Counter(), "labels": Counter()}
    bad = []
    for half, partition, _, key, value in sent:
        if not key.startswith(("end", "last")):
            assert partition == place(key, SPEC.partitions)
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError:
            bad.append(f"{half}/{partition}/{counted[half][partition]}")
        counted[half][partition] += 1
    assert {half: dict(n) for half, n in counted.items()} == made.truth.records
    assert sorted(bad) == sorted(made.truth.dead_letters)
    for half, outcomes in made.truth.outcomes.items():
        assert sum(outcomes.values()) == sum(counted[half].values())
    assert made.truth == truth_of(SPEC)


def test_the_outcomes_are_those_that_a_naive_count_of_the_records_gives() -> None:
    sent, made = records(SPEC)
    seen: set[str] = set()
    first_label: dict[str, str] = {}
    found: dict[str, Counter[str]] = {"predictions": Counter(), "labels": Counter()}
    for half, _, at, key, value in sent:
        try:
            event = orjson.loads(value)
        except orjson.JSONDecodeError:
            found[half]["dead_letter"] += 1
            continue
        if half == "labels":
            if not key.startswith("p"):
                outcome = "orphan"
            elif key not in first_label:
                first_label[key], outcome = event["label"], "applied"
            else:
                outcome = "duplicate" if first_label[key] == event["label"] else "conflict"
        elif event["model"] not in MODELS:
            outcome = "unknown_model"
        elif event["event_time"] > at + 300_000:
            outcome = "future"
        elif event["event_time"] < at - 3_600_000:
            outcome = "late"
        else:
            outcome = "duplicate" if key in seen else "applied"
            seen.add(key)
        found[half][outcome] += 1
    assert {half: dict(n) for half, n in found.items()} == made.truth.outcomes


def test_a_bad_partition_holds_nothing_that_can_be_read_but_its_closing_records() -> None:
    sent, made = records(Spec(predictions=2_000, partitions=3, bad_partition=1))
    mine = [(key, value) for _, partition, _, key, value in sent if partition == 1]
    assert len(mine) > 1_000
    for key, value in mine:
        if not key.startswith(("end", "last")):
            with pytest.raises(orjson.JSONDecodeError):
                orjson.loads(value)
    assert sum(name.split("/")[1] == "1" for name in made.truth.dead_letters) == len(mine) - 3


def test_record_times_rise_and_every_partition_is_closed_last() -> None:
    sent, made = records(SPEC)
    times = [at for _, _, at, _, _ in sent]
    assert times == sorted(times)
    assert times[0] == BEGIN
    closing = [(half, partition) for half, partition, at, _, _ in sent if at == made.truth.end + CLOSING]
    expected = [(h, p) for p in range(3) for h in ("predictions", "predictions", "labels")]
    assert closing == expected


def test_a_cell_that_proves_nothing_is_played_again_and_one_that_fails_never() -> None:
    said: list[str] = []

    def play(*ends: Exception | None) -> Outcome:
        left = list(ends)

        def cell(stage: Stage) -> None:
            stage.note(f"play {len(ends) - len(left) + 1}")
            end = left.pop(0)
            if end is not None:
                raise end

        with Stage() as stage:
            outcome = stage.play(Cell("a", "", cell))
        said.extend([*outcome.again, *outcome.evidence])
        assert not left
        return outcome

    missed = Missed("too early")
    assert play(missed, missed, None).verdict == "pass"
    assert said == ["too early", "too early", "play 3"]
    assert play(missed, missed, missed).verdict == "inconclusive"
    assert play(missed, AssertionError("two are missing")).verdict == "fail"
    # Nobody commits, nobody answers, nothing comes in time: that may be the product, and is not tried until it goes well.
    assert play(Inconclusive("no commit came by")).verdict == "inconclusive"


def test_a_sample_that_landed_in_no_work_is_none_and_only_a_few_are_forgiven() -> None:
    with Stage() as stage:
        for _ in range(MISSES):
            with landing(stage) as landed:
                raise Missed("too early")
            assert not landed()
        with landing(stage) as landed:
            stage.note("seen")
        assert landed()
        with pytest.raises(Missed), landing(stage):
            raise Missed("too early")
    with Stage() as stage, pytest.raises(Inconclusive), landing(stage):
        raise Inconclusive("no commit came by")


def test_a_cell_passes_fails_or_proves_nothing(tmp_path: Path) -> None:
    def fine(stage: Stage) -> None:
        stage.note("seen")

    def wrong(_: Stage) -> None:
        message = "two are missing"
        raise AssertionError(message)

    def broken(_: Stage) -> None:
        raise KeyError("key")

    def missed(_: Stage) -> None:
        raise Inconclusive("too early")

    def slow(_: Stage) -> None:
        raise NotInTime("waited in vain")

    with Stage() as stage:
        plays = [stage.play(Cell("a", "", play)) for play in (fine, wrong, broken, missed, slow)]
        twins = [stage.play(Cell("a", "", play, caught="token")) for play in (fine, wrong, broken, missed, slow)]
    assert [o.verdict for o in plays] == ["pass", "fail", "fail", "inconclusive", "fail"]
    assert [o.verdict for o in twins] == ["fail", "pass", "fail", "inconclusive", "fail"]
    assert plays[0].evidence == ["seen"]
    assert plays[1].why == "two are missing"
    assert "KeyError" in plays[2].why
    assert 'File "test_frame.py"' in plays[2].why  # the page names no paths of a machine
    assert list(tmp_path.iterdir()) == []


def worker(status: int | None, said: str) -> WorkerProcess:
    """One that has ended, or not, and said something."""
    found = WorkerProcess.__new__(WorkerProcess)
    ended: Any = SimpleNamespace(poll=lambda: status, wait=lambda _: status)
    found.name, found._fork, found.log = "one", ended, SimpleNamespace(exists=lambda: True, read_text=lambda **_: said)  # type: ignore[assignment]  # noqa: SLF001
    return found


def test_of_a_twin_only_a_refusal_is_a_finding_and_any_other_end_breaks_it() -> None:
    with pytest.raises(AssertionError, match="ended with 2"):
        cells_sabotage.ended(worker(2, "{task:a:0}: a segment is damaged"))
    for other in (worker(1, "Traceback ..."), worker(2, "Traceback ..."), worker(137, ""), worker(0, "")):
        with pytest.raises(RuntimeError):
            cells_sabotage.ended(other)
    assert cells_sabotage.died(worker(137, f"first\n{DYING}: in a commit\n")) == f"{DYING}: in a commit"
    for other in (worker(137, "killed by somebody else"), worker(1, f"{DYING}: it did not")):
        with pytest.raises(RuntimeError):
            cells_sabotage.died(other)


def test_what_a_worker_says_at_its_end_is_no_line_of_its_log() -> None:
    log = '{"partitions": 8, "event": "revoked"}\n'
    assert last_words(log + "{task:a:0}: no state. restore it") == "{task:a:0}: no state. restore it"
    assert stopped(worker(2, log + "made for 4 partitions"), "partitions").endswith("made for 4 partitions")
    with pytest.raises(AssertionError, match="other words"):
        stopped(worker(2, log + "something else"), "partitions")


def test_a_fault_has_landed_when_records_are_left_and_never_when_nobody_can_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cell, "UNANSWERED_S", 0.2)
    commits = itertools.count()
    deployment: Any = None
    watch: Any = SimpleNamespace(commits=lambda: next(commits))

    def landed(answers: list[int | None], proof: Callable[[], bool] | None = None) -> bool:
        rest = iter(answers)
        monkeypatch.setattr(Stage, "lag", lambda *_: next(rest, answers[-1]))
        with Stage() as stage:
            try:
                with stage.fault(deployment, watch, "it", proof=proof):
                    pass
            except Inconclusive:
                return False
            return stage.counts == {"faults": 1}

    assert landed([7])
    assert landed([None, None, 7])
    assert not landed([0])
    assert not landed([-7])
    assert not landed([None])
    assert landed([None], lambda: True)
    assert not landed([7], lambda: False)


def test_every_cell_has_a_name_of_its_own_and_an_unknown_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert {"worker.kills", "worker.zombie", "commit.every_point"} <= {c.name for c in cells() if c.short}
    assert len(EVERY) + 2 == sum(c.name.startswith("commit.") for c in cells())
    assert main(["--cells", "no such cell"]) == 2
    assert capsys.readouterr().err == "there is no such cell\n"


def test_what_differs_from_the_truth_is_named() -> None:
    truth = truth_of(SPEC)
    found = Results(ledger={h: dict(n) for h, n in truth.outcomes.items()}, dead_letters=set(truth.dead_letters))
    found.ledger["labels"]["waiting"] = 3
    found.ledger["labels"]["orphan"] -= 3
    assert against_truth(found, truth) == []
    found.ledger["predictions"]["applied"] -= 1
    missing = truth.dead_letters[0]
    found.dead_letters.remove(missing)
    found.clashes.append("some-id")
    said = "\n".join(against_truth(found, truth))
    assert "ledger of predictions: 1 differ: applied" in said
    assert f"1 missing ['{missing}'], 0 too many" in said
    assert "two payloads under some-id" in said


def test_what_differs_from_the_undisturbed_run_is_named() -> None:
    calm = Results(events={"a": b"1", "b": b"2"}, windows={"w": b"x"}, parts={"p": "h"})
    assert against_calm(Results(events={"a": b"1", "b": b"2"}, windows={"w": b"x"}, parts={"p": "h"}), calm) == []
    said = "\n".join(against_calm(Results(events={"a": b"1"}, windows={"w": b"y"}, parts={"p": "h"}), calm))
    assert "events: 1 differ: b: nothing instead of" in said
    assert "windows: 1 differ: w" in said
    assert "state" not in said


def test_a_watch_tells_a_commit_from_a_claim_and_one_owner_from_another() -> None:
    watch = Watch.__new__(Watch)
    watch.history = {0: [Seen(1, "a.1", 5), Seen(2, "a.1", 6), Seen(3, "b.1", 6), Seen(4, "b.1", 7)], 1: []}
    assert watch.first_commit(0, 0.5) == 2
    assert watch.first_commit(0, 1.0) == 2
    assert watch.first_commit(0, 2.0) == 4  # the claim at 3 is none
    assert watch.first_commit(0, 0.5, not_by="a") == 4
    assert watch.first_commit(0, 4.0) is None
    assert watch.owners() == {"b": {0}}
    assert watch.commits() == 7
    assert watch.longest_gap(1, 6) == 5  # partition 1 had none


def test_the_figures_are_quantiles_that_were_measured() -> None:
    values = [float(n) for n in range(1, 101)]
    assert report.figures(values) == {"n": 100, "p50": 50.0, "p99": 99.0, "max": 100.0}
    assert report.figures([3.0]) == {"n": 1, "p50": 3.0, "p99": 3.0, "max": 3.0}


def test_the_page_shows_what_was_played_and_that_a_target_was_missed(tmp_path: Path) -> None:
    run = report.Run(["--short"])
    samples = {"term_to_commit_s": [1.0, 2.5]}
    run.add(Outcome("a.b", "what", "pass", 60.0, "", ["seen"], samples, {"kills": 2, "events": 1_000}))
    run.add(Outcome("a.c", "other", "inconclusive", 60.0, "too early"))
    run.add(Outcome("a.d", "twin", "pass", 60.0, "lost", caught="token check"))
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.refresh(page, run.told())
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "| cells passed / failed / inconclusive | 1 / 0 / 1 |" in text
    assert "| sabotages caught | 1 of 1 |" in text
    assert "≤ 2 s (missed)" in text
    assert "| `a.d` | twin | caught: token check |" in text
    page.write_text("nothing")
    with pytest.raises(ValueError, match="no place"):
        report.refresh(page, run.told())


def test_a_run_is_completed_by_what_had_no_pass_and_the_page_says_so(tmp_path: Path) -> None:
    first = report.Run(["--json", "x"])
    first.add(Outcome("a.b", "what", "pass", 60.0, "", ["seen"], {}, {"kills": 2}))
    first.add(Outcome("a.c", "other", "fail", 60.0, "the broker did not start"))
    first.write(tmp_path / "file")
    run = report.Run(["--complete"], before=orjson.loads((tmp_path / "file").read_bytes()))
    assert run.passed() == {"a.b"}
    run.add(Outcome("a.c", "other", "pass", 60.0, "", ["seen, too"], {}, {"kills": 1}))
    told = run.told()
    assert (told["cells"]["pass"], told["cells"]["fail"], told["counts"]["kills"]) == (2, 0, 3)
    text = report.page(told)
    assert f"Played on {first.begun.isoformat()[:10]} by `python -m tests.faults --json x`" in text
    assert "What had not passed was played again on" in text
    assert "by `python -m tests.faults --complete`." in text
    assert "| pass | played again (fail at first: the broker did not start): seen, too |" in text
    assert "| cells played again | 1 |" in text


def test_a_worker_of_the_nursery_ends_as_one_of_a_new_interpreter_does(tmp_path: Path) -> None:
    """A configuration that is not there: status 2 and one sentence; SIGKILL: 137."""
    ended = []
    for fresh in (False, True):
        folder = tmp_path / str(fresh)
        folder.mkdir()
        worker = WorkerProcess("one", folder, 1, fresh=fresh)
        ended.append((worker.wait(60), worker.said().replace(str(folder), "")))
    assert ended[0] == ended[1]
    assert ended[0][0] == 2
    assert "monitor.yaml" in ended[0][1]
    sleeper = tmp_path / "sleeper"
    sleeper.mkdir()
    worker = WorkerProcess("two", sleeper, 1, ("-m", "timeit", "-n1", "-s", "import time", "time.sleep(60)"))
    assert worker.alive
    worker.freeze()
    assert worker.alive
    worker.kill()
    assert worker.status == 137
    Nursery.close()


def test_a_slope_is_percent_of_the_median_an_hour_and_neither_spikes_nor_tasks_move_it() -> None:
    flat = [Sample(float(t), 1, 1_000_000) for t in range(0, 3_600, 10)]
    assert slope(flat, 900) == 0
    rising = [Sample(s.at, 1, s.memory + int(s.at * 100_000 / 3_600)) for s in flat]
    assert 9 < slope(rising, 900) < 10  # a tenth of the first sample, and less of the median
    spiky = [s._replace(memory=s.memory * (3 if i % 7 == 0 else 1)) for i, s in enumerate(flat)]
    assert slope(spiky, 900) == 0
    warm = [s if s.at >= 900 else s._replace(memory=s.memory // 2) for s in flat]
    assert slope(warm, 900) == 0
    more = [s if s.at < 2_000 else Sample(s.at, 2, 2 * s.memory) for s in flat]
    assert slope(more, 900) == 0

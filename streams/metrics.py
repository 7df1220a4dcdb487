"""Health for machines: every ``driftline_`` metric, collected from the worker's state when it is scraped.

Counters of events come from the committed ledgers, so they survive crashes and add up: received = sum of outcomes + waiting.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.registry import Collector

from detectors.performance.delays import QUANTILES
from streams.engine.kernels.clock import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from streams.worker import Worker

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


class WorkerMetrics(Collector):
    """What one worker exports."""

    def __init__(self, worker: Worker, registry: CollectorRegistry) -> None:
        """Register with a registry of its own."""
        self._worker = worker
        self._commit = Histogram(
            "driftline_commit_seconds", "Time of one atomic commit of a task.", buckets=_BUCKETS, registry=registry
        )
        registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """The metrics as they stand."""
        worker = self._worker
        seconds = worker.host.commit_seconds
        while seconds:
            self._commit.observe(seconds.popleft())
        yield InfoMetricFamily("driftline_build", "The version that runs.", {"version": version("driftline")})
        yield from self._events()
        yield from self._join()
        yield from self._times()
        yield from self._decisions()
        yield from self._labels()

    def _events(self) -> Iterator[Metric]:
        worker = self._worker
        events = CounterMetricFamily(
            "driftline_events",
            "Records by final outcome, from the committed ledger.",
            labels=["topic", "partition", "outcome"],
        )
        waiting = GaugeMetricFamily(
            "driftline_labels_waiting", "Labels that have met no prediction yet.", labels=["partition"]
        )
        lag = GaugeMetricFamily("driftline_lag_records", "Records not yet read.", labels=["topic", "partition"])
        unknown = CounterMetricFamily(
            "driftline_unknown_features", "Values of features that no reference knows.", labels=["model", "partition"]
        )
        for owned in list(worker.host.tasks.values()):
            partition = str(owned.partition)
            for model in owned.task.plan.models:
                unknown.add_metric([model.name, partition], int(owned.task.unknown_features[model.index]))
            for topic, outcomes in owned.ledger.items():
                for outcome, count in outcomes.items():
                    events.add_metric([topic, partition, outcome], count)
            if len(owned.task.topics) > 1:
                waiting.add_metric([partition], owned.waiting)
        for (topic, number), behind in list(worker.status.lag.items()):
            lag.add_metric([topic, str(number)], behind)
        stalled = GaugeMetricFamily(
            "driftline_stalled_seconds",
            "Time without progress of a partition that has lag; absent while it moves.",
            labels=["topic", "partition"],
        )
        for (topic, number), late in list(worker.status.stalled.items()):
            stalled.add_metric([topic, str(number)], late)
        outbox = GaugeMetricFamily(
            "driftline_outbox_events", "Decided events that Kafka has not acknowledged.", labels=["model"]
        )
        for held in list(worker.host.evaluators.values()):
            outbox.add_metric([held.evaluator.model.name], len(held.shard.outstanding))
        letters = CounterMetricFamily(
            "driftline_dead_letters_sent",
            "Dead letters sent since the start of this process.",
            worker.publisher.dead_letters,
        )
        yield from (events, waiting, unknown, lag, stalled, outbox, letters)

    def _join(self) -> Iterator[Metric]:
        """The predictions that wait, or waited, for their labels: remembered = labelled + expired + waiting."""
        names = ["model", "partition"]
        ended = CounterMetricFamily(
            "driftline_predictions_joined",
            "Predictions by what became of them in the join: labelled, expired (no label within the horizon), refused "
            "(labels.memory was full), sampled_out (labels.sample).",
            labels=[*names, "outcome"],
        )
        waiting = GaugeMetricFamily(
            "driftline_predictions_waiting", "Predictions remembered that have no label yet.", labels=names
        )
        share = GaugeMetricFamily(
            "driftline_label_sample_ratio", "Share of the predictions that wait for labels.", labels=["model"]
        )
        size = GaugeMetricFamily(
            "driftline_join_memory_bytes", "Memory of remembered predictions and labels.", labels=["partition"]
        )
        models = {}
        for owned in list(self._worker.host.tasks.values()):
            partition = str(owned.partition)
            for name, found in owned.joined.items():
                for outcome in ("labelled", "expired", "refused", "sampled_out"):
                    ended.add_metric([name, partition, outcome], found[outcome])
                waiting.add_metric([name, partition], found["remembered"] - found["labelled"] - found["expired"])
                models[name] = owned.task.plan.by_name[name].sample
            if owned.joined:
                size.add_metric([partition], owned.task.join.size_bytes)
        for name, sample in models.items():
            share.add_metric([name], sample)
        yield from (ended, waiting, share, size)

    def _times(self) -> Iterator[Metric]:
        names = ["model", "partition"]
        watermark = GaugeMetricFamily(
            "driftline_watermark_timestamp_seconds", "Event time up to which predictions are complete.", labels=names
        )
        label_clock = GaugeMetricFamily(
            "driftline_label_clock_timestamp_seconds", "Event time up to which labels are complete.", labels=names
        )
        for owned in list(self._worker.host.tasks.values()):
            for name, (mark, labels, _) in owned.task.progress().models.items():
                watermark.add_metric([name, str(owned.partition)], mark / 1000)
                if labels != NEVER and len(owned.task.topics) > 1:
                    label_clock.add_metric([name, str(owned.partition)], labels / 1000)
        yield from (watermark, label_clock)

    def _decisions(self) -> Iterator[Metric]:
        worker = self._worker
        windows = CounterMetricFamily("driftline_windows_evaluated", "Windows that were decided.", labels=["model"])
        alerts = CounterMetricFamily("driftline_alerts", "Transitions of alerts.", labels=["model", "transition"])
        is_open = GaugeMetricFamily("driftline_alerts_open", "Alerts that are open.", labels=["model"])
        for owned in list(worker.host.evaluators.values()):
            head, name = owned.evaluator.head, owned.evaluator.model.name
            windows.add_metric([name], head.windows)
            for transition, count in dict(head.alerts).items():
                alerts.add_metric([name, transition], count)
            subjects = [c for _, b in head.books() for s in list(b.conditions.values()) for c in list(s.values())]
            is_open.add_metric([name], sum(c.open for c in subjects))
        ready = GaugeMetricFamily(
            "driftline_ready", "1 when the worker can work.", value=float(not worker.status.unready)
        )
        failures = CounterMetricFamily(
            "driftline_publish_failures",
            "Deliveries that Kafka refused, or acknowledged without an offset; each was sent again.",
            worker.publisher.failures,
        )
        yield from (windows, alerts, is_open, ready, failures)

    def _labels(self) -> Iterator[Metric]:
        """How complete, and how late, the labels of each model's latest evaluated windows were."""
        coverage = GaugeMetricFamily(
            "driftline_label_coverage_ratio",
            "Share of the latest evaluated window's predictions that had a label, at maturity and at the horizon.",
            labels=["model", "revision"],
        )
        delay = GaugeMetricFamily(
            "driftline_label_delay_seconds",
            "Time from prediction to label in the latest evaluated window: quantiles, off by an eighth at most.",
            labels=["model", "revision", "quantile"],
        )
        for owned in list(self._worker.host.evaluators.values()):
            name = owned.evaluator.model.name
            for revision, found in dict(owned.evaluator.head.coverage).items():
                if found.share is not None:
                    coverage.add_metric([name, revision], found.share)
                delays = (found.delay_p50_ms, found.delay_p90_ms, found.delay_p99_ms)
                for quantile, late in zip(QUANTILES, delays, strict=True):
                    if late is not None:
                        delay.add_metric([name, revision, str(quantile)], late / 1000)
        yield from (coverage, delay)

"""The yardstick: a bare confluent-kafka ``consume()`` loop that asks each message for its value, and nothing else.

A program of its own, ``python -m loadtest.bare JOB RESULT``, so that its process is measured alone.
"""

from __future__ import annotations

import gc
import sys
import uuid
from pathlib import Path

import msgspec
from confluent_kafka import Consumer, Message, TopicPartition

from loadtest.job import Job, Result, Stuck
from loadtest.measure import Meter
from streams.edges.kafka_log import CONSUMER_DEFAULTS, client_settings
from streams.worker import BATCH, POLL_S


def run(job: Job) -> Result:
    """Read every record of the job's topics once, with the worker's own consumer settings and batch size."""
    gc.freeze()  # as the worker does
    meter = Meter()
    consumer = Consumer(
        client_settings(CONSUMER_DEFAULTS | {"bootstrap.servers": job.bootstrap})
        | {"group.id": f"loadtest-bare-{uuid.uuid4().hex}", "enable.auto.commit": False, "auto.offset.reset": "error"}
    )
    consumer.assign([TopicPartition(t, p, 0) for t, ends in job.ends.items() for p, end in enumerate(ends) if end])
    got, size, patience = 0, 0, Stuck(job.timeout_s)
    while got < job.records:
        messages = consumer.consume(BATCH, POLL_S)
        for error in filter(None, map(Message.error, messages)):
            raise RuntimeError(error.str())
        got += len(messages)
        size += sum(len(value) for value in map(Message.value, messages) if value is not None)
        patience.check(got)
    cost = meter.read()
    consumer.close()
    return Result(cost, got, size)


if __name__ == "__main__":
    finished = run(msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Job))
    Path(sys.argv[2]).write_bytes(msgspec.json.encode(finished))

"""Bytes to columns. The ordinary decoder stands here; a faster one gives the same columns, bit for bit."""

from streams.engine.decode.labels import LabelDecoder
from streams.engine.decode.predictions import PredictionDecoder

__all__ = ["LabelDecoder", "PredictionDecoder"]

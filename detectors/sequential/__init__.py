"""Detectors that look at a stream as it comes and say when its mean has changed."""

from detectors.sequential.adwin import Adwin
from detectors.sequential.ddm import Ddm

__all__ = ["Adwin", "Ddm"]

"""Detectors that look at a stream as it comes and say when its mean has changed."""

from detectors.sequential.adwin import Adwin
from detectors.sequential.ddm import Ddm
from detectors.sequential.dispersion import Dispersion
from detectors.sequential.e_detector import EDetector
from detectors.sequential.protocol import PaneDetector, SequentialDetector
from detectors.sequential.river import River, river_detectors

__all__ = ["Adwin", "Ddm", "Dispersion", "EDetector", "PaneDetector", "River", "SequentialDetector", "river_detectors"]

"""The reference that windows are compared with: built once from a table, frozen, addressed by its content."""

from detectors.reference.reference import Reference, Task
from detectors.reference.subject import Kind, Subject

__all__ = ["Kind", "Reference", "Subject", "Task"]

"""The compiled loops over records: nothing else in driftline runs per event in anything but C, numba or numpy."""

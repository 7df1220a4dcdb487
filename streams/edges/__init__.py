"""The outside world, one system per file, each behind a small protocol with an in-memory twin."""

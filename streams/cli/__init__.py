"""The commands of `driftline`, one module each; `main` puts them together."""

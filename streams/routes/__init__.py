"""The rooms of `driftline route`: what a record says, what is stale, how Faust reaches the broker."""

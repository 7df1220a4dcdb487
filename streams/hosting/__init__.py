"""The rooms of a host: what its deployment is called, shards taken over, records let in, tasks committed, decisions published."""

"""What happens: the engine (pure), the edges (one outside system each) and the programs that put them together."""

"""The pure core: records become columns, panes, joins, windows and decisions. No client, no clock, no environment."""

"""What crosses a boundary: events, commands, alerts, configuration, errors and identifiers.

Start of the one-way import order (schemas, detectors, streams.engine, streams.edges, programs). Nothing is re-exported
here, so that a program that needs the errors does not pay for importing pydantic.
"""

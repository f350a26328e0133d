"""The tables of a report, as data and as text."""

"""Backends that execute a benchmark's runs: their interface, the local one, and what those of clusters are built of."""

"""Backends that execute a benchmark's runs: processes on this machine, or a Ray cluster."""

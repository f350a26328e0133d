"""Simulated and live active learning: learner, loop, settings, run folders."""

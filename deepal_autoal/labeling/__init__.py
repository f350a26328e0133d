"""Labeling projects: a person gives the labels, in a folder that is continued day after day; the engine is a run's."""

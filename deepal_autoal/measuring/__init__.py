"""The cost of work: time, memory, and a profile of a run."""

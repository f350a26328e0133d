"""What a strategy is, what it sees, and how it is asked for a batch."""

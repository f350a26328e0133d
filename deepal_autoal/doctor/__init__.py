"""What this installation and machine have, how fast they are, and what is wrong with them: for ``deepal doctor``."""

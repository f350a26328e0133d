"""ALBL: active learning by learning, a bandit over candidate strategies (Hsu & Lin, AAAI 2015)."""

"""WAAL: Wasserstein adversarial active learning (Shui, Zhou, Gagné & Wang, AISTATS 2020)."""

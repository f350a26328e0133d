"""AutoAL: a differentiable search for the candidate strategies to trust (Wang, Zhan & Huang, ICML 2025)."""

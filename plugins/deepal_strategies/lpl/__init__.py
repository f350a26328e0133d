"""LPL: learning to predict the loss (Yoo & Kweon, CVPR 2019)."""

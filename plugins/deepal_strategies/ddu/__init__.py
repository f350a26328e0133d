"""DDU: deep deterministic uncertainty (Mukhoti et al., CVPR 2023)."""

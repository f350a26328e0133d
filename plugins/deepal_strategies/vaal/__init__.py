"""VAAL: variational adversarial active learning (Sinha, Ebrahimi & Darrell, ICCV 2019)."""

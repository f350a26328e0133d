"""Active learning as a scikit-learn estimator."""

"""Query strategies of scikit-activeml in this engine, and strategies of this engine in scikit-activeml."""

"""RAMBO and DULO: the utility of training sets, learned from subsets of the labeled samples."""

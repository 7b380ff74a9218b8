"""Records of a run: the history, and demography."""

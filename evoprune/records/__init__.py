"""Records of a run: the history, and statistics of its populations."""

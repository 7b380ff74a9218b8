"""Define data sets, and make them from arrays, data frames and files."""

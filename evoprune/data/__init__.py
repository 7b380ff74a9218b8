"""Data: what a data set is, and the files and tables that data comes in."""

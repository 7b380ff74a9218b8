"""Shared by all packages: types, checks, errors, files, tables and threads."""

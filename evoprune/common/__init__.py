"""What every room uses: types, checks, errors, files, tables, threads."""

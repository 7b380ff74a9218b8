"""Networks: layers, ready-made architectures, files, folding, pruning, tables."""

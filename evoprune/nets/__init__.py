"""Networks: layers, the zoo, saved files, surgery, folding, tables."""

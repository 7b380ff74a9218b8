#!/usr/bin/env bash
# The command line, from a data set to a C file; results go to the folder runs/.
set -euo pipefail

evoprune data mnist | sed -n 1p # sed reads to the end; head would close the pipe early
evoprune train mnist --widths 64 --epochs 2 --lifespan 100 --out runs/first
evoprune show runs/first/history.npz --csv > runs/epochs.csv
evoprune evaluate runs/first/model.safetensors mnist
evoprune predict runs/first/model.safetensors mnist --out runs/classes.csv
evoprune bench runs/first/model.safetensors --seconds 0.2
evoprune export runs/first/model.safetensors runs/digits.c

cat > runs/widths.toml << 'TOML'
seeds = 2
[fixed]
epochs = 1
samples = 4000
lifespan = 10.0
[grid]
widths = [[16], [32]]
TOML
evoprune sweep runs/widths.toml

printf '%s\n' 'size,kind' 1.1,a 0.9,a 3.2,b 2.8,b 1.2,a 3.1,b 0.8,a 2.9,b 1.0,a 3.0,b > runs/kinds.csv
evoprune train runs/kinds.csv --widths 8 --lifespan 200 --out runs/kinds > runs/kinds.txt
evoprune predict runs/kinds/model.safetensors runs/kinds.csv | sed -n 1,3p

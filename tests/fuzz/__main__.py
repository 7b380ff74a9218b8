"""`python -m fuzz`: run cases in child processes and print the faults.

It ends after a time, or after a number of cases or calls.

python -m fuzz boundary --calls 100000          # calls on the core
python -m fuzz api files --hours 2              # the package, and mutated files
python -m fuzz boundary --seed 17 --cases 1     # the same case again
python -m fuzz --sanitize                       # all of them for an hour, under ASan and UBSan
"""

from __future__ import annotations

import argparse
import sys

from fuzz.drive import FUZZERS, drive


def main() -> int:
    """Run the fuzzers; return 1 if there were faults."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("fuzzers", nargs="*", metavar="FUZZER", help=", ".join(FUZZERS))
    parser.add_argument("--seed", type=int, default=1, help="number of the first case")
    parser.add_argument("--cases", type=int, help="cases of each fuzzer")
    parser.add_argument("--calls", type=int, help="end after so many calls of each fuzzer")
    parser.add_argument("--hours", type=float, help="end after so many hours in all")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--sanitize", action="store_true", help="build the core with ASan, UBSan")
    parser.add_argument("--build", help="a folder for that build, to use it again")
    parser.add_argument("--out", help="a file for the faults, a line of JSON each")
    args = parser.parse_args()
    unknown = [name for name in args.fuzzers if name not in FUZZERS]
    if unknown:
        parser.error(f"no fuzzer {unknown[0]!r}; there are {', '.join(FUZZERS)}")
    if args.cases is None and args.calls is None and args.hours is None:
        args.hours = 1.0
    return drive(args)


if __name__ == "__main__":
    sys.exit(main())

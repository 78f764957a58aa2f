"""
Run benchmarks: ``python -m benchmarks [NAME ...] [--check]``.

Prints Markdown. With ``--check`` the exit code is 1 when a bar does not hold.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks import checking, imports, landing, memory, overhead, planning, transfer, waiting
from benchmarks.report import Row, SkippedError, facts, table

BENCHMARKS: dict[str, Callable[[Path, int], list[Row]]] = {
    "transfer": transfer.run,
    "imports": imports.run,
    "checking": checking.run,
    "planning": planning.run,
    "landing": landing.run,
    "memory": memory.run,
    "overhead": overhead.run,
    "waiting": waiting.run,
}


def at_least_five(text: str) -> int:
    if int(text) < 5:
        raise argparse.ArgumentTypeError("a median of fewer than 5 says nothing")
    return int(text)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure against peers.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"which ({', '.join(BENCHMARKS)}); default: all")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a bar does not hold")
    parser.add_argument("--repetitions", type=at_least_five, default=5, help="runs of each way (5; imports at least 7)")
    parser.add_argument("--dir", type=Path, help="where the temporary folder goes (the system's place)")
    options = parser.parse_args()
    if unknown := set(options.names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    print(facts(), end="\n\n", flush=True)
    failed = []
    for name in options.names or BENCHMARKS:
        with tempfile.TemporaryDirectory(prefix="benchmark-", dir=options.dir) as folder:
            try:
                rows = BENCHMARKS[name](Path(folder), options.repetitions)
            except SkippedError as reason:
                print(f"### {name}\n\n**SKIPPED {name}**: {reason}\n", flush=True)
                continue
        print(f"### {name}\n\n{table(rows)}\n", flush=True)
        failed += [f"{name}, {row.what}: {bar}" for row in rows for bar in row.bars if not bar.holds]
    for text in failed:
        print(f"A bar does not hold: {text}", file=sys.stderr)
    return 1 if failed and options.check else 0


if __name__ == "__main__":
    sys.exit(main())

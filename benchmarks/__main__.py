"""`python -m benchmarks [NAME ...] [--list] [--json] [--quick]`; without a name, the quick ones as a table."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from typing import Any

from benchmarks import Benchmark, meets
from benchmarks.registry import BENCHMARKS


def report(name: str, benchmark: Benchmark) -> dict[str, Any]:
    """Run one benchmark."""
    figures = benchmark.measure()
    ok = all(meets(figures[key], target) for key, target in benchmark.targets.items())
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return {"name": name, "figures": figures, "targets": benchmark.targets, "ok": ok, "machine": machine}


def show(result: dict[str, Any]) -> None:
    """One line per figure, or the benchmark's own table with a line per target."""
    table = BENCHMARKS[result["name"]].table
    if table is not None:
        sys.stdout.write(table(result["figures"]))
    for key, value in result["figures"].items():
        if table is not None and key not in result["targets"]:
            continue
        relation, limit = result["targets"].get(key, ("", ""))
        verdict = "" if not relation else ("reached" if meets(value, (relation, limit)) else "MISSED")
        sys.stdout.write(f"{result['name']:<16}{key:<34}{value:>12.4g}  {relation} {limit}  {verdict}\n")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="names and what they measure")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--quick", action="store_true", help="a small try, for those that have one")
    arguments = parser.parse_args()
    if arguments.quick:
        os.environ["BENCHMARKS_QUICK"] = "1"
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown or (arguments.json and len(arguments.names) != 1 and not arguments.list):
        parser.error(f"unknown: {', '.join(unknown)}" if unknown else "--json takes exactly one NAME")
    if arguments.list:
        for name, benchmark in BENCHMARKS.items():
            sys.stdout.write(f"{name:<16}{'quick' if benchmark.is_quick else 'slow':<7}{benchmark.summary}\n")
        return 0
    names = arguments.names or [name for name, benchmark in BENCHMARKS.items() if benchmark.is_quick]
    if arguments.json:
        stdout = os.dup(1)
        os.dup2(2, 1)  # what libraries print stays out of the JSON
        os.write(stdout, (json.dumps(report(names[0], BENCHMARKS[names[0]]), allow_nan=False) + "\n").encode())
        return 0
    for name in names:
        show(report(name, BENCHMARKS[name]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The promises of part 2, one row each. Run by accept.sh, which builds first.

    accept_part2.py REPOSITORY

Makes and proves the whole corpus (an hour and more on one core) unless build/models.jsonl holds it already.
"""
import collections
import json
import math
import pathlib
import subprocess
import sys

from acceptance import print_table, row

REPOSITORY = pathlib.Path(sys.argv[1])
CORPUS = REPOSITORY / "tests/corpus"
RESULTS = REPOSITORY / "build/models.jsonl"
PYTHON = "/usr/bin/python3"  # Debian's, whose torch belongs to the LibTorch that amp4ec was built with.
FUZZ_CASES = 10_000
MIB = 1 << 20
# Plain convolutional networks and transformers: no loops, no dictionaries of detections.
PLAIN_GROUPS = ("classification",)

def run(command, **options):
    print("-- " + " ".join(map(str, command)).replace(f"{REPOSITORY}/", ""), file=sys.stderr, flush=True)
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, **options)


def corpus():
    """Each model's record, and its group, from the script that proves the splitter on them."""
    run([PYTHON, CORPUS / "prove_models.py", "--amp4ec", REPOSITORY / "build/test/amp4ec", "--lowering-cost",
         REPOSITORY / "build/test/lowering_cost", "--results", RESULTS, "--budget", "5"])
    groups = {}
    for line in run([PYTHON, CORPUS / "make_models.py", "--list"]).stdout.splitlines():
        if line and not line.startswith("#"):
            name, group, *_ = line.split()
            groups[name] = group
    records = {record["name"]: record for record in map(json.loads, RESULTS.read_text().splitlines())}
    return groups, records


def tables(groups, records):
    """What the cuts answered."""
    command = "tests/corpus/prove_models.py --budget 5 (table: docs/models.md)"
    missing = [name for name in groups if name not in records or records[name]["failure"]]
    row("every model of the list made and tried", f"{len(groups) - len(missing)} of {len(groups)} {missing[:5]}", not missing,
        command)
    for mode in ("plain", "optimized"):
        tried = equal = 0
        unequal = []
        for name, record in records.items():
            verdict = record["verdicts"].get(mode, {})
            tried += verdict.get("tried", 0)
            equal += verdict.get("equal", 0)
            if verdict.get("tried", 0) != verdict.get("equal", 0):
                unequal.append(name)
        row(f"{mode}: 100 % of the valid cuts tried equal", f"{equal} of {tried} {unequal[:8]}", tried and equal == tried, command)
    shares = collections.Counter()
    for name, record in records.items():
        if groups.get(name) in PLAIN_GROUPS and record["cuts"]:
            shares["total"] += record["cuts"]["total"]
            shares["refused"] += sum(record["cuts"]["refused"].values())
    valid = 1 - shares["refused"] / max(1, shares["total"])
    row("at least 90 % of the cuts of plain networks valid", f"{valid:.1%} of {shares['total']}", valid >= 0.9, command)


def lowering(groups, records):
    """Time and memory of lowering and extraction."""
    costs = {name: record["cost"] for name, record in records.items() if record.get("cost")}
    command = "build/test/lowering_cost MODEL.pt (table: docs/models.md)"
    missing = [name for name in groups if name not in costs]
    row("lowering measured for every model", f"{len(groups) - len(missing)} of {len(groups)} {missing[:5]}", not missing,
        command)
    if not costs:
        return
    seconds = {name: cost["lower_seconds"] + cost["extract_seconds"] for name, cost in costs.items()}
    resnet = seconds.get("resnet50", math.inf)
    row("ResNet-50 lowered and extracted under 2 s", f"{resnet:.2f} s", resnet < 2, command)
    slowest = max(seconds, key=seconds.get)
    row("any model under 20 s", f"slowest {slowest}: {seconds[slowest]:.1f} s", seconds[slowest] < 20, command)
    # Activations are not counted among what is allowed: lowering does not run the model.
    shares = {name: cost["peak_bytes"] / (3 * records[name]["weight_bytes"] + 64 * MIB) for name, cost in costs.items()}
    fattest = max(shares, key=shares.get)
    row("peak under 3x weights + 64 MiB", f"worst {fattest}: {shares[fattest]:.0%} of that", shares[fattest] < 1, command)


def fuzz():
    command = [REPOSITORY / "build/test/fuzz_probe", FUZZ_CASES, 2]
    done = run(command)
    row(f"{FUZZ_CASES} damaged archives: a clear error or LibTorch's answer", done.stdout.strip().replace("\n", "; "),
        done.returncode == 0, f"build/test/fuzz_probe {FUZZ_CASES} 2")


def main():
    fuzz()
    groups, records = corpus()
    tables(groups, records)
    lowering(groups, records)
    return print_table()


if __name__ == "__main__":
    sys.exit(main())

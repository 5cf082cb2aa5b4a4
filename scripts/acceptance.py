# SPDX-License-Identifier: Apache-2.0
"""The table that the acceptance scripts fill: line, figure, holds or not, command."""
import json
import sys

rows = []


def row(line, figure, holds, command):
    rows.append((line, str(figure), "yes" if holds else "NO", command))
    print(f"   {'holds' if holds else 'DOES NOT HOLD'}: {line}: {figure}", file=sys.stderr, flush=True)


def print_table():
    header = ("line", "figure", "holds", "command")
    widths = [max(len(entry[column]) for entry in [header, *rows]) for column in range(3)]
    for entry in [header, *rows]:
        print("  ".join([*(entry[column].ljust(widths[column]) for column in range(3)), entry[3]]))
    failed = sum(entry[2] != "yes" for entry in rows)
    print(f"\n{len(rows) - failed} of {len(rows)} lines hold")
    return 1 if failed else 0


def last_line(text):
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no output"


def parsed(done, empty):
    """What a command has printed as JSON; `empty` when it has failed or printed something else."""
    try:
        return json.loads(done.stdout) if done.returncode == 0 else empty
    except ValueError:
        return empty

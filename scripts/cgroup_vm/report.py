#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report.py RESULTS: prints what guest.sh wrote: what failed, then a table. Succeeds when all tests ran and none failed.

RESULTS holds lines of "# remark", "== WHO PROGRAM", Catch2's XML (read by line: a program that dies leaves half of it),
"== end STATUS", and at last "== done".
"""

import html
import re
import sys


class Run:
    """One test program, run by one kind of user."""

    def __init__(self, who, program):
        self.who, self.program = who, program
        self.passed, self.skipped, self.failed = [], [], []
        self.test, self.lines = None, []

    def read(self, line):
        if match := re.search(r'<TestCase name="([^"]*)"', line):
            self.test, self.lines = html.unescape(match[1]), []
        self.lines.append(line)
        if match := re.search(r'<OverallResult success="(\w+)"( skips="[1-9])?', line):
            text = "".join(self.lines)
            if match[1] != "true":
                self.failed.append((self.test, text))
            elif match[2] or re.search(r"^\s*skipped: ", text, re.MULTILINE):
                self.skipped.append(self.test)
            else:
                self.passed.append(self.test)
            self.test, self.lines = None, []

    def end(self, status):
        """A program that died, hung or never began has failed, whatever its tests said before."""
        if self.test or not self.passed or (status != 0 and not self.failed):
            self.failed.append((self.test or self.program, "".join(self.lines) + f"ended with status {status}\n"))


def read_results(path):
    """The runs, and whether the guest came to its end."""
    runs, current, done = [], None, False
    with open(path, errors="replace") as results:
        for line in results:
            if line.startswith("# "):
                print(line[2:], end="")
            elif match := re.match(r"== end (\d+)", line):
                current.end(int(match[1]))
                current = None
            elif line.startswith("== done"):
                done = True
            elif match := re.match(r"== (\S+) (\S+)", line):
                current = Run(match[1], match[2])
                runs.append(current)
            elif current:
                current.read(line)
    if current:
        current.end("unknown: the machine ended first")
    return runs, done


def main():
    runs, done = read_results(sys.argv[1])
    for run in runs:
        for test, text in run.failed:
            print(f"\nFAILED as {run.who}: {run.program}: {test}\n{html.unescape(text)}", end="")
    print(f"\n{'who':<16} {'program':<16} {'run':>5} {'passed':>7} {'skipped':>8} {'failed':>7}")
    for run in runs:
        counts = [len(run.passed), len(run.skipped), len(run.failed)]
        print(f"{run.who:<16} {run.program:<16} {sum(counts):>5} {counts[0]:>7} {counts[1]:>8} {counts[2]:>7}")
    if not done:
        print("the machine did not come to its end; see its console")
    return 0 if done and runs and not any(run.failed for run in runs) else 1


sys.exit(main())

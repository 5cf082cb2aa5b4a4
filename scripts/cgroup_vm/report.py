#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""report.py RESULTS: prints what guest.sh wrote: what failed, two tables, and why the whole does not hold, if so.

Succeeds when every kind of user ran every program, no test failed, no group was left behind, and nobody who has the
rights skipped all tests of the machine's own groups. Those are the tests in files whose names begin with "real_".

RESULTS holds lines of "# remark", "== WHO PROGRAM", Catch2's XML (read by line: a program that dies leaves half of it),
"== end STATUS", and at last "== done".
"""

import html
import re
import sys

ROLES = {"root": True, "delegated": None, "delegated-child": None, "unprivileged": False}  # must have the rights or not
PROGRAMS = ("test_cgroup", "test_monitor")


class Run:
    """One test program, run by one kind of user."""

    def __init__(self, who, program):
        self.who, self.program = who, program
        self.passed, self.skipped, self.failed = [], [], []
        self.real = {}  # what became of the tests on the machine's own groups
        self.test, self.lines = None, []

    def read(self, line):
        if match := re.search(r'<TestCase name="([^"]*)"', line):
            self.test, self.lines = html.unescape(match[1]), []
        self.lines.append(line)
        if match := re.search(r'<OverallResult success="(\w+)"( skips="[1-9])?', line):
            self.judge("".join(self.lines), match[1] == "true", bool(match[2]))

    def judge(self, text, success, skips):
        if not success:
            verdict = "FAILED"
            self.failed.append((self.test, text))
        elif skips or re.search(r"^\s*(skipped|not tested): ", text, re.MULTILINE):
            verdict = "skipped"
            self.skipped.append(self.test)
        else:
            verdict = "native" if "without libcgroup: " in text else "passed"
            self.passed.append(self.test)
        if re.search(r'filename="[^"]*\breal_\w+\.cpp"', text):
            self.real[self.test] = verdict
        self.test, self.lines = None, []

    def end(self, status):
        """A program that died, hung or never began has failed, whatever its tests said before."""
        if self.test or not self.passed or (status != 0 and not self.failed):
            text = "".join(self.lines)
            if self.test and re.search(r'filename="[^"]*\breal_\w+\.cpp"', text):
                self.real[self.test] = "FAILED"
            self.failed.append((self.test or self.program, text + f"ended with status {status}\n"))


class Results:
    def __init__(self, path):
        self.runs, self.rights, self.left, self.done = [], {}, None, False
        current = None
        with open(path, errors="replace") as results:
            for line in results:
                if line.startswith("# "):
                    print(line[2:], end="")
                    self.note(line)
                elif match := re.match(r"== end (\d+)", line):
                    current.end(int(match[1]))
                    current = None
                elif line.startswith("== done"):
                    self.done = True
                elif match := re.match(r"== (\S+) (\S+)", line):
                    current = Run(match[1], match[2])
                    self.runs.append(current)
                elif current:
                    current.read(line)
        if current:
            current.end("unknown: the machine ended first")

    def note(self, line):
        if match := re.match(r"# rights of (\S+): (.*)", line):
            self.rights[match[1]] = match[2].strip() == "cpu memory"
        if match := re.match(r"# left behind: (\d+) groups", line):
            self.left = int(match[1])

    def real_of(self, who):
        """By test."""
        return {test: verdict for run in self.runs if run.who == who for test, verdict in run.real.items()}

    def objections(self):
        for run in self.runs:
            if run.failed:
                yield f"{run.who}: {len(run.failed)} of {run.program} failed"
        for who, wanted in ROLES.items():
            yield from self.objections_to(who, wanted)
        if self.left is None or self.left > 0:
            yield f"left behind: {'unknown' if self.left is None else self.left} groups"
        if not self.done:
            yield "the machine did not come to its end; see its console"

    def objections_to(self, who, wanted):
        for program in PROGRAMS:
            if not any(run.who == who and run.program == program for run in self.runs):
                yield f"{who}: {program} was not run"
        rights = self.rights.get(who)
        if rights is None:
            yield f"{who}: its rights were not found out"
        elif wanted is not None and rights != wanted:
            yield f"{who}: {'has rights' if rights else 'lacks the rights'}: nothing is shown of such a user"
        elif rights and not any(verdict in ("passed", "native") for verdict in self.real_of(who).values()):
            yield f"{who}: has the rights, and skipped every test on real groups"


def print_tables(results):
    print(f"\n{'who':<16} {'program':<16} {'run':>5} {'passed':>7} {'skipped':>8} {'failed':>7}")
    for run in results.runs:
        counts = [len(run.passed), len(run.skipped), len(run.failed)]
        print(f"{run.who:<16} {run.program:<16} {sum(counts):>5} {counts[0]:>7} {counts[1]:>8} {counts[2]:>7}")
    real = {who: results.real_of(who) for who in ROLES}
    names = list(dict.fromkeys(test for tests in real.values() for test in tests))
    print("\non real groups (native: passed, but by the native backend alone)\n"
          + "".join(f"{who:<17}" for who in ROLES) + "test")
    for name in names:
        print("".join(f"{real[who].get(name, 'not run'):<17}" for who in ROLES) + name)
    print("".join(f"{sum(v in ('passed', 'native') for v in real[who].values())} of {len(names)}".ljust(17)
                  for who in ROLES) + "passed")


def main():
    results = Results(sys.argv[1])
    for run in results.runs:
        for test, text in run.failed:
            print(f"\nFAILED as {run.who}: {run.program}: {test}\n{html.unescape(text)}", end="")
    print_tables(results)
    objections = list(results.objections())
    for objection in objections:
        print(f"does not hold: {objection}")
    return 1 if objections else 0


sys.exit(main())

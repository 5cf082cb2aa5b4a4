#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The promises of part 3, one row each. Run by accept.sh, which builds first.

    accept_part3.py REPOSITORY

Takes about 25 minutes, most of them rounds of making and removing groups. Wants root, and a machine that has nothing
else to do: it measures.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

from acceptance import last_line, print_table, row

REPOSITORY = pathlib.Path(sys.argv[1])
TESTS = REPOSITORY / "build/test"
BENCH = REPOSITORY / "build/bench/amp4ec_monitor_bench"
ROUNDS = 10_000
# What tests say that lack a right or a library, and end.
UNTESTED = re.compile(r"skipped|not tested|without libcgroup", re.IGNORECASE)


def run(*command):
    print("-- " + " ".join(map(str, command)).replace(f"{REPOSITORY}/", ""), file=sys.stderr, flush=True)
    # Nobody's shell makes the rounds fewer.
    environment = {name: value for name, value in os.environ.items() if name != "AMP4EC_CGROUP_ROUNDS"}
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          env=environment, check=False)


class TestRun:
    """Tests that were run by name or tag, and what kept them from testing."""

    def __init__(self, binary, *tests):
        self.command = " ".join([f"build/test/{binary}", *(f'"{test}"' for test in tests)])
        done = run(TESTS / binary, *tests)
        self.text = done.stdout
        # Only where all passed does Catch2 say so; where no test matches, it says nothing of the kind.
        passed = re.search(r"All tests passed \((\d+) assertions? in (\d+) test cases?\)", self.text)
        self.assertions, self.cases = map(int, passed.groups()) if passed else (0, 0)
        self.untested = [line.strip() for line in self.text.splitlines() if UNTESTED.search(line)]
        self.holds = done.returncode == 0 and self.cases > 0 and self.assertions > 0 and not self.untested

    def figure(self):
        if self.untested:
            return f"{len(self.untested)} without a test: {self.untested[0]}"
        if not self.cases:
            return last_line(self.text)
        return f"{self.cases} test{'s' if self.cases > 1 else ''}, {self.assertions} assertions"


def passes(line, binary, *tests):
    done = TestRun(binary, *tests)
    row(line, done.figure(), done.holds, done.command)


def virtual_machine():
    done = run(REPOSITORY / "scripts/cgroup_vm.sh")
    table = re.findall(r"^(\S+) +(test_\w+) +(\d+) +(\d+) +(\d+) +(\d+)$", done.stdout, re.MULTILINE)
    real = re.search(r"^(\d+) of (\d+) +(\d+) of \d+ +(\d+) of \d+ +(\d+) of \d+ +passed$", done.stdout, re.MULTILINE)
    objections = re.findall(r"^does not hold: (.*)$", done.stdout, re.MULTILINE)
    if objections or not table or not real:
        figure = "; ".join(objections) or last_line(done.stdout)
    else:
        roles = list(dict.fromkeys(who for who, *_ in table))
        counts = [real[1], *real.groups()[2:]]
        figure = (f"{sum(int(passed) for *_, passed, _, _ in table)} passed, none failed; of {real[2]} on real groups "
                  + ", ".join(f"{count} as {who}" for who, count in zip(roles, counts)))
    row("pure v2 with systemd: root, delegated, without rights", figure,
        done.returncode == 0 and bool(table) and bool(real), "scripts/cgroup_vm.sh")


def accuracy():
    """Two tables: the errors of each load in percent; what each phase of memory has off, and how far."""
    done = run(TESTS / "monitor_accuracy")
    command = "build/test/monitor_accuracy"
    cpu, _, memory = done.stdout.partition("Memory in MiB")
    number = r"([\d.]+|-?nan|inf)"
    loads = re.findall(rf"^ *([\d.]+) +(\d+) % .* {number} % +{number} % *(FAILS.*)?$", cpu, re.MULTILINE)
    errors = [float(error) for load in loads for error in load[2:4]]
    failed = [f"quota {quota} at {share} %: {verdict}" for quota, share, _, _, verdict in loads if verdict]
    row("CPU within 2 % of getrusage and the kernel, 5 s windows",
        f"{len(loads)} loads of quotas {', '.join(dict.fromkeys(load[0] for load in loads))}; worst "
        f"{max(errors, default=float('nan')):.2f} %{'; ' + failed[0] if failed else ''}",
        len(loads) == 15 and all(error <= 2 for error in errors) and not failed, command)
    phases = [line for line in memory.splitlines() if re.search(r" \d+( +[\d.]+){5} ", line)]
    failed = [re.sub(r"  +", " ", line.strip()) for line in phases if "FAILS" in line]
    row("memory within 2 % or 1 MiB, file cache and shrinking included",
        f"{len(phases)} phases, {len(failed)} off{': ' + failed[0] if failed else ''}",
        len(phases) == 7 and not failed and done.returncode in (0, 1), command)


def cost():
    done = run(BENCH, "--benchmark_format=json")
    entries = json.loads(done.stdout)["benchmarks"] if done.stdout else []
    measured = {entry["name"]: entry for entry in entries if not entry.get("error_occurred")}
    command = "build/bench/amp4ec_monitor_bench"

    def find(start):
        return next((entry for name, entry in measured.items() if name.startswith(f"{start}/")), None)

    # A round wakes the thread that samples, once for all nodes: told beside the nodes' own cost, and not part of it.
    cases = {"in a loop": "fast_tier/threads:0", "in a loop, with worker threads": "fast_tier/threads:1",
             **{f"{nodes} by the timer": f"timer/nodes:{nodes}/ms:10/slow_ms:3600000" for nodes in (1, 4, 16)}}
    figures = {case: entry["real_time"] for case, name in cases.items() if (entry := find(name))}
    alone = find("timer/nodes:0")
    wake_up = alone["real_time"] if alone else float("nan")
    for nodes in (1, 4, 16):
        figures[f"{nodes} by the timer"] = figures.get(f"{nodes} by the timer", float("nan")) - wake_up / nodes
    floor = find("floor")
    row("at most 20 us of CPU a node and fast-tier sample",
        ", ".join(f"{us:.1f} us {case}" for case, us in figures.items()) + f"; a round without nodes {wake_up:.1f} us"
        + (f"; a thread that sleeps and only reads one node's files: {floor['real_time'] - floor['wake_up_us']:.1f} us, "
           f"waking up {floor['wake_up_us']:.1f}" if floor else ""),
        len(figures) == len(cases) and all(us <= 20 for us in figures.values()), command)
    all_tiers = find("timer/nodes:16/ms:1000")
    share = all_tiers["cpu_share"] if all_tiers else float("nan")
    row("16 nodes at 1 s, all tiers: under 0.05 % of one CPU", f"{share:.4%}", share < 0.0005, command)


def rounds():
    done = TestRun("test_cgroup", "[.slow]")
    made = {backend: (int(count), float(seconds)) for count, seconds, backend
            in re.findall(r"(\d+) rounds in ([\d.e+]+) s\s+\((\w+)\)", done.text)}
    figure = ", ".join(f"{backend}: {count} in {seconds:.0f} s" for backend, (count, seconds) in made.items())
    all_made = all(made.get(backend, (0, 0))[0] == ROUNDS for backend in ("native", "libcgroup"))
    row("10,000 rounds leave no group, descriptor or process",
        figure if all_made and done.holds else f"{figure or 'none made'}; {done.figure()}", all_made and done.holds,
        done.command)


def main():
    passes("parsers and backends, built trees and this machine's hierarchy", "test_cgroup")
    passes("monitor: tiers, percentiles, states, exporters", "test_monitor")
    virtual_machine()
    accuracy()
    passes("a change of limits is in the next sample", "test_runtime", "a node's limits change*")
    cost()
    rounds()
    passes("a SIGKILLed host's groups and workers are gone after a start", "test_runtime", "the next start removes*")
    passes("a worker that spins gets its node's CPU and no more", "test_runtime", "a worker that spins*")
    passes("a worker that outgrows its node is killed, and that is said", "test_runtime", "a worker that outgrows*")
    passes("meanwhile another session answers, and its own does again", "test_runtime", "while a worker is killed*")
    passes("two sessions on one node stay within its quota", "test_runtime", "two sessions on one node*")
    return print_table()


if __name__ == "__main__":
    sys.exit(main())

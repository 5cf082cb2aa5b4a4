#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The promises of part 5, one row each. Run by accept.sh, which builds first.

    accept_part5.py REPOSITORY

Takes about 40 minutes. Wants root, and a machine that has nothing else to do: it measures, and compares with what it
measured before. What could not be measured is a row that does not hold.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

from acceptance import last_line, parsed, print_table, row

REPOSITORY = pathlib.Path(sys.argv[1])
AMP4EC = REPOSITORY / "build/bench/amp4ec"
PLAN_BENCH = REPOSITORY / "build/bench/amp4ec_plan_bench"
SIMULATE_BENCH = REPOSITORY / "build/bench/amp4ec_simulate_bench"
TEST_PLAN = REPOSITORY / "build/test/test_plan"
THREE_NODES = ("--node", "high:1.0:1GiB", "--node", "medium:0.6:1GiB", "--node", "low:0.4:1GiB")
CPUS = 2.0  # quotas of the three nodes
MODELS = ("mobilenet_v2", "resnet18", "resnet50", "vit_tiny", "lstm")
RUNS = 10


def run(*command):
    print("-- " + " ".join(map(str, command)).replace(f"{REPOSITORY}/", ""), file=sys.stderr, flush=True)
    return subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                          cwd=REPOSITORY, check=False)


def tests(line, *names):
    """A promise that a test states; the figure is what the test counted."""
    command = (TEST_PLAN, ",".join(name.replace(",", "\\,") for name in names))
    done = run(*command)
    passed = done.returncode == 0 and "failed" not in done.stdout
    row(line, last_line(done.stdout), passed, f'build/test/test_plan "{command[1]}"')


def searches():
    tests("optimal equals brute force, 24,000 instances, all objectives",
          "optimal equals brute force on random instances")
    tests("exact: 60 layers x 5 nodes, any number of pipelines",
          "any number of pipelines is exact over 60 layers with 5 different nodes")
    tests("exact: one pipeline over 200 layers",
          "one pipeline is exact over 200 layers with 8 different nodes, and with 32 nodes of 4 kinds")
    tests("gap at most 5 %, large instances, one pipeline",
          "the gap is at most 5 percent on large instances, in one pipeline")
    tests("gap at most 5 %, large instances, any number of pipelines",
          "the gap is at most 5 percent on large instances, in any number of pipelines")


def benches():
    done = run(PLAN_BENCH, "--benchmark_format=json")
    entries = parsed(done, {}).get("benchmarks", [])
    scale = {"ns": 1e-6, "us": 1e-3, "ms": 1, "s": 1e3}
    ms = {entry["name"]: entry["real_time"] * scale[entry["time_unit"]] for entry in entries
          if not entry.get("error_occurred")}
    for layers, nodes, most in ((200, 8, 20), (1000, 32, 2000)):
        of_size = {name: time for name, time in ms.items() if f"/{layers}_layers/{nodes}_nodes/one" in name}
        slowest = max(of_size.items(), key=lambda entry: entry[1], default=("none", float("nan")))
        row(f"{layers} layers x {nodes} nodes, one pipeline, under {most} ms",
            f"{slowest[1]:.1f} ms, the slowest of {len(of_size)}: {slowest[0]}", slowest[1] < most,
            "build/bench/amp4ec_plan_bench")
    done = run(SIMULATE_BENCH, "--benchmark_filter=/1000_nodes", "--benchmark_format=json")
    entries = [entry for entry in parsed(done, {}).get("benchmarks", []) if not entry.get("error_occurred")]
    seconds = max((entry["real_time"] * scale[entry["time_unit"]] / 1e3 for entry in entries), default=float("nan"))
    row("1,000 nodes x 100,000 requests simulated in under 10 s", f"{seconds:.2f} s, the slowest of {len(entries)}",
        seconds < 10, "build/bench/amp4ec_simulate_bench --benchmark_filter=/1000_nodes")


def spread(values):
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def predictions(folder):
    """Predicted against measured. Ratios are of measured to predicted rate, and of predicted to measured latency and
    memory, so that less than 1 is what disappoints. A machine that has become slower or quicker since the profile was
    measured tells of it in the same run: rates are divided by what bare replicas gave, latency multiplied by what one
    gave on a CPU of its own. The ratios without that stand in brackets."""
    for model in MODELS:
        for pipelines in ("any", "1"):
            profile = folder / f"{model}.json"
            options = (model, *THREE_NODES, "--pipelines", pipelines, "--profile", profile, "--json")
            command = f"amp4ec run {model} <H+M+L> --pipelines {pipelines} --profile FILE"
            rates, latencies, raw_rates, raw_latencies = [], [], [], []
            memories = {}  # by stage
            for _ in range(RUNS):
                full = parsed(run(AMP4EC, "run", *options, "--seconds", "6"), None)
                alone = parsed(run(AMP4EC, "run", *options, "--seconds", "4", "--inflight", "1"), None)
                if full is None or alone is None:
                    continue
                whole_s = json.loads(profile.read_text())["whole_us"] / 1e6
                predicted = full["predicted"]
                limit_rps = CPUS / whole_s / predicted["slowdown"]
                raw_rates.append(full["throughput_rps"] / predicted["throughput_rps"])
                rates.append(raw_rates[-1] * limit_rps / full["limit_rps"])
                raw_latencies.append(alone["predicted"]["latency_ms"] / alone["latency_ms"]["p50"])
                latencies.append(raw_latencies[-1] / (alone["ideal_rps"] / CPUS * whole_s))
                stages = [stage for pipeline in full["pipelines"] for stage in pipeline["stages"]]
                needed = {(stage["node"], stage["first_layer"]): stage["memory_bytes"] for stage in stages}
                for stage in full["stages"]:
                    if stage["memory_peak_bytes"] > 0:
                        key = stage["node"], stage["first_layer"]
                        memories.setdefault(key, []).append(needed[key] / stage["memory_peak_bytes"])
            kind = f"{model}, {'any number of pipelines' if pipelines == 'any' else 'one pipeline'}"
            if not rates or not memories:
                row(f"{kind}: predicted", "not measured", False, command)
                continue
            row(f"{kind}: throughput within 10 %", f"{spread(rates)} [{spread(raw_rates)}]",
                abs(statistics.median(rates) - 1) <= 0.10, command)
            row(f"{kind}: latency of one request within 15 %", f"{spread(latencies)} [{spread(raw_latencies)}]",
                abs(statistics.median(latencies) - 1) <= 0.15, command + " --inflight 1")
            typical = [statistics.median(ratios) for ratios in memories.values()]
            every = [ratio for ratios in memories.values() for ratio in ratios]
            row(f"{kind}: memory of each stage within 15 %, never under by more than 5 %",
                f"medians of stages {min(typical):.3f} to {max(typical):.3f}, all {min(every):.3f} to {max(every):.3f}",
                min(every) >= 0.95 and max(typical) <= 1.15, command)


def main():
    searches()
    benches()
    with tempfile.TemporaryDirectory() as folder:
        predictions(pathlib.Path(folder))
    tests("infeasible and absurd requests name the limit", "infeasible problems name the binding limit",
          "absurd problems are refused with what is wrong", "impossible profiles are refused",
          "limits that bind only together are named together", "strategies refuse what they cannot plan")
    sys.exit(print_table())


main()

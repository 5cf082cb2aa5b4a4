#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two tables for docs/strategies.md and docs/simulation.md: predictions beside measurements on three unequal nodes.

    compare_predictions.py AMP4EC strategies|simulation [--rounds N] [--seconds S] [MODEL ...]

AMP4EC: the command. strategies: how far each strategy is from `optimal`. simulation: the simulator beside real runs, at
several numbers of requests in flight. MODEL: a reference model, or a model of torchvision; without any, the models of
the documents. Takes 1 to 3 minutes a model. Wants a machine that has nothing else to do, and root for the limits.

Machines change their speed from one minute to the next, so nothing here is compared with a figure of another run: what
is measured is divided by what bare replicas on the same nodes gave in the same run (`limit_rps`), and what is predicted
by what the profile says of those.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

NODES = (("high", 1.0), ("medium", 0.6), ("low", 0.4))
ZOO = ("mobilenet_v2", "resnet18", "resnet50", "vit_tiny", "lstm")
TORCHVISION = ("squeezenet1_1", "shufflenet_v2_x1_0", "mobilenet_v3_small", "googlenet", "efficientnet_b0", "densenet121")
PEERS = ("even", "amp4ec-greedy", "amp4ec-capability", "edgeshard-latency", "edgeshard-throughput")


class Failed(Exception):
    pass


def node_options():
    return [word for name, cpus in NODES for word in ("--node", f"{name}:{cpus}:1GiB")]


class Subject:
    """A model with its profile, and what the command says of it."""

    def __init__(self, command, folder, model):
        self.command, self.folder, self.model = command, folder, model
        self.profile = folder / f"{model}.profile.json"
        self.arguments = [model]
        if model not in ZOO:
            file = folder / f"{model}.pt"
            save_torchvision_model(model, file)
            self.arguments = [str(file), "--input", "1x3x224x224"]

    def ask(self, verb, *options):
        words = [str(self.command), verb, *map(str, options), "--json"]
        print("-- " + " ".join(words), file=sys.stderr, flush=True)
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise Failed(f"{verb} {self.model}: exit status {done.returncode}")
        return json.loads(done.stdout)

    def plan(self, file, *options):
        return self.ask("plan", *self.arguments, *node_options(), "--profile", self.profile, "-o", file, *options)

    def run(self, file, *options):
        report = self.ask("run", *self.arguments, *node_options(), "--plan", file, *options)
        if report["equal"] is not True or report["lost"] or report["duplicated"]:
            raise Failed(f"run {self.model}: answers are wrong, lost or doubled")
        return report

    def predicted_limit_rps(self, slowdown):
        whole_us = json.loads(self.profile.read_text())["whole_us"]
        return 1e6 * sum(cpus for _, cpus in NODES) / whole_us / slowdown


def save_torchvision_model(name, file):
    import torch
    import torchvision
    torch.manual_seed(0)
    model = getattr(torchvision.models, name)(weights=None).eval()
    torch.jit.trace(model, torch.rand(1, 3, 224, 224)).save(str(file))


def spread(values):
    return f"{100 * statistics.median(values):.0f} ({100 * min(values):.0f}-{100 * max(values):.0f})"


def compare_strategies(subject, rounds, seconds):
    """A row: for each strategy its rate in percent of that of the best plan, predicted and measured."""
    asked = {"optimal": ("--strategy", "optimal"), "optimal, 1": ("--strategy", "optimal", "--pipelines", "1"),
             **{peer: ("--strategy", peer) for peer in PEERS}}
    files = {name: subject.folder / f"{subject.model}.{name.replace(', ', '-')}.plan.json" for name in asked}
    plans = {}
    for _ in range(2):  # Stages that one plan has measured may change another plan.
        for name, options in asked.items():
            try:
                plans[name] = subject.plan(files[name], *options)
            except Failed as failure:
                print(failure, file=sys.stderr)
    measured = {name: [] for name in plans}
    for _ in range(rounds):
        for name in plans:
            report = subject.run(files[name], "--seconds", seconds)
            measured[name].append(report["throughput_rps"] / report["limit_rps"])
    best = plans["optimal"]["predicted"]["throughput_rps"]
    cells = [subject.model, f"{best:.1f}", f"{len(plans['optimal']['pipelines'])}"]
    for name in list(asked)[1:]:
        if name not in plans:
            cells.append("no plan")
            continue
        of_best = [mine / theirs for mine, theirs in zip(measured[name], measured["optimal"])]
        cells.append(f"{100 * plans[name]['predicted']['throughput_rps'] / best:.0f} / {spread(of_best)}")
    return cells


def compare_simulation(subject, rounds, seconds):
    """Rows: throughput and latency at a number of requests in flight, simulated and measured."""
    rows = []
    for pipelines in ("any", "1"):
        file = subject.folder / f"{subject.model}.{pipelines}.plan.json"
        plan = subject.plan(file, "--pipelines", pipelines)
        slowdown = plan["predicted"]["slowdown"]
        limit_rps = subject.predicted_limit_rps(slowdown)
        for in_flight in (1, 2, 3, 6, 12):
            simulated = subject.ask("simulate", file, *node_options(), "--inflight", in_flight, "--quota", "periods",
                                    "--noise", "lognormal:0.1", "--requests", 5000, "--warm-up", 500)
            rates, times = [], []
            for _ in range(rounds):
                report = subject.run(file, "--inflight", in_flight, "--seconds", seconds)
                rates.append(report["throughput_rps"] / report["limit_rps"])
                times.append(report["latency_ms"]["p50"] * report["limit_rps"])
            rate = simulated["throughput_rps"] / limit_rps
            time = simulated["latency_ms"]["p50"] * limit_rps
            rows.append([subject.model, pipelines, f"{in_flight}", f"{100 * rate:.0f} / {spread(rates)}",
                         f"{statistics.median(rates) / rate - 1:+.0%}", f"{statistics.median(times) / time - 1:+.0%}"])
    return rows


def print_markdown(header, rows):
    for cells in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", type=pathlib.Path)
    parser.add_argument("table", choices=("strategies", "simulation"))
    parser.add_argument("models", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--folder", type=pathlib.Path, help="where profiles are found and left")
    options = parser.parse_args()
    strategies = options.table == "strategies"
    models = options.models or (ZOO + TORCHVISION if strategies else ZOO)
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or pathlib.Path(temporary)
        for model in models:
            subject = Subject(options.command.resolve(), folder, model)
            if strategies:
                rows.append(compare_strategies(subject, options.rounds, options.seconds))
            else:
                rows += compare_simulation(subject, options.rounds, options.seconds)
            print(rows[-1], file=sys.stderr, flush=True)
    if strategies:
        print_markdown(["model", "`optimal`, requests/s", "pipelines", "`optimal`, one pipeline",
                        *(f"`{peer}`" for peer in PEERS)], rows)
    else:
        print_markdown(["model", "pipelines", "in flight", "rate, % of bare replicas: simulated / measured",
                        "rate", "median latency"], rows)


main()

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Loads segments with torch.jit.load and runs them in sequence, as any Python program may: no amp4ec takes part.

    run_segments.py --amp4ec COMMAND [--models DIR] [NAME...]

Of each model of the corpus (all small ones, when none is named), `amp4ec split` writes up to three segments of about as
many layers. They and the whole model are called four times with the same inputs; the answers must have no difference.
"""
import argparse
import copy
import json
import pathlib
import subprocess
import sys
import tempfile
import warnings

import torch

import make_models

CALLS = 4
STAGES = 3
SMALL_GROUPS = {"nn", "kv", "seq2seq", "types"}


def amp4ec_json(command: pathlib.Path, *arguments) -> dict:
    done = subprocess.run([command, *arguments, "--trusted", "--json"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip().splitlines()[-1])
    return json.loads(done.stdout)


def make_plan(report: dict) -> dict:
    """As many stages as the valid cuts allow, cut where layers are shared best."""
    layers = len(report["layers"])
    valid = [after for after, cut in enumerate(report["cuts"]) if cut["valid"]]
    ends = {min(valid, key=lambda after: abs(after + 1 - layers * part / STAGES)) for part in range(1, STAGES) if valid}
    stages, first = [], 0
    for last in sorted(ends | {layers - 1}):
        stages.append({"node": f"node{len(stages)}", "first_layer": first, "last_layer": last})
        first = last + 1
    return {"schema": 1, "pipelines": [{"stages": stages}]}


def split(command: pathlib.Path, model: pathlib.Path, example: pathlib.Path, folder: pathlib.Path) -> list:
    """Each segment's module, and how many values it returns."""
    report = amp4ec_json(command, "inspect", model, "--example", example, "--no-profile")
    plan = folder / "plan.json"
    plan.write_text(json.dumps(make_plan(report)))
    manifest = amp4ec_json(command, "split", model, "--plan", plan, "-o", folder)
    return [(torch.jit.load(folder / segment["file"]), segment["outputs"]) for segment in manifest["segments"]]


def check(command: pathlib.Path, models: pathlib.Path, name: str) -> int:
    """How many segments answered as the whole model does; raises when they do not."""
    model, example = models / f"{name}.pt", models / f"{name}.example.pt"
    with tempfile.TemporaryDirectory() as folder:
        segments = split(command, model, example, pathlib.Path(folder))
    whole = torch.jit.load(model).eval()
    inputs = torch.load(example)
    for number in range(CALLS):
        expected = make_models.call(whole, inputs)
        torch.manual_seed(0)
        values = copy.deepcopy(inputs)
        for segment, outputs in segments:
            with torch.no_grad():
                answer = segment(*copy.deepcopy(values))
            values = answer if outputs > 1 else (answer,)
        off = make_models.difference(expected, values[0])
        if off != 0:
            raise RuntimeError(f"call {number + 1} of {len(segments)} segments is off by {off:.3g}")
        inputs = make_models.vary(inputs)
    return len(segments)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--amp4ec", required=True, type=pathlib.Path, metavar="COMMAND")
    parser.add_argument("--models", type=pathlib.Path, metavar="DIR", help="where make_models.py wrote them already")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    entries = make_models.registry()
    names = arguments.names or [name for name, entry in entries.items() if entry.group in SMALL_GROUPS]
    failed = 0
    segments = 0
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            try:
                folder = arguments.models or pathlib.Path(scratch)
                if not (folder / f"{name}.pt").exists():
                    make_models.make(name, entries[name], folder)
                segments += check(arguments.amp4ec, folder, name)
            except Exception as error:  # Whatever it is, it is told in one line, and the next model is tried.
                print(f"{name}: {str(error).strip().splitlines()[-1]}", file=sys.stderr, flush=True)
                failed += 1
    print(f"{len(names) - failed} of {len(names)} models answer alike in Python, in {segments} segments, {CALLS} calls each")
    return 1 if failed or not segments else 0


if __name__ == "__main__":
    sys.exit(main())

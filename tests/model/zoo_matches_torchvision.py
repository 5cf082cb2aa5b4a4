#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks that a reference model written by amp4ec is torchvision's model of the same name.

    zoo_matches_torchvision.py FILE.pt NAME

Needs torch and torchvision. Exits 0 when all of this holds, and 1 with one line a difference when not:
- the leaf modules have the same paths, in the same order;
- parameters and buffers have the same names and shapes, in the same order;
- after freezing, both run the same operators in the same order, with the same literal arguments and the same data flow;
- with our weights, torchvision's own model gives the same answers.
"""
import sys

import torch
import torchvision

RELATIVE_TOLERANCE = 1e-5


def leaf_modules(model):
    return [path for path, module in model.named_modules() if not list(module.children())]


def shapes(model):
    named = list(model.named_parameters()) + list(model.named_buffers())
    return [(name, tuple(value.shape)) for name, value in named]


def operators(graph):
    """One line a node: kind, then where each argument comes from. Weights are compared by shape, literals by value."""
    lines = []
    places = {value.debugName(): f"input {index}" for index, value in enumerate(graph.inputs())}

    def visit(block):
        for node in block.nodes():
            if node.kind() == "prim::Constant":
                places[node.output().debugName()] = literal(node.output().toIValue())
                continue
            for index, value in enumerate(node.outputs()):
                places[value.debugName()] = f"line {len(lines)} output {index}"
            lines.append(f"{node.kind()}({', '.join(places[value.debugName()] for value in node.inputs())})")
            for inner in node.blocks():
                lines.append("block")
                visit(inner)
                lines.append("end")

    visit(graph)
    lines.append(f"return({', '.join(places[value.debugName()] for value in graph.outputs())})")
    return lines


def literal(value):
    if isinstance(value, torch.Tensor):
        return f"weight {tuple(value.shape)}"
    return "text" if isinstance(value, str) else repr(value)  # an exception's text is no part of the computation


def frozen_operators(scripted):
    frozen = torch.jit.freeze(scripted, optimize_numerics=False)
    return operators(frozen.graph)


def differences(ours, theirs):
    found = []
    for what, extract in (("leaf modules", leaf_modules), ("parameters and buffers", shapes)):
        left, right = extract(ours), extract(theirs)
        if left != right:
            first = next((pair for pair in zip(left, right) if pair[0] != pair[1]), "their number")
            found.append(f"{what} differ: {len(left)} here, {len(right)} in torchvision; first difference: {first}")
    left, right = frozen_operators(ours), frozen_operators(torch.jit.script(theirs))
    if left != right:
        first = next((pair for pair in zip(left, right) if pair[0] != pair[1]), "their number")
        found.append(f"operators differ: {len(left)} here, {len(right)} in torchvision; first difference: {first}")
    print(f"{len(left)} operators, {len(leaf_modules(ours))} leaf modules, {len(shapes(ours))} tensors")
    if found:
        return found

    theirs.load_state_dict(ours.state_dict(), strict=True)
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        images = torch.randn(2, 3, 224, 224, generator=generator)
        expected, answer = theirs(images), ours(images)
        error = ((answer - expected).abs().max() / expected.abs().max()).item()
        print(f"relative error {error:.1e}")
        if not error <= RELATIVE_TOLERANCE:
            found.append(f"answers differ: relative error {error:.1e}")
    return found


def main():
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    with torch.no_grad():
        found = differences(torch.jit.load(sys.argv[1]).eval(), getattr(torchvision.models, sys.argv[2])().eval())
    for line in found:
        print(line, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())

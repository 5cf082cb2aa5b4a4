# SPDX-License-Identifier: Apache-2.0
"""Small scripted models whose intermediate values are of many types, one idea each.

MODELS maps a name to a maker without arguments, which returns (module, example, others): the module in Python, a
tuple of its inputs, and a list of such tuples of other sizes. TorchScript reads the source of this file: annotations
are typing's, which PyTorch 1.13 understands.
"""
import enum
from typing import Any, Dict, Final, List, NamedTuple, Optional, Tuple, Union

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MODELS = {}
TRACED = ("types_half", "types_complex", "types_integers", "types_views", "types_tied", "types_module_list",
          "types_sparse", "types_fake_quantized", "types_shared_submodule")
TRAINING = ("types_state_norm", "types_random_dropout")  # In training mode; the others are for inference.


def model(maker):
    """Registers make_NAME as types_NAME."""
    MODELS["types_" + maker.__name__.removeprefix("make_")] = maker
    return maker


def rows(count=4, width=8):
    return torch.randn(count, width)


# -- Named tuples, dicts, optionals, nests, scalars ------------------------------------------------------------------


class Point(NamedTuple):
    position: Tensor
    speed: Tensor
    steps: int


class Move(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, point: Point) -> Point:
        speed = torch.tanh(self.linear(point.position)) + point.speed
        return Point(point.position + 0.5 * speed, speed, point.steps + 1)


class NamedTuples(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Move()
        self.second = Move()

    def forward(self, x: Tensor) -> Tuple[Point, Tensor]:
        point = Point(x, torch.zeros_like(x), 0)
        point = self.first(point)
        point = self.second(point)
        return point, point.position.sum(1) * float(point.steps)


@model
def make_named_tuple():
    return NamedTuples(), (rows(),), [(rows(2),)]


class NamedTupleInput(nn.Module):
    """Takes its named tuple as an argument: a plain tuple does where it is called from C++."""

    def __init__(self):
        super().__init__()
        self.move = Move()

    def forward(self, pair: Tuple[Tensor, Tensor], steps: int) -> Point:
        return self.move(self.move(Point(pair[0], pair[1], steps)))


@model
def make_named_tuple_in():
    return NamedTupleInput(), ((rows(), rows()), 3), [((rows(2), rows(2)), 1)]


class Dicts(nn.Module):
    def __init__(self):
        super().__init__()
        self.linears = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Linear(8, 4)})

    def forward(self, inputs: Dict[str, Tensor]) -> Dict[str, Tensor]:
        results: Dict[str, Tensor] = {}
        for name, linear in self.linears.items():
            results[name] = torch.relu(linear(inputs[name])) + 0.1
        counted: Dict[int, Tensor] = {}
        for key in results.keys():
            value = results[key]
            counted[value.size(1)] = value.mean(1)
        results["sum"] = counted[8] + counted[4]
        if "extra" in inputs:
            results["extra"] = inputs["extra"] * results["sum"].sum()
        return results


@model
def make_dict():
    return Dicts(), ({"a": rows(), "b": rows()},), [({"a": rows(2), "b": rows(2), "extra": rows(1)},)]


class Halve(nn.Module):
    def forward(self, x: Tensor, limit: Optional[float]) -> Optional[Tensor]:
        if limit is None:
            return None
        return x.clamp(-limit, limit) * 0.5


class Optionals(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.halve = Halve()

    def forward(self, x: Tensor, bias: Optional[Tensor] = None,
                limit: Optional[float] = None) -> Tuple[Tensor, Optional[Tensor]]:
        x = self.linear(x)
        if bias is not None:
            x = x + bias
        halved = self.halve(x, limit)
        return (x if halved is None else x + halved), halved


@model
def make_optional():
    return Optionals(), (rows(), torch.randn(8), 0.7), [(rows(2), None, None)]


class Nests(nn.Module):
    def __init__(self):
        super().__init__()
        self.linears = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])

    def split(self, x: Tensor) -> Tuple[Tensor, Tuple[int, List[List[Tensor]]]]:
        groups: List[List[Tensor]] = []
        for linear in self.linears:
            groups.append(list(torch.chunk(linear(x), 2, 1)))
        return x, (len(groups), groups)

    def forward(self, inputs: List[Tuple[Tensor, Tensor]]) -> Tuple[Tensor, List[List[Tensor]]]:
        total = torch.zeros_like(inputs[0][0])
        last: List[List[Tensor]] = []
        for left, right in inputs:
            x, (count, last) = self.split(left * right)
            for group in last:
                total = total + torch.cat(group[::-1], 1) / count + x
        return total, last


@model
def make_nested():
    return Nests(), ([(rows(), rows()), (rows(), rows())],), [([(rows(3), rows(3)) for _ in range(3)],)]


class Scalars(nn.Module):
    mode: str

    def __init__(self):
        super().__init__()
        self.mode = "wide"
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, times: int, factor: float, negate: bool,
                what: str) -> Tuple[Tensor, int, float, str, List[int]]:
        sizes: List[int] = list(x.size())
        name = self.mode + "-" + what.upper() + str(sizes[0])
        dtype = x.dtype
        device = x.device
        for i in range(times):
            x = self.linear(x) * factor + i / 10
        if negate:
            x = -x
        if name.startswith("wide-SUM"):
            x = x + x.sum().to(device=device, dtype=dtype) / len(name)
        total = float(x.mean().item())
        return x, times * sizes[1], total, "{}:{}".format(name, times), sizes


@model
def make_scalars():
    return Scalars(), (rows(), 3, 1.5, True, "sum"), [(rows(2), 2, 0.5, False, "mean")]


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Enums(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def pick(self, positive: bool) -> Colour:
        return Colour.RED if positive else Colour.GREEN

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        colour = self.pick(bool(x.sum() > 0))
        if colour == Colour.RED:
            return x * 2
        return x - 1


@model
def make_enums():
    return Enums(), (rows(),), [(rows(2),)]


# -- Tensors of many types -------------------------------------------------------------------------------------------


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("scale", torch.randn(8).to(torch.float16))

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        half = self.linear(x).to(torch.float16) * self.scale
        brain = (x.to(torch.bfloat16) + half.to(torch.bfloat16)) * 0.5
        double = half.double() + brain.double()
        return half, brain, double.exp().log1p().float()


@model
def make_half():
    return Halves(), (rows(),), [(rows(2),)]


class Complexes(nn.Module):
    def __init__(self):
        super().__init__()
        self.filter = nn.Parameter(torch.randn(9, dtype=torch.complex64))

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        spectrum = torch.fft.rfft(x, dim=1) * self.filter
        mirrored = spectrum.conj().resolve_conj()
        back = torch.fft.irfft(spectrum, n=x.size(1), dim=1)
        return back, (spectrum * mirrored).real, torch.view_as_real(mirrored)


@model
def make_complex():
    return Complexes(), (rows(4, 16),), [(rows(2, 16),)]


class ConjugateViews(nn.Module):
    """Values with the conjugate and the negative bit: views of others, which are computed when they are read."""

    def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        number = torch.complex(x, y)
        conjugate = number.conj()
        negative = conjugate.imag
        real = number.real
        return negative + x, (conjugate * number.t()).abs(), torch.flip(negative, [0]) * real


@model
def make_conjugate():
    return ConjugateViews(), (rows(8, 8), rows(8, 8)), [(rows(3, 3), rows(3, 3))]


class Integers(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("table", torch.randint(-100, 100, (256,), dtype=torch.int8))

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
        codes = (x.sigmoid() * 255).to(torch.uint8)
        looked_up = self.table[codes.long()]
        positive = looked_up > 0
        bits = (codes.to(torch.int32) << 2) ^ looked_up.to(torch.int32)
        short = torch.where(positive, bits.to(torch.int16), torch.zeros_like(bits, dtype=torch.int16))
        return codes, positive.logical_not(), short, looked_up.float().masked_fill(positive, 0.5) + x


@model
def make_integers():
    return Integers(), (rows(),), [(rows(2),)]


class Sparse(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, 5))

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        kept = torch.where(x > 0, x, torch.zeros_like(x))
        sparse = kept.to_sparse()
        doubled = (sparse + sparse).coalesce()
        product = torch.sparse.mm(doubled, self.weight)
        return product, doubled.to_dense() + x


@model
def make_sparse():
    return Sparse(), (rows(),), [(rows(2),)]


class SparseInput(nn.Module):
    """Makes a sparse graph of indices and values and passes messages along it."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, edges: Tensor, weights: Tensor) -> Tensor:
        graph = torch.sparse_coo_tensor(edges, weights, [x.size(0), x.size(0)])
        for _ in range(2):
            x = torch.tanh(self.linear(torch.sparse.mm(graph, x))) + x
        return x


@model
def make_sparse_graph():
    def graph(nodes, edges):
        return torch.randn(nodes, 8), torch.randint(0, nodes, (2, edges)), torch.randn(edges)
    return SparseInput(), graph(6, 12), [graph(9, 20)]


class Quantized(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        coarse = torch.quantize_per_tensor(x, 0.05, 64, torch.quint8)
        pooled = F.relu(coarse)
        return self.linear(pooled.dequantize()) + float(coarse.q_scale())


@model
def make_quantized():
    return Quantized(), (rows(),), [(rows(2),)]


class FakeQuantized(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 8))
        self.register_buffer("scale", torch.full((6,), 0.04))
        self.register_buffer("zero", torch.zeros(6, dtype=torch.int32))

    def forward(self, x: Tensor) -> Tensor:
        weight = torch.fake_quantize_per_channel_affine(self.weight, self.scale, self.zero, 0, -128, 127)
        return F.linear(torch.fake_quantize_per_tensor_affine(x, 0.1, 0, -128, 127), weight)


@model
def make_fake_quantized():
    return FakeQuantized(), (rows(),), [(rows(2),)]


# -- Views, aliases and writes in place ------------------------------------------------------------------------------


class Views(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        y = self.linear(x)
        across = y.t()
        every_other = across[::2]
        expanded = y[:1].expand(5, 8)
        turned = torch.flip(expanded, [1]).transpose(0, 1)
        windows = x.unfold(1, 4, 2)
        strided = y.as_strided([2, 3], [1, 2])
        return every_other.mm(across.t()[:, :8]), expanded + strided.sum(), turned.sum() + windows.permute(2, 0, 1)


@model
def make_views():
    return Views(), (rows(),), [(rows(3),)]


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(4, 6, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        x = self.convolution(x)
        x = x[:, ::2, 1:-1]
        return x.permute(0, 2, 3, 1).flatten(1, 2)


@model
def make_channels_last():
    return ChannelsLast(), (torch.randn(1, 4, 8, 8),), [(torch.randn(2, 4, 10, 7),)]


class Empties(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        nothing = self.linear(x[:0])
        chosen = x[x > 100.0]
        joined = torch.cat([nothing, self.linear(x)], 0)
        return nothing, chosen, joined + chosen.sum() + x.new_empty((0, 3)).sum()


@model
def make_empty():
    return Empties(), (rows(),), [(rows(2),)]


class AliasedOutputs(nn.Module):
    """Gives back its input, one tensor twice, and two views of one tensor."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor, List[Tensor], Tensor]:
        y = torch.relu(self.linear(x))
        return x, y, [y, y[1:], y.t()], x.view(-1)


@model
def make_alias():
    return AliasedOutputs(), (rows(),), [(rows(2),)]


class WritesInPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        y = self.linear(x)
        left, right = y[:, :4], y[:, 4:]
        left += 1.0
        z = y * 2
        right.mul_(left)
        y[0] = x[1]
        y.t()[3].fill_(0.25)
        torch.relu_(left)
        return z + y, right


@model
def make_write_views():
    return WritesInPlace(), (rows(),), [(rows(2),)]


class WritesInput(nn.Module):
    """Writes on its argument, which the caller sees."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        x.mul_(0.5)
        y = self.linear(x)
        x[:, 0].add_(y[:, 0])
        return y, x.clone()


@model
def make_write_input():
    return WritesInput(), (rows(),), [(rows(2),)]


class WritesList(nn.Module):
    """Fills a list and a dict across modules, and a tensor in a loop."""

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 8)

    def push(self, states: List[Tensor], names: Dict[str, Tensor], h: Tensor):
        states.append(h)
        names["step" + str(len(states))] = h.mean(1)

    def forward(self, x: Tensor) -> Tuple[Tensor, List[Tensor], Dict[str, Tensor]]:
        states: List[Tensor] = []
        names: Dict[str, Tensor] = {}
        canvas = torch.zeros(x.size(0), x.size(1), 8)
        h = torch.zeros(x.size(0), 8)
        for t in range(x.size(1)):
            h = self.cell(x[:, t], h)
            canvas[:, t] = h
            self.push(states, names, h)
        states.reverse()
        states.pop()
        return canvas, states, names


@model
def make_write_list():
    return WritesList(), (torch.randn(2, 4, 8),), [(torch.randn(3, 2, 8),)]


# -- Modules with state ----------------------------------------------------------------------------------------------


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        self.calls.add_(1)
        return self.linear(x) * self.calls, self.calls.clone()


@model
def make_state_counter():
    return Counter(), (rows(),), [(rows(2),)]


class History(nn.Module):
    history: List[Tensor]

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.history = []

    def forward(self, x: Tensor) -> Tensor:
        self.history.append(x.mean(0))
        return self.linear(x) + torch.stack(self.history).sum(0)


@model
def make_state_list():
    return History(), (rows(),), [(rows(2),)]


class Streaming(nn.Module):
    h: Tensor

    def __init__(self):
        super().__init__()
        self.cell = nn.GRUCell(8, 8)
        self.head = nn.Linear(8, 3)
        self.h = torch.zeros(1, 8)
        self.steps = 0

    def forward(self, x: Tensor) -> Tuple[Tensor, int]:
        self.h = self.cell(x, self.h.expand(x.size(0), 8))[-1:]
        self.steps += 1
        return self.head(self.h), self.steps


@model
def make_state_streaming():
    return Streaming(), (rows(),), [(rows(2),)]


class TrainingNorm(nn.Module):
    """A batch norm in training mode: its running statistics move with each call."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        y = self.norm(self.linear(x))
        return y, self.norm.running_mean.clone() if self.norm.running_mean is not None else x


@model
def make_state_norm():
    return TrainingNorm(), (rows(),), [(rows(3),)]


# -- Shared weights and modules --------------------------------------------------------------------------------------


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 8)
        self.hidden = nn.Linear(8, 8)
        self.head = nn.Linear(8, 20, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(torch.tanh(self.hidden(self.embedding(tokens))))


@model
def make_tied():
    return Tied(), (torch.randint(0, 20, (2, 5)),), [(torch.randint(0, 20, (3, 7)),)]


class SharedSubmodule(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.norm = nn.LayerNorm(8)
        self.again = self.first
        self.norm_again = self.norm

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(torch.tanh(self.first(x)))
        return self.norm_again(self.again(x) + self.first(x))


@model
def make_shared_submodule():
    return SharedSubmodule(), (rows(),), [(rows(2),)]


# -- Randomness ------------------------------------------------------------------------------------------------------


class Dropout(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)
        self.dropout = nn.Dropout(0.3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.linear(x))
        return F.dropout(x, 0.2, training=True) + F.dropout(x, 0.2, training=self.training)


@model
def make_random_dropout():
    return Dropout(), (rows(),), [(rows(2),)]


class Noise(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x + 0.1 * torch.rand(x.size()))
        choice = torch.multinomial(torch.softmax(x, 1), 1)
        return x + torch.randn_like(x) * torch.gather(x, 1, choice)


@model
def make_random_noise():
    return Noise(), (rows(),), [(rows(2),)]


# -- Control flow ----------------------------------------------------------------------------------------------------


class EarlyReturns(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, depth: int) -> Tensor:
        x = self.linear(x)
        if depth == 0:
            return x
        if bool(x.sum() > 1000.0):
            return x * 2
        for i in range(depth):
            x = torch.tanh(self.linear(x))
            if i > 3:
                break
            if i % 2 == 0:
                continue
            if bool(x.abs().max() < 0.01):
                return x + 1
            x = x + 0.5
        return x


@model
def make_early_return():
    return EarlyReturns(), (rows(), 3), [(rows(2), 6)]


class Raises(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def checked(self, x: Tensor) -> Tensor:
        if x.dim() != 2:
            raise ValueError("expected rows")
        return x

    def forward(self, x: Tensor, mode: str) -> Tensor:
        x = self.checked(x)
        assert x.size(1) == 8, "expected 8 columns"
        if mode == "plain":
            y = self.linear(x)
        elif mode == "tanh":
            y = torch.tanh(self.linear(x))
        else:
            raise RuntimeError("unknown mode " + mode)
        if bool(torch.isnan(y).any()):
            raise RuntimeError("not a number")
        return y


@model
def make_raises():
    return Raises(), (rows(), "tanh"), [(rows(2), "plain")]


class Whiles(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tuple[Tensor, int]:
        steps = 0
        while bool(x.norm() < 50.0) and steps < 20:
            x = self.linear(x) + 2 * x
            steps += 1
        return x, steps


@model
def make_while_loop():
    return Whiles(), (rows(),), [(rows(2),)]


class Worker(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, scale: float) -> Tensor:
        return torch.tanh(self.linear(x)) * scale


class Forks(nn.Module):
    def __init__(self):
        super().__init__()
        self.worker = Worker()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        futures: List[torch.jit.Future[Tensor]] = []
        for i in range(3):
            futures.append(torch.jit.fork(self.worker, x, 1.0 + i))
        y = self.linear(x)
        for future in futures:
            y = y + torch.jit.wait(future)
        return y


@model
def make_fork():
    return Forks(), (rows(),), [(rows(2),)]


# -- Classes, interfaces, constants, containers ----------------------------------------------------------------------


@torch.jit.script
class Accumulator:
    """A class of TorchScript: an intermediate value with methods that change it."""

    def __init__(self, total: Tensor, count: int):
        self.total = total
        self.count = count
        self.names: List[str] = []

    def add(self, x: Tensor, name: str):
        self.total = self.total + x
        self.count += 1
        self.names.append(name)

    def mean(self) -> Tensor:
        return self.total / self.count


class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, accumulator: Accumulator, x: Tensor) -> Accumulator:
        accumulator.add(self.linear(x), "linear")
        return accumulator


class ScriptClasses(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = Adds()
        self.second = Adds()

    def forward(self, x: Tensor) -> Tuple[Tensor, int, List[str]]:
        accumulator = Accumulator(torch.zeros_like(x), 0)
        accumulator = self.first(accumulator, x)
        accumulator = self.second(accumulator, torch.relu(x))
        accumulator.add(x, "input")
        return accumulator.mean(), accumulator.count, accumulator.names


@model
def make_script_class():
    return ScriptClasses(), (rows(),), [(rows(2),)]


@torch.jit.interface
class Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pass


class Wide(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.linear(x))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(self.gate(x))


class Interfaces(nn.Module):
    layer: Layer

    def __init__(self):
        super().__init__()
        self.layer = Wide()
        self.layers = nn.ModuleList([Gated(), Wide(), Gated()])

    def forward(self, x: Tensor, which: int) -> Tensor:
        x = self.layer.forward(x)
        layer: Layer = self.layers[which]
        return layer.forward(x) - 0.5


@model
def make_interface():
    return Interfaces(), (rows(), 2), [(rows(2), 1)]


class Constants(nn.Module):
    __constants__ = ["kernel", "strides", "activation"]
    depth: Final[int]

    def __init__(self):
        super().__init__()
        self.kernel = 3
        self.strides = (1, 2)
        self.activation = "gelu"
        self.depth = 2
        self.weight = nn.Parameter(torch.randn(4, 4, 3, 3) / 6)

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.depth):
            x = F.conv2d(x, self.weight, None, self.strides, self.kernel // 2)
            if self.activation == "gelu":
                x = F.gelu(x)
        return x


@model
def make_constants():
    return Constants(), (torch.randn(1, 4, 8, 8),), [(torch.randn(2, 4, 12, 9),)]


class ModuleLists(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8), nn.Sequential(
            nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))])

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for i, layer in enumerate(self.layers):
            x = layer(x) + i
            outputs.append(x)
        return torch.stack(outputs).mean(0) + self.layers[0](x)


@model
def make_module_list():
    return ModuleLists(), (rows(),), [(rows(2),)]


class ModuleDicts(nn.Module):
    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict({"kind": nn.Linear(8, 5), "box": nn.Linear(8, 4), "score": nn.Linear(8, 1)})

    def forward(self, x: Tensor) -> Dict[str, Tensor]:
        results: Dict[str, Tensor] = {}
        for name, head in self.heads.items():
            results[name] = head(x)
        if "box" in self.heads:
            results["box"] = results["box"].sigmoid()
        return results


@model
def make_module_dict():
    return ModuleDicts(), (rows(),), [(rows(2),)]


class NoGrad(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y = torch.relu(self.first(x))
        z = self.second(y)
        with torch.no_grad():
            z = z + y.detach()
        return z


@model
def make_no_grad():
    return NoGrad(), (rows(),), [(rows(2),)]


class Methods(nn.Module):
    """Methods besides forward, one of them exported, and free functions."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    @torch.jit.export
    def encode(self, x: Tensor, power: int) -> Tensor:
        return normalised(self.linear(x), power)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x, 2) + self.encode(x, power=3)


@torch.jit.script
def normalised(x: Tensor, power: int) -> Tensor:
    return x / (x.abs() ** power).mean().clamp(min=1e-3)


@model
def make_methods():
    return Methods(), (rows(),), [(rows(2),)]


class Defaults(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, scale: float = 2.0, names: Tuple[int, int] = (1, 2),
                shift: Optional[Tensor] = None) -> Tensor:
        x = self.linear(x) * scale + names[1]
        return x if shift is None else x + shift


@model
def make_defaults():
    return Defaults(), (rows(),), [(rows(2), 0.5)]


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def forward(self, x: Tensor, *, scale: float, clip: bool) -> Tensor:
        x = self.linear(x) * scale
        return x.clamp(-0.5, 0.5) if clip else x


class KeywordOnly(nn.Module):
    """Submodules with arguments by keyword only: TorchScript takes none with defaults."""

    def __init__(self):
        super().__init__()
        self.first = Scaled()
        self.second = Scaled()

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x, clip=True, scale=1.5), scale=2.5, clip=False)


@model
def make_keyword_only():
    return KeywordOnly(), (rows(),), [(rows(2),)]


class Anything(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def open(self, value: Any) -> Tensor:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, int):
            return torch.full((1, 8), float(value))
        return torch.zeros(1, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.open(x)) + self.open(3) + self.open("text")


@model
def make_any():
    return Anything(), (rows(),), [(rows(2),)]


class Unions(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def pack(self, x: Tensor, several: bool) -> Union[Tensor, List[Tensor]]:
        if several:
            return [x, x * 2]
        return x

    def forward(self, x: Tensor, several: bool, shift: Union[int, float]) -> Tensor:
        packed = self.pack(self.linear(x), several)
        if isinstance(packed, Tensor):
            y = packed
        else:
            y = packed[0] + packed[1]
        if isinstance(shift, int):
            return y + shift
        return y * shift


@model
def make_union():
    return Unions(), (rows(), True, 2), [(rows(2), False, 0.5)]


def doubled(module, inputs: Tuple[Tensor]) -> Tuple[Tensor]:
    """A hook before forward."""
    return (inputs[0] * 2,)


def shifted(module, inputs: Tuple[Tensor], output: Tensor) -> Tensor:
    """A hook after forward."""
    return output + inputs[0].mean()


class Hooked(nn.Module):
    def __init__(self):
        super().__init__()
        self.worker = Wide()
        self.worker.register_forward_pre_hook(doubled)
        self.worker.register_forward_hook(shifted)

    def forward(self, x: Tensor) -> Tensor:
        return self.worker(x) + x


@model
def make_hooks():
    return Hooked(), (rows(),), [(rows(2),)]


class SideEffects(nn.Module):
    """Prints and warns nothing, but measures: values of None, and ignored results."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8, 8)

    def observe(self, x: Tensor, seen: List[float]) -> None:
        seen.append(float(x.max()))

    def forward(self, x: Tensor) -> Tuple[Tensor, List[float], None]:
        seen: List[float] = []
        self.observe(x, seen)
        y = self.linear(x)
        nothing = self.observe(y, seen)
        _unused = y.sort(1)
        return y + seen[0], seen, nothing


@model
def make_none():
    return SideEffects(), (rows(),), [(rows(2),)]


class Words(nn.Module):
    """Looks words up: strings in, with a dict of the vocabulary as attribute."""

    vocabulary: Dict[str, int]

    def __init__(self):
        super().__init__()
        self.vocabulary = {"<unknown>": 0, "the": 1, "cat": 2, "sat": 3, "on": 4, "mat": 5}
        self.embedding = nn.Embedding(6, 8)

    def forward(self, texts: List[str]) -> Tuple[Tensor, List[List[str]]]:
        means: List[Tensor] = []
        words: List[List[str]] = []
        for text in texts:
            split = text.lower().split(" ")
            ids = [self.vocabulary[word] if word in self.vocabulary else 0 for word in split]
            means.append(self.embedding(torch.tensor(ids)).mean(0))
            words.append(split)
        return torch.stack(means), words


@model
def make_words():
    return Words(), (["the cat sat", "On the dog"],), [(["the mat", "sat", "a cat"],)]

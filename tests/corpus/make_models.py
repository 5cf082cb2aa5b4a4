#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes a corpus of TorchScript files, on which the splitter is proved: torchvision's models and many small ones.

    make_models.py --list               one line a model: NAME GROUP HOW
    make_models.py NAME... -o DIR       DIR/NAME.pt, NAME.example.pt and NAME.other.pt, and a line of JSON for each

NAME.pt is what torch.jit.save writes. NAME.example.pt holds a tuple of positional inputs, by torch.save, and
NAME.other.pt one of another batch or size, left out where the module gives no right answer for one. There are no
trained weights: they are random (of a seed by the name), made such that the outputs are of a sane size and vary with
the inputs. The command fails where a model cannot be made, or where its outputs are not so.
"""
import argparse
import copy
import functools
import json
import math
import pathlib
import pickletools
import re
import sys
import time
import warnings
import zipfile
import zlib
from typing import Any, Callable, NamedTuple

import torch
from torch import Tensor, nn

import sequence_models
import typed_models

# torchvision's models, as torchvision.models.list_models() gives them for 0.14, by group.
TORCHVISION = {
    "quantized": """
        quantized_googlenet quantized_inception_v3 quantized_mobilenet_v2 quantized_mobilenet_v3_large
        quantized_resnet18 quantized_resnet50 quantized_resnext101_32x8d quantized_resnext101_64x4d
        quantized_shufflenet_v2_x0_5 quantized_shufflenet_v2_x1_0 quantized_shufflenet_v2_x1_5
        quantized_shufflenet_v2_x2_0""",
    "detection": """
        fasterrcnn_mobilenet_v3_large_320_fpn fasterrcnn_mobilenet_v3_large_fpn fasterrcnn_resnet50_fpn
        fasterrcnn_resnet50_fpn_v2 fcos_resnet50_fpn keypointrcnn_resnet50_fpn maskrcnn_resnet50_fpn
        maskrcnn_resnet50_fpn_v2 retinanet_resnet50_fpn retinanet_resnet50_fpn_v2 ssd300_vgg16
        ssdlite320_mobilenet_v3_large""",
    "segmentation": """
        deeplabv3_mobilenet_v3_large deeplabv3_resnet101 deeplabv3_resnet50 fcn_resnet101 fcn_resnet50
        lraspp_mobilenet_v3_large""",
    "optical_flow": "raft_large raft_small",
    "video": "mc3_18 mvit_v1_b mvit_v2_s r2plus1d_18 r3d_18 s3d",
    "classification": """
        resnet18 resnet34 resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d resnext101_64x4d
        wide_resnet50_2 wide_resnet101_2 alexnet convnext_tiny convnext_small convnext_base convnext_large densenet121
        densenet161 densenet169 densenet201 efficientnet_b0 efficientnet_b1 efficientnet_b2 efficientnet_b3
        efficientnet_b4 efficientnet_b5 efficientnet_b6 efficientnet_b7 efficientnet_v2_s efficientnet_v2_m
        efficientnet_v2_l googlenet inception_v3 maxvit_t mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2
        mobilenet_v3_small mobilenet_v3_large regnet_x_400mf regnet_x_800mf regnet_x_1_6gf regnet_x_3_2gf
        regnet_x_8gf regnet_x_16gf regnet_x_32gf regnet_y_400mf regnet_y_800mf regnet_y_1_6gf regnet_y_3_2gf
        regnet_y_8gf regnet_y_16gf regnet_y_32gf regnet_y_128gf shufflenet_v2_x0_5 shufflenet_v2_x1_0
        shufflenet_v2_x1_5 shufflenet_v2_x2_0 squeezenet1_0 squeezenet1_1 swin_t swin_s swin_b swin_v2_t swin_v2_s
        swin_v2_b vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn vit_b_16 vit_b_32 vit_l_16 vit_l_32
        vit_h_14""",
}
# One of each architecture has a traced twin besides the scripted one.
TRACED_TWINS = set("""
    resnet18 densenet121 mobilenet_v2 mobilenet_v3_small shufflenet_v2_x0_5 squeezenet1_1 googlenet inception_v3 vgg11
    alexnet mnasnet0_5 efficientnet_b0 efficientnet_v2_s convnext_tiny regnet_y_400mf swin_t swin_v2_t vit_b_16
    maxvit_t deeplabv3_resnet50 deeplabv3_mobilenet_v3_large fcn_resnet50 lraspp_mobilenet_v3_large raft_small r3d_18
    s3d mvit_v1_b quantized_resnet18 quantized_mobilenet_v3_large fasterrcnn_mobilenet_v3_large_320_fpn
    ssdlite320_mobilenet_v3_large""".split())
IMPOSSIBLE: dict[str, str] = {}  # NAME: why it is neither scripted nor traced. Every one of torchvision 0.14 scripts.

ATTEMPTS = 8  # Seeds to try before a model counts as unhealthy.
SMALLEST, LARGEST = 1e-2, 1e4  # What the outputs' size may be.
VARIES = 1e-3  # Part of that size by which the outputs must differ for two inputs.
FLOAT_GROUPS = {"classification", "segmentation", "detection", "optical_flow", "video"}
ROUNDING = 6e-8  # Relative noise on the weights: half of the last bit of a float.
STEADY = 5e-5  # Part of the outputs' size by which they may then move. Trained models are well within.
CALM = 0.3  # The weight of a residual branch: at 1, random networks of a hundred layers amplify rounding a thousandfold.


class Unhealthy(Exception):
    """A model's outputs are not such that a proof on them says something."""


class Made(NamedTuple):
    """A model in Python with its inputs."""

    module: nn.Module
    example: tuple
    others: list[tuple]  # Inputs of other sizes, the best first.
    engine: str | None = None  # The engine of quantised operators that the file needs.


class Entry(NamedTuple):
    """How a file of the corpus is made."""

    group: str
    how: str  # "scripted" or "traced"
    make: Callable[[], Made]
    stateful: bool = False  # A call may change the module.


# -- Values ----------------------------------------------------------------------------------------------------------


def leaves(value: Any):
    """The tensors and numbers within a value, in order, as dense tensors."""
    if isinstance(value, Tensor):
        value = value.detach()
        if value.is_sparse:
            value = value.to_dense()
        if value.is_quantized:
            value = value.dequantize()
        yield torch.view_as_real(value.resolve_conj()) if value.is_complex() else value
    elif isinstance(value, (bool, int, float)):
        yield torch.tensor(value)
    elif isinstance(value, dict):
        for key in value:
            yield from leaves(value[key])
    elif isinstance(value, (list, tuple)):
        for element in value:
            yield from leaves(element)


def floating(value: Any) -> list[Tensor]:
    """The floating tensors within a value, in double precision."""
    return [leaf.double() for leaf in leaves(value) if leaf.is_floating_point()]


def scale_of(value: Any) -> float:
    """The greatest magnitude of the floating tensors within a value."""
    return max((float(leaf.abs().max()) for leaf in floating(value) if leaf.numel()), default=0.0)


def difference(left: Any, right: Any) -> float:
    """The greatest difference of two values; infinite where their tensors are not of the same number and sizes."""
    ours, theirs = list(leaves(left)), list(leaves(right))
    if [leaf.shape for leaf in ours] != [leaf.shape for leaf in theirs]:
        return math.inf
    pairs = [(a.double(), b.double()) for a, b in zip(ours, theirs) if a.numel()]
    return max((float((a - b).abs().nan_to_num(nan=math.inf).max()) for a, b in pairs), default=0.0)


def vary(value: Any) -> Any:
    """Other values of the same types and sizes; integers are shuffled, so that they remain valid."""
    if isinstance(value, Tensor):
        if value.is_floating_point() or value.is_complex():
            spread = float(value.std()) if value.numel() > 1 else 1.0
            return value + 0.5 * (spread or 1.0) * torch.randn_like(value)
        return value.flatten()[torch.randperm(value.numel())].reshape(value.shape)
    if isinstance(value, dict):
        return {key: vary(element) for key, element in value.items()}
    if isinstance(value, list) and value and isinstance(value[0], str):
        return value[::-1]
    if isinstance(value, (list, tuple)):
        return type(value)(vary(element) for element in value)
    return value


def call(module: Callable, inputs: tuple) -> Any:
    """A module's outputs for copies of some inputs, always with the same random numbers."""
    torch.manual_seed(0)
    with torch.no_grad():
        return module(*copy.deepcopy(inputs))


# -- Weights ---------------------------------------------------------------------------------------------------------

# What a layer's outputs should spread by, where it is not 1: scores that differ, boxes that are not torn.
SPREADS = [
    (re.compile(r"roi_heads\.box_predictor\.cls_score$"), 3.0),
    (re.compile(r"roi_heads\.keypoint_predictor"), 3.0),
    (re.compile(r"rpn\.head\.bbox_pred$"), 0.3),
    (re.compile(r"head\.classification_head\.cls_logits$"), 1.5),
    (re.compile(r"head\.classification_head\.module_list\.\d+.*$"), 3.0),
    (re.compile(r"head\.regression_head\.(bbox_reg|module_list\.\d+.*)$"), 0.3),
    (re.compile(r"flow_head\.conv2$"), 0.2),
    (re.compile(r"(^|\.)relative_position|(^|\.)cpb_mlp"), 0.5),
]
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.Linear)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fill_zeros(module: nn.Module) -> None:
    """Gives a value to the weights that an initialisation leaves at zero, or near: heads, gammas, layer scales."""
    for name, parameter in module.named_parameters():
        if "layer_scale" in name:
            nn.init.normal_(parameter, 0.5, 0.1)
        elif parameter.dim() >= 2 and not bool(parameter.any()):
            nn.init.normal_(parameter, 0.0, 0.05)
        elif parameter.dim() == 1 and name.endswith("weight") and not bool(parameter.any()):
            nn.init.normal_(parameter, 0.5, 0.1)


def calm_residuals(module: nn.Module) -> None:
    """Lets shortcuts weigh more than the branches beside them, as they do in trained networks."""
    for part in module.modules():
        if hasattr(part, "bn2") and hasattr(part, "downsample"):  # ResNet's blocks.
            last = getattr(part, "bn3", part.bn2)
        elif hasattr(part, "f") and hasattr(part.f, "c"):  # RegNet's.
            last = part.f.c[1]
        elif getattr(part, "use_res_connect", False):  # MobileNet's and EfficientNet's.
            last = [norm for norm in part.modules() if hasattr(norm, "running_var")][-1]
        else:
            continue
        with torch.no_grad():
            last.weight.mul_(CALM)


def spread_of(name: str) -> float:
    return next((spread for pattern, spread in SPREADS if pattern.search(name)), 1.0)


def scale_layer(module: nn.Module, output: Tensor, spread: float) -> Tensor | None:
    """Scales a layer's weights such that its output, given here, has a spread; gives that output."""
    if output.numel() < 2:
        return None
    bias = module.bias
    if bias is not None:
        bias = bias.view(-1, *[1] * (output.dim() - 2)) if not isinstance(module, nn.Linear) else bias
        output = output - bias
    factor = spread / max(float(output.pow(2).mean().sqrt()), 1e-8)
    module.weight.mul_(factor)
    output = output * factor
    return output if bias is None else output + bias


def fit(module: nn.Module, batches: list[tuple]) -> None:
    """Makes a module's activations of about size 1: by its layers' weights, then by its batch norms' statistics."""
    module.eval()
    fill_zeros(module)
    calm_residuals(module)
    norms = [part for part in module.modules() if isinstance(part, BATCH_NORMS)]
    for norm in norms:
        norm.momentum = None
        norm.train()
    hooks = {}

    def scale_once(name):
        def hook(part, _inputs, output):
            scaled = scale_layer(part, output, spread_of(name))
            if scaled is not None:
                hooks.pop(name).remove()
            return scaled
        return hook

    for name, part in module.named_modules():
        if isinstance(part, LAYERS):
            hooks[name] = part.register_forward_hook(scale_once(name))
    with torch.no_grad():
        module(*batches[0])
        for hook in list(hooks.values()):
            hook.remove()
        for norm in norms:
            norm.reset_running_stats()
        for batch in batches if norms else []:
            module(*batch)
    for norm in norms:
        norm.momentum = 0.1
    module.eval()


# -- Images ----------------------------------------------------------------------------------------------------------


def picture(batch: int, *size: int) -> Tensor:
    """Images, or clips, of smooth random shapes and some noise, of about mean 0 and spread 1."""
    coarse = torch.randn(batch, 3, *[max(2, side // 16) for side in size])
    mode = "trilinear" if len(size) == 3 else "bilinear"
    smooth = nn.functional.interpolate(coarse, size=size, mode=mode, align_corners=False)
    return smooth + 0.5 * torch.randn(batch, 3, *size)


def photo(*size: int) -> Tensor:
    """An image with values between 0 and 1."""
    return picture(1, *size)[0].sigmoid()


# -- torchvision's models --------------------------------------------------------------------------------------------

IMAGE_SIZES = {"inception": 96, "maxvit": 224, "vit": 224}  # By the name's first part; others take 64.
FIT_IMAGES = {"efficientnet": 32}  # Their many batch norms need good statistics; others take 8.
FIXED_SIZES = {"maxvit", "vit"}  # These take one size of images only.
VIDEO_SIZES = {"s3d": (16, 224, 224), "mvit": (16, 224, 224)}  # Others take 8x64x64.
DETECTION_OPTIONS = {
    "ssd": {"score_thresh": 0.02, "detections_per_img": 20, "topk_candidates": 60},
    "retinanet": {"min_size": 128, "max_size": 160, "score_thresh": 0.05, "detections_per_img": 20,
                  "topk_candidates": 60},
    "fcos": {"min_size": 128, "max_size": 160, "score_thresh": 0.05, "detections_per_img": 20, "topk_candidates": 60},
    "rcnn": {"min_size": 128, "max_size": 160, "box_score_thresh": 0.02, "box_detections_per_img": 20,
             "rpn_pre_nms_top_n_test": 100, "rpn_post_nms_top_n_test": 50},
}


def family(name: str) -> str:
    return name.removeprefix("quantized_").split("_")[0]


def build(name: str, **options) -> nn.Module:
    """One of torchvision's models, with random weights."""
    import torchvision

    listed = set(torchvision.models.list_models())
    table = {model for models in TORCHVISION.values() for model in models.split()}
    if listed != table:
        print(f"note: torchvision {torchvision.__version__} has other models than this script knows: "
              f"{' '.join(sorted(listed ^ table))}", file=sys.stderr)
    if family(name) in ("googlenet", "inception"):
        options["init_weights"] = True
    return torchvision.models.get_model(name, weights=None, **options)


def make_classifier(name: str) -> Made:
    size = IMAGE_SIZES.get(family(name), 64)
    module = build(name)
    count = 2 if size == 224 else FIT_IMAGES.get(family(name), 8)
    fit(module, [(picture(count, size, size),), (picture(count, size, size),)])
    others = [(picture(2, size, size),)]
    if family(name) not in FIXED_SIZES:
        others.insert(0, (picture(2, size + 32, size + 16),))
    return Made(module, (picture(1, size, size),), others)


def make_segmentation(name: str) -> Made:
    module = build(name, weights_backbone=None)
    fit(module, [(picture(4, 64, 64),), (picture(4, 64, 64),)])
    return Made(module, (picture(1, 64, 64),), [(picture(2, 80, 96),), (picture(2, 64, 64),)])


def make_flow(name: str) -> Made:
    def pair(batch, height, width):
        first = photo(height, width).expand(batch, -1, -1, -1) * 2 - 1
        second = torch.roll(first, (3, 2), (2, 3)) + 0.05 * picture(batch, height, width)
        return first.clone(), second.clamp(-1, 1)

    module = build(name)
    fit(module, [pair(2, 128, 128), pair(2, 128, 128)])
    return Made(module, (*pair(1, 128, 128), 4), [(*pair(2, 136, 144), 3), (*pair(2, 128, 128), 4)])


def make_video(name: str) -> Made:
    size = VIDEO_SIZES.get(family(name), (8, 64, 64))
    module = build(name)
    count = 2 if size[1] == 224 else 4
    fit(module, [(picture(count, *size),)])
    larger = (size[0] + 4, size[1] + 16, size[2] + 32)
    return Made(module, (picture(1, *size),), [(picture(2, *larger),), (picture(2, *size),)])


def make_detection(name: str) -> Made:
    options = next(options for key, options in DETECTION_OPTIONS.items() if key in name)
    module = build(name, weights_backbone=None, **options)
    fit(module, [([photo(128, 160), photo(128, 128)],), ([photo(120, 150), photo(96, 128)],)])
    example = ([photo(96, 128), photo(96, 128)],)
    check_boxes(module, example)
    return Made(module, example, [([photo(120, 100), photo(90, 140)],)])


class OneImage(nn.Module):
    """A detector of one image: a trace gives a dict, but no list of them."""

    def __init__(self, detector: nn.Module):
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return self.detector([image])[0]


def make_traced_detection(name: str) -> Made:
    made = make_detection(name)
    return Made(OneImage(made.module).eval(), (made.example[0][0],), [(images[0],) for images, in made.others])


def check_boxes(module: nn.Module, inputs: tuple) -> None:
    """Sees that a detector finds some boxes, with different scores."""
    for image in call(module, inputs):
        if len(image["boxes"]) < 3:
            raise Unhealthy(f"it finds {len(image['boxes'])} boxes")
        if float(image["scores"].max() - image["scores"].min()) < 1e-2:
            raise Unhealthy("its boxes have the same score")


def make_quantized(name: str) -> Made:
    """Quantises a model statically, for the engine that a plain process has."""
    from torch.ao import quantization

    size = IMAGE_SIZES.get(family(name), 64)
    options = {"aux_logits": False} if family(name) in ("googlenet", "inception") else {}
    module = build(name, quantize=False, **options)
    batches = [(picture(8, size, size),) for _ in range(2)]
    fit(module, batches)
    engine = torch.backends.quantized.engine
    module.fuse_model()
    module.qconfig = quantization.QConfig(
        activation=quantization.MinMaxObserver.with_args(dtype=torch.quint8),
        weight=quantization.PerChannelMinMaxObserver.with_args(dtype=torch.qint8,
                                                               qscheme=torch.per_channel_symmetric))
    quantization.prepare(module, inplace=True)
    with torch.no_grad():
        for batch in batches:
            module(*batch)
    quantization.convert(module, inplace=True)
    return Made(module, (picture(1, size, size),), [(picture(2, size + 32, size + 16),), (picture(2, size, size),)],
                engine)


VISION_MAKERS = {
    "classification": make_classifier,
    "segmentation": make_segmentation,
    "detection": make_detection,
    "optical_flow": make_flow,
    "video": make_video,
    "quantized": make_quantized,
}


# -- The registry ----------------------------------------------------------------------------------------------------


def make_small(maker: Callable[[], tuple], training: bool) -> Made:
    """A model of typed_models or sequence_models."""
    module, example, others = maker()
    return Made(module.train(training), example, others)


def registry() -> dict[str, Entry]:
    """All models of the corpus, the small ones first."""
    entries = {}

    def add(name, group, make, make_traced=None, stateful=False):
        entries[name] = Entry(group, "scripted", make, stateful)
        if make_traced is not None:
            entries[name + ".trace"] = Entry(group, "traced", make_traced, stateful)

    def add_small(group, makers, traced):
        for name, maker in makers.items():
            make = functools.partial(make_small, maker, name in typed_models.TRAINING)
            add(name, group, make, make if name in traced else None, stateful=True)

    add_small("types", typed_models.MODELS, typed_models.TRACED)
    add_small("nn", sequence_models.NN, sequence_models.TRACED)
    add_small("seq2seq", sequence_models.SEQ2SEQ, sequence_models.TRACED)
    add_small("kv", sequence_models.KV, sequence_models.TRACED)
    for group, names in TORCHVISION.items():
        for name in names.split():
            if name in IMPOSSIBLE:
                continue
            make = functools.partial(VISION_MAKERS[group], name)
            traced = functools.partial(make_traced_detection, name) if group == "detection" else make
            add(name, group, make, traced if name in TRACED_TWINS else None)
    return entries


# -- Making and checking ---------------------------------------------------------------------------------------------


def tensors_of(inputs: tuple) -> tuple:
    """The arguments that a trace keeps: the numbers among them have defaults."""
    return tuple(value for value in inputs if not isinstance(value, (int, float)))


def to_torchscript(made: Made, how: str) -> torch.jit.ScriptModule:
    if how == "scripted":
        return torch.jit.script(made.module)
    with torch.no_grad():
        return torch.jit.trace(made.module, copy.deepcopy(made.example), check_trace=False, strict=False)


def check_agrees(expected: Any, outputs: Any) -> None:
    """Sees that the file computes what the module in Python does."""
    off = difference(expected, outputs)
    if not off <= 1e-3 * max(1.0, scale_of(expected)):
        raise Unhealthy(f"its outputs differ from those in Python by {off:.3g}")


def check_outputs(outputs: Any) -> float:
    """Sees that outputs are finite and of a sane size, which it gives."""
    if not all(bool(leaf.isfinite().all()) for leaf in floating(outputs)):
        raise Unhealthy("its outputs are not finite")
    scale = scale_of(outputs)
    if not SMALLEST <= scale <= LARGEST:
        raise Unhealthy(f"its outputs are of size {scale:.3g}")
    return scale


def check_steady(module: nn.Module, inputs: tuple) -> None:
    """Sees that rounding in the last bit does not show in the outputs: other orders of sums must give the same."""
    before = call(module, inputs)
    weights = copy.deepcopy(module.state_dict())
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.mul_(1 + ROUNDING * torch.randn(parameter.shape, generator=generator))
        after = call(module, inputs)
        module.load_state_dict(weights)
        moved = difference(before, after) / scale_of(before)
        if moved > STEADY:
            raise Unhealthy(f"its outputs move by {moved:.1e} for a rounding of its weights")


def numbers_of(module: nn.Module) -> list[Tensor]:
    """The parameters and buffers of a module, each one once, those within packed weights too."""
    found = {}

    def visit(value):
        if isinstance(value, Tensor):
            found.setdefault((value.data_ptr(), value.numel()), value)
        elif isinstance(value, (list, tuple)):
            for element in value:
                visit(element)

    for value in module.state_dict().values():
        visit(value)
    return list(found.values())


def takes(load: Callable, eager: Callable, inputs: tuple) -> bool:
    """Whether the file gives the right answer for inputs of another size."""
    try:
        expected = call(eager(), inputs)
    except Exception:  # The architecture does not take them.
        return False
    try:
        outputs = call(load(), inputs)
        check_outputs(outputs)
        check_agrees(expected, outputs)
    except (Unhealthy, RuntimeError):
        return False
    return True


def save(inputs: tuple, file: pathlib.Path) -> None:
    """Writes inputs that torch::jit::pickle_load reads: it knows no list and no dict of one element."""
    torch.save(inputs, file)
    with zipfile.ZipFile(file) as archive:
        text = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    unread = {opcode.name for opcode, _, _ in pickletools.genops(text)} & {"APPEND", "SETITEM"}
    if unread:
        raise RuntimeError(f"{file.name} would hold {', '.join(sorted(unread))}, which LibTorch does not read")


def attempt(name: str, entry: Entry, seed: int, folder: pathlib.Path) -> dict:
    """Makes a model's files with a seed, and checks them."""
    torch.manual_seed(seed)
    made = entry.make()
    if entry.how == "traced":
        made = made._replace(example=tensors_of(made.example), others=[tensors_of(other) for other in made.others])
    inputs = made.example
    file = folder / f"{name}.pt"
    torch.jit.save(to_torchscript(made, entry.how), str(file))
    load = functools.partial(torch.jit.load, str(file))
    eager = functools.partial(copy.deepcopy, made.module)
    if not entry.stateful:
        load, eager = functools.cache(load), lambda: made.module
    outputs = call(load(), inputs)
    scale = check_outputs(outputs)
    check_agrees(call(eager(), inputs), outputs)
    changed = difference(outputs, call(load(), vary(inputs)))
    if changed < VARIES * scale:
        raise Unhealthy(f"its outputs, of size {scale:.3g}, differ by {changed:.3g} for other inputs")

    other = next((other for other in made.others if takes(load, eager, other)), None)
    if entry.group in FLOAT_GROUPS:
        check_steady(made.module, inputs)
        if other is not None:
            check_steady(made.module, other)
    if entry.group == "detection":  # A box more or less is no question of degree: more inputs tell more.
        for varied in (vary(inputs), vary(inputs)):
            check_steady(made.module, varied)
    save(inputs, folder / f"{name}.example.pt")
    if other is not None:
        save(other, folder / f"{name}.other.pt")
    numbers = numbers_of(made.module)
    buffers = sum(buffer.numel() for buffer in made.module.buffers())
    return {"name": name, "group": entry.group, "how": entry.how,
            "weight_bytes": sum(number.numel() * number.element_size() for number in numbers),
            "parameters": sum(number.numel() for number in numbers) - buffers,
            "has_other": other is not None, "output_scale": float(f"{scale:.4g}"), "engine": made.engine}


def remove(name: str, folder: pathlib.Path) -> None:
    """Removes a model's files."""
    for suffix in (".pt", ".example.pt", ".other.pt"):
        (folder / (name + suffix)).unlink(missing_ok=True)


def make(name: str, entry: Entry, folder: pathlib.Path) -> dict:
    """Makes a model's files, with the first seed that gives a healthy model."""
    begin = time.monotonic()
    remove(name, folder)
    base = zlib.crc32(name.removesuffix(".trace").encode())
    for number in range(ATTEMPTS):
        try:
            result = attempt(name, entry, base + number, folder)
            return {**result, "seconds": round(time.monotonic() - begin, 2)}
        except Unhealthy as error:
            reason = error
    raise reason


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--list", action="store_true", help="print the models and end")
    parser.add_argument("-o", dest="folder", type=pathlib.Path, metavar="DIR", help="where to write the files")
    parser.add_argument("--debug", action="store_true", help="show where a failure comes from")
    arguments = parser.parse_args()
    entries = registry()
    if arguments.list:
        for name, entry in entries.items():
            print(name, entry.group, entry.how)
        for name, reason in IMPOSSIBLE.items():
            print(f"# {name} cannot be made: {reason}")
        return 0
    if not arguments.names or arguments.folder is None:
        parser.error("give names of models and -o DIR, or --list")
    unknown = [name for name in arguments.names if name not in entries]
    if unknown:
        parser.error(f"no such model: {' '.join(unknown)}; --list shows them")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)  # So that the weights do not depend on the machine's cores.
    warnings.filterwarnings("ignore")
    failed = False
    for name in arguments.names:
        try:
            print(json.dumps(make(name, entries[name], arguments.folder)), flush=True)
        except Exception as error:  # Whatever it is, it is told in one line.
            if arguments.debug:
                raise
            remove(name, arguments.folder)
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            print(f"{name}: {type(error).__name__}: {lines[0] if lines else ''}", file=sys.stderr, flush=True)
            failed = True
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

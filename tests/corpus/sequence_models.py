# SPDX-License-Identifier: Apache-2.0
"""Models of torch.nn's layers: recurrent nets, transformers, sequence to sequence, and decoders with a cache.

NN, SEQ2SEQ and KV map a name to a maker without arguments, which returns (module, example, others): the module in
Python, a tuple of its inputs, and a list of such tuples of other sizes.
"""
from typing import Dict, List, Optional, Tuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

NN = {}
SEQ2SEQ = {}
KV = {}
# Those that make sense when they are traced: tensors in, no loop that depends on their values.
TRACED = ("lstm", "gru", "rnn", "lstm_cell", "transformer_encoder", "transformer", "transformer_decoder",
          "multihead_attention", "embedding_bag", "packed_lstm", "batch_norm", "group_norm", "instance_norm", "conv1d",
          "conv3d", "conv_transpose", "layer_norm_mlp", "pooling", "seq2seq", "kv_tensors")

VOCABULARY = 30
WIDTH = 16
HEADS = 4


def register(table):
    """A decorator that registers make_NAME as NAME in a table."""
    def add(maker):
        table[maker.__name__.removeprefix("make_")] = maker
        return maker
    return add


def tokens(batch, length):
    return torch.randint(3, VOCABULARY, (batch, length))


def padding(batch, length):
    """A mask of what to leave out: the last two places of each second row.

    One row has no padding: of an encoder's padding common to all rows PyTorch 1.13 cuts the places off.
    """
    mask = torch.zeros(batch, length, dtype=torch.bool)
    mask[1::2, -2:] = True
    return mask


# -- Recurrent nets --------------------------------------------------------------------------------------------------


class StatefulLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 24, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 10)

    def forward(self, x: Tensor, h: Tensor, c: Tensor) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
        y, state = self.lstm(x, (h, c))
        return self.head(y), state


@register(NN)
def make_lstm():
    def inputs(batch, length):
        return torch.randn(batch, length, WIDTH), torch.randn(4, batch, 24), torch.randn(4, batch, 24)
    return StatefulLSTM(), inputs(2, 7), [inputs(3, 5)]


class ProjectedLSTM(nn.Module):
    """Takes and gives its state as a tuple. (A bare nn.LSTM scripts, but the file has no forward.)"""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(WIDTH, 24, num_layers=2, proj_size=12)

    def forward(self, x: Tensor, state: Optional[Tuple[Tensor, Tensor]] = None
                ) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
        return self.lstm(x, state)


@register(NN)
def make_lstm_tuple():
    def inputs(batch, length):
        return torch.randn(length, batch, WIDTH), (torch.randn(2, batch, 12), torch.randn(2, batch, 24))
    return ProjectedLSTM(), inputs(2, 7), [inputs(3, 5)]


class GRUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.gru = nn.GRU(WIDTH, 20, num_layers=2, dropout=0.1)
        self.head = nn.Linear(20, 6)

    def forward(self, x: Tensor) -> Tensor:
        y, h = self.gru(x)
        return self.head(y[-1]) + self.head(h).mean(0)


@register(NN)
def make_gru():
    return GRUNet(), (torch.randn(6, 2, WIDTH),), [(torch.randn(9, 3, WIDTH),)]


class ReluRNN(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(WIDTH, 20, nonlinearity="relu", batch_first=True)

    def forward(self, x: Tensor, h: Tensor) -> Tuple[Tensor, Tensor]:
        return self.rnn(x, h)


@register(NN)
def make_rnn():
    def inputs(batch, length):
        return torch.randn(batch, length, WIDTH), torch.randn(1, batch, 20)
    return ReluRNN(), inputs(2, 6), [inputs(3, 4)]


class CellLoop(nn.Module):
    def __init__(self):
        super().__init__()
        self.lower = nn.LSTMCell(WIDTH, 20)
        self.upper = nn.LSTMCell(20, 20)
        self.head = nn.Linear(20, 5)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        zeros = x.new_zeros(x.size(1), 20)
        low, high = (zeros, zeros), (zeros, zeros)
        outputs = []
        for step in x.unbind(0):
            low = self.lower(step, low)
            high = self.upper(low[0], high)
            outputs.append(self.head(high[0]))
        return torch.stack(outputs), high[1]


@register(NN)
def make_lstm_cell():
    return CellLoop(), (torch.randn(5, 2, WIDTH),), [(torch.randn(7, 3, WIDTH),)]


class PackedLSTM(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.lstm = nn.LSTM(WIDTH, 20, batch_first=True, bidirectional=True)
        self.head = nn.Linear(40, 5)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tuple[Tensor, Tensor]:
        packed = pack_padded_sequence(self.embedding(ids), lengths, batch_first=True, enforce_sorted=False)
        out, _ = self.lstm(packed)
        padded, sizes = pad_packed_sequence(out, batch_first=True)
        return self.head(padded), sizes


@register(NN)
def make_packed_lstm():
    return (PackedLSTM(), (tokens(3, 6), torch.tensor([4, 6, 2])),
            [(tokens(4, 8), torch.tensor([8, 3, 5, 1]))])


# -- Transformers ----------------------------------------------------------------------------------------------------


@register(NN)
def make_transformer_encoder():
    layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True, activation="gelu")
    encoder = nn.TransformerEncoder(layer, 3, norm=nn.LayerNorm(WIDTH))
    return varied(encoder), (torch.randn(2, 6, WIDTH),), [(torch.randn(3, 9, WIDTH),)]


class MaskedEncoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        layer = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        y = self.encoder(self.embedding(ids), src_key_padding_mask=mask)
        kept = (~mask).unsqueeze(2).to(y.dtype)
        return self.head((y * kept).sum(1) / kept.sum(1))


@register(NN)
def make_transformer_encoder_mask():
    return varied(MaskedEncoder()), (tokens(2, 6), padding(2, 6)), [(tokens(3, 9), padding(3, 9))]


class FullTransformer(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.Transformer(WIDTH, HEADS, 2, 2, 32, batch_first=True)
        self.transformer.encoder.enable_nested_tensor = False  # A trace would fix where the padding is.

    def forward(self, source: Tensor, target: Tensor, target_mask: Tensor, source_padding: Tensor) -> Tensor:
        return self.transformer(source, target, tgt_mask=target_mask, src_key_padding_mask=source_padding,
                                memory_key_padding_mask=source_padding)


@register(NN)
def make_transformer():
    def inputs(batch, source, target):
        causal = torch.full((target, target), -30.0).triu(1)
        return (torch.randn(batch, source, WIDTH), torch.randn(batch, target, WIDTH), causal,
                padding(batch, source))
    return varied(FullTransformer()), inputs(2, 6, 5), [inputs(3, 8, 4)]


@register(NN)
def make_transformer_decoder():
    def inputs(batch, target, memory):
        return torch.randn(target, batch, WIDTH), torch.randn(memory, batch, WIDTH)
    layer = nn.TransformerDecoderLayer(WIDTH, HEADS, 32)
    return varied(nn.TransformerDecoder(layer, 2)), inputs(2, 5, 7), [inputs(3, 4, 6)]


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True, add_bias_kv=True)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tuple[Tensor, Tensor]:
        y, weights = self.attention(query, key, value, average_attn_weights=False)
        return y, query + y if weights is None else weights


@register(NN)
def make_multihead_attention():
    def inputs(batch, queries, keys):
        return torch.randn(batch, queries, WIDTH), torch.randn(batch, keys, WIDTH), torch.randn(batch, keys, WIDTH)
    return varied(Attention()), inputs(2, 5, 7), [inputs(3, 4, 6)]


# -- Other layers ----------------------------------------------------------------------------------------------------


class BagClassifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(VOCABULARY, WIDTH, mode="mean")
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        return self.head(self.bag(ids, lengths.cumsum(0) - lengths))


@register(NN)
def make_embedding_bag():
    return (BagClassifier(), (tokens(1, 12)[0], torch.tensor([4, 5, 3])),
            [(tokens(1, 20)[0], torch.tensor([3, 8, 2, 7]))])


class BagRows(nn.Module):
    def __init__(self):
        super().__init__()
        self.bag = nn.EmbeddingBag(VOCABULARY, WIDTH, mode="max", padding_idx=0)
        self.head = nn.Sequential(nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, 4))

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.bag(ids))


@register(NN)
def make_embedding_bag_rows():
    return BagRows(), (tokens(2, 6),), [(tokens(3, 9),)]


def convolutional(norm):
    """A small residual-free net with a normalisation after each convolution."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), norm(8), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), norm(8),
                         nn.SiLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 5))


def images(batch, *size):
    return torch.randn(batch, 3, *size) + torch.randn(batch, 3, *[1] * len(size))


def fit(module, *inputs):
    """Gives the batch norms the statistics of some inputs."""
    module.train()
    with torch.no_grad():
        for _ in range(20):
            module(*(x + 0.5 * torch.randn_like(x) for x in inputs))
    return module.eval()


def varied(module):
    """Gives the parameters that begin as zeros and ones (biases, norms) some values of their own."""
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.2 * torch.randn_like(parameter))
    return module


@register(NN)
def make_batch_norm():
    return fit(convolutional(nn.BatchNorm2d), images(8, 12, 12)), (images(1, 12, 12),), [(images(2, 16, 10),)]


@register(NN)
def make_group_norm():
    net = convolutional(lambda channels: nn.GroupNorm(2, channels))
    return varied(net), (images(1, 12, 12),), [(images(2, 16, 10),)]


@register(NN)
def make_instance_norm():
    net = convolutional(lambda channels: nn.InstanceNorm2d(channels, affine=True, track_running_stats=True))
    return fit(net, images(8, 12, 12)), (images(1, 12, 12),), [(images(2, 16, 10),)]


@register(NN)
def make_conv1d():
    net = nn.Sequential(nn.Conv1d(3, 8, 5, padding=4, dilation=2), nn.BatchNorm1d(8), nn.PReLU(8),
                        nn.Conv1d(8, 8, 3, groups=4, padding=1, padding_mode="circular"), nn.GLU(1), nn.MaxPool1d(2),
                        nn.Conv1d(4, 6, 1))
    return fit(net, images(8, 20)), (images(1, 20),), [(images(2, 31),)]


@register(NN)
def make_conv3d():
    net = nn.Sequential(nn.Conv3d(3, 8, (1, 3, 3)), nn.BatchNorm3d(8), nn.Hardswish(), nn.AvgPool3d((1, 2, 2)),
                        nn.Conv3d(8, 8, 3, padding=1, groups=2), nn.ELU(), nn.AdaptiveMaxPool3d((1, 2, 2)),
                        nn.Flatten(), nn.Linear(32, 5))
    return fit(net, images(8, 4, 10, 10)), (images(1, 4, 10, 10),), [(images(2, 6, 12, 9),)]


class UNet(nn.Module):
    """Down, up by a transposed convolution and by interpolation, with a skip between."""

    def __init__(self):
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, padding=1)
        self.lower = nn.Conv2d(8, 16, 3, stride=2, padding=1)
        self.up = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.shuffle = nn.Sequential(nn.Conv2d(16, 12, 3, padding=1), nn.PixelShuffle(2))
        self.upsample = nn.Upsample(scale_factor=2.0, mode="bilinear", align_corners=False)
        self.out = nn.Conv2d(11, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        top = F.leaky_relu(self.down(x))
        low = torch.relu(self.lower(top))
        up = self.up(low) + top
        return self.out(torch.cat([up, self.shuffle(low) + self.upsample(low[:, :3])], 1))


@register(NN)
def make_conv_transpose():
    return UNet(), (images(1, 12, 12),), [(images(2, 16, 8),)]


@register(NN)
def make_layer_norm_mlp():
    net = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 32), nn.GELU(), nn.Dropout(0.2), nn.Linear(32, WIDTH),
                        nn.Softplus(), nn.LayerNorm([WIDTH]), nn.Linear(WIDTH, 4), nn.LogSoftmax(-1))
    return varied(net), (torch.randn(3, WIDTH),), [(torch.randn(2, 5, WIDTH),)]


class Pooling(nn.Module):
    """Max pooling with indices, and its inverse: pairs of a float and an int64 tensor between.

    (nn.MaxUnpool2d itself does not script.)
    """

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 3, padding=1)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.norm = nn.LocalResponseNorm(2)

    def forward(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        y, indices = self.pool(self.norm(self.convolution(x)))
        y, deeper = self.pool(y)[0], indices
        y = F.interpolate(y, scale_factor=2.0, mode="nearest")
        return torch._C._nn.max_unpool2d(y, deeper, x.shape[2:]), deeper


@register(NN)
def make_pooling():
    return Pooling(), (images(1, 12, 12),), [(images(2, 16, 8),)]


class Pairwise(nn.Module):
    def __init__(self):
        super().__init__()
        self.bilinear = nn.Bilinear(WIDTH, 12, 8)
        self.similarity = nn.CosineSimilarity(dim=1)
        self.distance = nn.PairwiseDistance()

    def forward(self, x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
        return self.bilinear(x, y), self.similarity(x[:, :12], y) + self.distance(x[:, :12], y)


@register(NN)
def make_bilinear():
    return Pairwise(), (torch.randn(3, WIDTH), torch.randn(3, 12)), [(torch.randn(2, WIDTH), torch.randn(2, 12))]


# -- Sequence to sequence --------------------------------------------------------------------------------------------


class Embedder(nn.Module):
    """Embeds tokens and adds learnt positions."""

    def __init__(self):
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Parameter(0.5 * torch.randn(64, WIDTH))

    def forward(self, ids: Tensor) -> Tensor:
        return self.tokens(ids) + self.positions[:ids.size(1)]


class Translator(nn.Module):
    def __init__(self):
        super().__init__()
        self.source = Embedder()
        self.target = Embedder()
        encoder = nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True)
        decoder = nn.TransformerDecoderLayer(WIDTH, HEADS, 32, batch_first=True)
        self.encoder = nn.TransformerEncoder(encoder, 2, enable_nested_tensor=False)
        self.decoder = nn.TransformerDecoder(decoder, 2)
        self.head = nn.Linear(WIDTH, VOCABULARY)

    def encode(self, ids: Tensor, mask: Tensor) -> Tensor:
        return self.encoder(self.source(ids), src_key_padding_mask=mask)

    def decode(self, ids: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        length = ids.size(1)
        causal = torch.ones(length, length, dtype=torch.bool, device=ids.device).triu(1)
        return self.head(self.decoder(self.target(ids), memory, tgt_mask=causal, memory_key_padding_mask=mask))

    def forward(self, source: Tensor, source_mask: Tensor, target: Tensor) -> Tensor:
        mask = source_mask == 0
        return self.decode(target, self.encode(source, mask), mask)


def kept(batch, length):
    """A mask of int64, 1 where a token counts, as tokenizers give it."""
    return (~padding(batch, length)).to(torch.int64)


@register(SEQ2SEQ)
def make_seq2seq():
    return (varied(Translator()), (tokens(2, 6), kept(2, 6), tokens(2, 5)),
            [(tokens(3, 8), kept(3, 8), tokens(3, 4))])


class GreedyTranslator(nn.Module):
    """Decodes greedily until every row has ended."""

    def __init__(self):
        super().__init__()
        self.translator = Translator()

    def forward(self, source: Tensor, source_mask: Tensor, limit: int = 8) -> Tuple[Tensor, Tensor]:
        mask = source_mask == 0
        memory = self.translator.encode(source, mask)
        ids = torch.full((source.size(0), 1), 1, dtype=torch.int64)
        ended = torch.zeros(source.size(0), dtype=torch.bool)
        scores = torch.zeros(source.size(0))
        while ids.size(1) < limit and not bool(ended.all()):
            logits = torch.log_softmax(self.translator.decode(ids, memory, mask)[:, -1], -1)
            best, chosen = logits.max(-1)
            chosen = torch.where(ended, torch.zeros_like(chosen), chosen)
            scores = scores + torch.where(ended, torch.zeros_like(best), best)
            ended = ended | (chosen == 2)
            ids = torch.cat([ids, chosen.unsqueeze(1)], 1)
        return ids, scores


@register(SEQ2SEQ)
def make_seq2seq_greedy():
    return varied(GreedyTranslator()), (tokens(2, 6), kept(2, 6), 7), [(tokens(3, 8), kept(3, 8))]


class Attend(nn.Module):
    def __init__(self):
        super().__init__()
        self.query = nn.Linear(20, 20)
        self.energy = nn.Linear(20, 1, bias=False)

    def forward(self, h: Tensor, memory: Tensor, mask: Tensor) -> Tuple[Tensor, Tensor]:
        energy = self.energy(torch.tanh(self.query(h).unsqueeze(1) + memory)).squeeze(2)
        weights = torch.softmax(energy.masked_fill(mask == 0, -1e4), 1)
        return torch.bmm(weights.unsqueeze(1), memory).squeeze(1), weights


class RecurrentTranslator(nn.Module):
    """A GRU encoder, an attention, and a decoding loop that ends early."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.encoder = nn.GRU(WIDTH, 10, bidirectional=True, batch_first=True)
        self.bridge = nn.Linear(20, 20)
        self.attend = Attend()
        self.cell = nn.GRUCell(WIDTH + 20, 20)
        self.head = nn.Linear(40, VOCABULARY)

    def forward(self, source: Tensor, mask: Tensor, limit: int) -> Tuple[Tensor, List[Tensor]]:
        memory, last = self.encoder(self.embedding(source))
        h = torch.tanh(self.bridge(last.transpose(0, 1).flatten(1)))
        token = torch.ones(source.size(0), dtype=torch.int64)
        logits: List[Tensor] = []
        weights: List[Tensor] = []
        step = 0
        while step < limit:
            context, weight = self.attend(h, memory, mask)
            h = self.cell(torch.cat([self.embedding(token), context], 1), h)
            logits.append(self.head(torch.cat([h, context], 1)))
            weights.append(weight)
            token = logits[-1].argmax(1)
            if bool((token == 2).all()):
                break
            step += 1
        return torch.stack(logits, 1), weights


@register(SEQ2SEQ)
def make_seq2seq_attention():
    return RecurrentTranslator(), (tokens(2, 6), kept(2, 6), 5), [(tokens(3, 8), kept(3, 8), 7)]


class BeamTranslator(nn.Module):
    """Beam search for one sentence: lists of lists of numbers, sorted on the way."""

    def __init__(self):
        super().__init__()
        self.translator = Translator()

    def forward(self, source: Tensor, source_mask: Tensor, beams: int) -> Tuple[List[List[int]], Tensor]:
        mask = source_mask == 0
        memory = self.translator.encode(source, mask)
        hypotheses: List[List[int]] = [[1]]
        scores = torch.zeros(1)
        for _ in range(4):
            count = len(hypotheses)
            logits = self.translator.decode(torch.tensor(hypotheses), memory.expand(count, -1, -1),
                                            mask.expand(count, -1))[:, -1]
            totals = scores.unsqueeze(1) + torch.log_softmax(logits, -1)
            scores, chosen = totals.flatten().topk(beams)
            grown: List[List[int]] = []
            indices: List[int] = chosen.tolist()
            for number in indices:
                grown.append(hypotheses[number // logits.size(1)] + [number % logits.size(1)])
            hypotheses = grown
        return hypotheses, scores


@register(SEQ2SEQ)
def make_seq2seq_beam():
    return varied(BeamTranslator()), (tokens(1, 6), kept(1, 6), 3), [(tokens(1, 9), kept(1, 9), 2)]


# -- Decoders with a cache of keys and values ------------------------------------------------------------------------


class Block(nn.Module):
    """A decoder's layer: attention over the cache and the new tokens, then an MLP."""

    def __init__(self):
        super().__init__()
        self.heads = HEADS
        self.size = WIDTH // HEADS
        self.norm = nn.LayerNorm(WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH)
        self.mlp = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 32), nn.GELU(), nn.Linear(32, WIDTH))

    def forward(self, x: Tensor, past: Tuple[Tensor, Tensor]) -> Tuple[Tensor, Tuple[Tensor, Tensor]]:
        batch, length, _ = x.size()
        parts = self.project(self.norm(x)).view(batch, length, 3, self.heads, self.size).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        key = torch.cat([past[0], key], 2)
        value = torch.cat([past[1], value], 2)
        causal = torch.ones(length, key.size(2), dtype=torch.bool).triu(key.size(2) - length + 1)
        scores = query.matmul(key.transpose(2, 3)) / self.size ** 0.5
        weights = torch.softmax(scores.masked_fill(causal, -1e4), 3)
        x = x + self.out(weights.matmul(value).transpose(1, 2).flatten(2))
        return x + self.mlp(x), (key, value)


def cache(batch, length):
    """Keys or values of a layer."""
    return torch.randn(batch, HEADS, length, WIDTH // HEADS)


class DecoderBase(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.positions = nn.Embedding(64, WIDTH)
        self.blocks = nn.ModuleList([Block() for _ in range(3)])
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=False)
        self.head.weight = self.embedding.weight

    def embed(self, ids: Tensor, start: int) -> Tensor:
        return self.embedding(ids) + self.positions(torch.arange(start, start + ids.size(1)))


class ListDecoder(DecoderBase):
    def forward(self, ids: Tensor, past: List[Tuple[Tensor, Tensor]]) -> Tuple[Tensor, List[Tuple[Tensor, Tensor]]]:
        x = self.embed(ids, past[0][0].size(2))
        present: List[Tuple[Tensor, Tensor]] = []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, past[i])
            present.append(pair)
        return self.head(self.norm(x)), present


@register(KV)
def make_kv_list():
    def inputs(batch, new, old):
        return tokens(batch, new), [(cache(batch, old), cache(batch, old)) for _ in range(3)]
    return varied(ListDecoder()), inputs(1, 2, 4), [inputs(2, 1, 9)]


class TensorDecoder(DecoderBase):
    """Keys and values of all layers in one tensor each, which a trace takes and gives too."""

    def forward(self, ids: Tensor, keys: Tensor, values: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
        x = self.embed(ids, keys.size(3))
        new_keys: List[Tensor] = []
        new_values: List[Tensor] = []
        for i, block in enumerate(self.blocks):
            x, pair = block(x, (keys[i], values[i]))
            new_keys.append(pair[0])
            new_values.append(pair[1])
        return self.head(self.norm(x)), torch.stack(new_keys), torch.stack(new_values)


@register(KV)
def make_kv_tensors():
    def inputs(batch, new, old):
        return (tokens(batch, new), torch.stack([cache(batch, old) for _ in range(3)]),
                torch.stack([cache(batch, old) for _ in range(3)]))
    return varied(TensorDecoder()), inputs(1, 2, 4), [inputs(2, 1, 9)]


class DictDecoder(DecoderBase):
    def forward(self, ids: Tensor, past: Dict[str, Tensor]) -> Tuple[Tensor, Dict[str, Tensor]]:
        x = self.embed(ids, past["key.0"].size(2))
        present: Dict[str, Tensor] = {}
        for i, block in enumerate(self.blocks):
            x, pair = block(x, (past["key." + str(i)], past["value." + str(i)]))
            present["key." + str(i)] = pair[0]
            present["value." + str(i)] = pair[1]
        return self.head(self.norm(x)), present


@register(KV)
def make_kv_dict():
    def inputs(batch, new, old):
        return tokens(batch, new), {f"{what}.{i}": cache(batch, old) for i in range(3) for what in ("key", "value")}
    return varied(DictDecoder()), inputs(1, 2, 4), [inputs(2, 1, 9)]


class OptionalDecoder(DecoderBase):
    def forward(self, ids: Tensor, past: Optional[List[Tuple[Tensor, Tensor]]] = None
                ) -> Tuple[Tensor, Optional[List[Tuple[Tensor, Tensor]]]]:
        start = 0
        if past is not None:
            start = past[0][0].size(2)
        x = self.embed(ids, start)
        present: List[Tuple[Tensor, Tensor]] = []
        for i, block in enumerate(self.blocks):
            if past is None:
                nothing = x.new_zeros(x.size(0), 4, 0, 4)
                before = (nothing, nothing)
            else:
                before = past[i]
            x, pair = block(x, before)
            present.append(pair)
        return self.head(self.norm(x)), present


@register(KV)
def make_kv_optional():
    past = [(cache(1, 3), cache(1, 3)) for _ in range(3)]
    return varied(OptionalDecoder()), (tokens(1, 2), past), [(tokens(2, 5),)]


class PreallocatedDecoder(DecoderBase):
    """Writes the new keys and values into a cache of full size, in place, at a position."""

    def __init__(self):
        super().__init__()
        self.project = nn.Linear(WIDTH, 2 * WIDTH)

    def forward(self, ids: Tensor, keys: Tensor, values: Tensor, position: int) -> Tuple[Tensor, Tensor, Tensor]:
        x = self.embed(ids, position)
        end = position + ids.size(1)
        for i in range(keys.size(0)):
            key, value = self.project(x).chunk(2, 2)
            keys[i, :, position:end] = key
            values[i, :, position:end] = value
            weights = torch.softmax(x.matmul(keys[i, :, :end].transpose(1, 2)) / 4, 2)
            x = x + weights.matmul(values[i, :, :end])
        return self.head(self.norm(x)), keys, values


@register(KV)
def make_kv_preallocated():
    def inputs(batch, new, position):
        return tokens(batch, new), torch.randn(2, batch, 12, WIDTH), torch.randn(2, batch, 12, WIDTH), position
    return varied(PreallocatedDecoder()), inputs(1, 2, 4), [inputs(2, 1, 9)]

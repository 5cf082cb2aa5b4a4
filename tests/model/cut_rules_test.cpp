// SPDX-License-Identifier: Apache-2.0
// Which cuts change the answer: those are refused with the reason, all others are right on every call.
#include "model/split_check.hpp"
#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>

#include <torch/csrc/jit/api/module.h>

using namespace amp4ec;
using namespace amp4ec::test;

namespace {

using Reasons = std::set<std::string>;

struct Checked {
  Model model;
  LayerGraph graph;
};

/// Every cut is right or refused; returns the layers to look at.
Checked checked(const torch::jit::Module& module, const std::vector<Values>& inputs,
                Aliases aliases = Aliases::Declared) {
  Model model = Model::from_module(module).value();
  check_all_cuts(model, inputs, aliases);
  LayerGraph graph = model.layer_graph(inputs.front()).value();
  return {std::move(model), std::move(graph)};
}

}  // namespace

TEST_CASE("a value that crosses alone may be written behind the cut") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        v = torch.select(y, 0, 0)
        v.add_(1.0)
        return torch.tanh(y) * 2.0
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 5));
  CHECK(graph.cuts[layer_of(graph, "aten::sigmoid")].valid);
  CHECK_FALSE(graph.cuts[layer_of(graph, "aten::select")].valid);
}

TEST_CASE("a tensor and a view of it do not cross together to be written") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        v = y.view([4, 3])
        z = torch.exp(x)
        v.add_(1.0)
        return torch.tanh(y) + z
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 5));
  CHECK(reasons(graph) == Reasons{"alias crosses"});
  CHECK_FALSE(graph.cuts[layer_of(graph, "aten::view")].valid);
  CHECK_FALSE(graph.cuts[layer_of(graph, "aten::exp")].valid);
}

TEST_CASE("a view that nobody writes crosses beside its tensor") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        v = y.view([4, 3])
        z = torch.exp(v)
        return torch.cat([y.view([12]), v.reshape([12]), z.view([12])])
  )");
  CHECK(reasons(checked(module, random_inputs({3, 4}, 4)).graph).empty());
}

TEST_CASE("the input of the model is written behind a cut") {
  auto module = module_from(R"(
    def forward(self, x):
        n = torch.sigmoid(x)
        v = torch.select(x, 0, 0)
        v.add_(2.0)
        return torch.tanh(x) + n
  )");
  checked(module, random_inputs({3, 4}, 5));
}

TEST_CASE("a list that is filled now and then is right on every call") {
  auto module = module_from(R"(
    def forward(self, x):
        parts: List[Tensor] = []
        y = torch.sigmoid(x)
        parts.append(y)
        if bool(x.sum() > 0):
            parts.append(y * 2.0)
        z = torch.exp(y)
        parts.append(z)
        w = torch.sin(z)
        parts[0] = w
        return torch.stack(parts).sum(0) + w
  )");
  checked(module, random_inputs({3, 4}, 6));
}

TEST_CASE("a dictionary that is filled step by step is right on every call") {
  auto module = module_from(R"(
    def forward(self, x):
        table: Dict[str, Tensor] = {}
        y = torch.sigmoid(x)
        table['y'] = y
        z = torch.exp(y)
        table['z'] = z
        w = torch.sin(z)
        if bool(x.sum() > 0):
            table['w'] = w
        total = table['y'] + float(len(table))
        for key in table.keys():
            total = total + table[key]
        return total, table
  )");
  checked(module, random_inputs({3, 4}, 6));
}

TEST_CASE("what follows from constants is judged once for each value, not for each way to it") {
  std::string program = R"(
    def forward(self, x):
        a = torch.zeros([3, 4])
        a[0].fill_(1.0)
)";
  for (int i = 0; i < 60; ++i) program += "        a = a * 0.5 + a * 0.5\n";  // 2^60 ways.
  program += "        a[0].add_(x[0])\n        return torch.sigmoid(a) + x\n";
  const Model model = Model::from_module(module_from(program)).value();
  for (const Values& input : random_inputs({3, 4}, 4)) {
    const at::Tensor x = input.front().tensor();
    at::Tensor a = at::zeros({3, 4});
    a[0].copy_(x[0] + 1.0);
    CHECK(compare(run_whole(model, input), Value(at::sigmoid(a) + x)).relative_error <= 1e-6);
  }
}

TEST_CASE("an element of a list of views of one tensor is written") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        rows = [torch.select(y, 0, 0), torch.slice(y, 0, 0, 2)]
        z = torch.exp(x)
        first = rows[0]
        first.mul_(3.0)
        return torch.cat([rows[1], z]).sum(0) + first
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 5));
  CHECK(reasons(graph) == Reasons{"alias crosses"});
}

TEST_CASE("rows of an unbound tensor cross as a list and stay different") {
  auto module = module_from(R"(
    def forward(self, x):
        rows = torch.unbind(torch.sigmoid(x))
        z = torch.exp(x).sum()
        return rows[0] + rows[1] * 2.0 + rows[2] * 3.0 + z
  )");
  checked(module, random_inputs({3, 4}, 4));
}

TEST_CASE("a dictionary that is made first and filled last blocks no cut") {
  auto module = module_from(R"(
    def forward(self, x):
        table: Dict[str, Tensor] = {}
        y = torch.sigmoid(x)
        z = torch.exp(y)
        w = torch.sin(z)
        table['out'] = w
        return table
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 4));
  for (const char* op : {"aten::sigmoid", "aten::exp"}) CHECK(graph.cuts[layer_of(graph, op)].valid);
}

TEST_CASE("a buffer that is made first and filled last blocks no cut") {
  auto module = module_from(R"(
    def forward(self, x):
        out = torch.zeros([2, 4])
        y = torch.sigmoid(x)
        z = torch.exp(y)
        torch.select(out, 0, 0).add_(z[0])
        w = torch.sin(z)
        torch.select(out, 0, 1).add_(w[1])
        return out
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 5));
  CHECK(graph.cuts[layer_of(graph, "aten::sigmoid")].valid);
}

TEST_CASE("what follows from constants, or from the input's rank, is not folded and then written") {
  auto module = module_from(R"(
    def forward(self, x):
        n = x.dim()
        a = torch.zeros([n, 4])
        b = torch.ones([8]).view([2, 4])
        y = torch.sigmoid(x)
        z = torch.exp(y)
        torch.select(a, 0, 0).add_(z[0])
        torch.select(b, 0, 1).add_(z[1])
        return a + b
  )");
  checked(module, random_inputs({3, 4}, 6));
}

TEST_CASE("a with statement stays whole") {
  const auto module = module_from_classes(R"(
class Scope:
  depth : int
  def __init__(self: __torch__.Scope) -> NoneType:
    self.depth = 0
    return None
  def __enter__(self: __torch__.Scope) -> int:
    self.depth = torch.add(self.depth, 1)
    return self.depth
  def __exit__(self: __torch__.Scope,
    type: Any,
    value: Any,
    traceback: Any) -> NoneType:
    self.depth = torch.sub(self.depth, 1)
    return None
class M(Module):
  __parameters__ = []
  __buffers__ = []
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    y = torch.sigmoid(x)
    z = torch.exp(y)
    scope = __torch__.Scope.__new__(__torch__.Scope)
    _0 = (scope).__init__()
    with scope:
      w = torch.sin(z)
      v = torch.cos(w)
    u = torch.tanh(v)
    return torch.add(u, y)
)");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 4));
  CHECK(graph.cuts[layer_of(graph, "aten::sigmoid")].valid);
  CHECK(graph.cuts[layer_of(graph, "aten::tanh")].valid);
  const Cut& inside = graph.cuts[layer_of(graph, "aten::sin")];
  CHECK_FALSE(inside.valid);
  CHECK(inside.reason.substr(0, 15) == "context crosses");
}

TEST_CASE("who looks at the storage behind a value keeps it") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        t = torch.slice(y, 0, 1, 3)
        z = torch.exp(x)
        s = torch.as_strided(t, [2, 2], [4, 2], 1)
        w = torch.sin(s)
        return w + torch.sum(z)
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 4));
  CHECK(reasons(graph) == Reasons{"storage crosses"});
  CHECK_FALSE(graph.cuts[layer_of(graph, "aten::slice")].valid);
  CHECK(graph.cuts[layer_of(graph, "aten::as_strided")].valid);
}

TEST_CASE("aliases that no schema tells of: unsafe_chunk") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        parts = torch.unsafe_chunk(y, 2, 1)
        z = torch.exp(x)
        parts[0].mul_(2.0)
        return torch.cat(parts, 1) + y + z
  )");
  checked(module, random_inputs({3, 4}, 5), Aliases::Undeclared);
}

TEST_CASE("aliases that no schema tells of: unsafe_split") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        first, second = torch.unsafe_split(y, 2, 1)
        z = torch.exp(x)
        first.mul_(2.0)
        return torch.cat([first, second], 1) + y + z
  )");
  checked(module, random_inputs({3, 4}, 5), Aliases::Undeclared);
}

namespace {

/// A value that may be `y` itself is written while `y` is still needed.
void check_written(const std::string& alias) {
  checked(module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        t = )" + alias +
                      R"(
        z = torch.exp(x)
        t.mul_(3.0)
        return torch.tanh(y) + t + z
  )"),
          random_inputs({3, 4}, 4), Aliases::Undeclared);
}

}  // namespace

TEST_CASE("aliases that no schema tells of: operators that return their argument") {
  for (const std::string alias :
       {"y.type_as(x)", "torch.atleast_2d(y)", "torch.alpha_dropout(y, 0.5, False)",
        "torch.feature_alpha_dropout(y, 0.5, False)", "torch.conj_physical(y)", "torch._unsafe_view(y, [3, 4])",
        "torch.einsum('ij->ij', [y])", "y.type_as(x).view([3, 4]).type_as(x)", "torch.dequantize(y)",
        "torch.to_dense(y)", "torch.sum_to_size(y, [3, 4])"}) {
    DYNAMIC_SECTION(alias) {
      check_written(alias);
    }
  }
}

TEST_CASE("aliases that no schema tells of: a loop without a turn, and what set_ takes over") {
  torch::jit::Module module = module_from(R"(
    def forward(self, x, n: int):
        a = torch.sigmoid(x)
        v = a[0]
        b = a
        for i in range(n):
            b = torch.tanh(b)
        b.add_(1.0)
        return torch.sin(v) + b
  )");
  std::vector<Values> inputs = random_inputs({3, 4}, 5);
  for (std::size_t i = 0; i < inputs.size(); ++i) inputs[i].push_back(Value(static_cast<std::int64_t>(i % 2)));
  checked(module, inputs, Aliases::Undeclared);
  checked(module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        h = torch.exp(x)
        h.set_(y)
        z = torch.tanh(x)
        y.add_(1.0)
        return h * 2.0 + z
  )"),
          random_inputs({3, 4}, 4), Aliases::Undeclared);
}

TEST_CASE("a tuple with an undefined tensor does not cross: LibTorch takes it for no argument") {
  torch::jit::Module module("Attends");
  module.register_parameter("weight", torch::randn({24, 8}) * 0.3, false);
  module.register_parameter("weight_out", torch::randn({8, 8}) * 0.3, false);
  module.register_parameter("bias", torch::randn({24}) * 0.1, false);
  module.register_parameter("bias_out", torch::randn({8}) * 0.1, false);
  module.define(R"(
    def forward(self, x, fast: bool):
        y = torch.sin(x)
        if fast:
            pair = torch._native_multi_head_attention(y, y, y, 8, 2, self.weight, self.bias, self.weight_out, self.bias_out, None, False)
        else:
            pair = (torch.cos(y), y)
        z = torch.tanh(x)
        first, second = pair
        return z + first
  )");
  std::vector<Values> inputs = random_inputs({2, 3, 8}, 4);
  for (Values& values : inputs) values.push_back(Value(true));
  const Model model = Model::from_module(module).value();
  const Values answers = answers_of_unsplit(model, inputs);
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  std::size_t refused = 0;
  for (std::size_t cut = 0; cut < graph.cuts.size(); ++cut) {
    if (!graph.cuts[cut].valid) {
      CHECK(graph.cuts[cut].reason.starts_with("value cannot travel: a tuple with an undefined tensor"));
      ++refused;
      continue;
    }
    INFO("cut after layer " << cut);
    Executors executors = split_through_archives(model, {cut}, Form::Plain);
    for (std::size_t i = 0; i < inputs.size(); ++i)
      CHECK(compare(executors.run(model, inputs[i]), answers[i]).bit_equal);
  }
  CHECK(refused >= 1);
}

TEST_CASE("aliases that a schema tells of, or that are removed") {
  for (const std::string alias :
       {"torch.dropout(y, 0.5, False)", "torch.feature_dropout(y, 0.5, False)", "y.contiguous()", "torch.real(y)",
        "y.to(x)", "y.detach()", "y.expand_as(x)", "torch.broadcast_tensors([y, x])[0]", "torch.tensor_split(y, 1)[0]",
        "torch.reshape(y, [3, 4])", "torch.resolve_conj(y)"}) {
    DYNAMIC_SECTION(alias) {
      check_written(alias);
    }
  }
}

TEST_CASE("aliases that no schema tells of: type_as of the caller's input") {
  auto module = module_from(R"(
    def forward(self, x, like):
        t = x.type_as(like)
        t.mul_(3.0)
        y = torch.sigmoid(x)
        return torch.tanh(y) + t
  )");
  auto inputs = random_inputs({3, 4}, 5);
  for (Values& input : inputs) input.push_back(at::ones({1}));
  checked(module, inputs, Aliases::Undeclared);
}

TEST_CASE("an early return leaves nothing that cannot cross") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        for i in range(3):
            y = y + torch.relu(x)
            if bool(y.sum() > 12.0):
                return torch.tanh(y) + 1.0
        z = torch.cos(y)
        return z + y
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 8));
  CHECK(reasons(graph).empty());
  CHECK(graph.cuts[layer_of(graph, "prim::Loop")].valid);
}

TEST_CASE("an early return of many types leaves nothing that cannot cross") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        for i in range(3):
            y = y + torch.relu(x)
            if bool(y.sum() > 12.0):
                name = "early"
                return torch.tanh(y) + 1.0, [i, 2], {"a": y}, (i, 1.5), name, True
        z = torch.cos(y)
        return z + y, [7], {"b": z}, (9, 2.5), "late", False
  )");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 8));
  CHECK(reasons(graph).empty());
  CHECK(graph.cuts[layer_of(graph, "prim::Loop")].valid);
}

TEST_CASE("a call that runs beside the others does not cross before it has returned") {
  const auto module = module_from_classes(R"(
class M(Module):
  __parameters__ = []
  __buffers__ = []
  def work(self: __torch__.M,
    x: Tensor) -> Tensor:
    return torch.mul(torch.exp(x), 2.)
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    y = torch.sigmoid(x)
    future = fork(self.work, y)
    z = torch.sin(y)
    w = torch.wait(future)
    v = torch.cos(w)
    return torch.add(torch.add(v, z), y)
)");
  const auto [model, graph] = checked(module, random_inputs({3, 4}, 4));
  CHECK(graph.cuts[layer_of(graph, "aten::sigmoid")].valid);
  CHECK(graph.cuts[layer_of(graph, "aten::cos")].valid);
  CHECK_FALSE(graph.cuts[layer_of(graph, "aten::sin")].valid);
  CHECK(reasons(graph) == Reasons{"value cannot travel"});
}

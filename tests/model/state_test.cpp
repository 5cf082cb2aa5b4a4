// SPDX-License-Identifier: Apache-2.0
// What a model keeps from call to call: a split answers a sequence of calls as the unsplit model does.
#include "model/split_check.hpp"
#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>

#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <sstream>

using namespace amp4ec;
using namespace amp4ec::test;

namespace {

/// Two counters, each in a part of its own.
torch::jit::Module two_counters() {
  torch::jit::Module module("TwoCounters");
  module.register_buffer("first", torch::zeros({1}));
  module.register_buffer("second", torch::ones({4}));
  module.define(R"(
    def forward(self, x):
        self.first.add_(1.0)
        a = torch.sigmoid(x) + self.first
        b = torch.tanh(a) * 2.0
        self.second.mul_(1.5)
        c = b + self.second
        return torch.sigmoid(c) * 3.0
  )");
  return module;
}

bool keeps(const Segment& segment, const std::string& name) {
  return segment.module().hasattr("state_" + name);
}

}  // namespace

TEST_CASE("a buffer that is counted up in place goes on counting") {
  torch::jit::Module module("Counter");
  module.register_buffer("seen", torch::zeros({1}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        self.seen.add_(1.0)
        z = y * self.seen
        return torch.exp(z) + 1.0
  )");
  const Model model = Model::from_module(module).value();
  CHECK(model.has_state());
  check_all_cuts(model, random_inputs({3, 4}, 5));
  CHECK(module.attr("seen").toTensor().item<float>() == 0);  // Nobody counted in the module that was given.
}

TEST_CASE("an attribute that is reassigned is the next call's") {
  torch::jit::Module module("Recurrent");
  module.register_attribute("h", c10::TensorType::get(), torch::zeros({3, 4}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        self.h = self.h * 0.5 + y
        z = torch.exp(self.h)
        return torch.sin(z) + y
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("an attribute that is stored and then changed behind a cut is not parted from its change") {
  torch::jit::Module module("StoredThenChanged");
  module.register_attribute("h", c10::TensorType::get(), torch::zeros({3, 4}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x) + self.h
        self.h = y
        z = torch.exp(x)
        v = torch.select(y, 0, 1)
        v.mul_(0.5)
        return torch.sin(z) + y
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("a number that is counted up is state") {
  torch::jit::Module module("Steps");
  module.register_attribute("steps", c10::IntType::get(), c10::IValue(0));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        self.steps += 1
        n = float(self.steps)
        z = y * n
        return torch.tanh(z) + 1.0
  )");
  const Model model = Model::from_module(module).value();
  CHECK(model.has_state());
  check_all_cuts(model, random_inputs({3, 4}, 5));
}

TEST_CASE("a list attribute that is appended to grows from call to call") {
  torch::jit::Module module("History");
  const c10::impl::GenericList empty(c10::TensorType::get());
  module.register_attribute("seen", c10::ListType::ofTensors(), empty);
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        self.seen.append(y)
        z = torch.stack(self.seen).sum(0)
        return torch.tanh(z) + y
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("what a list attribute holds is not changed behind a cut") {
  torch::jit::Module module("HeldThenChanged");
  const c10::impl::GenericList empty(c10::TensorType::get());
  module.register_attribute("seen", c10::ListType::ofTensors(), empty);
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        self.seen.append(y)
        total = torch.stack(self.seen).sum()
        z = torch.exp(x)
        v = torch.select(y, 0, 1)
        v.mul_(0.5)
        return torch.sin(z) + y + total
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("what is taken out of a list attribute is not changed behind a cut") {
  torch::jit::Module module("TakenThenChanged");
  const c10::impl::GenericList held(c10::TensorType::get());
  held.push_back(torch::ones({3, 4}));
  module.register_attribute("held", c10::ListType::ofTensors(), held);
  module.define(R"(
    def forward(self, x):
        last = self.held[0]
        z = torch.exp(x)
        y = torch.sigmoid(z)
        last.mul_(1.5)
        return torch.sin(z) + y + last
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("one attribute that is stored as another and then written") {
  torch::jit::Module module("StoredAsAnother");
  module.register_attribute("a", c10::TensorType::get(), torch::ones({3, 4}));
  module.register_attribute("b", c10::TensorType::get(), torch::zeros({3, 4}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x) + self.a
        self.b = self.a
        z = torch.exp(x)
        w = self.b
        w.mul_(1.5)
        return torch.sin(z) + y
  )");
  const Model model = Model::from_module(module).value();
  check_all_cuts(model, random_inputs({3, 4}, 5));
  CHECK(at::equal(module.attr("a").toTensor(), torch::ones({3, 4})));
}

TEST_CASE("the entries of a dictionary and of a tuple that are written are state") {
  torch::jit::Module module("WrittenEntries");
  c10::impl::GenericDict table(c10::StringType::get(), c10::TensorType::get());
  table.insert(std::string("a"), torch::ones({3, 4}));
  module.register_attribute("table", c10::DictType::create(c10::StringType::get(), c10::TensorType::get()), table);
  const auto pair = c10::ivalue::Tuple::create({torch::ones({3, 4}), torch::ones({3, 4})});
  module.register_attribute("pair", c10::TupleType::create({c10::TensorType::get(), c10::TensorType::get()}), pair);
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        self.table['a'].add_(1.0)
        self.pair[0].mul_(1.5)
        z = torch.exp(y) + self.table['a'] + self.pair[0]
        return torch.sin(y) + z
  )");
  const Model model = Model::from_module(module).value();
  CHECK(model.has_state());
  check_all_cuts(model, random_inputs({3, 4}, 5));
  CHECK(at::equal(table.at(std::string("a")).toTensor(), torch::ones({3, 4})));
  CHECK(at::equal(pair->elements()[0].toTensor(), torch::ones({3, 4})));
}

TEST_CASE("a dictionary attribute keeps its entries") {
  torch::jit::Module module("Table");
  c10::impl::GenericDict table(c10::StringType::get(), c10::TensorType::get());
  table.insert(std::string("last"), torch::zeros({3, 4}));
  module.register_attribute("table", c10::DictType::create(c10::StringType::get(), c10::TensorType::get()), table);
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        z = y + self.table['last'] * 0.5
        self.table['last'] = z
        w = torch.exp(y)
        return torch.tanh(w) + z
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("an optional attribute begins as None") {
  torch::jit::Module module("Optional");
  module.register_attribute("h", c10::OptionalType::ofTensor(), c10::IValue());
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        h = self.h
        if h is not None:
            y = y + h * 0.5
        self.h = y
        z = torch.exp(y)
        return torch.sin(z) + y
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("two attributes that share memory stay together") {
  torch::jit::Module module("Shared");
  const at::Tensor whole = torch::ones({3, 4});
  module.register_buffer("whole", whole);
  module.register_buffer("row", whole.select(0, 1));
  module.define(R"(
    def forward(self, x):
        self.whole.add_(1.0)
        y = torch.sigmoid(x)
        z = y * self.row
        return torch.tanh(z) + 1.0
  )");
  const Model model = Model::from_module(module).value();
  const auto inputs = random_inputs({3, 4}, 5);
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  for (std::size_t cut = 0; cut < layer_of(graph, "prim::GetAttr", 1); ++cut) CHECK_FALSE(graph.cuts[cut].valid);
  CHECK(reasons(graph).count("state would be shared") == 1);
  check_all_cuts(model, inputs);
}

TEST_CASE("each submodule's state goes with its layers") {
  const auto unit = std::make_shared<torch::jit::CompilationUnit>();
  const auto counter = [&](const char* name, float start) {
    torch::jit::Module module(c10::QualifiedName(std::string("__torch__.") + name), unit);
    module.register_buffer("seen", torch::full({1}, start));
    module.register_buffer("scale", torch::full({1}, 0.5));
    module.define(R"(
      def forward(self, x):
          self.seen.add_(1.0)
          return torch.sigmoid(x * self.scale) + self.seen
    )");
    return module;
  };
  torch::jit::Module inner(c10::QualifiedName("__torch__.Inner"), unit);
  inner.register_module("counter", counter("CounterA", 0));
  inner.define("def forward(self, x):\n    return self.counter.forward(x) * 2.0\n");
  torch::jit::Module outer(c10::QualifiedName("__torch__.Outer"), unit);
  outer.register_module("inner", inner);
  outer.register_module("counter", counter("CounterB", 10));
  outer.define(
      "def forward(self, x):\n    return torch.tanh(self.counter.forward(torch.sin(self.inner.forward(x)))) + 1.0\n");

  const Model model = Model::from_module(outer).value();
  const auto inputs = random_inputs({3, 4}, 5);
  check_all_cuts(model, inputs);
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  const std::size_t between = layer_of(graph, "aten::sin");
  REQUIRE(graph.cuts[between].valid);
  const Segment first = model.segment(0, between).value();
  const Segment second = model.segment(between + 1, model.layer_count() - 1).value();
  CHECK(keeps(first, "inner_counter_seen"));
  CHECK_FALSE(keeps(first, "counter_seen"));
  CHECK(keeps(second, "counter_seen"));
  CHECK_FALSE(keeps(second, "inner_counter_seen"));
  CHECK_FALSE(keeps(first, "inner_counter_scale"));  // Only read: a constant.
}

TEST_CASE("a submodule that is called twice keeps one state") {
  const auto unit = std::make_shared<torch::jit::CompilationUnit>();
  torch::jit::Module counter(c10::QualifiedName("__torch__.Counter"), unit);
  counter.register_buffer("seen", torch::zeros({1}));
  counter.define("def forward(self, x):\n    self.seen.add_(1.0)\n    return torch.sigmoid(x) + self.seen\n");
  torch::jit::Module module(c10::QualifiedName("__torch__.Twice"), unit);
  module.register_module("counter", counter);
  module.define(
      "def forward(self, x):\n    return "
      "torch.tanh(self.counter.forward(torch.sin(self.counter.forward(torch.cos(x))))) * 2.0\n");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("two pieces of state live in two segments, and no cut parts one of them") {
  const Model model = Model::from_module(two_counters()).value();
  const auto inputs = random_inputs({3, 4}, 5);
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  CHECK(reasons(graph).count("state would be shared") == 1);
  const std::size_t between = layer_of(graph, "aten::tanh");
  REQUIRE(graph.cuts[between].valid);
  const Segment first = model.segment(0, between).value();
  const Segment second = model.segment(between + 1, model.layer_count() - 1).value();
  CHECK(keeps(first, "first"));
  CHECK_FALSE(keeps(first, "second"));
  CHECK(keeps(second, "second"));
  CHECK_FALSE(keeps(second, "first"));

  const std::size_t counted = layer_of(graph, "aten::add_");
  CHECK_FALSE(graph.cuts[counted].valid);
  const Error refused = model.segment(0, counted).error();
  CHECK(refused.code == Errc::CutRejected);
  CHECK(refused.message.find("state would be shared: layers 0 to 3 use 'state_first'") != std::string::npos);
  check_all_cuts(model, inputs);
}

TEST_CASE("caches that are written in place stay with their layers") {
  const auto unit = std::make_shared<torch::jit::CompilationUnit>();
  torch::jit::Module decoder(c10::QualifiedName("__torch__.Decoder"), unit);
  std::string code = "def forward(self, x, position: int):\n";
  for (const std::string index : {"0", "1", "2"}) {
    torch::jit::Module layer(c10::QualifiedName("__torch__.Layer" + index), unit);
    layer.register_buffer("keys", torch::zeros({8, 4}));
    layer.register_buffer("values", torch::zeros({8, 4}));
    layer.define(R"(
      def forward(self, x, position: int):
          self.keys[position] = torch.tanh(x).squeeze(0)
          self.values.narrow(0, position, 1).copy_(torch.sigmoid(x))
          weights = torch.softmax(torch.matmul(self.keys, torch.sin(x).t()), 0)
          return x + torch.matmul(weights.t(), self.values)
    )");
    decoder.register_module("layer" + index, layer);
    code += "    x = self.layer" + index + ".forward(torch.cos(x), position)\n";
  }
  decoder.define(code + "    return x\n");
  const Model model = Model::from_module(decoder).value();
  std::vector<Values> inputs;
  for (std::int64_t position = 0; position < 6; ++position)
    inputs.push_back({Value(torch::randn({1, 4})), Value(position)});
  check_all_cuts(model, inputs);
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  for (const std::size_t nth : {1, 2}) CHECK(graph.cuts[layer_of(graph, "aten::cos", nth)].valid);
}

TEST_CASE("an operator that throws inside a submodule of a model with state is an error, no crash") {
  const auto unit = std::make_shared<torch::jit::CompilationUnit>();
  torch::jit::Module inner(c10::QualifiedName("__torch__.Inner"), unit);
  inner.register_buffer("seen", torch::zeros({4}));
  inner.define("def forward(self, x):\n    self.seen.add_(torch.tanh(x))\n    return torch.sin(x) + self.seen\n");
  std::optional<Segment> whole;
  {
    torch::jit::Module outer(c10::QualifiedName("__torch__.Outer"), unit);
    outer.register_module("inner", inner);
    outer.define("def forward(self, x):\n    return torch.cos(self.inner.forward(torch.exp(x)))\n");
    const Model model = Model::from_module(outer).value();
    const auto graph = model.layer_graph({Value(torch::ones({3, 5}))});
    REQUIRE_FALSE(graph.has_value());
    CHECK(graph.error().message.find("size") != std::string::npos);
    whole = model.segment(0, model.layer_count() - 1).value();
  }
  for (const Form form : {Form::Plain, Form::Optimized}) {  // The model is gone.
    const auto executor = make_executor(*whole, form).value();
    CHECK_FALSE(executor->run({Value(torch::ones({3, 5}))}).has_value());
    CHECK(executor->run({Value(torch::ones({4}))}).has_value());
  }
}

TEST_CASE("attributes that come to share memory, for a call or for good") {
  torch::jit::Module module("Sharing");
  module.register_buffer("first", torch::zeros({3, 4}));
  module.register_buffer("second", torch::ones({3, 4}));
  module.register_buffer("third", torch::ones({3, 4}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x) + self.first
        self.first = self.second
        z = torch.tanh(y)
        self.second.add_(1.0)
        w = torch.sin(z) + self.first * 0.1
        self.third = self.first.view([4, 3]).t()
        v = torch.cos(w)
        self.first.mul_(0.5)
        return v + self.third.reshape([3, 4])
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 6));
}

namespace {

/// A module with buffers of the shape {3, 4}, checked over six calls with the last of `more` added to each.
void check_buffers(const std::vector<std::string>& names, const std::string& body, const std::string& arguments = "",
                   const std::vector<Value>& more = {}, Aliases aliases = Aliases::Declared) {
  torch::jit::Module module("Buffers");
  float fill = 0.1F;
  for (const std::string& name : names) module.register_buffer(name, torch::full({3, 4}, fill += 0.25F));
  module.define("def forward(self, x" + arguments + "):\n" + body);
  std::vector<Values> inputs = random_inputs({3, 4}, 6);
  for (std::size_t i = 0; i < inputs.size() && !more.empty(); ++i) inputs[i].push_back(more[i % more.size()]);
  const Model model = Model::from_module(module).value();
  CHECK(model.has_state());
  check_all_cuts(model, inputs, aliases);
}

}  // namespace

TEST_CASE("a buffer that is written through an attribute in which it is stored") {
  check_buffers({"init", "h"}, R"(
        y = torch.sigmoid(x) + self.init
        z = torch.tanh(y)
        if reset:
            self.h = self.init
        self.h.add_(1.0)
        return z + self.h
  )",
                ", reset: bool", {Value(false), Value(true), Value(false), Value(false)});
}

TEST_CASE("a buffer that is written through a view of it that is stored") {
  check_buffers({"table", "h"}, R"(
        y = torch.sigmoid(x) + self.table
        z = torch.tanh(y)
        self.h.add_(1.0)
        w = z + self.h
        self.h = self.table.view([x.size(0), 4])
        return w
  )");
}

TEST_CASE("a buffer that is written through an operator that returns its argument") {
  check_buffers({"h"}, R"(
        y = torch.sigmoid(x) + self.h
        z = torch.tanh(y)
        w = self.h.type_as(x)
        w.add_(1.0)
        return z + w
  )",
                "", {}, Aliases::Undeclared);
}

TEST_CASE("a buffer that a loop hands on, also without a turn") {
  const std::vector<Value> turns{Value(std::int64_t{0}), Value(std::int64_t{2}), Value(std::int64_t{0})};
  check_buffers({"first", "second"}, R"(
        a = self.first
        a.mul_(0.5)
        y = torch.sigmoid(x) + a
        for i in range(n):
            a = self.second
        z = torch.sin(y)
        a.add_(1.0)
        return z + a
  )",
                ", n: int", turns);
  check_buffers({"first", "second"}, R"(
        b = self.second
        b.mul_(0.5)
        y = torch.sigmoid(x) + b
        a = self.first
        for i in range(n):
            a.add_(1.0)
            a = b
        return torch.sin(y) + a
  )",
                ", n: int", turns);
}

TEST_CASE("statistics that normalization updates are state") {
  for (const std::string before : {"", "        m.mul_(0.5)\n"}) {
    torch::jit::Module module("Normalizes");
    module.register_buffer("mean", torch::zeros({4}));
    module.register_buffer("var", torch::ones({4}));
    module.define("def forward(self, x):\n        m = self.mean\n" + before +
                  R"(        y = torch.sigmoid(x) + m
        z = torch.tanh(y)
        return torch.batch_norm(z, None, None, m, self.var, True, 0.1, 1e-5, False) + self.var
    )");
    const Model model = Model::from_module(module).value();
    CHECK(model.has_state());
    check_all_cuts(model, random_inputs({3, 4}, 5));
  }
}

TEST_CASE("an input that the module keeps is its own") {
  torch::jit::Module module("Keeps");
  module.register_buffer("last", torch::zeros({3, 4}));
  module.define(R"(
    def forward(self, x):
        y = torch.sin(x) + self.last
        self.last = x
        return torch.tanh(y)
  )");
  const Model model = Model::from_module(module).value();
  check_all_cuts(model, random_inputs({3, 4}, 5));
  const Segment whole = model.segment(0, model.layer_count() - 1).value();
  const auto executor = make_executor(whole, Form::Plain).value();
  const auto inputs = random_inputs({3, 4}, 2);
  const at::Tensor first = inputs[0].front().tensor().clone();
  REQUIRE(executor->run({Value(first)}).has_value());
  first.fill_(100);  // Its owner goes on using it.
  const Value answer = executor->run(inputs[1]).value().front();
  const at::Tensor expected = torch::tanh(torch::sin(inputs[1].front().tensor()) + inputs[0].front().tensor());
  CHECK(compare(answer, Value(expected)).relative_error <= 1e-6);
}

TEST_CASE("layers that use state are marked") {
  const Model model = Model::from_module(two_counters()).value();
  const LayerGraph graph = model.layer_graph(random_inputs({3, 4}, 1).front()).value();
  std::size_t marked = 0;
  for (const Layer& layer : graph.layers) {
    INFO(layer.name);
    if (layer.op == "prim::GetAttr") CHECK(layer.stateful);
    if (layer.op == "aten::sigmoid" || layer.op == "aten::tanh") CHECK_FALSE(layer.stateful);
    marked += layer.stateful ? 1 : 0;
  }
  CHECK(marked >= 2);
}

TEST_CASE("each executor begins with fresh state, and nobody else's state changes") {
  const Model model = Model::from_module(two_counters()).value();
  const auto inputs = random_inputs({3, 4}, 4);
  const Values answers = answers_of_unsplit(model, inputs);
  CHECK(compare(answers[0], run_whole(model, inputs[0])).bit_equal);
  const Segment whole = model.segment(0, model.layer_count() - 1).value();
  for (const Form form : {Form::Plain, Form::Optimized}) {
    const auto one = make_executor(whole, form).value();
    const auto other = make_executor(whole, form).value();
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      CHECK(compare(one->run(inputs[i]).value().front(), answers[i]).relative_error <= 1e-4);
      CHECK(compare(run_whole(model, inputs[0]), answers[0]).bit_equal);
      (void)model.layer_graph(inputs[i]).value();  // Runs every layer once.
    }
    for (std::size_t i = 0; i < inputs.size(); ++i)
      CHECK(compare(other->run(inputs[i]).value().front(), answers[i]).relative_error <= 1e-4);
  }
  const auto first = model.reference_executor().value();
  const auto second = model.reference_executor().value();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    CHECK(compare(first->run(inputs[i]).value().front(), answers[i]).bit_equal);
    CHECK(compare(second->run(inputs[i]).value().front(), answers[i]).bit_equal);
  }
}

TEST_CASE("an answer that is the state itself is right when it is given") {
  torch::jit::Module module("AnswersState");
  module.register_buffer("sum", torch::zeros({3, 4}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        z = torch.exp(y)
        self.sum.add_(z)
        return self.sum
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("what an optimiser would compute in place is still there when it is state") {
  torch::jit::Module module("ConvolutionKept");
  module.register_attribute("previous", c10::TensorType::get(), torch::zeros({2, 4, 6, 6}));
  module.register_parameter("weight", torch::full({4, 3, 3, 3}, 0.1), false);
  module.define(R"(
    def forward(self, x):
        s = torch.sin(x)
        y = torch.conv2d(s, self.weight) - 0.5
        z = torch.relu(y) + self.previous
        self.previous = y
        return torch.tanh(z) + 1.0
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({2, 3, 8, 8}, 5));
}

TEST_CASE("state that only one branch writes") {
  torch::jit::Module module("Sometimes");
  module.register_buffer("seen", torch::zeros({1}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        if bool(x.sum() > 0):
            self.seen.add_(1.0)
            y = y + self.seen
        z = torch.exp(y)
        return torch.sin(z) + 2.0
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 6));
}

TEST_CASE("attributes that are only read are constants") {
  torch::jit::Module module("Reader");
  module.register_buffer("scale", torch::full({4}, 2.0));
  c10::impl::GenericDict table(c10::StringType::get(), c10::TensorType::get());
  table.insert(std::string("a"), torch::ones({4}));
  module.register_attribute("table", c10::DictType::create(c10::StringType::get(), c10::TensorType::get()), table);
  module.register_attribute("factors", c10::ListType::ofFloats(), c10::IValue(std::vector<double>{0.5, 2.0}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x) * self.scale
        z = y + self.table['a']
        return torch.tanh(z) * self.factors[1]
  )");
  const Model model = Model::from_module(module).value();
  CHECK_FALSE(model.has_state());
  for (const Layer& layer : model.layer_graph(random_inputs({3, 4}, 1).front()).value().layers)
    CHECK_FALSE(layer.stateful);
  check_all_cuts(model, random_inputs({3, 4}, 4));
}

TEST_CASE("a training counter that evaluation leaves alone is no state") {
  torch::jit::Module module("Tracked");
  module.register_attribute("training", c10::BoolType::get(), true);
  module.register_buffer("tracked", torch::zeros({1}));
  module.define(R"(
    def forward(self, x):
        if self.training:
            self.tracked.add_(1.0)
        return torch.sigmoid(x) + self.tracked
  )");
  module.train();
  CHECK_FALSE(Model::from_module(module).value().has_state());
}

TEST_CASE("a module that is shown is left as it is; one that is handed over is the reference itself") {
  torch::jit::Module module("Moded");
  module.register_attribute("training", c10::BoolType::get(), true);
  module.define(R"(
    def forward(self, x):
        return torch.dropout(torch.sigmoid(x), 0.5, self.training) * 2.0
  )");
  const Model shown = Model::from_module(module).value();
  CHECK(module.is_training());
  CHECK_FALSE(shown.unsplit().is_training());
  auto object = module._ivalue();
  const Model handed = Model::adopt(module).value();
  CHECK(handed.unsplit()._ivalue() == object);
  CHECK_FALSE(handed.unsplit().is_training());
  CHECK(shown.hash() == handed.hash());
  check_all_cuts(handed, random_inputs({3, 4}, 4));
}

namespace {

std::string hash_of_load(const std::string& archive) {
  std::istringstream bytes(archive);
  return Model::from_module(torch::jit::load(bytes)).value().hash();
}

std::string archive_of(const torch::jit::Module& module) {
  std::ostringstream bytes;
  module.save(bytes);
  return bytes.str();
}

void check_hash(const std::function<torch::jit::Module(float)>& make) {
  const std::string archive = archive_of(make(1.0F));
  const std::string hash = hash_of_load(archive);
  CHECK(hash_of_load(archive) == hash);
  CHECK(hash_of_load(archive_of(make(1.0F))) == hash);
  CHECK(hash_of_load(archive_of(make(1.25F))) != hash);
}

}  // namespace

TEST_CASE("the hash is that of what is computed: weights and state") {
  SECTION("weights") {
    check_hash([](float weight) {
      torch::jit::Module module("Weights");
      at::Tensor weights = torch::ones({4});
      weights[2] = weight;
      module.register_parameter("weight", weights, false);
      module.define("def forward(self, x):\n    return torch.sigmoid(x) * self.weight\n");
      return module;
    });
  }
  SECTION("state") {
    check_hash([](float weight) {
      torch::jit::Module module("State");
      module.register_buffer("seen", torch::full({1}, weight));
      module.define("def forward(self, x):\n    self.seen.add_(1.0)\n    return torch.sigmoid(x) * self.seen\n");
      return module;
    });
  }
  SECTION("a dictionary") {
    check_hash([](float weight) {
      torch::jit::Module module("Table");
      c10::impl::GenericDict table(c10::StringType::get(), c10::TensorType::get());
      for (const char* key : {"a", "b", "c"}) table.insert(std::string(key), torch::full({4}, weight));
      module.register_attribute("table", c10::DictType::create(c10::StringType::get(), c10::TensorType::get()), table);
      module.define("def forward(self, x):\n    return torch.sigmoid(x) * self.table['b'] + self.table['c']\n");
      return module;
    });
  }
  SECTION("the weights of a recurrent layer") {
    check_hash([](float weight) {
      torch::jit::Module module("Recurrent");
      module.register_parameter("a", torch::full({8, 4}, weight), false);
      module.register_parameter("b", torch::full({8, 2}, 0.5), false);
      module.define(R"(
        def forward(self, x):
            state = [torch.zeros([1, 3, 2]), torch.zeros([1, 3, 2])]
            bias = torch.zeros([8])
            out, h, c = torch.lstm(x, state, [self.a, self.b, bias, bias], True, 1, 0.0, False, False, False)
            return out
      )");
      return module;
    });
  }
  SECTION("packed weights") {
    const auto engines = at::globalContext().supportedQEngines();
    const auto usable = std::find_if(engines.begin(), engines.end(), [](at::QEngine e) { return e != at::kNoQEngine; });
    if (usable == engines.end()) return;
    at::globalContext().setQEngine(*usable);
    check_hash([](float weight) {
      const auto pack = c10::Dispatcher::singleton().findSchemaOrThrow("quantized::linear_prepack", "");
      std::vector<c10::IValue> stack{at::quantize_per_tensor(torch::full({4, 4}, weight), 0.01, 0, at::kQInt8),
                                     c10::IValue()};
      pack.callBoxed(stack);
      torch::jit::Module module = module_from_classes(R"(
class M(Module):
  __parameters__ = []
  __buffers__ = []
  packed : __torch__.torch.classes.quantized.LinearPackedParamsBase
  def forward(self: __torch__.M,
    x: Tensor) -> Tensor:
    q = torch.quantize_per_tensor(x, 0.05, 0, 13)
    y = ops.quantized.linear(q, self.packed, 0.1, 0)
    return torch.dequantize(y)
)");
      module._ivalue()->setAttr("packed", stack.front());
      return module;
    });
  }
}

TEST_CASE("memory that nobody has initialized is no part of the hash") {
  torch::jit::Module module("Anchors");
  module.define(R"(
    def forward(self, x):
        return torch.sigmoid(x) + torch.empty([1000]).fill_(x.size(0))
  )");
  const std::string archive = archive_of(module);
  std::set<std::string> hashes;
  for (int load = 0; load < 4; ++load) {
    std::vector<at::Tensor> left_behind;
    left_behind.reserve(16);
    for (int i = 0; i < 16; ++i) left_behind.push_back(torch::full({1000}, load + 1.0));
    left_behind.clear();  // What torch.empty finds.
    hashes.insert(hash_of_load(archive));
  }
  CHECK(hashes.size() == 1);
}

TEST_CASE("a model hashes the same from a file and after it has run") {
  const auto file = std::filesystem::temp_directory_path() / "amp4ec_state_test.pt";
  two_counters().save(file.string());
  const Model model = Model::load(file).value();
  (void)run_whole(model, random_inputs({3, 4}, 1).front());
  CHECK(Model::load(file).value().hash() == model.hash());
  std::filesystem::remove(file);
}

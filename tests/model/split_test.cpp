// SPDX-License-Identifier: Apache-2.0
// Equality with the unsplit module is the heart: every test calls at least four times with different inputs.
#include "model/split_check.hpp"
#include "model/support.hpp"
#include "support/catch.hpp"

#include <amp4ec/model/compare.hpp>
#include <amp4ec/model/segment_executor.hpp>

#include <torch/csrc/jit/api/module.h>

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <set>

using namespace amp4ec;
using namespace amp4ec::test;

TEST_CASE("residual blocks are cut inside and between") {
  auto module = module_from(R"(
    def forward(self, x):
        a = torch.relu(torch.conv2d(x, torch.ones([4, 3, 3, 3]) * 0.1, None, [1, 1], [1, 1]))
        b = torch.conv2d(a, torch.ones([4, 4, 3, 3]) * 0.05, None, [1, 1], [1, 1])
        c = torch.relu(a + b)
        return torch.flatten(torch.adaptive_avg_pool2d(c, [2, 2]), 1)
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({2, 3, 8, 8}, 4));
}

TEST_CASE("a value that is made before a cut and written after it is right on every call") {
  // Folded as a constant, the list and the zeros would be right on the first call only.
  auto module = module_from(R"(
    def forward(self, x):
        parts = []
        total = torch.zeros([4])
        y = torch.relu(x)
        parts.append(y)
        total.add_(y.sum(0))
        z = y * 2.0
        parts.append(z)
        total.add_(z.sum(0))
        return torch.cat(parts) + total
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("a cut that would break an alias is refused with the reason") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.relu(x)
        v = torch.select(y, 0, 0)
        w = torch.sigmoid(x)
        v.copy_(torch.select(w, 0, 1))
        return torch.tanh(torch.mul(y, w))
  )");
  const Model model = Model::from_module(module).value();
  const auto inputs = random_inputs({3, 4}, 4);
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  std::set<std::string> reasons;
  for (const Cut& cut : graph.cuts) {
    if (!cut.valid) reasons.insert(cut.reason.substr(0, cut.reason.find(':')));
  }
  CHECK(reasons == std::set<std::string>{"alias crosses"});
  check_all_cuts(model, inputs);
}

TEST_CASE("the caller's input is not changed where the model writes to it") {
  auto module = module_from(R"(
    def forward(self, x):
        x.add_(1.0)
        y = torch.relu(x)
        return torch.sigmoid(y)
  )");
  const Model model = Model::from_module(module).value();
  for (const Form form : {Form::Plain, Form::Optimized}) {
    const auto whole = make_executor(model.segment(0, model.layer_count() - 1).value(), form).value();
    for (const Values& input : random_inputs({3, 4}, 4)) {
      const at::Tensor kept = input.front().tensor().clone();
      const Value expected(at::sigmoid(at::relu(kept + 1.0)));
      CHECK(compare(run_whole(model, input), expected).bit_equal);
      CHECK(compare(whole->run(input).value().front(), expected).relative_error <= 1e-6);
      CHECK(model.layer_graph(input).has_value());
      CHECK(at::equal(input.front().tensor(), kept));
    }
  }
}

TEST_CASE("the caller's input is not changed through operators that return it") {
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x, like):
        t = x.type_as(like).view([3, 4]).type_as(like)
        t.mul_(3.0)
        return torch.tanh(t) + like
  )"))
                          .value();
  std::vector<Values> inputs = random_inputs({3, 4}, 4);
  for (Values& values : inputs) values.emplace_back(torch::rand({3, 4}));
  check_all_cuts(model, inputs);  // Which compares the inputs afterwards.
}

TEST_CASE("a list among the inputs whose tensors the model writes stays as it was") {
  auto module = module_from(R"(
    def forward(self, xs: List[Tensor]):
        first = xs[0]
        first.mul_(2.0)
        return torch.sigmoid(first) + xs[1]
  )");
  const Model model = Model::from_module(module).value();
  const at::Tensor a = at::ones({3});
  const at::Tensor b = at::full({3}, 0.25);
  const Values input{Value(c10::IValue(std::vector<at::Tensor>{a, b}))};
  for (int call = 0; call < 4; ++call) {
    CHECK(compare(run_whole(model, input), Value(at::sigmoid(at::full({3}, 2.0)) + 0.25)).relative_error <= 1e-6);
  }
  CHECK(model.layer_graph(input).has_value());
  CHECK(at::equal(a, at::ones({3})));
}

TEST_CASE("dropout hands on its input, and who writes to either writes to both") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        d = torch.dropout(y, 0.5, False)
        torch.mul_(d, 3.0)
        return torch.tanh(y + d)
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 4));
}

TEST_CASE("lists and views of what is written are refused or right") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        parts = [y, torch.select(y, 0, 0)]
        both = (parts[1], y)
        if bool(x.sum() > 0):
            both[0].mul_(2.0)
        else:
            parts[0].add_(1.0)
        z = torch.tanh(y)
        return torch.cat([z, parts[0], both[1]])
  )");
  check_all_cuts(Model::from_module(module).value(), random_inputs({3, 4}, 5));
}

TEST_CASE("a model's own names do not get in the way of a segment's arguments") {
  auto module = module_from(R"(
    def forward(self, a, b):
        if bool(a.sum() > 0):
            x0 = a + 1.0
            x1 = b * 2.0
        else:
            x0 = a - 1.0
            x1 = b * 3.0
        x2 = torch.relu(x0) + x1
        return torch.sigmoid(x2) + x0
  )");
  std::vector<Values> inputs = random_inputs({3, 4}, 4);
  for (Values& input : inputs) input.push_back(input.front().tensor() * 0.5);
  check_all_cuts(Model::from_module(module).value(), inputs);
}

TEST_CASE("many small values cross in a message of known size") {
  auto module = module_from(R"(
    def forward(self, x):
        rows = torch.unbind(torch.sigmoid(x))
        numbers = [i * i for i in range(1000)]
        return torch.cat([rows[0], rows[1]]) + float(numbers[999])
  )");
  const Model model = Model::from_module(module).value();
  const auto inputs = random_inputs({200, 1}, 4);
  for (const Cut& cut : model.layer_graph(inputs.front()).value().cuts) {
    if (cut.valid) CHECK(cut.message >= cut.crossing);
  }
  check_all_cuts(model, inputs);
}

TEST_CASE("numbers, lists, tuples and None cross a cut") {
  auto module = module_from(R"(
    def forward(self, x, y: Optional[Tensor] = None):
        n = x.size(0)
        sizes = [n, x.size(1)]
        pair = (torch.relu(x), n * 2)
        if y is None:
            z = pair[0] + 1.0
        else:
            z = pair[0] + y
        flag = pair[1] > 3
        scale = float(n) * 0.5
        if flag:
            z = z * scale
        return z.reshape(sizes), pair[1]
  )");
  const Model model = Model::from_module(module).value();
  check_all_cuts(model, random_inputs({3, 4}, 4));
  std::vector<Values> both = random_inputs({5, 4}, 4);
  for (Values& input : both) input.push_back({at::ones({5, 4})});
  check_all_cuts(model, both);
}

TEST_CASE("control flow stays whole and shapes are not baked in") {
  auto module = module_from(R"(
    def forward(self, x):
        y = torch.relu(x)
        i = 0
        while i < y.size(0):
            y = y + torch.sigmoid(y) * float(i)
            i += 1
        return torch.tanh(y).sum(1)
  )");
  const Model model = Model::from_module(module).value();
  check_all_cuts(model, random_inputs({3, 4}, 4));
  // Profiled with one shape, run with others.
  const LayerGraph graph = model.layer_graph(random_inputs({3, 4}, 1).front()).value();
  Executors split = split_through_archives(model, {0}, Form::Plain);
  for (const std::int64_t rows : {1, 2, 6, 9}) {
    const Values input = random_inputs({rows, 7}, 1).front();
    CHECK(compare(split.run(model, input), run_whole(model, input)).bit_equal);
  }
}

TEST_CASE("a segment in the middle passes on what later segments need") {
  auto module = module_from(R"(
    def forward(self, x):
        a = torch.relu(x)
        b = torch.sigmoid(a)
        c = torch.tanh(b)
        d = torch.sin(c)
        return d + a
  )");
  const Model model = Model::from_module(module).value();
  Executors three = split_through_archives(model, {1, 2}, Form::Plain);
  for (const Values& input : random_inputs({3, 4}, 4)) {
    CHECK(compare(three.run(model, input), run_whole(model, input)).bit_equal);
  }
}

TEST_CASE("a model that keeps state is split with the state in one segment") {
  torch::jit::Module module("Counter");
  module.register_buffer("seen", torch::zeros({1}));
  module.define(R"(
    def forward(self, x):
        y = torch.sigmoid(x)
        self.seen.add_(1.0)
        z = y + self.seen
        return torch.tanh(z) * 2.0
  )");
  const Model model = Model::from_module(module).value();
  CHECK(model.has_state());
  CHECK(reasons(model.layer_graph(random_inputs({3, 4}, 1).front()).value()) ==
        std::set<std::string>{"state would be shared"});
  check_all_cuts(model, random_inputs({3, 4}, 4));
}

TEST_CASE("random operators are marked") {
  const auto marked = [](const std::string& body) {
    const Model model = Model::from_module(module_from("def forward(self, x):\n" + body)).value();
    std::vector<std::string> random;
    for (const Layer& layer : model.layer_graph(random_inputs({3, 4}, 1).front()).value().layers) {
      if (layer.random) random.push_back(layer.op);
    }
    return random;
  };
  using Names = std::vector<std::string>;
  CHECK(marked("    return torch.relu(x) + torch.rand([4])\n") == Names{"aten::rand"});
  CHECK(marked("    return torch.dropout(torch.relu(x), 0.5, True) * 2.0\n") == Names{"aten::dropout"});
  CHECK(marked("    return torch.dropout(torch.relu(x), 0.0, True) * 2.0\n").empty());
  CHECK(marked("    return torch.dropout(torch.relu(x), 0.5, False) * 2.0\n").empty());
  CHECK(marked("    p = float(x.size(0)) * 0.1\n    return torch.dropout(torch.relu(x), p, True) * 2.0\n") ==
        Names{"aten::dropout"});
  CHECK(
      marked(
          "    y = torch.relu(x)\n    if bool(x.sum() > 0):\n        y = y + torch.rand([4])\n    return y * 2.0\n") ==
      Names{"prim::If"});
  CHECK(marked("    return torch.relu(x) * 2.0\n").empty());
}

TEST_CASE("recurrent layers that drop out between their steps are marked") {
  const auto marked = [](const std::string& dropout, const std::string& train) {
    auto module = module_from(R"(
      def forward(self, x):
          w = [torch.ones([8, 4]) * 0.1, torch.ones([8, 2]) * 0.1, torch.zeros([8]), torch.zeros([8]),
               torch.ones([8, 2]) * 0.1, torch.ones([8, 2]) * 0.1, torch.zeros([8]), torch.zeros([8])]
          state = [torch.zeros([2, 3, 2]), torch.zeros([2, 3, 2])]
          out, h, c = torch.lstm(torch.relu(x), state, w, True, 2, )" +
                              dropout + ", " + train + R"(, False, False)
          return out + h[0]
    )");
    const auto graph = Model::from_module(module).value().layer_graph(random_inputs({5, 3, 4}, 1).front()).value();
    return graph.layers[layer_of(graph, "aten::lstm")].random;
  };
  CHECK(marked("0.5", "True"));
  CHECK_FALSE(marked("0.0", "True"));
  CHECK_FALSE(marked("0.5", "False"));
}

TEST_CASE("what is not a model is refused with one clear error") {
  torch::jit::Module no_forward("NoForward");
  no_forward.define("def other(self, x):\n    return x + 1\n");
  CHECK(Model::from_module(no_forward).error().code == Errc::ModelRejected);

  const Model model = Model::from_module(module_from("def forward(self, x):\n    return torch.relu(x) + 1\n")).value();
  CHECK(model.check_inputs({}).error().code == Errc::InputMismatch);
  CHECK(model.check_inputs({Value(c10::IValue(3))}).error().code == Errc::InputMismatch);
  CHECK(model.segment(1, 0).error().code == Errc::PlanInvalid);
  CHECK(model.segment(0, 99).error().code == Errc::PlanInvalid);
}

TEST_CASE("a segment that may not be written: an error, no signal, and nothing is left") {
  const Model model = Model::from_module(module_from("def forward(self, x):\n    return torch.relu(x) + 1\n")).value();
  const Segment segment = model.segment(0, 0).value();
  const std::string file = "/tmp/amp4ec-segment-test-" + std::to_string(getpid()) + ".pt";
  const pid_t child = fork();
  if (child == 0) {
    rlimit limit{};
    getrlimit(RLIMIT_FSIZE, &limit);
    limit.rlim_cur = 100;
    signal(SIGXFSZ, SIG_DFL);
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) _exit(1);
    const auto saved = segment.save(file);
    _exit(saved.has_error() && saved.error().code == Errc::SystemCall ? 0 : 2);
  }
  int status = -1;
  REQUIRE(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK_FALSE(std::filesystem::exists(file));
  CHECK_FALSE(std::filesystem::exists(file + ".part"));
}

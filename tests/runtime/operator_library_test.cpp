// SPDX-License-Identifier: Apache-2.0
#include "runtime/support.hpp"

#include <amp4ec/model/operator_library.hpp>
#include <amp4ec/runtime/probe.hpp>

using namespace amp4ec;
using namespace amp4ec::test;

TEST_CASE("models with custom operators are split, tried and run in workers that know the library") {
  REQUIRE(load_operator_library(AMP4EC_TEST_OPERATORS).has_value());
  REQUIRE(load_operator_library(AMP4EC_TEST_OPERATORS).has_value());  // Twice is harmless.
  REQUIRE(loaded_operator_libraries().size() == 1);

  const auto module = module_from_classes(R"(
class M(Module):
  __parameters__ = []
  __buffers__ = []
  def forward(self: __torch__.M, x: Tensor) -> Tensor:
    y = torch.mul(torch.sigmoid(x), 3.0)
    z = ops.amp4ec_test.soft_clip(y, 1.5)
    w = ops.amp4ec_test.mirrored(torch.add(z, x))
    return torch.add(torch.relu(w), 1.0)
)");
  const auto inputs = random_inputs({3, 4}, 4);
  const auto expected = [](const Values& input) {
    const at::Tensor x = input.front().tensor();
    const at::Tensor z = 1.5 * at::tanh(at::sigmoid(x) * 3.0 / 1.5) + x;
    return Value(at::relu(at::cat({z, z.flip(0)})) + 1.0);
  };

  const auto file =
      std::filesystem::temp_directory_path() / ("amp4ec-operators-test-" + std::to_string(getpid()) + ".pt");
  module.save(file.string());
  const auto loaded = load_untrusted(file, &inputs.front());
  std::filesystem::remove(file);
  REQUIRE(loaded.has_value());
  const Model& model = *loaded;
  const LayerGraph graph = model.layer_graph(inputs.front()).value();
  const std::size_t last = model.layer_count() - 1;

  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}}).value();
  SessionOptions options;
  options.form = Form::Plain;
  std::size_t tried = 0;
  for (std::size_t cut = 0; cut < graph.cuts.size(); ++cut) {
    if (!graph.cuts[cut].valid) continue;
    Session session =
        runtime.open(model, plan_of({pipeline({{"a", 0, cut}, {"b", cut + 1, last}})}), inputs.front(), options)
            .value();
    for (const Values& input : inputs) CHECK(compare(session.infer(input).value(), expected(input)).bit_equal);
    ++tried;
  }
  CHECK(tried >= 3);
}

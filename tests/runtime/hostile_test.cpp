// SPDX-License-Identifier: Apache-2.0
// A worker that turns on the host: what it writes into what it shares must not stop the host, or mislead it for good.
#include "runtime/events.hpp"
#include "runtime/support.hpp"

#include <amp4ec/model/operator_library.hpp>

#include <boost/asio/use_future.hpp>

#include <chrono>
#include <future>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;

namespace {

Model model_that_scribbles() {
  return Model::from_module(module_from_classes(R"(
class M(Module):
  __parameters__ = []
  __buffers__ = []
  def forward(self: __torch__.M, x: Tensor) -> Tensor:
    y = torch.add(torch.relu(x), 1.0)
    z = ops.amp4ec_test.scribble(y)
    return torch.mul(torch.tanh(z), 2.0)
)"))
      .value();
}

std::size_t layer_of(const Model& model, const Values& inputs, const std::string& op) {
  const auto layers = model.layer_graph(inputs).value().layers;
  const auto found = std::find_if(layers.begin(), layers.end(), [&](const Layer& layer) { return layer.op == op; });
  REQUIRE(found != layers.end());
  return static_cast<std::size_t>(found - layers.begin());
}

}  // namespace

TEST_CASE("a hostile worker, first, last or in the middle, can neither stop the host nor stay") {
  REQUIRE(load_operator_library(AMP4EC_TEST_OPERATORS).has_value());
  const Model model = model_that_scribbles();
  const auto inputs = random_inputs({3, 4}, 4);
  const std::size_t last = model.layer_count() - 1;
  const std::size_t hostile = layer_of(model, inputs.front(), "amp4ec_test::scribble");
  REQUIRE(hostile > 0);
  REQUIRE(hostile < last);
  const auto plan =
      GENERATE_COPY(plan_of({pipeline({{"a", 0, hostile}, {"b", hostile + 1, last}})}),
                    plan_of({pipeline({{"a", 0, hostile - 1}, {"b", hostile, last}})}),
                    plan_of({pipeline({{"a", 0, hostile - 1}, {"b", hostile, hostile}, {"c", hostile + 1, last}})}));

  auto runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}, {"c", 1.0_cpu, 1_GiB}}).value();
  Events events;
  SessionOptions options;
  options.form = Form::Plain;
  options.stall_timeout = 500ms;
  options.request_timeout = 20s;
  options.on_event = events.sink();
  Session session = runtime.open(model, plan, inputs.front(), options).value();

  for (int attack = 0; attack < 8; ++attack) {
    std::vector<std::future<Result<Value>>> answers;
    for (std::size_t i = 0; i < session.max_in_flight(); ++i) {
      const Values request = i == 2 ? Values{at::full({3, 4}, 200.0 + attack)} : inputs[i % inputs.size()];
      answers.push_back(session.async_infer(request, boost::asio::use_future));
    }
    // Its neighbours' messages lie where it has written: any answer, but one each.
    for (auto& answer : answers) {
      REQUIRE(answer.wait_for(60s) == std::future_status::ready);
      (void)answer.get();
    }
    // What it has spoilt without a sign shows in the next answers at the latest; then all is as before.
    const auto deadline = std::chrono::steady_clock::now() + 60s;
    for (std::size_t right = 0; right < 4;) {
      REQUIRE(std::chrono::steady_clock::now() < deadline);
      const Values& request = inputs[right];
      const auto answer = session.infer(request);
      right = answer && compare(*answer, whole_answer(model, request)).bit_equal ? right + 1 : 0;
    }
  }
  CHECK(events.count(SessionEvent::Kind::worker_died) > 0);
}

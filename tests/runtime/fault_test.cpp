// SPDX-License-Identifier: Apache-2.0
#include "runtime/load.hpp"
#include "runtime/support.hpp"

#include <amp4ec/monitor/monitor.hpp>

#include <boost/asio/use_future.hpp>

#include <csignal>
#include <cstdlib>
#include <future>

using namespace amp4ec;
using namespace amp4ec::test;

namespace {

/// Takes 4 MiB for each unit of its input's first element.
Model hungry_model() {
  return Model::from_module(module_from(R"(
    def forward(self, x):
        big = torch.ones([int(x[0].item()), 1024, 1024])
        return big.sum(1).sum(1) + 1.0
  )"))
      .value();
}

}  // namespace

TEST_CASE("a request that gets no answer in time fails, and its late answer is dropped") {
  const Model model = small_model();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  const auto input = random_inputs({3, 4}, 1).front();
  SessionOptions options;
  options.request_timeout = std::chrono::milliseconds(1000);
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input, options).value();
  const pid_t worker = session.stages().front().pid;
  kill(worker, SIGSTOP);
  CHECK(session.infer(input).error().code == Errc::WorkerUnresponsive);
  kill(worker, SIGCONT);
  const Values other{at::full({3, 4}, 2.0)};
  CHECK(compare(session.infer(other).value(), whole_answer(model, other)).relative_error <= 1e-4);
}

TEST_CASE("closing completes what is under way") {
  const Model model = small_model();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  const auto input = random_inputs({3, 4}, 1).front();
  Session session = runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input).value();
  kill(session.stages().front().pid, SIGSTOP);
  auto answer = session.async_infer(input, boost::asio::use_future);
  session.close();
  CHECK(answer.get().error().code == Errc::SessionClosed);
}

TEST_CASE("a worker that outgrows its node is reported as out of memory") {
  Runtime runtime = Runtime::create({{"tiny", 1.0_cpu, 640_MiB}}).value();
  if (!runtime.capabilities().memory_limits) {
    WARN("memory limits cannot be set here: not tested");
    return;
  }
  const Model model = hungry_model();
  Session session =
      runtime.open(model, plan_of({pipeline({{"tiny", 0, model.layer_count() - 1}})}), {at::ones({4})}).value();
  const auto answer = session.infer({at::full({4}, 400.0)});  // 1.6 GB
  REQUIRE(answer.has_error());
  CHECK(answer.error().code == Errc::OutOfMemory);
  CHECK(answer.error().message.find("640.0 MiB") != std::string::npos);
}

TEST_CASE("while a worker is killed for memory another node's session answers, and its own does again") {
  Runtime runtime = Runtime::create({{"tiny", 1.0_cpu, 640_MiB}, {"other", 1.0_cpu, 1_GiB}}).value();
  if (!runtime.capabilities().memory_limits) {
    WARN("memory limits cannot be set here: not tested");
    return;
  }
  const Model hungry = hungry_model();
  Session first =
      runtime.open(hungry, plan_of({pipeline({{"tiny", 0, hungry.layer_count() - 1}})}), {at::ones({4})}).value();
  const Model model = small_model();
  const auto input = random_inputs({3, 4}, 1).front();
  Session second = runtime.open(model, plan_of({pipeline({{"other", 0, model.layer_count() - 1}})}), input).value();
  const pid_t killed = first.stages().front().pid;
  const Load load(second, input, whole_answer(model, input));
  load.wait_for(1);
  const std::size_t before = load.answers();
  const auto refused = first.infer({at::full({4}, 400.0)});  // 1.6 GB
  CHECK(load.answers() > before);
  REQUIRE(refused.has_error());
  CHECK(refused.error().code == Errc::OutOfMemory);
  const Values modest{at::full({4}, 2.0)};
  CHECK(compare(first.infer(modest).value(), whole_answer(hungry, modest)).bit_equal);
  CHECK(first.stages().front().pid != killed);
  load.wait_for(1);
  CHECK(second.stages().front().restarts == 0);
}

TEST_CASE("a worker executable that is missing or no worker gives one clear error") {
  RuntimeOptions options;
  options.worker_executable = "/nowhere/amp4ec-worker";
  const auto missing = Runtime::create({{"a", 1.0_cpu, 1_GiB}}, options);
  REQUIRE(missing.has_error());
  CHECK(missing.error().code == Errc::WorkerNotFound);
  CHECK(missing.error().message.find("/nowhere/amp4ec-worker") != std::string::npos);

  options.worker_executable = "/bin/false";
  const Model model = small_model();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}, options).value();
  const auto session =
      runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), random_inputs({3, 4}, 1).front());
  REQUIRE(session.has_error());
  CHECK(session.error().code == Errc::WorkerDied);
  CHECK(session.error().message.find("status 1") != std::string::npos);
}

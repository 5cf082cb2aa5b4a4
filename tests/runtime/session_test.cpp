// SPDX-License-Identifier: Apache-2.0
#include "runtime/support.hpp"

#include <boost/asio/use_future.hpp>

#include <atomic>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::test;

namespace {

Runtime two_nodes() {
  return Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}}).value();
}

/// One pipeline over both nodes.
Plan halves(const Model& model) {
  return plan_of({pipeline({{"a", 0, 1}, {"b", 2, model.layer_count() - 1}})});
}

}  // namespace

TEST_CASE("a split model answers as the whole does, and nothing is left behind") {
  const Model model = small_model();
  const auto inputs = random_inputs({3, 4}, 6);
  {
    Runtime runtime = two_nodes();
    SessionOptions options;
    options.form = Form::Plain;
    Session session = runtime.open(model, halves(model), inputs.front(), options).value();
    for (const Values& input : inputs) {
      const Difference difference = compare(session.infer(input).value(), whole_answer(model, input));
      CHECK(difference.bit_equal);
      CHECK(difference.scale > 0.1);
    }
    const auto stages = session.stages();
    REQUIRE(stages.size() == 2);
    CHECK(stages[0].node == "a");
    CHECK(stages[1].first_layer == 2);
    for (const StageReport& stage : stages) {
      CHECK(stage.alive);
      CHECK(stage.requests >= inputs.size());
      CHECK(stage.busy.count() > 0);
      CHECK(stage.rss.count > 0);
    }
  }
  CHECK(groups_left() == 0);
}

TEST_CASE("a session runs in the plain form where optimised stages together answer otherwise") {
  // Folding the arithmetic into the convolution saves much and changes its rounding, which the second stage amplifies.
  torch::manual_seed(1);
  torch::jit::Module module("Amplifier");
  module.register_parameter("weight", at::randn({16, 16, 3, 3}) * 0.1, false);
  module.register_parameter("bias", at::randn({16}), false);
  const at::Tensor scale = at::rand({1, 16, 1, 1}) + 0.5;
  module.register_parameter("scale", scale, false);
  module.register_parameter("inverse", scale.reciprocal(), false);
  std::string program = R"(
    def forward(self, x):
        y = torch.conv2d(x, self.weight, self.bias, [1, 1], [1, 1])
)";
  for (int i = 0; i < 20; ++i) program += "        y = y * self.scale\n        y = y * self.inverse\n";
  program += "        return torch.sin(y * 100000.0)\n";
  module.define(program);
  const Model model = Model::from_module(module).value();
  const std::size_t last = model.layer_count() - 1;
  const auto inputs = random_inputs({1, 16, 64, 64}, 4);
  Runtime runtime = two_nodes();
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, last - 2}, {"b", last - 1, last}})}), inputs.front()).value();
  CHECK(session.form() == Form::Plain);
  for (const Values& input : inputs) CHECK(compare(session.infer(input).value(), whole_answer(model, input)).bit_equal);

  Session whole = runtime
                      .open(small_model(), plan_of({pipeline({{"a", 0, small_model().layer_count() - 1}})}),
                            random_inputs({3, 4}, 1).front())
                      .value();
  CHECK(whole.form() == Form::Optimized);
}

TEST_CASE("many threads call at once, and every answer belongs to its request") {
  const Model model = small_model();
  Runtime runtime = two_nodes();
  SessionOptions options;
  options.form = Form::Plain;
  options.max_in_flight = 8;
  Session session = runtime.open(model, halves(model), random_inputs({3, 4}, 1).front(), options).value();
  std::atomic<int> wrong = 0;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 8; ++thread) {
    threads.emplace_back([&, thread] {
      for (int call = 0; call < 25; ++call) {
        const Values input{at::full({3, 4}, 0.01 * (thread * 25 + call))};
        const auto answer = session.infer(input);
        if (!answer || !compare(*answer, whole_answer(model, input)).bit_equal) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}

TEST_CASE("blocked callers read one another's answers, and handlers stay on the runtime's thread") {
  const Model model = small_model();
  Runtime runtime = two_nodes();
  SessionOptions options;
  options.form = Form::Plain;
  options.max_in_flight = 12;
  options.max_waiting = 4;
  options.spin = std::chrono::microseconds(GENERATE(0, 200));
  Session session = runtime.open(model, halves(model), random_inputs({3, 4}, 1).front(), options).value();
  std::atomic<int> wrong = 0;
  const auto check = [&](const Values& input, const Result<Value>& answer, bool may_be_late) {
    if (!answer && may_be_late && answer.error().code == Errc::DeadlineExceeded) return;
    if (!answer || !compare(*answer, whole_answer(model, input)).bit_equal) ++wrong;
  };
  std::vector<std::thread> threads;
  for (int thread = 0; thread < 3; ++thread) {
    threads.emplace_back([&, thread] {
      for (int call = 0; call < 60; ++call) {
        const Values input{at::full({3, 4}, 0.01 * (thread * 60 + call))};
        RequestOptions wanted;  // Some end while their caller waits at the bell.
        if (call % 5 == 0) wanted.deadline = std::chrono::steady_clock::now() + std::chrono::microseconds(80);
        check(input, session.infer(input, wanted), call % 5 == 0);
      }
    });
  }
  std::atomic<std::thread::id> handlers_thread{};
  std::atomic<int> elsewhere = 0;
  for (int call = 0; call < 60; ++call) {
    const Values input{at::full({3, 4}, -0.01 * call)};
    std::promise<Result<Value>> promise;
    session.async_infer(input, [&](Result<Value> answer) {
      const auto here = std::this_thread::get_id();
      auto first = std::thread::id();
      if (!handlers_thread.compare_exchange_strong(first, here) && first != here) ++elsewhere;
      promise.set_value(std::move(answer));
    });
    check(input, promise.get_future().get(), false);
    if (call % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));  // Now and then none is on its way.
  }
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
  CHECK(elsewhere == 0);
  CHECK(handlers_thread.load() != std::this_thread::get_id());
  CHECK(session.infer({at::ones({3, 4})}).has_value());
}

TEST_CASE("pipelines share a stage, and the scheduler uses both candidates of the next") {
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 0.5_cpu, 1_GiB}, {"c", 0.5_cpu, 1_GiB}}).value();
  for (const std::string policy : {"amp4ec", "least-outstanding", "shortest-completion", "round-robin"}) {
    INFO(policy);
    SessionOptions options;
    options.policy = policy;
    Session session =
        runtime
            .open(model, plan_of({pipeline({{"a", 0, 1}, {"b", 2, last}}), pipeline({{"a", 0, 1}, {"c", 2, last}})}),
                  random_inputs({3, 4}, 1).front(), options)
            .value();
    REQUIRE(session.stages().size() == 3);
    std::map<std::string, std::uint64_t> before;
    for (const StageReport& stage : session.stages()) before[stage.node] = stage.requests;
    for (int round = 0; round < 20; ++round) {
      std::vector<std::future<Result<Value>>> answers;
      const auto inputs = random_inputs({3, 4}, 4);
      for (const Values& input : inputs) answers.push_back(session.async_infer(input, boost::asio::use_future));
      for (std::size_t i = 0; i < inputs.size(); ++i) {
        CHECK(compare(answers[i].get().value(), whole_answer(model, inputs[i])).relative_error <= 1e-4);
      }
    }
    std::map<std::string, std::uint64_t> served;
    for (const StageReport& stage : session.stages()) served[stage.node] = stage.requests - before[stage.node];
    CHECK(served["a"] == 80);
    CHECK(served["b"] + served["c"] == 80);
    CHECK(served["b"] > 0);
    CHECK(served["c"] > 0);
  }
}

TEST_CASE("a callback that can only be moved is called once") {
  const Model model = small_model();
  Runtime runtime = two_nodes();
  const auto input = random_inputs({3, 4}, 1).front();
  Session session = runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input).value();
  std::promise<bool> done;
  session.async_infer(input, [&done, only_moves = std::make_unique<int>(1)](Result<Value> answer) {
    done.set_value(answer.has_value());
  });
  CHECK(done.get_future().get());
}

TEST_CASE("a callback that throws harms nobody else") {
  const Model model = small_model();
  Runtime runtime = two_nodes();
  const auto input = random_inputs({3, 4}, 1).front();
  Session session = runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input).value();
  session.async_infer(input, [](const Result<Value>&) { throw std::runtime_error("the host's own"); });
  session.async_infer({}, [](const Result<Value>&) { throw std::runtime_error("the host's own"); });
  for (const Values& other : random_inputs({3, 4}, 4)) {
    CHECK(compare(session.infer(other).value(), whole_answer(model, other)).relative_error <= 1e-4);
  }
  session.async_infer(input, [](const Result<Value>&) { throw std::runtime_error("the host's own"); });
  session.close();  // Fails what is under way on this thread; nothing is thrown here either.
  CHECK(session.infer(input).error().code == Errc::SessionClosed);
}

TEST_CASE("a callback may close its session, or drop the last handle of everything") {
  const Model model = small_model();
  const auto input = random_inputs({3, 4}, 1).front();
  const Plan plan = halves(model);
  for (int round = 0; round < 4; ++round) {
    auto runtime = std::make_unique<Runtime>(two_nodes());
    auto session = std::make_shared<Session>(runtime->open(model, plan, input).value());
    std::vector<std::promise<bool>> answered(session->max_in_flight());
    const bool drop = round % 2 == 1;
    for (std::promise<bool>& answer : answered) {
      session->async_infer(input, [&answer, kept = session, drop](const Result<Value>& result) mutable {
        if (!drop) kept->close();
        kept.reset();
        answer.set_value(result.has_value() || result.error().code == Errc::SessionClosed);
      });
    }
    runtime.reset();
    if (drop) session.reset();
    for (std::promise<bool>& answer : answered) CHECK(answer.get_future().get());
    if (session) CHECK(session->infer(input).error().code == Errc::SessionClosed);
  }
}

TEST_CASE("two runtimes may have nodes of the same names, each with its limits") {
  Runtime first = two_nodes();
  Runtime second = two_nodes();
  CHECK(first.capabilities().cpu_limits == second.capabilities().cpu_limits);
  CHECK(first.capabilities().memory_limits == second.capabilities().memory_limits);
  CHECK(first.capabilities().missing.size() == second.capabilities().missing.size());
}

TEST_CASE("requests past the limit are refused at once") {
  const Model model = small_model();
  Runtime runtime = two_nodes();
  const auto input = random_inputs({3, 4}, 1).front();
  SessionOptions options;
  options.max_in_flight = 1;
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input, options).value();
  int overloaded = 0;
  std::vector<std::future<Result<Value>>> answers;
  for (int call = 0; call < 50; ++call) answers.push_back(session.async_infer(input, boost::asio::use_future));
  for (auto& answer : answers) {
    const auto result = answer.get();
    if (!result) {
      CHECK(result.error().code == Errc::Overloaded);
      ++overloaded;
    }
  }
  CHECK(overloaded > 0);
  CHECK(overloaded < 50);
  CHECK(session.infer(input).has_value());
}

TEST_CASE("an exception in the model is an error of its request alone") {
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x):
        y = torch.relu(x) + 1.0
        return torch.matmul(y, torch.ones([4, 2]))
  )"))
                          .value();
  Runtime runtime = two_nodes();
  const auto input = random_inputs({3, 4}, 1).front();
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, 0}, {"b", 1, model.layer_count() - 1}})}), input).value();
  const auto wrong_shape = session.infer({at::ones({3, 2})});
  REQUIRE(wrong_shape.has_error());
  CHECK(wrong_shape.error().code == Errc::ExecutionFailed);
  CHECK(wrong_shape.error().message.find("shapes") != std::string::npos);
  CHECK(session.infer({Value()}).error().code == Errc::InputMismatch);
  CHECK(session.infer({}).error().code == Errc::InputMismatch);
  CHECK(session.infer({at::ones({500, 400})}).error().code == Errc::ExecutionFailed);  // However large.
  CHECK(session.infer(input).has_value());
}

TEST_CASE("messages and answers may be larger than those of the session's example") {
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x, n: int):
        a = torch.relu(x).repeat([n, 1]) + 1.0
        b = torch.sigmoid(a)
        c = torch.tanh(b) * a
        return torch.cat([c, a], 1)
  )"))
                          .value();
  const std::size_t last = model.layer_count() - 1;
  const auto inputs = [](const Values& x, std::int64_t n) { return Values{x.front(), Value(c10::IValue(n))}; };
  const auto xs = random_inputs({3, 40}, 6);
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 0.5_cpu, 1_GiB}, {"c", 0.5_cpu, 1_GiB}}).value();
  Session session =
      runtime
          .open(model, plan_of({pipeline({{"a", 0, last - 2}, {"b", last - 1, last - 1}, {"c", last, last}})}),
                inputs(xs.front(), 1))
          .value();
  const std::vector<std::int64_t> repeats{1, 50, 2000, 3, 10'000, 1};  // Up to 10 MB.
  for (std::size_t i = 0; i < repeats.size(); ++i) {
    const Values given = inputs(xs[i], repeats[i]);
    const Difference difference = compare(session.infer(given).value(), whole_answer(model, given));
    CHECK(difference.relative_error <= 1e-4);
    CHECK(difference.scale > 0.1);
  }
  std::vector<std::future<Result<Value>>> answers;  // Several on their way at once.
  for (const Values& x : xs) answers.push_back(session.async_infer(inputs(x, 300), boost::asio::use_future));
  for (std::size_t i = 0; i < xs.size(); ++i) {
    CHECK(compare(answers[i].get().value(), whole_answer(model, inputs(xs[i], 300))).relative_error <= 1e-4);
  }
}

TEST_CASE("several sessions share a runtime, and a session outlives its runtime's handle") {
  const Model model = small_model();
  const auto input = random_inputs({3, 4}, 1).front();
  std::optional<Runtime> runtime(two_nodes());
  const Plan plan = halves(model);
  Session first = runtime->open(model, plan, input).value();
  Session second = runtime->open(model, plan, input).value();
  runtime.reset();
  CHECK(first.infer(input).has_value());
  first.close();
  first.close();
  CHECK(first.infer(input).error().code == Errc::SessionClosed);
  CHECK(second.infer(input).has_value());
}

TEST_CASE("plans that do not fit model or nodes are refused before a worker starts") {
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  Runtime runtime = two_nodes();
  const auto input = random_inputs({3, 4}, 1).front();
  CHECK(runtime.open(model, plan_of({pipeline({{"elsewhere", 0, last}})}), input).error().code == Errc::PlanInvalid);
  CHECK(runtime.open(model, plan_of({pipeline({{"a", 0, last - 1}})}), input).error().code == Errc::PlanInvalid);
  CHECK(runtime.open(model, plan_of({}), input).error().code == Errc::PlanInvalid);
  Plan foreign = plan_of({pipeline({{"a", 0, last}})});
  foreign.model_hash = "0123456789abcdef";
  CHECK(runtime.open(model, foreign, input).error().code == Errc::PlanInvalid);
  SessionOptions options;
  options.policy = "no-such-policy";
  CHECK(runtime.open(model, plan_of({pipeline({{"a", 0, last}})}), input, options).error().code ==
        Errc::InvalidArgument);
}

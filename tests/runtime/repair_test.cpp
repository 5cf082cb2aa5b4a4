// SPDX-License-Identifier: Apache-2.0
// Workers that die or get stuck, and the requests that they had.
#include "runtime/events.hpp"
#include "runtime/support.hpp"

#include <amp4ec/monitor/monitor.hpp>

#include <boost/asio/use_future.hpp>

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <future>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;

namespace {

Runtime nodes_abc() {
  return Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}, {"c", 1.0_cpu, 1_GiB}}).value();
}

SessionOptions plain(Events& events) {
  SessionOptions options;
  options.form = Form::Plain;
  options.on_event = events.sink();
  return options;
}

/// Never ends for inputs whose first element is 7.
Model model_with_trap() {
  return Model::from_module(module_from(R"(
    def forward(self, x):
        y = torch.relu(x) + 1.0
        n = 0
        while bool((y.reshape(-1)[0] > 7.9) & (y.reshape(-1)[0] < 8.1)):
            n = n + 1
        return torch.tanh(y) * 2.0
  )"))
      .value();
}

}  // namespace

TEST_CASE("requests of a worker that is killed are sent again, to whoever lives") {
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  Runtime runtime = nodes_abc();
  const std::size_t of_the_runtime = groups_left();
  Events events;
  SessionOptions options = plain(events);
  options.policy = "round-robin";  // Both get requests, however fast they are.
  const auto inputs = random_inputs({3, 4}, 8);
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, last}}), pipeline({{"b", 0, last}})}), inputs.front(), options)
          .value();
  const pid_t victim = session.stages().front().pid;
  kill(victim, SIGSTOP);
  std::vector<std::future<Result<Value>>> answers;
  for (const Values& input : inputs) answers.push_back(session.async_infer(input, boost::asio::use_future));
  kill(victim, SIGKILL);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    CHECK(compare(answers[i].get().value(), whole_answer(model, inputs[i])).bit_equal);
  }
  events.wait_for(SessionEvent::Kind::worker_restarted);
  for (const Values& input : inputs) CHECK(compare(session.infer(input).value(), whole_answer(model, input)).bit_equal);
  const auto stages = session.stages();
  CHECK(stages.front().alive);
  CHECK(stages.front().restarts == 1);
  CHECK(stages.front().pid != victim);
  CHECK(stages.back().restarts == 0);
  CHECK(events.count(SessionEvent::Kind::worker_died) == 1);
  runtime.monitor().sample();
  CHECK(runtime.monitor().snapshot("a").value().alive);
  session.close();
  CHECK(groups_left() == of_the_runtime);
}

TEST_CASE("any worker of a pipeline may be killed while requests run through it") {
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  Runtime runtime = nodes_abc();
  Events events;
  Session session = runtime
                        .open(model, plan_of({pipeline({{"a", 0, 0}, {"b", 1, 1}, {"c", 2, last}})}),
                              random_inputs({3, 4}, 1).front(), plain(events))
                        .value();
  for (std::ptrdiff_t round = 0; round < 6; ++round) {
    const auto inputs = random_inputs({3, 4}, 10);
    std::vector<std::future<Result<Value>>> answers;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      if (i == 4) kill(session.stages()[static_cast<std::size_t>(round % 3)].pid, SIGKILL);
      answers.push_back(session.async_infer(inputs[i], boost::asio::use_future));
    }
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      CHECK(compare(answers[i].get().value(), whole_answer(model, inputs[i])).bit_equal);
    }
    events.wait_for(SessionEvent::Kind::worker_restarted, round + 1);
  }
  for (const StageReport& stage : session.stages()) CHECK(stage.restarts == 2);
}

TEST_CASE("a worker that is stopped is taken for stuck, and replaced") {
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  Runtime runtime = nodes_abc();
  Events events;
  SessionOptions options = plain(events);
  options.stall_timeout = 400ms;
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, 1}, {"b", 2, last}})}), random_inputs({3, 4}, 1).front(), options)
          .value();
  for (std::size_t stage = 0; stage < 2; ++stage) {
    kill(session.stages()[stage].pid, SIGSTOP);
    const auto input = random_inputs({3, 4}, 1).front();
    CHECK(compare(session.infer(input).value(), whole_answer(model, input)).bit_equal);
    events.wait_for(SessionEvent::Kind::worker_restarted, static_cast<std::ptrdiff_t>(stage) + 1);
  }
  CHECK(events.count(SessionEvent::Kind::worker_stalled) == 2);
  // Nothing to do is no stall.
  kill(session.stages().front().pid, SIGSTOP);
  std::this_thread::sleep_for(1s);
  kill(session.stages().front().pid, SIGCONT);
  CHECK(session.infer(random_inputs({3, 4}, 1).front()).has_value());
  CHECK(events.count(SessionEvent::Kind::worker_stalled) == 2);
}

TEST_CASE("a request that two workers die of is not sent to a third") {
  const Model model = model_with_trap();
  Runtime runtime = nodes_abc();
  Events events;
  SessionOptions options = plain(events);
  options.stall_timeout = 300ms;
  Session session = runtime
                        .open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}),
                              random_inputs({3, 4}, 1).front(), options)
                        .value();
  const auto inputs = random_inputs({3, 4}, 4);
  std::vector<std::future<Result<Value>>> answers;
  auto poison = session.async_infer({at::full({3, 4}, 7.0)}, boost::asio::use_future);
  for (std::size_t i = 0; i < 3; ++i) answers.push_back(session.async_infer(inputs[i], boost::asio::use_future));
  CHECK(poison.get().error().code == Errc::RequestKillsWorker);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(compare(answers[i].get().value(), whole_answer(model, inputs[i])).bit_equal);
  }
  CHECK(compare(session.infer(inputs[3]).value(), whole_answer(model, inputs[3])).bit_equal);
  CHECK(events.count(SessionEvent::Kind::worker_stalled) == 2);
}

TEST_CASE("a model that keeps state tells that it is lost, and begins anew") {
  torch::jit::Module module("Counter");
  module.register_attribute("count", c10::TensorType::get(), at::ones({1}), false, true);
  module.define(R"(
    def forward(self, x):
        y = torch.relu(x) + 1.0
        self.count.add_(1.0)
        return torch.tanh(y) * self.count
  )");
  const Model model = Model::from_module(module).value();
  REQUIRE(model.has_state());
  Runtime runtime = nodes_abc();
  Events events;
  const Values input{at::ones({3})};
  const auto fresh = whole_answer(model, input);  // The first call's answer.
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, 0}, {"b", 1, model.layer_count() - 1}})}), input, plain(events))
          .value();
  CHECK(compare(session.infer(input).value(), fresh).bit_equal);
  CHECK_FALSE(compare(session.infer(input).value(), fresh).bit_equal);
  const auto stages = session.stages();
  const std::size_t keeper = 1;
  kill(stages[keeper].pid, SIGSTOP);
  auto answer = session.async_infer(input, boost::asio::use_future);
  kill(stages[keeper].pid, SIGKILL);
  CHECK(answer.get().error().code == Errc::StateLost);
  events.wait_for(SessionEvent::Kind::worker_restarted);
  CHECK(compare(session.infer(input).value(), fresh).bit_equal);

  // Another stage's death: the state is there, but nobody knows whether it has seen the request.
  kill(stages[0].pid, SIGSTOP);
  auto other = session.async_infer(input, boost::asio::use_future);
  kill(stages[0].pid, SIGKILL);
  CHECK(other.get().error().code == Errc::WorkerDied);
  events.wait_for(SessionEvent::Kind::worker_restarted, 2);
  CHECK(session.infer(input).has_value());
}

TEST_CASE("workers that die one after the other are quarantined, and requests learn of it") {
  const Model model = small_model();
  Runtime runtime = nodes_abc();
  Events events;
  const auto input = random_inputs({3, 4}, 1).front();
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input, plain(events)).value();
  for (std::ptrdiff_t death = 1; events.count(SessionEvent::Kind::worker_quarantined) == 0; ++death) {
    REQUIRE(death < 10);
    kill(session.stages().front().pid, SIGKILL);
    events.wait_for(SessionEvent::Kind::worker_died, death);
    while (events.count(SessionEvent::Kind::worker_restarted) < death &&
           events.count(SessionEvent::Kind::worker_quarantined) == 0) {
      std::this_thread::sleep_for(5ms);
    }
  }
  const auto refused = session.infer(input);
  REQUIRE(refused.has_error());
  CHECK(refused.error().code == Errc::NoRoute);
  CHECK(refused.error().message.find("signal 9") != std::string::npos);
}

TEST_CASE("closing a session while a worker is replaced leaves nothing behind") {
  const Model model = small_model();
  Runtime runtime = nodes_abc();
  const std::size_t of_the_runtime = groups_left();
  const auto input = random_inputs({3, 4}, 1).front();
  for (const auto pause : {0ms, 3ms, 30ms, 150ms}) {
    Events events;
    Session session =
        runtime.open(model, plan_of({pipeline({{"a", 0, 1}, {"b", 2, model.layer_count() - 1}})}), input, plain(events))
            .value();
    kill(session.stages().front().pid, SIGKILL);
    auto answer = session.async_infer(input, boost::asio::use_future);
    std::this_thread::sleep_for(pause);
    session.close();
    const auto result = answer.get();
    CHECK((result.has_value() || result.error().code == Errc::SessionClosed));
  }
  CHECK(groups_left() == of_the_runtime);
}

TEST_CASE("a standby takes the place of a worker that dies, and has another behind it") {
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  Runtime runtime = nodes_abc();
  Events events;
  SessionOptions options = plain(events);
  options.warm_standby = true;
  const std::size_t of_the_runtime = groups_left();
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, 1}, {"b", 2, last}})}), random_inputs({3, 4}, 1).front(), options)
          .value();
  const auto wait_for_standbys = [&] {
    const auto ready = [&] {
      const auto stages = session.stages();
      return std::all_of(stages.begin(), stages.end(), [](const StageReport& stage) { return stage.has_standby; });
    };
    while (!ready()) std::this_thread::sleep_for(5ms);
  };
  for (std::ptrdiff_t round = 0; round < 4; ++round) {
    wait_for_standbys();
    kill(session.stages()[static_cast<std::size_t>(round % 2)].pid, SIGKILL);
    const auto input = random_inputs({3, 4}, 1).front();
    CHECK(compare(session.infer(input).value(), whole_answer(model, input)).bit_equal);
    events.wait_for(SessionEvent::Kind::worker_restarted, round + 1);
  }
  for (const StageReport& stage : session.stages()) CHECK(stage.restarts == 2);
  CHECK(events.count(SessionEvent::Kind::restart_failed) == 0);
  wait_for_standbys();
  session.close();
  CHECK(groups_left() == of_the_runtime);
}

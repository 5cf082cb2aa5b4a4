// SPDX-License-Identifier: Apache-2.0
// Workers on threads of the host.
#include "runtime/support.hpp"

#include <boost/asio/use_future.hpp>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <mutex>
#include <string>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::test;
using namespace std::chrono_literals;

namespace {

std::string line_of(const std::filesystem::path& file) {
  std::ifstream stream(file);
  std::string line;
  std::getline(stream, line);
  return line;
}

/// The threads of this process that are workers.
std::vector<pid_t> worker_threads() {
  std::vector<pid_t> threads;
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (line_of(task.path() / "comm") == "amp4ec-worker") threads.push_back(std::stoi(task.path().filename().string()));
  }
  return threads;
}

std::size_t tasks() {
  const std::filesystem::directory_iterator all("/proc/self/task");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// In which groups a thread of this process is.
std::string groups_of(pid_t thread) {
  std::ifstream stream("/proc/self/task/" + std::to_string(thread) + "/cgroup");
  return {std::istreambuf_iterator<char>(stream), {}};
}

std::size_t thread_groups_left() {
  const std::string prefix = "amp4ec-threads-" + std::to_string(getpid()) + "-";
  const std::filesystem::recursive_directory_iterator all("/sys/fs/cgroup",
                                                          std::filesystem::directory_options::skip_permission_denied);
  return static_cast<std::size_t>(std::count_if(
      begin(all), end(all), [&](const auto& entry) { return entry.path().filename().string().starts_with(prefix); }));
}

SessionOptions on_threads() {
  SessionOptions options;
  options.workers = WorkerKind::thread;
  options.form = Form::Plain;
  return options;
}

Plan in_one(const Model& model, const std::string& node) {
  return plan_of({pipeline({{node, 0, model.layer_count() - 1}})});
}

/// Raises for inputs whose first element is above 9, and computes for a while, alone, where it is above 5.
Model model_with_moods() {
  return Model::from_module(module_from(R"(
    def forward(self, x):
        first = float(x.reshape(-1)[0])
        y = torch.relu(x) + 1.0
        assert first < 9.0, "too much"
        if first > 5.0:
            for i in range(300000):
                y = y + 0.0
        return torch.tanh(y) * 2.0
  )"))
      .value();
}

}  // namespace

TEST_CASE("pipelines and replicas of threads answer as the unsplit module does, and leave nothing") {
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  {
    Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 0.5_cpu, 1_GiB}, {"c", 0.5_cpu, 1_GiB}}).value();
    SessionOptions options = on_threads();
    options.policy = "round-robin";
    Session session = runtime
                          .open(model, plan_of({pipeline({{"a", 0, 0}, {"b", 1, last}}), pipeline({{"c", 0, last}})}),
                                random_inputs({3, 4}, 1).front(), options)
                          .value();
    Session second = runtime.open(model, in_one(model, "a"), random_inputs({3, 4}, 1).front(), on_threads()).value();
    const auto threads = worker_threads();
    CHECK(threads.size() == 4);
    if (runtime.capabilities().thread_groups) {
      for (const pid_t thread : threads) CHECK(groups_of(thread).find("/amp4ec-threads-") != std::string::npos);
      CHECK(groups_of(getpid()).find("/amp4ec-threads-") == std::string::npos);
    }
    const auto inputs = random_inputs({3, 4}, 12);
    std::vector<std::future<Result<Value>>> answers;
    for (const Values& input : inputs) answers.push_back(session.async_infer(input, boost::asio::use_future));
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      CHECK(compare(answers[i].get().value(), whole_answer(model, inputs[i])).bit_equal);
      CHECK(compare(second.infer(inputs[i]).value(), whole_answer(model, inputs[i])).bit_equal);
    }
    for (const StageReport& stage : session.stages()) {
      CHECK(stage.alive);
      CHECK(stage.pid == getpid());
      CHECK(stage.requests > 6);
      CHECK(stage.memory_limit == Bytes{});
    }
    session.close();
    CHECK(worker_threads().size() == 1);
  }
  CHECK(worker_threads().empty());
  CHECK(groups_left() == 0);
  CHECK(thread_groups_left() == 0);
}

TEST_CASE("what a model throws on a thread fails its request alone") {
  const Model model = model_with_moods();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  const Values good{at::full({3, 4}, 0.5)};
  Session session = runtime.open(model, in_one(model, "a"), good, on_threads()).value();
  for (int round = 0; round < 4; ++round) {
    const auto failed = session.infer({at::full({3, 4}, 10.0)});
    REQUIRE(failed.has_error());
    CHECK(failed.error().code == Errc::ExecutionFailed);
    CHECK(failed.error().message.find("too much") != std::string::npos);
    CHECK(compare(session.infer(good).value(), whole_answer(model, good)).bit_equal);
  }
  CHECK(session.stages().front().restarts == 0);
}

TEST_CASE("a quota holds threads, and follows its changes") {
  const Model model = model_with_moods();
  Runtime runtime = Runtime::create({{"a", 0.5_cpu, 1_GiB}}).value();
  if (!runtime.capabilities().thread_groups) {
    WARN("skipped: this kernel does not limit threads");
    return;
  }
  Session session = runtime.open(model, in_one(model, "a"), {at::full({3, 4}, 0.5)}, on_threads()).value();
  const Values costly{at::full({3, 4}, 6.0)};
  CHECK(session.infer(costly).has_value());
  const auto before = session.stages().front().throttled_time;
  CHECK(before > 0us);
  REQUIRE(runtime.set_limits("a", 1.0_cpu, 1_GiB).has_value());
  CHECK(session.infer(costly).has_value());
  CHECK(session.stages().front().quota.count == 1.0);
}

TEST_CASE("operators of a worker thread use as many threads as the quota has CPUs") {
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x):
        return torch.tanh(torch.relu(x) + 1.0)
  )"))
                          .value();
  Runtime runtime = Runtime::create({{"one", 1.5_cpu, 1_GiB}, {"two", 2.0_cpu, 1_GiB}}).value();
  const Values large{at::ones({1000, 1000})};
  Session one = runtime.open(model, in_one(model, "one"), large, on_threads()).value();
  const std::size_t with_one = tasks();
  CHECK(one.infer(large).has_value());
  CHECK(tasks() == with_one);
  Session two = runtime.open(model, in_one(model, "two"), large, on_threads()).value();
  CHECK(two.infer(large).has_value());
  CHECK(tasks() == with_one + 2);  // The worker, and the one that helps it.
}

TEST_CASE("a thread that does not come back is given up, and its requests go to another") {
  const Model model = model_with_moods();
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  SessionOptions options = on_threads();
  options.stall_timeout = 200ms;
  const Values good{at::full({3, 4}, 0.5)};
  {
    Session session = runtime.open(model, in_one(model, "a"), good, options).value();
    auto lost = session.async_infer({at::full({3, 4}, 6.0)}, boost::asio::use_future);
    std::vector<std::future<Result<Value>>> answers;
    for (int i = 0; i < 3; ++i) answers.push_back(session.async_infer(good, boost::asio::use_future));
    CHECK(lost.get().error().code == Errc::RequestKillsWorker);
    for (auto& answer : answers) CHECK(compare(answer.get().value(), whole_answer(model, good)).bit_equal);
    CHECK(session.stages().front().restarts == 2);
  }
  // They end when the model lets them.
  while (!worker_threads().empty()) std::this_thread::sleep_for(10ms);
  CHECK(compare(runtime.open(model, in_one(model, "a"), good, options).value().infer(good).value(),
                whole_answer(model, good))
            .bit_equal);
}

// SPDX-License-Identifier: Apache-2.0
// Limits of nodes: shared by the sessions on them, changed while workers run; and what a trace tells of requests.
#include "runtime/load.hpp"
#include "runtime/support.hpp"
#include "support/node_files.hpp"

#include <amp4ec/monitor/monitor.hpp>
#include <amp4ec/monitor/trace_writer.hpp>

#include <boost/json.hpp>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::test;

namespace {

Model busy_model() {
  return Model::from_module(module_from(R"(
    def forward(self, x):
        y = x
        for i in range(20):
            y = torch.tanh(torch.mm(y, x) * 0.01)
        return y + 1.0
  )"))
      .value();
}

/// By the kernel's own files of the node's group. The period is the usual 20 ms.
void check_kernel_holds(pid_t worker, Cpus cpus, Bytes memory) {
  const std::string quota = std::to_string(std::llround(cpus.count * 20'000));
  const std::string bandwidth = file_of_node(worker, cgroup::Controller::Cpu, {"cpu.cfs_quota_us", "cpu.max"});
  CHECK((bandwidth == quota || bandwidth == quota + " 20000"));
  CHECK(file_of_node(worker, cgroup::Controller::Memory, {"memory.limit_in_bytes", "memory.max"}) ==
        std::to_string(memory.count));
}

/// What a node has used in 3 s, by the kernel's files; in more where other work has so much of the CPUs that it takes
/// longer until the quota runs out.
struct CpuWindow {
  double elapsed = 0, used = 0;  ///< Seconds.
  double periods_throttled = 0;
};
CpuWindow watch_cpu(pid_t worker) {
  const NodeFiles files(worker);
  REQUIRE(files.are_found());
  CpuWindow window{0, -files.cpu_seconds(), -files.periods_throttled()};
  const auto start = std::chrono::steady_clock::now();
  do {
    std::this_thread::sleep_for(std::chrono::seconds(3));
  } while (files.periods_throttled() + window.periods_throttled < 1);
  window.elapsed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  window.used += files.cpu_seconds();
  window.periods_throttled += files.periods_throttled();
  return window;
}

void check_held(const CpuWindow& window, double quota) {
  INFO("used " << window.used << " s of CPU in " << window.elapsed << " s, held back in " << window.periods_throttled
               << " periods");
  CHECK(window.used > 0);
  CHECK(window.used <= 1.05 * quota * window.elapsed);
  CHECK(window.periods_throttled > 0);
}

/// CPU time of each thread of a process, in clock ticks.
std::map<std::string, std::uint64_t> cpu_ticks_of_threads(pid_t process) {
  std::map<std::string, std::uint64_t> ticks;
  for (const auto& task : std::filesystem::directory_iterator("/proc/" + std::to_string(process) + "/task")) {
    std::ifstream file(task.path() / "stat");
    std::string text;
    std::getline(file, text);
    std::istringstream fields(text.substr(text.rfind(')') + 1));
    std::string field;
    for (int i = 0; i < 11; ++i) fields >> field;  // From the state to the major faults of children.
    std::uint64_t user = 0;
    std::uint64_t system = 0;
    fields >> user >> system;
    ticks[task.path().filename().string()] = user + system;
  }
  return ticks;
}

}  // namespace

TEST_CASE("a worker that spins on more threads than its node has CPUs uses no more than the quota") {
  Runtime runtime = Runtime::create({{"node", 2.0_cpu, 1_GiB}}).value();
  if (!runtime.capabilities().cpu_limits || !runtime.capabilities().memory_limits) {
    WARN("CPU and memory limits cannot be set here: not tested");
    return;
  }
  const Model model = Model::from_module(module_from(R"(
    def forward(self, x):
        y = x
        for i in range(4):
            y = torch.tanh(torch.mm(y, x) * 0.01)
        return y + 1.0
  )"))
                          .value();
  const Values input{at::rand({512, 512})};
  Session session = runtime.open(model, plan_of({pipeline({{"node", 0, model.layer_count() - 1}})}), input).value();
  REQUIRE(runtime.set_limits("node", 0.3_cpu, 1_GiB).has_value());  // The worker keeps its two threads.
  const pid_t worker = session.stages().front().pid;
  check_kernel_holds(worker, 0.3_cpu, 1_GiB);
  const Load load(session, input, whole_answer(model, input));
  load.wait_for(1);
  const auto threads_before = cpu_ticks_of_threads(worker);
  check_held(watch_cpu(worker), 0.3);
  const auto threads_after = cpu_ticks_of_threads(worker);
  CHECK(std::count_if(threads_after.begin(), threads_after.end(), [&](const auto& thread) {
          const auto found = threads_before.find(thread.first);
          return thread.second > (found == threads_before.end() ? 0 : found->second);
        }) >= 2);
}

TEST_CASE("two sessions on one node stay within its quota together, and both get on") {
  Runtime runtime = Runtime::create({{"shared", 0.3_cpu, 1_GiB}}).value();
  if (!runtime.capabilities().cpu_limits) {
    WARN("CPU limits cannot be set here: not tested");
    return;
  }
  const Model model = busy_model();
  const Values input{at::rand({256, 256})};
  const Plan plan = plan_of({pipeline({{"shared", 0, model.layer_count() - 1}})});
  Session first = runtime.open(model, plan, input).value();
  Session second = runtime.open(model, plan, input).value();
  const pid_t worker = first.stages().front().pid;
  REQUIRE(worker != second.stages().front().pid);
  const Load one(first, input, whole_answer(model, input));
  const Load two(second, input, whole_answer(model, input));
  const std::size_t answers_before[] = {one.answers(), two.answers()};
  check_held(watch_cpu(worker), 0.3);
  const std::size_t answers[] = {one.answers() - answers_before[0], two.answers() - answers_before[1]};
  CHECK(answers[0] > 0);
  CHECK(answers[1] > 0);
}

TEST_CASE("a node's limits change while its workers run, and the next sample says so") {
  Runtime runtime = Runtime::create({{"a", 0.5_cpu, 2_GiB}}).value();
  const Model model = small_model();
  const Values input = random_inputs({3, 4}, 1).front();
  Session session = runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input).value();
  const Capabilities& can = runtime.capabilities();
  const bool held = can.cpu_limits && can.memory_limits;
  if (!held) WARN("CPU and memory limits cannot be set here: the kernel's files are not tested");
  const auto check_kernel = [&](const NodeSpec& wanted) {
    if (held) check_kernel_holds(session.stages().front().pid, wanted.cpus, wanted.memory);
  };
  check_kernel({"a", 0.5_cpu, 2_GiB});
  for (const NodeSpec& wanted : {NodeSpec{"a", 0.25_cpu, 1_GiB}, NodeSpec{"a", 1.5_cpu, 3_GiB}}) {
    REQUIRE(runtime.set_limits("a", wanted.cpus, wanted.memory).has_value());
    runtime.monitor().sample();
    const Sample sample = runtime.monitor().snapshot("a").value();
    CHECK(sample.cpu_quota == wanted.cpus);
    CHECK(sample.memory_limit == wanted.memory);
    CHECK((runtime.nodes() == std::vector{wanted}));
    CHECK(session.stages().front().quota == wanted.cpus);
    check_kernel(wanted);
    CHECK(session.infer(input).has_value());
  }
  CHECK(runtime.set_limits("b", 1.0_cpu, 1_GiB).error().code == Errc::InvalidArgument);
  CHECK(runtime.set_limits("a", 0_cpu, 1_GiB).error().code == Errc::InvalidArgument);
  CHECK(runtime.nodes().front().cpus == 1.5_cpu);
}

TEST_CASE("limits beside CPUs and memory are held, and stay when those change") {
  RuntimeOptions options;
  options.group_limits["a"] = {.cpu_weight = 50, .cpuset = {0}, .memory_high = 1_GiB, .pids = 300};
  Runtime runtime = Runtime::create({{"a", 0.5_cpu, 2_GiB}}, options).value();
  const Capabilities& can = runtime.capabilities();
  if (!can.cpu_limits || !can.memory_limits || !can.cpusets || !can.pid_limits) {
    WARN("cpusets or pids cannot be limited here: not tested");
    return;
  }
  CHECK(can.missing.empty());
  const Model model = small_model();
  const Values input = random_inputs({3, 4}, 1).front();
  const Session session = runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input).value();
  const pid_t worker = session.stages().front().pid;
  for (const Cpus cpus : {0.5_cpu, 0.7_cpu}) {
    REQUIRE(runtime.set_limits("a", cpus, 2_GiB).has_value());
    check_kernel_holds(worker, cpus, 2_GiB);
    const std::string weight = file_of_node(worker, cgroup::Controller::Cpu, {"cpu.shares", "cpu.weight"});
    CHECK((weight == "512" || weight == "50"));
    CHECK(file_of_node(worker, cgroup::Controller::Cpuset, {"cpuset.cpus", "cpuset.cpus"}) == "0");
    CHECK(file_of_node(worker, cgroup::Controller::Pids, {"pids.max", "pids.max"}) == "300");
    CHECK(file_of_node(worker, cgroup::Controller::Memory, {"memory.soft_limit_in_bytes", "memory.high"}) ==
          std::to_string((1_GiB).count));
  }
}

TEST_CASE("limits that no machine could hold are refused") {
  RuntimeOptions options;
  options.group_limits["a"] = {.pids = 5'000'000};
  const auto runtime = Runtime::create({{"a", 0.5_cpu, 2_GiB}}, options);
  if (runtime && !runtime->capabilities().cpu_limits && !runtime->capabilities().memory_limits) {
    WARN("limits cannot be set here: not tested");
    return;
  }
  REQUIRE(runtime.has_error());
  CHECK(runtime.error().code == Errc::InvalidArgument);
}

TEST_CASE("a trace holds each request and its stages") {
  const std::string file = "/tmp/amp4ec-trace-test-" + std::to_string(getpid()) + ".json";
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}, {"b", 1.0_cpu, 1_GiB}}).value();
  const Model model = small_model();
  const std::size_t last = model.layer_count() - 1;
  const Values input = random_inputs({3, 4}, 1).front();
  SessionOptions options;
  options.trace = std::make_shared<TraceWriter>(TraceWriter::create(file).value());
  Session session = runtime.open(model, plan_of({pipeline({{"a", 0, 1}, {"b", 2, last}})}), input, options).value();
  const std::size_t warm_up = [&] { return session.stages().front().requests; }();
  for (int i = 0; i < 3; ++i) REQUIRE(session.infer(input).has_value());
  session.close();
  REQUIRE(options.trace->close().has_value());

  std::ifstream stream(file);
  std::stringstream text;
  text << stream.rdbuf();
  std::remove(file.c_str());
  std::map<std::string, std::size_t> stages;
  std::map<std::string, std::size_t> phases;
  const boost::json::value events = boost::json::parse(text.str());
  for (const auto& event : events.as_array()) {
    const auto& object = event.as_object();
    const std::string phase(object.at("ph").as_string());
    ++phases[phase];
    if (phase == "X") ++stages[std::string(object.at("name").as_string())];
  }
  CHECK(phases["b"] == phases["e"]);
  CHECK(phases["b"] >= 3);
  CHECK(stages.size() == 2);
  CHECK(stages["layers 0-1"] >= 3);
  CHECK(stages["layers 0-1"] == stages["layers 2-" + std::to_string(last)]);
  CHECK(warm_up <= phases["b"]);
}

TEST_CASE("a handler that closes the session does not take the trace's ground away") {
  const std::string file = "/tmp/amp4ec-trace-close-test-" + std::to_string(getpid()) + ".json";
  Runtime runtime = Runtime::create({{"a", 1.0_cpu, 1_GiB}}).value();
  const Model model = small_model();
  const Values input = random_inputs({3, 4}, 1).front();
  SessionOptions options;
  options.trace = std::make_shared<TraceWriter>(TraceWriter::create(file).value());
  auto session = std::make_shared<Session>(
      runtime.open(model, plan_of({pipeline({{"a", 0, model.layer_count() - 1}})}), input, options).value());
  const pid_t worker = session->stages().front().pid;
  kill(worker, SIGSTOP);
  std::atomic<std::size_t> completed = 0;
  const std::size_t requests = session->max_in_flight();
  REQUIRE(requests >= 2);
  for (std::size_t i = 0; i < requests; ++i) {
    session->async_infer(input, [&, session](const Result<Value>&) {
      ++completed;
      session->close();
    });
  }
  kill(worker, SIGKILL);
  while (completed < requests) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  CHECK(options.trace->close().has_value());
  std::remove(file.c_str());
}

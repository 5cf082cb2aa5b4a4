// SPDX-License-Identifier: Apache-2.0
// What is left to hold workers with where there are no cgroups, or not all. Run by the tests "runtime-without-...",
// which hide those of the machine.
#include "runtime/support.hpp"

#include <ATen/ATen.h>

#include <sched.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::test;

TEST_CASE("without cgroups workers are pinned, and fail to allocate beyond their limit", "[.without-cgroups]") {
  RuntimeOptions options;
  options.group_limits["b"].pids = 300;
  Runtime runtime = Runtime::create({{"a", 0.6_cpu, 640_MiB}, {"b", 1.0_cpu, 640_MiB}}, options).value();
  const Capabilities& can = runtime.capabilities();
  REQUIRE_FALSE(can.cpu_limits);
  REQUIRE_FALSE(can.memory_limits);
  CHECK(can.cpu_affinity);
  CHECK(can.memory_rlimits);
  CHECK_FALSE((can.cpusets || can.pid_limits || can.freezing || can.thread_groups));
  CHECK(can.missing.size() == 3);  // CPU and memory limits of all nodes, pids of one
  CHECK(can.missing.back().starts_with("pids of node 'b' is not enforced"));

  const Model model = Model::from_module(module_from(R"(
    def forward(self, x):
        big = torch.ones([int(x[0].item()), 1024, 1024])
        return big.sum(1).sum(1) + 1.0
  )"))
                          .value();
  const std::size_t last = model.layer_count() - 1;
  Session session =
      runtime.open(model, plan_of({pipeline({{"a", 0, last}}), pipeline({{"b", 0, last}})}), {at::ones({4})}).value();
  for (const StageReport& stage : session.stages()) {
    cpu_set_t cpus;
    CPU_ZERO(&cpus);
    REQUIRE(sched_getaffinity(stage.pid, sizeof(cpus), &cpus) == 0);
    CHECK(CPU_COUNT(&cpus) == 1);
  }
  for (int round = 0; round < 2; ++round) {
    const auto answer = session.infer({at::full({4}, 400.0)});  // 1.6 GB
    REQUIRE(answer.has_error());
    CHECK(answer.error().code == Errc::OutOfMemory);
    CHECK(session.infer({at::full({4}, 2.0)}).value().tensor().size(0) == 2);  // The worker lives on.
  }
}

TEST_CASE("a limit that cannot be held is left out by itself, and told", "[.without-pids]") {
  RuntimeOptions options;
  options.group_limits["b"] = {.cpu_weight = 50, .memory_high = 512_MiB, .pids = 300};
  const std::vector<NodeSpec> nodes{{"a", 0.6_cpu, 640_MiB}, {"b", 0.5_cpu, 640_MiB}};
  Runtime runtime = Runtime::create(nodes, options).value();
  const Capabilities& can = runtime.capabilities();
  CHECK((can.cpu_limits && can.memory_limits));
  CHECK_FALSE((can.cpu_affinity || can.memory_rlimits));
  CHECK_FALSE(can.pid_limits);
  REQUIRE(can.missing.size() == 1);
  INFO(can.missing.front());
  CHECK(can.missing.front().starts_with("pids of node 'b' is not enforced: "));

  const Model model = small_model();
  const Values input = random_inputs({3, 4}, 1).front();
  const Session session = runtime.open(model, plan_of({pipeline({{"b", 0, model.layer_count() - 1}})}), input).value();
  const pid_t worker = session.stages().front().pid;
  for (const Cpus cpus : {0.5_cpu, 0.75_cpu}) {
    REQUIRE(runtime.set_limits("b", cpus, 640_MiB).has_value());  // does not come back to what was left out
    CHECK(file_of_node(worker, cgroup::Controller::Cpu, {"cpu.cfs_quota_us", ""}) ==
          (cpus == 0.5_cpu ? "10000" : "15000"));
    CHECK(file_of_node(worker, cgroup::Controller::Cpu, {"cpu.shares", ""}) == "512");
    CHECK(file_of_node(worker, cgroup::Controller::Memory, {"memory.limit_in_bytes", ""}) == "671088640");
    CHECK(file_of_node(worker, cgroup::Controller::Memory, {"memory.soft_limit_in_bytes", ""}) == "536870912");
  }

  options.require_limits = true;
  const auto refused = Runtime::create(nodes, options);
  REQUIRE(refused.has_error());
  CHECK(refused.error().code == Errc::CgroupUnavailable);
  options.group_limits["b"].pids = 0;
  CHECK(Runtime::create(nodes, options).has_value());
}

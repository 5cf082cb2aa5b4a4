// SPDX-License-Identifier: Apache-2.0
// What is left to hold workers with where there are no cgroups. Run by the test "runtime-without-cgroups", which hides
// those of the machine.
#include "runtime/support.hpp"

#include <ATen/ATen.h>

#include <sched.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace amp4ec::test;

TEST_CASE("without cgroups workers are pinned, and fail to allocate beyond their limit", "[.without-cgroups]") {
  Runtime runtime = Runtime::create({{"a", 0.6_cpu, 640_MiB}, {"b", 1.0_cpu, 640_MiB}}).value();
  const Capabilities& can = runtime.capabilities();
  REQUIRE_FALSE(can.cpu_limits);
  REQUIRE_FALSE(can.memory_limits);
  CHECK(can.cpu_affinity);
  CHECK(can.memory_rlimits);
  CHECK_FALSE(can.missing.empty());

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

// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/monitor/detail/sampler.hpp>

#include "cgroup/support/print_result.hpp"
#include "support/catch.hpp"

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;

namespace {
/// A node whose figures the test sets by hand.
struct Fixture {
  cgroup::Usage usage;
  WorkerReading workers;
  bool usage_fails = false;
  bool workers_fail = false;
  std::chrono::steady_clock::time_point now{1h};

  NodeSource source() {
    return {"high", 0.6_cpu, 512_MiB,
            [this]() -> Result<cgroup::Usage> {
              if (usage_fails) return Error{Errc::CgroupFailed, "gone"};
              return usage;
            },
            [this]() -> Result<WorkerReading> {
              if (workers_fail) return Error{Errc::WorkerDied, "gone"};
              return workers;
            }};
  }
};
}  // namespace

TEST_CASE("a sample holds rates over the interval and states at its end") {
  Fixture node;
  node.usage.cpu_time = 10s;
  node.workers = {true, 3, 100, 5s};
  detail::Sampler sampler(node.source(), 100);
  sampler.begin(node.now);

  node.usage = {10s + 250ms, 100ms, 7, 64_MiB, 80_MiB, 1};
  node.workers = {true, 2, 110, 5s + 200ms};
  const auto sample = sampler.next(node.now + 500ms);
  CHECK(sample.node == "high");
  CHECK(sample.time == node.now + 500ms);
  CHECK(sample.resources_known);
  CHECK(sample.cpu_used.count == Approx(0.5));
  CHECK(sample.throttled == Approx(0.2));
  CHECK(sample.memory == 64_MiB);
  CHECK(sample.memory_peak == 80_MiB);
  CHECK(sample.oom_kills == 1);
  CHECK(sample.cpu_quota == 0.6_cpu);
  CHECK(sample.memory_limit == 512_MiB);
  CHECK(sample.alive);
  CHECK(sample.queue_depth == 2);
  CHECK(sample.requests_done == 10);  // since the node joined
  CHECK(sample.mean_service_us == Approx(20'000));
}

TEST_CASE("throttling on several CPUs is at most the whole interval") {
  Fixture node;
  detail::Sampler sampler(node.source(), 100);
  sampler.begin(node.now);
  node.usage.throttled_time = 3s;
  CHECK(sampler.next(node.now + 1s).throttled == 1.0);
}

TEST_CASE("an interval without requests keeps the mean; a replaced worker adds to the count") {
  Fixture node;
  detail::Sampler sampler(node.source(), 100);
  sampler.begin(node.now);
  CHECK(sampler.next(node.now + 1s).mean_service_us == 0);
  node.workers = {true, 0, 4, 40ms};
  CHECK(sampler.next(node.now + 2s).mean_service_us == Approx(10'000));
  CHECK(sampler.next(node.now + 3s).mean_service_us == Approx(10'000));
  node.workers = {true, 0, 1, 30ms};  // a new worker, counting from zero
  const auto sample = sampler.next(node.now + 4s);
  CHECK(sample.mean_service_us == Approx(30'000));
  CHECK(sample.requests_done == 5);
}

TEST_CASE("a failed reading is told, not guessed, and the next interval covers the gap") {
  Fixture node;
  node.workers = {true, 1, 0, 0ns};
  detail::Sampler sampler(node.source(), 100);
  sampler.begin(node.now);
  node.usage_fails = true;
  node.workers_fail = true;
  const auto blind = sampler.next(node.now + 1s);
  CHECK_FALSE(blind.resources_known);
  CHECK(blind.cpu_used == 0_cpu);
  CHECK_FALSE(blind.alive);
  CHECK(blind.cpu_quota == 0.6_cpu);

  node.usage_fails = false;
  node.workers_fail = false;
  node.usage.cpu_time = 1s;
  const auto sample = sampler.next(node.now + 2s);
  CHECK(sample.resources_known);
  CHECK(sample.cpu_used.count == Approx(0.5));
  CHECK(sample.alive);
}

TEST_CASE("a node without readers has limits only") {
  detail::Sampler sampler({"bare", 1.0_cpu, 0_B, {}, {}}, 100);
  const auto sample = sampler.next({});
  CHECK_FALSE(sample.resources_known);
  CHECK_FALSE(sample.alive);
  CHECK(sample.cpu_quota == 1.0_cpu);
}

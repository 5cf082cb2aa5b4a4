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
  cgroup::UsageDetails details;
  NetworkTraffic traffic;
  int details_read = 0;
  int traffic_read = 0;
  WorkerReading workers;
  ipc::ServiceHistogram service_times;
  bool usage_fails = false;
  bool workers_fail = false;
  std::chrono::steady_clock::time_point now{1h};

  NodeSource source() {
    return {"high",
            0.6_cpu,
            512_MiB,
            [this]() -> Result<cgroup::Usage> {
              if (usage_fails) return Error{Errc::CgroupFailed, "gone"};
              return usage;
            },
            [this]() -> Result<WorkerReading> {
              if (workers_fail) return Error{Errc::WorkerDied, "gone"};
              return workers;
            },
            [this]() -> Result<cgroup::UsageDetails> {
              ++details_read;
              if (usage_fails) return Error{Errc::CgroupFailed, "gone"};
              return details;
            },
            [this]() -> Result<ipc::ServiceHistogram> { return service_times; },
            [this]() -> Result<NetworkTraffic> {
              ++traffic_read;
              return traffic;
            }};
  }
};

/// The slow tier is read where its figures are a second old.
Sample next(detail::Sampler& sampler, std::chrono::steady_clock::time_point now) {
  Sample sample;
  sampler.next(now, 1s, sample);
  return sample;
}

ipc::ServiceHistogram times(std::initializer_list<std::chrono::nanoseconds> services) {
  ipc::ServiceHistogram histogram;
  for (const auto service : services) ++histogram.counts[ipc::ServiceHistogram::bucket_of(service)];
  return histogram;
}
}  // namespace

TEST_CASE("a sample holds rates over the interval and states at its end") {
  Fixture node;
  node.usage.cpu_time = 10s;
  node.workers = {true, 3, 100, 5s};
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);

  node.usage = {10s + 250ms, 100ms, 7, 64_MiB};
  node.workers = {true, 2, 110, 5s + 200ms};
  const auto sample = next(sampler, node.now + 500ms);
  CHECK(sample.node == "high");
  CHECK(sample.time == node.now + 500ms);
  CHECK(sample.resources_known);
  CHECK(sample.cpu_used.count == Approx(0.5));
  CHECK(sample.cpu_share == Approx(0.5 / 0.6));
  CHECK(sample.cpu_time == 250ms);  // since the node joined, as all sums
  CHECK(sample.throttled == Approx(0.2));
  CHECK(sample.throttled_time == 100ms);
  CHECK(sample.memory == 64_MiB);
  CHECK(sample.memory_current == 64_MiB);
  CHECK(sample.cpu_quota == 0.6_cpu);
  CHECK(sample.memory_limit == 512_MiB);
  CHECK(sample.alive);
  CHECK(sample.state == NodeState::up);
  CHECK(sample.queue_depth == 2);
  CHECK(sample.requests_done == 10);  // since the node joined
  CHECK(sample.mean_service_us == Approx(20'000));
}

TEST_CASE("throttling on several CPUs is at most the whole interval") {
  Fixture node;
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);
  node.usage.throttled_time = 3s;
  CHECK(next(sampler, node.now + 1s).throttled == 1.0);
}

TEST_CASE("an interval without requests keeps the mean; a replaced worker adds to the count") {
  Fixture node;
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);
  CHECK(next(sampler, node.now + 1s).mean_service_us == 0);
  node.workers = {true, 0, 4, 40ms};
  CHECK(next(sampler, node.now + 2s).mean_service_us == Approx(10'000));
  CHECK(next(sampler, node.now + 3s).mean_service_us == Approx(10'000));
  node.workers = {true, 0, 1, 30ms};  // a new worker, counting from zero
  const auto sample = next(sampler, node.now + 4s);
  CHECK(sample.mean_service_us == Approx(30'000));
  CHECK(sample.requests_done == 5);
}

TEST_CASE("a failed reading is told, not guessed, and the next interval covers the gap") {
  Fixture node;
  node.workers = {true, 1, 0, 0ns};
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);
  node.usage_fails = true;
  node.workers_fail = true;
  const auto blind = next(sampler, node.now + 1s);
  CHECK_FALSE(blind.resources_known);
  CHECK(blind.cpu_used == 0_cpu);
  CHECK_FALSE(blind.alive);
  CHECK(blind.state == NodeState::down);
  CHECK(blind.cpu_time == 0us);
  CHECK(blind.cpu_quota == 0.6_cpu);

  node.usage_fails = false;
  node.workers_fail = false;
  node.usage.cpu_time = 1s;
  const auto sample = next(sampler, node.now + 2s);
  CHECK(sample.resources_known);
  CHECK(sample.cpu_used.count == Approx(0.5));
  CHECK(sample.alive);
}

TEST_CASE("a node without readers has limits only") {
  detail::Sampler sampler({"bare", 1.0_cpu, 0_B, {}, {}});
  const auto sample = next(sampler, {});
  CHECK_FALSE(sample.resources_known);
  CHECK_FALSE(sample.alive);
  CHECK(sample.cpu_quota == 1.0_cpu);
}

TEST_CASE("the slow tier is read when it is due, and repeated until then") {
  Fixture node;
  node.usage.memory = 100_MiB;
  node.details = {70_MiB, 0, 30_MiB, 1000, 10, {5s, 4s}, {3s, 2s}, {1s, 1s}};
  node.traffic = {1_KiB, 2_KiB, 3, 4};
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);
  CHECK(node.details_read == 1);

  node.details = {80_MiB, 1, 40_MiB, 1500, 12, {5s + 500ms, 4s + 250ms}, {3s + 100ms, 2s}, {3s, 1s}};
  node.traffic = {11_KiB, 12_KiB, 33, 44};
  const auto early = next(sampler, node.now + 999ms);
  CHECK(node.details_read == 1);
  CHECK(early.slow_time == node.now);
  CHECK(early.details_known);
  CHECK(early.memory == 70_MiB);
  CHECK(early.page_faults == 0);
  CHECK(early.memory_peak == 70_MiB);
  CHECK(early.oom_kills == 0);

  const auto due = next(sampler, node.now + 1s);
  CHECK(node.details_read == 2);
  CHECK(node.traffic_read == 2);
  CHECK(due.slow_time == node.now + 1s);
  CHECK(due.memory == 60_MiB);  // the cache as it is now
  CHECK(due.memory_current == 100_MiB);
  CHECK(due.memory_peak == 80_MiB);
  CHECK(due.oom_kills == 1);
  CHECK(due.cpu_pressure.some == Approx(0.5));
  CHECK(due.cpu_pressure.full == Approx(0.25));
  CHECK(due.memory_pressure.some == Approx(0.1));
  CHECK(due.memory_pressure.full == 0);
  CHECK(due.io_pressure.some == 1.0);  // never more than the interval
  CHECK(due.page_faults == 500);
  CHECK(due.major_page_faults == 2);
  CHECK(due.network_known);
  CHECK(due.network.received == 10_KiB);
  CHECK(due.network.sent == 10_KiB);
  CHECK(due.network.packets_received == 30);
  CHECK(due.network.packets_sent == 40);

  node.usage.memory = 20_MiB;  // less than the cache was: freed since
  const auto between = next(sampler, node.now + 1500ms);
  CHECK(between.memory == 0_B);
  CHECK(between.page_faults == 500);
  CHECK(between.cpu_pressure.some == Approx(0.5));

  node.usage_fails = true;
  const auto blind = next(sampler, node.now + 2s);
  CHECK_FALSE(blind.details_known);
  CHECK(blind.page_faults == 0);
  CHECK(blind.network_known);
}

TEST_CASE("percentiles are over the requests of the last seconds") {
  Fixture node;
  node.service_times = times({1s});  // before the node joined: not counted
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);
  CHECK(next(sampler, node.now + 1s).p50_service_us == 0);

  node.service_times += times({10ms, 10ms, 10ms, 10ms, 10ms, 10ms, 10ms, 10ms, 20ms, 100ms});
  auto sample = next(sampler, node.now + 2s);
  CHECK(sample.p50_service_us == Approx(10'000).epsilon(0.06));
  CHECK(sample.p90_service_us == Approx(20'000).epsilon(0.06));
  CHECK(sample.p99_service_us == Approx(100'000).epsilon(0.06));

  CHECK(next(sampler, node.now + 6s).p50_service_us == Approx(10'000).epsilon(0.06));
  node.service_times += times({1ms});
  CHECK(next(sampler, node.now + 7s).p50_service_us == Approx(10'000).epsilon(0.06));  // still of the same window
  CHECK(next(sampler, node.now + 11s).p99_service_us == Approx(100'000).epsilon(0.06));
  sample = next(sampler, node.now + 16s);
  CHECK(sample.p99_service_us == Approx(1'000).epsilon(0.06));  // the first ten have left the window
  CHECK(next(sampler, node.now + 30s).p99_service_us == Approx(1'000).epsilon(0.06));  // none: as before
}

TEST_CASE("bytes through the rings add up over replaced workers") {
  Fixture node;
  node.workers = {true, 0, 1, 1ms, 100_B, 50_B};
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);
  node.workers = {true, 0, 2, 2ms, 300_B, 80_B};
  auto sample = next(sampler, node.now + 1s);
  CHECK(sample.ring_received == 200_B);
  CHECK(sample.ring_sent == 30_B);
  node.workers = {true, 0, 1, 1ms, 10_B, 5_B};
  sample = next(sampler, node.now + 2s);
  CHECK(sample.ring_received == 210_B);
  CHECK(sample.ring_sent == 35_B);
}

TEST_CASE("a silent worker makes a stalled node, none at all a node that is down") {
  Fixture node;
  auto source = node.source();
  source.stall_after = 2s;
  detail::Sampler sampler(std::move(source));
  sampler.begin(node.now);
  CHECK(next(sampler, node.now + 1s).state == NodeState::down);
  node.workers.alive = true;
  node.workers.silence = 500ms;
  CHECK(next(sampler, node.now + 2s).state == NodeState::up);
  node.workers.silence = 1500ms;
  CHECK(next(sampler, node.now + 3s).state == NodeState::up);
  node.workers.silence = 2500ms;
  const auto stalled = next(sampler, node.now + 4s);
  CHECK(stalled.state == NodeState::stalled);
  CHECK(stalled.alive);
  node.workers.alive = false;
  CHECK(next(sampler, node.now + 5s).state == NodeState::down);
}

TEST_CASE("time for which its node is throttled makes no worker stalled") {
  Fixture node;
  auto source = node.source();
  source.stall_after = 2s;
  detail::Sampler sampler(std::move(source));
  sampler.begin(node.now);
  node.workers.alive = true;
  for (int second = 1; second <= 9; ++second) {
    node.workers.silence = std::chrono::seconds(second);
    node.usage.throttled_time += 800ms;  // It runs for 200 ms of each second.
    CHECK(next(sampler, node.now + std::chrono::seconds(second)).state == NodeState::up);
  }
  for (int second = 10; second <= 11; ++second) {
    node.workers.silence = std::chrono::seconds(second);
    (void)next(sampler, node.now + std::chrono::seconds(second));
  }
  node.workers.silence = 12s;
  CHECK(next(sampler, node.now + 12s).state == NodeState::stalled);
}

TEST_CASE("a worker may be silent for 20 of its usual requests") {
  Fixture node;
  auto source = node.source();
  source.stall_after = 2s;
  detail::Sampler sampler(std::move(source));
  sampler.begin(node.now);
  node.workers = {true, 0, 1, 1s, {}, {}};
  (void)next(sampler, node.now + 1s);
  for (int second = 2; second <= 20; ++second) {
    node.workers.silence = std::chrono::seconds(second - 1);
    CHECK(next(sampler, node.now + std::chrono::seconds(second)).state == NodeState::up);
  }
  node.workers.silence = 21s;
  (void)next(sampler, node.now + 21s);
  node.workers.silence = 22s;
  CHECK(next(sampler, node.now + 22s).state == NodeState::stalled);
}

TEST_CASE("figures of the user's own: tiers, failures and exceptions") {
  Fixture node;
  detail::Sampler sampler(node.source());
  int slow = 0;
  REQUIRE(sampler.add_figure({"fast", [n = 0]() mutable -> Result<double> { return ++n; }, Tier::fast}));
  REQUIRE(sampler.add_figure({"slow", [&]() -> Result<double> { return ++slow; }}));
  REQUIRE(sampler.add_figure({"fails", []() -> Result<double> { return Error{Errc::SystemCall, "no"}; }, Tier::fast}));
  REQUIRE(sampler.add_figure({"throws", []() -> Result<double> { throw 1; }, Tier::fast}));
  REQUIRE(sampler.add_figure({"empty", {}, Tier::fast}));
  CHECK_FALSE(sampler.add_figure({"slow", {}}));
  CHECK_FALSE(sampler.add_figure({"", {}}));
  sampler.begin(node.now);
  CHECK(slow == 0);
  const auto first = next(sampler, node.now + 1ms);
  CHECK(slow == 1);  // a new source does not wait for the slow tier
  REQUIRE(first.user.size() == 5);
  CHECK(first.user[0].name == "fast");
  CHECK(first.user[0].value == 1.0);
  CHECK(first.user[1].value == 1.0);
  for (std::size_t i = 2; i < 5; ++i) CHECK_FALSE(first.user[i].value);
  const auto second = next(sampler, node.now + 2ms);
  CHECK(second.user[0].value == 2.0);
  CHECK(second.user[1].value == 1.0);
  CHECK(next(sampler, node.now + 1s).user[1].value == 2.0);
  CHECK(sampler.remove_figure("fast") != nullptr);
  CHECK(sampler.remove_figure("fast") == nullptr);
  CHECK(next(sampler, node.now + 2s).user[0].name == "slow");
}

TEST_CASE("changed limits are in the next sample, and its share is of the new quota") {
  Fixture node;
  detail::Sampler sampler(node.source());
  sampler.begin(node.now);
  sampler.set_limits(0.3_cpu, 64_MiB);
  node.usage.cpu_time = 300ms;
  const auto sample = next(sampler, node.now + 1s);
  CHECK(sample.cpu_quota == 0.3_cpu);
  CHECK(sample.cpu_share == Approx(1.0));
  CHECK(sample.memory_limit == 64_MiB);
  sampler.set_limits(0_cpu, 0_B);
  CHECK(next(sampler, node.now + 2s).cpu_share == 0);
}

TEST_CASE("the working set follows the file cache between two readings of the slow tier") {
  Fixture node;
  Bytes inactive_file = 10_MiB;
  int inactive_file_read = 0;
  auto source = node.source();
  source.read_inactive_file = [&]() -> Result<Bytes> {
    ++inactive_file_read;
    return inactive_file;
  };
  detail::Sampler sampler(std::move(source));
  node.usage.memory = 100_MiB;
  node.details.inactive_file = 10_MiB;
  sampler.begin(node.now);
  const auto sample_at = [&](auto time) {
    Sample sample;
    sampler.next(node.now + time, 5s, sample);
    return sample;
  };
  CHECK(sample_at(1s).memory == 90_MiB);
  CHECK(inactive_file_read == 0);
  node.usage.memory = 150_MiB;
  inactive_file = 60_MiB;
  CHECK(sample_at(2s).memory == 90_MiB);
  CHECK(inactive_file_read == 1);
  node.usage.memory = 150_MiB + 100_KiB;  // Little: not worth what it costs to read.
  CHECK(sample_at(3s).memory == 90_MiB + 100_KiB);
  CHECK(inactive_file_read == 1);
  node.details.inactive_file = 0_B;
  CHECK(sample_at(6s).memory == 150_MiB + 100_KiB);  // The slow tier tells it anyhow.
}

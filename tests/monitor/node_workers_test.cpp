// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/edge_producer.hpp>
#include <amp4ec/monitor/node_workers.hpp>

#include "support/catch.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

#include <unistd.h>

using namespace amp4ec;
using namespace amp4ec::literals;
using namespace std::chrono_literals;

namespace {
std::shared_ptr<ipc::WorkerCounters> new_counters() {
  return std::make_shared<ipc::WorkerCounters>(ipc::WorkerCounters::create().value());
}

/// The worker's side, as it has it: through the descriptor.
ipc::WorkerCounters worker_side(const ipc::WorkerCounters& host) {
  return ipc::WorkerCounters::attach(ipc::UniqueFd(::dup(host.fd()))).value();
}

void serve(ipc::WorkerCounters& worker, std::chrono::nanoseconds service) {
  worker.begin(1, 1us);
  worker.add_received(100_B);
  worker.add_sent(10_B);
  worker.complete(service, true);
}

/// Word 6 of the counters.
void write_heartbeat(const ipc::WorkerCounters& counters, std::uint64_t time) {
  REQUIRE(::pwrite(counters.fd(), &time, sizeof time, 6 * sizeof time) == sizeof time);
}
}  // namespace

TEST_CASE("workers add up, and what one has done stays when it goes") {
  NodeWorkers workers;
  CHECK_FALSE(workers.read().alive);
  auto first = new_counters();
  auto second = new_counters();
  workers.watch(first);
  workers.watch(second);
  auto first_worker = worker_side(*first);
  auto second_worker = worker_side(*second);
  for (int i = 0; i < 3; ++i) serve(first_worker, 10ms);
  serve(second_worker, 40ms);
  first_worker.set_queued(2);
  second_worker.set_queued(3);

  auto reading = workers.read();
  CHECK(reading.alive);
  CHECK(reading.queue_depth == 5);
  CHECK(reading.requests_done == 4);
  CHECK(reading.busy == 70ms);
  CHECK(reading.ring_received == 400_B);
  CHECK(reading.ring_sent == 40_B);
  CHECK(workers.service_times().quantile_us(0.75) < 11'000);
  CHECK(workers.service_times().quantile_us(1.0) > 38'000);

  serve(first_worker, 10ms);
  workers.forget(first);
  workers.forget(first);
  reading = workers.read();
  CHECK(reading.alive);
  CHECK(reading.queue_depth == 3);
  CHECK(reading.requests_done == 5);
  CHECK(reading.busy == 80ms);
  const auto times = workers.service_times();
  CHECK(std::accumulate(times.counts.begin(), times.counts.end(), std::uint64_t{0}) == 5);

  second.reset();  // gone without a farewell
  reading = workers.read();
  CHECK_FALSE(reading.alive);
  CHECK(reading.queue_depth == 0);
  CHECK(reading.requests_done == 5);
  const auto third = new_counters();
  workers.watch(third);
  auto third_worker = worker_side(*third);
  serve(third_worker, 1ms);
  CHECK(workers.read().requests_done == 6);
}

TEST_CASE("only a worker that has work is silent") {
  NodeWorkers workers;
  const auto counters = new_counters();
  workers.watch(counters);
  auto worker = worker_side(*counters);
  const auto silence = [&] { return workers.read().silence; };
  const auto silent_for = [&](auto time) {
    (void)silence();
    std::this_thread::sleep_for(time);
    return silence();
  };
  worker.set_phase(ipc::WorkerPhase::ready);
  (void)silence();
  std::this_thread::sleep_for(200ms);
  CHECK(silence() < 200ms);  // Idle all the time.
  worker.set_queued(1);
  CHECK(silent_for(20ms) >= 20ms);
  worker.set_queued(0);
  worker.begin(1, 0ns);
  CHECK(silent_for(20ms) >= 20ms);
  worker.complete(1ms, true);
  (void)silence();
  std::this_thread::sleep_for(200ms);
  CHECK(silence() < 200ms);
}

TEST_CASE("a worker that is stopped between two requests has what waits on its edges") {
  NodeWorkers workers;
  const auto counters = new_counters();
  const auto edge = ipc::Edge::create(4, 64_B).value();
  const auto gauges = std::make_shared<ipc::EdgeGauges>();
  gauges->set(7, edge.gauge().value());
  workers.watch(counters, gauges);
  worker_side(*counters).set_phase(ipc::WorkerPhase::ready);
  CHECK(workers.read().queue_depth == 0);
  auto producer = ipc::EdgeProducer::attach(edge, ipc::Bell::create().value()).value();
  for (int i = 0; i < 2; ++i) REQUIRE(producer.publish(std::move(*producer.try_acquire().value()), {}).has_value());
  CHECK(workers.read().queue_depth == 2);
  std::this_thread::sleep_for(20ms);
  CHECK(workers.read().silence >= 20ms);
  worker_side(*counters).begin(1, 0ns);
  CHECK(workers.read().queue_depth == 1);  // It executes the other.
}

TEST_CASE("a heartbeat in the future does not hide a worker that stands still") {
  NodeWorkers workers;
  const auto counters = new_counters();
  workers.watch(counters);
  auto worker = worker_side(*counters);
  worker.begin(1, 0ns);
  write_heartbeat(*counters, std::numeric_limits<std::uint64_t>::max());
  (void)workers.read();
  std::this_thread::sleep_for(5ms);
  CHECK(workers.read().silence >= 5ms);
}

TEST_CASE("a counter that falls adds nothing, a huge one ends at the limit") {
  NodeWorkers workers;
  const auto counters = new_counters();
  workers.watch(counters);
  auto worker = worker_side(*counters);
  for (int i = 0; i < 5; ++i) serve(worker, 1ms);
  CHECK(workers.read().requests_done == 5);
  const std::uint64_t fallen = 2;
  REQUIRE(::pwrite(counters->fd(), &fallen, sizeof fallen, 8) == sizeof fallen);  // requests
  CHECK(workers.read().requests_done == 5);
  const std::uint64_t huge = std::numeric_limits<std::uint64_t>::max();
  for (const off_t word : {1, 3, 7, 8, 9}) {
    REQUIRE(::pwrite(counters->fd(), &huge, sizeof huge, word * 8) == sizeof huge);
  }
  for (int i = 0; i < 2; ++i) {
    const auto reading = workers.read();
    CHECK(reading.requests_done == std::numeric_limits<std::int64_t>::max());
    CHECK(reading.busy == std::chrono::nanoseconds::max());
    CHECK(reading.queue_depth == std::numeric_limits<std::int64_t>::max());
    CHECK(reading.ring_received.count == std::numeric_limits<std::int64_t>::max());
  }
}

TEST_CASE("rubbish that a worker writes all the time never makes a sum fall") {
  NodeWorkers workers;
  const auto counters = new_counters();
  workers.watch(counters);
  std::mt19937_64 random(1);
  std::vector<std::uint64_t> rubbish(256);
  WorkerReading before;
  ipc::ServiceHistogram times_before;
  for (int round = 0; round < 200; ++round) {
    for (auto& word : rubbish) word = random() >> (random() % 64);
    rubbish[0] %= 4;  // a phase that exists, for else nothing is read at all
    (void)::pwrite(counters->fd(), rubbish.data(), rubbish.size() * 8, 0);
    const auto reading = workers.read();
    CHECK(reading.requests_done >= before.requests_done);
    CHECK(reading.busy >= before.busy);
    CHECK(reading.silence >= 0ns);
    const auto times = workers.service_times();
    const auto p99 = times.since(times_before).quantile_us(0.99);
    CHECK(std::ranges::equal(times.counts, times_before.counts, std::greater_equal()));
    times_before = times;
    CHECK(p99 >= 0);
    CHECK(p99 < 300e6);
    before = reading;
  }
  const std::uint64_t no_phase = 77;
  REQUIRE(::pwrite(counters->fd(), &no_phase, sizeof no_phase, 0) == sizeof no_phase);
  CHECK_FALSE(workers.read().alive);
}

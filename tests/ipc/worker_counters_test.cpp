// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/ipc/worker_counters.hpp>

#include "helpers.hpp"

#include <fcntl.h>

#include <atomic>
#include <thread>

using namespace amp4ec;
using namespace amp4ec::ipc;
using namespace std::chrono_literals;

TEST_CASE("the host reads what the worker counts") {
  const auto host = WorkerCounters::create().value();
  CHECK(host.snapshot().value().phase == WorkerPhase::starting);
  auto worker = WorkerCounters::attach(UniqueFd(::dup(host.fd()))).value();
  worker.set_phase(WorkerPhase::ready);
  worker.set_queued(3);
  worker.begin(42, 5us);

  auto stats = host.snapshot().value();
  CHECK(stats.phase == WorkerPhase::busy);
  CHECK(stats.current_request == 42);
  CHECK(stats.queued == 3);
  CHECK(stats.hop_ns == 5'000);
  CHECK(stats.requests == 0);
  CHECK(elapsed_ns(stats.heartbeat_ns) < monotonic_ns());

  worker.complete(20ms, true);
  worker.begin(43, 7us);
  worker.complete(10ms, false);
  stats = host.snapshot().value();
  CHECK(stats.phase == WorkerPhase::ready);
  CHECK(stats.requests == 2);
  CHECK(stats.errors == 1);
  CHECK(stats.busy_ns == 30'000'000);
  CHECK(stats.hop_ns == 12'000);

  worker.add_received(Bytes{100});
  worker.add_received(Bytes{20});
  worker.add_sent(Bytes{7});
  stats = host.snapshot().value();
  CHECK(stats.received_bytes == 120);
  CHECK(stats.sent_bytes == 7);
  const auto times = host.service_times();
  CHECK(times.counts[ServiceHistogram::bucket_of(20ms)] == 1);
  CHECK(times.counts[ServiceHistogram::bucket_of(10ms)] == 1);
}

TEST_CASE("an onlooker learns which thread serves, and which layers") {
  auto host = WorkerCounters::create().value();
  CHECK(host.snapshot()->thread == 0);
  CHECK_FALSE(host.snapshot()->layers);
  const auto worker = WorkerCounters::attach(UniqueFd(::dup(host.fd()))).value();
  CHECK(worker.snapshot()->thread == static_cast<std::uint64_t>(::gettid()));
  const auto told = [&](std::uint64_t first, std::uint64_t last) {
    host.set_layers(first, last);
    return worker.snapshot()->layers;
  };
  CHECK(told(3, 9) == LayerRange{3, 9});
  CHECK(told(0, 0) == LayerRange{0, 0});
  CHECK(told(0, 0xFFFF'FFFE) == LayerRange{0, 0xFFFF'FFFE});
  CHECK_FALSE(told(9, 3));
  CHECK_FALSE(told(0, 0xFFFF'FFFF));
  CHECK_FALSE(told(1ULL << 40U, 1ULL << 40U));
}

TEST_CASE("an onlooker reads counters through a descriptor that cannot write") {
  auto worker = WorkerCounters::create().value();
  UniqueFd read_only(::open(fmt::format("/proc/self/fd/{}", worker.fd()).c_str(), O_RDONLY | O_CLOEXEC));
  REQUIRE(read_only);
  const auto view = WorkerCountersView::open(std::move(read_only)).value();
  worker.complete(20ms, false);
  worker.set_phase(WorkerPhase::stopping);
  const auto stats = view.snapshot().value();
  CHECK(stats.requests == 1);
  CHECK(stats.errors == 1);
  CHECK(stats.phase == WorkerPhase::stopping);

  const auto other = MemoryFile::create("amp4ec-counters", Bytes{128}).value();
  CHECK(WorkerCountersView::open(UniqueFd(::dup(other.fd()))).error().code == Errc::ProtocolViolation);
  CHECK(WorkerCountersView::open(UniqueFd(::open("/dev/null", O_RDONLY))).error().code == Errc::ProtocolViolation);
}

TEST_CASE("a reader never sees a request without its service time") {
  const auto host = WorkerCounters::create().value();
  auto worker = WorkerCounters::attach(UniqueFd(::dup(host.fd()))).value();
  std::atomic<bool> done = false;
  std::thread writer([&] {
    for (std::uint64_t id = 0; id < 200'000; ++id) {
      worker.begin(id, 1ns);
      worker.complete(3ns, true);
    }
    done = true;
  });
  bool consistent = true;
  while (!done) {
    const auto stats = host.snapshot().value();
    const auto times = host.service_times();
    consistent = consistent && stats.busy_ns >= 3 * stats.requests && stats.hop_ns >= stats.requests &&
                 times.counts[ServiceHistogram::bucket_of(3ns)] >= stats.requests;
  }
  writer.join();
  CHECK(consistent);
  CHECK(host.snapshot().value().requests == 200'000);
}

TEST_CASE("counters that a worker filled with rubbish are an error") {
  const auto host = WorkerCounters::create().value();
  const std::uint64_t phase = 4;
  REQUIRE(::pwrite(host.fd(), &phase, sizeof phase, 0) == sizeof phase);
  CHECK(host.snapshot().error().code == Errc::ProtocolViolation);
}

TEST_CASE("memory of another size is not taken for counters") {
  const auto file = MemoryFile::create("test", 4_KiB).value();
  CHECK(WorkerCounters::attach(UniqueFd(::dup(file.fd()))).error().code == Errc::ProtocolViolation);
}

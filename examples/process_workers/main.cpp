// SPDX-License-Identifier: Apache-2.0
// One pipeline over two worker processes, driven without blocking: a callback for some requests, a future for another.
#include <amp4ec/plan/partitioner.hpp>
#include <amp4ec/runtime/runtime.hpp>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <boost/asio/use_future.hpp>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <latch>
#include <string>

using namespace amp4ec::literals;

namespace {

void print_stages(const amp4ec::Session& session) {
  fmt::print("{:<6} {:>9} {:>5} {:>9} {:>12} {:>10}\n", "node", "layers", "CPUs", "requests", "service (us)", "memory");
  for (const amp4ec::StageReport& stage : session.stages()) {
    const auto requests = static_cast<double>(stage.requests);
    const double busy_us = std::chrono::duration<double, std::micro>(stage.busy).count();
    fmt::print("{:<6} {:>9} {:>5.2f} {:>9} {:>12.0f} {:>10}\n", stage.node,
               fmt::format("{}-{}", stage.first_layer, stage.last_layer), stage.quota.count, stage.requests,
               requests > 0 ? busy_us / requests : 0.0, amp4ec::format_bytes(stage.memory_peak));
  }
}

int run(const char* file) {
  const amp4ec::Values example{at::rand({1, 3, 224, 224})};
  const auto model = amp4ec::Model::load(file).value();
  auto runtime = amp4ec::Runtime::create({{"front", 1.0_cpu, 1_GiB}, {"back", 0.5_cpu, 512_MiB}}).value();
  for (const std::string& missing : runtime.capabilities().missing) fmt::print("not enforced: {}\n", missing);

  amp4ec::Partitioner partitioner;
  partitioner.pipelines = 1;
  const auto profile = runtime.profile(model, example).value();
  const auto plan = partitioner.plan(profile, runtime.nodes()).value();
  auto session = runtime.open(model, plan, example).value();

  // The callback runs on the runtime's thread: it only counts down, and keeps what went wrong.
  const auto requests = static_cast<std::ptrdiff_t>(session.max_in_flight());
  std::latch open_requests(requests);
  std::atomic<int> failures = 0;
  for (std::ptrdiff_t request = 0; request < requests; ++request) {
    session.async_infer(example, [&](const amp4ec::Result<amp4ec::Value>& answer) {
      if (!answer) ++failures;
      open_requests.count_down();
    });
  }
  open_requests.wait();

  // A future serves threads that may block. Any other Asio completion token works as well, coroutines included.
  auto future = session.async_infer(example, boost::asio::use_future);
  const amp4ec::Result<amp4ec::Value> last = future.get();
  if (!last || failures != 0) {
    fmt::print(stderr, "{} requests failed: {}\n", failures.load() + (last ? 0 : 1), last ? "" : last.error().what());
    return 1;
  }
  fmt::print("{} answers, {} classes each\n", requests + 1, last->tensor().numel());
  print_stages(session);
  return 0;
}

}  // namespace

int main(int argc, char** argv) try {
  return run(argc > 1 ? argv[1] : "mobilenet_v2.pt");
} catch (const amp4ec::Exception& problem) {
  fmt::print(stderr, "{}\n", problem.what());
  return 1;
}

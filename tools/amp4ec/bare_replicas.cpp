// SPDX-License-Identifier: Apache-2.0
#include "bare_replicas.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>
#include <thread>
#include <utility>

namespace amp4ec::cli {

Result<BareReplicas> BareReplicas::open(const Subject& subject, const std::vector<NodeSpec>& nodes, bool limited,
                                        bool with_all) {
  std::vector<NodeSpec> places;
  places.reserve(nodes.size() + 2);
  for (const NodeSpec& node : nodes) places.push_back({node.name, node.cpus, {}});
  const auto free_name = [&](std::string name) {
    while (std::ranges::find(places, name, &NodeSpec::name) != places.end()) name += '_';
    return name;
  };
  // Below two CPUs a worker has one thread; this quota never holds it back.
  places.push_back({free_name("single"), Cpus{1.99}, {}});
  if (with_all) {
    const unsigned cpus = std::max(1U, std::thread::hardware_concurrency());
    places.push_back({free_name("all"), Cpus{static_cast<double>(cpus)}, {}});
  }
  auto runtime = Runtime::create(std::move(places));
  if (!runtime) return runtime.error();
  if (runtime->capabilities().cpu_limits != limited) {
    const auto& missing = runtime->capabilities().missing;
    return Error{Errc::CgroupFailed, fmt::format("the bare replicas that the plan is compared with cannot be held to "
                                                 "the nodes' quotas: {}",
                                                 missing.empty() ? "no reason is known" : missing.front())};
  }
  auto baseline = Baseline::open(*runtime, subject.model, subject.inputs.example(), Form::Optimized);
  if (!baseline) return baseline.error();
  return BareReplicas(std::move(*runtime), std::move(*baseline), nodes.size());
}

Result<double> BareReplicas::together(std::chrono::milliseconds duration) {
  std::vector<std::size_t> indices(node_count_);
  std::iota(indices.begin(), indices.end(), std::size_t{0});
  const auto rates = baseline_.run(indices, duration);
  if (!rates) return rates.error();
  return std::accumulate(rates->begin(), rates->end(), 0.0,
                         [](double sum, const Rate& rate) { return sum + rate.throughput_rps; });
}

Result<Rate> BareReplicas::alone(std::size_t index, std::chrono::milliseconds duration) {
  const std::array indices{index};
  const auto rates = baseline_.run(indices, duration);
  if (!rates) return rates.error();
  return rates->front();
}

}  // namespace amp4ec::cli

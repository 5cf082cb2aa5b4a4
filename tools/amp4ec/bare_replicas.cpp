// SPDX-License-Identifier: Apache-2.0
#include "bare_replicas.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <thread>
#include <utility>

namespace amp4ec::cli {

Result<BareReplicas> BareReplicas::open(const Subject& subject, const std::vector<NodeSpec>& nodes, bool with_all) {
  std::vector<NodeSpec> places;
  for (const NodeSpec& node : nodes) places.push_back({"limit-" + node.name, node.cpus, {}});
  places.push_back(
      {"single", Cpus{1.99}, {}});  // below two CPUs a worker has one thread; this quota never holds it back
  if (with_all) {
    places.push_back({"all", Cpus{static_cast<double>(std::max(1U, std::thread::hardware_concurrency()))}, {}});
  }
  auto runtime = Runtime::create(std::move(places));
  if (!runtime) return runtime.error();
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

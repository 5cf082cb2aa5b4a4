// SPDX-License-Identifier: Apache-2.0
#include "runtime/profiler.hpp"

#include "model/wire.hpp"
#include "runtime/stage_worker.hpp"

#include <fmt/format.h>

#include <torch/version.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <numeric>

namespace amp4ec::detail {

namespace {

constexpr std::size_t warm_runs = 3;  // LibTorch settles within three calls.

// A guess at what a layer costs, for spreading measurements and filling the gaps between them: arithmetic at some
// 30 GFLOP/s, memory at some 10 GB/s, and something for being called at all. Microseconds.
std::vector<double> estimate(const LayerGraph& graph) {
  std::vector<double> costs;
  for (const Layer& layer : graph.layers) {
    costs.push_back(1 + layer.flops / 30e3 + static_cast<double>(layer.output.count + layer.weights.count) / 10e3);
  }
  return costs;
}

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (const auto colon = line.find(": "); line.starts_with("model name") && colon != line.npos)
      return line.substr(colon + 2);
  }
  return "unknown";
}

/// Measures segments one after the other in one worker, which runs nowhere else and under no limit.
class Measuring {
 public:
  Measuring(RuntimeState& runtime, const Model& model, const ProfileOptions& options)
      : runtime_(runtime), model_(model), options_(options) {}

  Result<void> start() {
    auto worker = StageWorker::start(runtime_, nullptr, 0);
    if (!worker) return worker.error();
    worker_ = std::move(*worker);
    return {};
  }

  Result<StageWorker::Measurement> segment(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs,
                                           const ipc::MemoryFile* outputs = nullptr) {
    auto segment = model_.segment(first, last);
    if (!segment) return segment.error();
    if (auto sent = worker_->begin_load(*segment, options_.form); !sent) return sent.error();
    if (auto loaded = worker_->finish_load(options_.timeout); !loaded) return loaded.error();
    if (auto sent = worker_->begin_measure(inputs, {warm_runs, options_.runs, 0}, outputs); !sent) return sent.error();
    return worker_->finish_measure(options_.timeout);
  }

  [[nodiscard]] Bytes base_memory() const { return worker_->base_memory(); }

 private:
  RuntimeState& runtime_;
  const Model& model_;
  const ProfileOptions& options_;
  std::unique_ptr<StageWorker> worker_;
};

// Unmeasured cuts take their place between measured neighbours, in proportion to the estimated work.
void interpolate(Profile& profile, const std::vector<double>& costs) {
  const std::size_t cuts = profile.cut_times.size();
  std::vector<double> done(cuts + 1);  // Estimated work before each cut.
  std::partial_sum(costs.begin(), costs.end(), done.begin());
  double from_work = 0;
  CutTime from{0, profile.whole_us, true};
  std::size_t begin = 0;
  for (std::size_t cut = 0; cut <= cuts; ++cut) {
    if (cut < cuts && !profile.cut_times[cut].measured) continue;
    const CutTime to = cut < cuts ? profile.cut_times[cut] : CutTime{profile.whole_us, 0, true};
    for (std::size_t between = begin; between < cut; ++between) {
      const double share = (done[between] - from_work) / (done[cut] - from_work);
      profile.cut_times[between] = {std::lerp(from.prefix_us, to.prefix_us, share),
                                    std::lerp(from.suffix_us, to.suffix_us, share), false};
    }
    from_work = done[cut];
    from = to;
    begin = cut + 1;
  }
}

// Time up to a cut, without what the cut itself costs: half of that is on either side.
double time_before(const Profile& profile, std::size_t cut) {
  const CutTime& time = profile.cut_times[cut];
  return std::clamp((time.prefix_us + profile.whole_us - time.suffix_us) / 2, 0.0, profile.whole_us);
}

void share_out(Profile& profile, const std::vector<double>& costs) {
  profile.layer_us.assign(costs.size(), 0);
  std::size_t begin = 0;
  double before = 0;
  for (std::size_t cut = 0; cut <= profile.cut_times.size(); ++cut) {
    const bool end = cut == profile.cut_times.size();
    if (!end && !profile.cut_times[cut].measured) continue;
    // Noise can make a later cut look earlier than its neighbour; no layer takes negative time.
    const double after = end ? profile.whole_us : std::max(before, time_before(profile, cut));
    const double work = std::accumulate(costs.begin() + static_cast<std::ptrdiff_t>(begin),
                                        costs.begin() + static_cast<std::ptrdiff_t>(cut) + 1, 0.0);
    for (std::size_t layer = begin; layer <= cut; ++layer)
      profile.layer_us[layer] = (after - before) * costs[layer] / work;
    before = after;
    begin = cut + 1;
  }
}

Bytes peak_activation(const LayerGraph& graph) {
  Bytes peak;
  for (std::size_t layer = 0; layer < graph.layers.size(); ++layer) {
    const Bytes alive = layer == 0 ? Bytes{} : graph.cuts[layer - 1].crossing;
    peak = std::max(peak, alive + graph.layers[layer].output);
  }
  return peak;
}

}  // namespace

std::vector<std::size_t> choose_cuts(const LayerGraph& graph, std::size_t count) {
  const auto costs = estimate(graph);
  const double total = std::accumulate(costs.begin(), costs.end(), 0.0);
  std::vector<std::size_t> chosen;
  double done = 0;
  std::size_t share = 0;
  for (std::size_t cut = 0; cut < graph.cuts.size(); ++cut) {
    done += costs[cut];
    const auto in_share = std::min(count, static_cast<std::size_t>(done / total * static_cast<double>(count)));
    if (!graph.cuts[cut].valid) continue;
    const bool new_share = chosen.empty() || in_share > share;
    const auto cheaper = [&] {  // At equal size the later one: after an activation rather than before it.
      const Cut& best = graph.cuts[chosen.back()];
      return std::pair(graph.cuts[cut].crossing, graph.cuts[cut].crossing_values) <=
             std::pair(best.crossing, best.crossing_values);
    };
    if (new_share) {
      chosen.push_back(cut);
      share = in_share;
    } else if (cheaper()) {
      chosen.back() = cut;
    }
  }
  return chosen;
}

Result<Profile> measure_profile(RuntimeState& runtime, const Model& model, const Values& example,
                                const ProfileOptions& options) {
  auto graph = model.layer_graph(example);
  if (!graph) return graph.error();
  auto checked = model.check_inputs(example);
  if (!checked) return checked.error();
  auto inputs = share_values(*checked);
  if (!inputs) return inputs.error();

  Profile profile;
  profile.graph = std::move(*graph);
  profile.form = to_string(options.form);
  profile.libtorch = TORCH_VERSION;
  profile.cpu = processor_name();
  profile.input = inputs->size();
  profile.peak_activation = peak_activation(profile.graph) + profile.input;
  profile.cut_times.resize(profile.graph.cuts.size());

  const auto cuts = choose_cuts(profile.graph, options.max_cuts);
  const std::size_t last = profile.graph.layers.size() - 1;
  const std::size_t steps = 2 * cuts.size() + 2;
  std::size_t step = 0;
  const auto advance = [&] {
    ++step;
    if (options.progress) options.progress(step, steps);
  };

  Measuring measuring(runtime, model, options);
  if (auto started = measuring.start(); !started) return started.error();
  std::vector<StageWorker::Measurement> wholes;
  const auto measure_whole = [&]() -> Result<void> {
    auto whole = measuring.segment(0, last, *inputs);
    if (!whole) return whole.error();
    wholes.push_back(*whole);
    advance();
    return {};
  };
  // The whole at both ends of the series: a machine that changes its speed shows in the difference.
  if (auto done = measure_whole(); !done) return done.error();
  for (const std::size_t cut : cuts) {
    auto between = ipc::MemoryFile::create("amp4ec-crossing", profile.graph.cuts[cut].message);
    if (!between) return between.error();
    auto prefix = measuring.segment(0, cut, *inputs, &*between);
    if (!prefix) return prefix.error();
    advance();
    auto suffix = measuring.segment(cut + 1, last, *between);
    if (!suffix) return suffix.error();
    advance();
    profile.cut_times[cut] = {prefix->median_us, suffix->median_us, true};
  }
  if (auto done = measure_whole(); !done) return done.error();

  profile.whole_us = (wholes.front().median_us + wholes.back().median_us) / 2;
  profile.spread = std::max(wholes.front().spread, wholes.back().spread);
  profile.process_memory = measuring.base_memory();
  const auto costs = estimate(profile.graph);
  interpolate(profile, costs);
  share_out(profile, costs);
  return profile;
}

}  // namespace amp4ec::detail

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

// Over all segments, one after the other, so that no phase of a busy machine (its clock, its neighbours) weighs on all
// measurements of a segment: the least time counts, and most memory. A planner picks the cuts that look cheapest, so
// noise misleads it.
constexpr std::size_t passes = 2;

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

/// What one segment was measured to need, alone on a CPU.
struct Need {
  double us = 0;
  double spread = 0;
  Bytes memory;  ///< Highest charge of the group of its worker; 0 where no group counts.
};

/// Measures segments one after the other, each in a worker of its own, which runs nowhere else and under no limit.
class Measuring {
 public:
  Measuring(RuntimeState& runtime, const Model& model, const ProfileOptions& options)
      : runtime_(runtime), model_(model), options_(options) {}

  Result<Need> segment(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs,
                       const ipc::MemoryFile* outputs = nullptr) {
    auto segment = model_.segment(first, last);
    if (!segment) return segment.error();
    auto started = StageWorker::start(runtime_, nullptr, 0);
    if (!started) return started.error();
    StageWorker& worker = **started;
    if (auto sent = worker.begin_load(*segment, options_.form); !sent) return sent.error();
    if (auto loaded = worker.finish_load(options_.timeout); !loaded) return loaded.error();
    if (auto sent = worker.begin_measure(inputs, {warm_runs, options_.runs, 0}, outputs); !sent) return sent.error();
    const auto measured = worker.finish_measure(options_.timeout);
    if (!measured) return measured.error();
    base_memory_ = worker.base_memory();
    return Need{measured->median_us, measured->spread, peak_of(worker)};
  }

  /// What the last worker had for itself before it loaded a segment.
  [[nodiscard]] Bytes base_memory() const { return base_memory_; }

 private:
  static Bytes peak_of(const StageWorker& worker) {
    const auto details = worker.group() ? worker.group()->read_details()
                                        : Result<cgroup::UsageDetails>(Error{Errc::CgroupUnavailable, {}});
    return details && details->memory_peak_known ? details->memory_peak : Bytes();
  }

  RuntimeState& runtime_;
  const Model& model_;
  const ProfileOptions& options_;
  Bytes base_memory_;
};

// A cut where much is in hand can make a part of the model need more memory than a larger part. Such a cut is not
// offered to a planner, which counts on the opposite.
constexpr double too_much = 1.1;    // Of what the whole model needs,
constexpr double much_more = 1.25;  // and of what a larger segment needs. Less than that is noise, and rounded up.

/// Makes memory fit for planning: it never falls where a segment grows. Nothing where it was not measured.
void let_memory_grow(Profile& profile) {
  const Bytes whole = profile.whole_memory;
  if (whole.count == 0) return;
  const auto exceeds = [](Bytes memory, double factor, Bytes other) {
    return static_cast<double>(memory.count) > factor * static_cast<double>(other.count);
  };
  std::vector<CutCost*> measured;
  for (CutCost& cost : profile.cut_costs) {
    if (cost.measured) measured.push_back(&cost);
  }
  Bytes least_larger = whole;
  for (auto at = measured.rbegin(); at != measured.rend(); ++at) {
    CutCost& cost = **at;
    if (exceeds(cost.prefix_memory, too_much, whole) || exceeds(cost.prefix_memory, much_more, least_larger))
      cost.measured = false;
    least_larger = std::min(least_larger, cost.prefix_memory);
  }
  least_larger = whole;
  for (CutCost* cost : measured) {
    if (exceeds(cost->suffix_memory, too_much, whole) || exceeds(cost->suffix_memory, much_more, least_larger))
      cost->measured = false;
    least_larger = std::min(least_larger, cost->suffix_memory);
  }
  std::erase_if(measured, [](const CutCost* cost) { return !cost->measured; });

  profile.process_memory = whole;
  for (const CutCost* cost : measured)
    profile.process_memory = std::min({profile.process_memory, cost->prefix_memory, cost->suffix_memory});
  Bytes most;
  for (CutCost* cost : measured) most = cost->prefix_memory = std::min(std::max(most, cost->prefix_memory), whole);
  most = {};
  for (auto at = measured.rbegin(); at != measured.rend(); ++at)
    most = (*at)->suffix_memory = std::min(std::max(most, (*at)->suffix_memory), whole);
}

// Unmeasured cuts take their place between measured neighbours: time in proportion to the estimated work, memory that
// of the larger one.
void interpolate(Profile& profile, const std::vector<double>& costs) {
  const std::size_t cuts = profile.cut_costs.size();
  std::vector<double> done(cuts + 1);  // Estimated work before each cut.
  std::partial_sum(costs.begin(), costs.end(), done.begin());
  double from_work = 0;
  CutCost from{0, profile.whole_us, true, profile.process_memory, profile.whole_memory};
  std::size_t begin = 0;
  for (std::size_t cut = 0; cut <= cuts; ++cut) {
    if (cut < cuts && !profile.cut_costs[cut].measured) continue;
    const CutCost to = cut < cuts ? profile.cut_costs[cut]
                                  : CutCost{profile.whole_us, 0, true, profile.whole_memory, profile.process_memory};
    for (std::size_t between = begin; between < cut; ++between) {
      const double share = (done[between] - from_work) / (done[cut] - from_work);
      profile.cut_costs[between] = {std::lerp(from.prefix_us, to.prefix_us, share),
                                    std::lerp(from.suffix_us, to.suffix_us, share), false, to.prefix_memory,
                                    from.suffix_memory};
    }
    from_work = done[cut];
    from = to;
    begin = cut + 1;
  }
}

// Time up to a cut, without what the cut itself costs: half of that is on either side.
double time_before(const Profile& profile, std::size_t cut) {
  const CutCost& time = profile.cut_costs[cut];
  return std::clamp((time.prefix_us + profile.whole_us - time.suffix_us) / 2, 0.0, profile.whole_us);
}

void share_out(Profile& profile, const std::vector<double>& costs) {
  profile.layer_us.assign(costs.size(), 0);
  std::size_t begin = 0;
  double before = 0;
  for (std::size_t cut = 0; cut <= profile.cut_costs.size(); ++cut) {
    const bool end = cut == profile.cut_costs.size();
    if (!end && !profile.cut_costs[cut].measured) continue;
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
  profile.cut_costs.resize(profile.graph.cuts.size());

  const auto cuts = choose_cuts(profile.graph, options.max_cuts);
  std::vector<ipc::MemoryFile> crossings;  // of each cut: what the segment before it hands to the one after it
  for (const std::size_t cut : cuts) {
    auto crossing = ipc::MemoryFile::create("amp4ec-crossing", profile.graph.cuts[cut].message);
    if (!crossing) return crossing.error();
    crossings.push_back(std::move(*crossing));
  }

  const std::size_t last = profile.graph.layers.size() - 1;
  const std::size_t steps = passes * (2 * cuts.size() + 1);
  std::size_t step = 0;
  Measuring measuring(runtime, model, options);
  const auto measure = [&](std::size_t from, std::size_t to, const ipc::MemoryFile& from_file,
                           const ipc::MemoryFile* to_file, double& us, Bytes& memory) -> Result<double> {
    const auto need = measuring.segment(from, to, from_file, to_file);
    if (!need) return need.error();
    us = us == 0 ? need->us : std::min(us, need->us);
    memory = std::max(memory, need->memory);
    ++step;
    if (options.progress) options.progress(step, steps);
    return need->spread;
  };
  for (std::size_t pass = 0; pass < passes; ++pass) {
    const auto whole = measure(0, last, *inputs, nullptr, profile.whole_us, profile.whole_memory);
    if (!whole) return whole.error();
    profile.spread = std::max(profile.spread, *whole);
    for (std::size_t i = 0; i < cuts.size(); ++i) {
      CutCost& cost = profile.cut_costs[cuts[i]];
      cost.measured = true;
      const auto prefix = measure(0, cuts[i], *inputs, &crossings[i], cost.prefix_us, cost.prefix_memory);
      if (!prefix) return prefix.error();
      const auto suffix = measure(cuts[i] + 1, last, crossings[i], nullptr, cost.suffix_us, cost.suffix_memory);
      if (!suffix) return suffix.error();
    }
  }
  profile.process_memory = measuring.base_memory();
  let_memory_grow(profile);
  const auto costs = estimate(profile.graph);
  interpolate(profile, costs);
  share_out(profile, costs);
  return profile;
}

}  // namespace amp4ec::detail

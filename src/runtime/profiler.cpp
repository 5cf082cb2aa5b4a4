// SPDX-License-Identifier: Apache-2.0
#include "runtime/profiler.hpp"

#include "model/wire.hpp"
#include "runtime/profile_fit.hpp"
#include "runtime/segment_meter.hpp"

#include <amp4ec/plan/estimate_profile.hpp>
#include <amp4ec/plan/validate.hpp>

#include <torch/version.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <utility>

namespace amp4ec::detail {

namespace {

// Over all segments, one after the other, so that no phase of a busy machine (its clock, its neighbours) weighs on all
// measurements of a segment: the least time counts, and most memory. A planner picks the cuts that look cheapest, so
// noise misleads it.
constexpr std::size_t passes = 2;

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (const auto colon = line.find(": "); line.starts_with("model name") && colon != line.npos)
      return line.substr(colon + 2);
  }
  return "unknown";
}

/// Measures what a profile wants to know, pass after pass.
class Profiling {
 public:
  Profiling(RuntimeState& runtime, const Model& model, Profile& profile, ipc::MemoryFile inputs, Form form,
            const ProfileOptions& options)
      : profile_(profile),
        options_(options),
        inputs_(std::move(inputs)),
        last_(profile.graph.layers.size() - 1),
        meter_(runtime, model, form, options) {}

  /// The whole model, these cuts, in order, and these segments, each from after one of the cuts to another.
  Result<void> measure(bool whole, const std::set<std::size_t>& cuts, std::vector<SegmentCost>& segments) {
    std::map<std::size_t, ipc::MemoryFile> crossings;  // by cut: what the segment before it hands to the one after it
    for (const std::size_t cut : cuts) {
      auto crossing = ipc::MemoryFile::create("amp4ec-crossing", profile_.graph.cuts[cut].message);
      if (!crossing) return crossing.error();
      crossings.emplace(cut, std::move(*crossing));
      profile_.cut_costs[cut].measured = true;
    }
    steps_ = passes * ((whole ? 1 : 0) + 2 * cuts.size() + segments.size());
    for (std::size_t pass = 0; pass < passes; ++pass) {
      if (whole) {
        if (auto done = add(0, last_, inputs_, nullptr, profile_.whole_us, profile_.whole_memory); !done) return done;
      }
      for (const std::size_t cut : cuts) {
        CutCost& cost = profile_.cut_costs[cut];
        const ipc::MemoryFile& crossing = crossings.at(cut);
        if (auto done = add(0, cut, inputs_, &crossing, cost.prefix_us, cost.prefix_memory); !done) return done;
        if (auto done = add(cut + 1, last_, crossing, nullptr, cost.suffix_us, cost.suffix_memory); !done) return done;
      }
      for (SegmentCost& segment : segments) {
        const ipc::MemoryFile& inputs = crossings.at(segment.first_layer - 1);
        if (auto done = add(segment.first_layer, segment.last_layer, inputs, nullptr, segment.us, segment.memory);
            !done)
          return done;
      }
    }
    return {};
  }

  /// After `measure` with the whole model.
  Result<Contention> contention() { return meter_.contention(0, last_, inputs_); }

  [[nodiscard]] Bytes base_memory() const { return meter_.base_memory(); }

 private:
  /// Keeps the least time and the most memory.
  Result<void> add(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs, const ipc::MemoryFile* outputs,
                   double& us, Bytes& memory) {
    const auto need = meter_.measure(first, last, inputs, outputs);
    if (!need) return need.error();
    us = us == 0 ? need->us : std::min(us, need->us);
    memory = std::max(memory, need->memory);
    if (first == 0 && last == last_) profile_.spread = std::max(profile_.spread, need->spread);
    if (options_.progress) options_.progress(++step_, steps_);
    return {};
  }

  Profile& profile_;
  const ProfileOptions& options_;
  ipc::MemoryFile inputs_;
  std::size_t last_;
  SegmentMeter meter_;
  std::size_t step_ = 0;
  std::size_t steps_ = 0;
};

std::size_t count_measured(const Profile& profile) {
  return profile.segments.size() +
         static_cast<std::size_t>(std::count_if(profile.cut_costs.begin(), profile.cut_costs.end(),
                                                [](const CutCost& cost) { return cost.measured; }));
}

Result<ipc::MemoryFile> share_inputs(const Model& model, const Values& example) {
  auto checked = model.check_inputs(example);
  if (!checked) return checked.error();
  return share_values(*checked);
}

}  // namespace

Result<Profile> measure_profile(RuntimeState& runtime, const Model& model, const Values& example,
                                const ProfileOptions& options) {
  auto graph = model.layer_graph(example);
  if (!graph) return graph.error();
  auto inputs = share_inputs(model, example);
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
  std::vector<SegmentCost> none;
  Profiling profiling(runtime, model, profile, std::move(*inputs), options.form, options);
  if (auto done = profiling.measure(true, {cuts.begin(), cuts.end()}, none); !done) return done.error();
  auto contention = profiling.contention();
  if (!contention) return contention.error();
  profile.contention = *contention;
  profile.process_memory = profiling.base_memory();
  fit_profile(profile);
  return profile;
}

Result<std::size_t> refine_profile(RuntimeState& runtime, Profile& profile, const Model& model, const Values& example,
                                   const Plan& plan, const ProfileOptions& options) {
  if (profile.graph.model_hash != model.hash())
    return Error{Errc::ProfileInvalid, "the profile belongs to another model; measure this one"};
  if (auto valid = validate_profile(profile); !valid) return valid.error();
  if (!was_measured_here(profile)) return std::size_t{0};
  const auto form = parse_form(profile.form);
  if (!form) return form.error();

  const std::size_t last = profile.graph.layers.size() - 1;
  std::set<std::size_t> cuts;
  std::vector<SegmentCost> segments;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) {
      if (stage.first_layer > stage.last_layer || stage.last_layer > last)
        return Error{Errc::PlanInvalid, "the plan has layers that the profile does not have"};
      if (is_measured(profile, stage.first_layer, stage.last_layer)) continue;
      const SegmentCost segment{stage.first_layer, stage.last_layer};
      if (std::find(segments.begin(), segments.end(), segment) != segments.end()) continue;
      if (stage.first_layer > 0) cuts.insert(stage.first_layer - 1);
      if (stage.last_layer < last) cuts.insert(stage.last_layer);
      if (stage.first_layer > 0 && stage.last_layer < last) segments.push_back(segment);
    }
  }
  if (cuts.empty()) return std::size_t{0};
  auto inputs = share_inputs(model, example);
  if (!inputs) return inputs.error();
  Profile refined = profile;  // All or nothing.
  // A cut that was interpolated begins anew; one that was measured is measured better.
  for (const std::size_t cut : cuts) {
    if (!refined.cut_costs[cut].measured) refined.cut_costs[cut] = {};
  }
  Profiling profiling(runtime, model, refined, std::move(*inputs), *form, options);
  if (auto done = profiling.measure(false, cuts, segments); !done) return done.error();
  refined.segments.insert(refined.segments.end(), segments.begin(), segments.end());
  fit_profile(refined);
  const std::size_t before = count_measured(profile);
  profile = std::move(refined);
  return std::max(count_measured(profile), before) - before;
}

}  // namespace amp4ec::detail

bool amp4ec::was_measured_here(const Profile& profile) {
  return !profile.estimated && profile.libtorch == TORCH_VERSION && profile.cpu == detail::processor_name();
}

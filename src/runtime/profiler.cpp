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
// noise misleads it: where it is strong, and times still fall, there are more passes.
constexpr std::size_t least_passes = 2;
constexpr std::size_t most_passes = 4;
constexpr double falls = 0.95;    // A time has, by a measurement that is less than this part of it.
constexpr double few_fall = 0.1;  // Of all, and there need be no pass more.

std::string processor_name() {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (const auto colon = line.find(": "); line.starts_with("model name") && colon != line.npos)
      return line.substr(colon + 2);
  }
  return "unknown";
}

/// What was measured, the least times and the most memory.
struct Measured {
  Need whole;
  std::map<std::size_t, CutCost> cuts;
  std::vector<SegmentCost> segments;
};

/// Measures what a profile wants to know, pass after pass.
class Profiling {
 public:
  Profiling(RuntimeState& runtime, const Model& model, const LayerGraph& graph, ipc::MemoryFile inputs, Form form,
            const ProfileOptions& options)
      : graph_(graph),
        options_(options),
        inputs_(std::move(inputs)),
        last_(graph.layers.size() - 1),
        meter_(runtime, model, form, options) {}

  /// The whole model, these cuts, and these segments, each from after one of the cuts to another.
  Result<Measured> measure(const std::set<std::size_t>& cuts, std::vector<SegmentCost> segments) {
    Measured all;
    all.segments = std::move(segments);
    std::map<std::size_t, ipc::MemoryFile> crossings;  // by cut: what the segment before it hands to the one after it
    for (const std::size_t cut : cuts) {
      auto crossing = ipc::MemoryFile::create("amp4ec-crossing", graph_.cuts[cut].message);
      if (!crossing) return crossing.error();
      crossings.emplace(cut, std::move(*crossing));
      all.cuts[cut].measured = true;
    }
    const std::size_t in_pass = 1 + 2 * cuts.size() + all.segments.size();
    for (std::size_t pass = 0; pass < most_passes; ++pass) {
      if (pass >= least_passes && static_cast<double>(fallen_) <= few_fall * static_cast<double>(in_pass)) break;
      fallen_ = 0;
      steps_ = in_pass * std::max(pass + 1, least_passes);
      auto done = add(0, last_, inputs_, nullptr, all.whole.us, all.whole.memory, &all.whole.spread);
      if (!done) return done.error();
      for (auto& [cut, cost] : all.cuts) {
        const ipc::MemoryFile& crossing = crossings.at(cut);
        done = add(0, cut, inputs_, &crossing, cost.prefix_us, cost.prefix_memory);
        if (done) done = add(cut + 1, last_, crossing, nullptr, cost.suffix_us, cost.suffix_memory);
        if (!done) return done.error();
      }
      for (SegmentCost& segment : all.segments) {
        const ipc::MemoryFile& inputs = crossings.at(segment.first_layer - 1);
        done = add(segment.first_layer, segment.last_layer, inputs, nullptr, segment.us, segment.memory);
        if (!done) return done.error();
      }
    }
    return all;
  }

  /// After `measure`.
  Result<Contention> contention() { return meter_.contention(0, last_, inputs_); }

  [[nodiscard]] Bytes base_memory() const { return meter_.base_memory(); }

  /// Notes the forms of all that was measured, in the place of what is known of them.
  void note_forms(const Measured& measured, std::vector<FoundForm>& forms) const {
    note_form(0, last_, forms);
    for (const auto& entry : measured.cuts) {
      note_form(0, entry.first, forms);
      note_form(entry.first + 1, last_, forms);
    }
    for (const SegmentCost& segment : measured.segments) note_form(segment.first_layer, segment.last_layer, forms);
  }

 private:
  void note_form(std::size_t first, std::size_t last, std::vector<FoundForm>& forms) const {
    const std::string& name = meter_.found_form(first, last);
    if (name.empty()) return;
    std::erase_if(forms,
                  [&](const FoundForm& known) { return known.first_layer == first && known.last_layer == last; });
    forms.push_back({first, last, name});
  }

  /// Keeps the least time, the most memory and the largest spread.
  Result<void> add(std::size_t first, std::size_t last, const ipc::MemoryFile& inputs, const ipc::MemoryFile* outputs,
                   double& us, Bytes& memory, double* spread = nullptr) {
    const auto need = meter_.measure(first, last, inputs, outputs);
    if (!need) return need.error();
    if (need->us < falls * us) ++fallen_;
    us = us == 0 ? need->us : std::min(us, need->us);
    // What it writes for the next stage is charged to it: one message that is read and one that waits.
    const bool writes = last < last_ && need->memory.count > 0;
    memory = std::max(memory, writes ? need->memory + 2 * graph_.cuts[last].message : need->memory);
    if (spread != nullptr) *spread = std::max(*spread, need->spread);
    if (options_.progress) options_.progress(++step_, steps_);
    return {};
  }

  const LayerGraph& graph_;
  const ProfileOptions& options_;
  ipc::MemoryFile inputs_;
  std::size_t last_;
  SegmentMeter meter_;
  std::size_t fallen_ = 0;  ///< In this pass.
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
  Profiling profiling(runtime, model, profile.graph, std::move(*inputs), options.form, options);
  const auto measured = profiling.measure({cuts.begin(), cuts.end()}, {});
  if (!measured) return measured.error();
  profile.whole_us = measured->whole.us;
  profile.whole_memory = measured->whole.memory;
  profile.spread = measured->whole.spread;
  for (const auto& [cut, cost] : measured->cuts) profile.cut_costs[cut] = cost;
  profiling.note_forms(*measured, profile.found_forms);
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
  Profiling profiling(runtime, model, profile.graph, std::move(*inputs), *form, options);
  auto measured = profiling.measure(cuts, std::move(segments));
  if (!measured) return measured.error();
  Profile refined = profile;  // All or nothing.
  // The machine may be slower than when the profile was made, or quicker: the whole model tells.
  const double speed = profile.whole_us / measured->whole.us;
  for (auto& [cut, cost] : measured->cuts) {
    cost.prefix_us *= speed;
    cost.suffix_us *= speed;
    // A cut that was interpolated begins anew; one that was measured is measured better.
    if (CutCost& known = refined.cut_costs[cut]; known.measured) {
      known = {std::min(known.prefix_us, cost.prefix_us), std::min(known.suffix_us, cost.suffix_us), true,
               std::max(known.prefix_memory, cost.prefix_memory), std::max(known.suffix_memory, cost.suffix_memory)};
    } else {
      known = cost;
    }
  }
  for (SegmentCost& segment : measured->segments) segment.us *= speed;
  refined.segments.insert(refined.segments.end(), measured->segments.begin(), measured->segments.end());
  profiling.note_forms(*measured, refined.found_forms);
  fit_profile(refined);
  const std::size_t before = count_measured(profile);
  profile = std::move(refined);
  return std::max(count_measured(profile), before) - before;
}

}  // namespace amp4ec::detail

bool amp4ec::was_measured_here(const Profile& profile) {
  return !profile.estimated && profile.libtorch == TORCH_VERSION && profile.cpu == detail::processor_name();
}

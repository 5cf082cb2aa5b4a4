// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/plan/profile_json.hpp>

#include <amp4ec/plan/json_text.hpp>
#include <amp4ec/plan/validate.hpp>

#include "json_reader.hpp"

#include <optional>
#include <utility>

namespace amp4ec {
namespace {

namespace json = boost::json;

json::object layer_to_json(const Layer& layer, double time_us) {
  return {{"name", layer.name},
          {"operator", layer.op},
          {"flops", layer.flops},
          {"weight_bytes", layer.weights.count},
          {"output_bytes", layer.output.count},
          {"random", layer.random},
          {"stateful", layer.stateful},
          {"time_us", time_us}};
}

json::object cut_to_json(const Cut& cut, const CutCost& cost) {
  return {{"valid", cut.valid},
          {"reason", cut.reason},
          {"crossing_bytes", cut.crossing.count},
          {"crossing_values", cut.crossing_values},
          {"message_bytes", cut.message.count},
          {"prefix_us", cost.prefix_us},
          {"suffix_us", cost.suffix_us},
          {"prefix_memory_bytes", cost.prefix_memory.count},
          {"suffix_memory_bytes", cost.suffix_memory.count},
          {"measured", cost.measured}};
}

void read_layer(const detail::JsonReader& reader, Profile& profile) {
  Layer& layer = profile.graph.layers.emplace_back();
  reader.read("name", layer.name);
  reader.read("operator", layer.op);
  reader.read("flops", layer.flops);
  reader.read("weight_bytes", layer.weights);
  reader.read("output_bytes", layer.output);
  reader.read("random", layer.random);
  reader.read_if_present("stateful", layer.stateful);
  reader.read("time_us", profile.layer_us.emplace_back());
}

void read_cut(const detail::JsonReader& reader, Profile& profile) {
  Cut& cut = profile.graph.cuts.emplace_back();
  reader.read("valid", cut.valid);
  reader.read("reason", cut.reason);
  reader.read("crossing_bytes", cut.crossing);
  reader.read("crossing_values", cut.crossing_values);
  reader.read_if_present("message_bytes", cut.message);
  CutCost& cost = profile.cut_costs.emplace_back();
  reader.read("prefix_us", cost.prefix_us);
  reader.read("suffix_us", cost.suffix_us);
  reader.read_if_present("prefix_memory_bytes", cost.prefix_memory);
  reader.read_if_present("suffix_memory_bytes", cost.suffix_memory);
  reader.read("measured", cost.measured);
}

}  // namespace

json::object profile_to_json(const Profile& profile) {
  const LayerGraph& graph = profile.graph;
  json::array layers;
  for (std::size_t i = 0; i < graph.layers.size(); ++i) {
    layers.push_back(layer_to_json(graph.layers[i], profile.layer_us[i]));
  }
  json::array cuts;
  for (std::size_t i = 0; i < graph.cuts.size(); ++i) {
    cuts.push_back(cut_to_json(graph.cuts[i], profile.cut_costs[i]));
  }
  json::array segments;
  for (const SegmentCost& segment : profile.segments) {
    segments.push_back(json::object{{"first_layer", segment.first_layer},
                                    {"last_layer", segment.last_layer},
                                    {"time_us", segment.us},
                                    {"memory_bytes", segment.memory.count}});
  }
  json::array forms;
  for (const FoundForm& found : profile.found_forms) {
    forms.push_back(
        json::object{{"first_layer", found.first_layer}, {"last_layer", found.last_layer}, {"name", found.name}});
  }
  json::array leaves;
  for (const LeafModule& leaf : graph.leaves) {
    leaves.push_back(json::object{{"name", leaf.name}, {"cost", leaf.cost}, {"first_layer", leaf.first_layer}});
  }
  return {{"schema", 1},
          {"model_hash", graph.model_hash},
          {"form", profile.form},
          {"libtorch", profile.libtorch},
          {"cpu", profile.cpu},
          {"estimated", profile.estimated},
          {"whole_us", profile.whole_us},
          {"spread", profile.spread},
          {"contention", {{"cpus", profile.contention.cpus}, {"slowdown", profile.contention.slowdown}}},
          {"whole_memory_bytes", profile.whole_memory.count},
          {"process_memory_bytes", profile.process_memory.count},
          {"input_bytes", profile.input.count},
          {"peak_activation_bytes", profile.peak_activation.count},
          {"layers", std::move(layers)},
          {"cuts", std::move(cuts)},
          {"segments", std::move(segments)},
          {"found_forms", std::move(forms)},
          {"leaves", std::move(leaves)}};
}

std::string write_profile(const Profile& profile) {
  return json_text(profile_to_json(profile)) + "\n";
}

Result<Profile> read_profile(std::string_view text) {
  const auto root = parse_json(text);
  if (!root) return root.error();
  std::optional<Error> fault;
  const detail::JsonReader reader(*root, fault);
  reader.read_schema();

  Profile profile;
  reader.read("model_hash", profile.graph.model_hash);
  reader.read("form", profile.form);
  reader.read("libtorch", profile.libtorch);
  reader.read("cpu", profile.cpu);
  reader.read_if_present("estimated", profile.estimated);
  reader.read("whole_us", profile.whole_us);
  reader.read("spread", profile.spread);
  if (reader.has("contention")) {
    const detail::JsonReader contention = reader.inside("contention");
    contention.read("cpus", profile.contention.cpus);
    contention.read("slowdown", profile.contention.slowdown);
  }
  reader.read_if_present("whole_memory_bytes", profile.whole_memory);
  reader.read("process_memory_bytes", profile.process_memory);
  reader.read("input_bytes", profile.input);
  reader.read("peak_activation_bytes", profile.peak_activation);
  reader.read_each("layers", [&](const detail::JsonReader& layer) { read_layer(layer, profile); });
  reader.read_each("cuts", [&](const detail::JsonReader& cut) { read_cut(cut, profile); });
  if (reader.has("segments")) {
    reader.read_each("segments", [&](const detail::JsonReader& segment) {
      SegmentCost& read = profile.segments.emplace_back();
      segment.read("first_layer", read.first_layer);
      segment.read("last_layer", read.last_layer);
      segment.read("time_us", read.us);
      segment.read("memory_bytes", read.memory);
    });
  }
  if (reader.has("found_forms")) {
    reader.read_each("found_forms", [&](const detail::JsonReader& form) {
      FoundForm& read = profile.found_forms.emplace_back();
      form.read("first_layer", read.first_layer);
      form.read("last_layer", read.last_layer);
      form.read("name", read.name);
    });
  }
  reader.read_each("leaves", [&](const detail::JsonReader& leaf) {
    LeafModule& read = profile.graph.leaves.emplace_back();
    leaf.read("name", read.name);
    leaf.read("cost", read.cost);
    leaf.read("first_layer", read.first_layer);
  });
  if (fault) return *std::move(fault);
  if (const auto valid = validate_profile(profile); !valid) return valid.error();
  return profile;
}

}  // namespace amp4ec

// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/plan/plan_json.hpp>

#include <amp4ec/plan/json_text.hpp>

#include "json_reader.hpp"

#include <optional>
#include <utility>

namespace amp4ec {
namespace {

namespace json = boost::json;

json::object stage_to_json(const Stage& stage) {
  json::object object{{"node", stage.node},
                      {"first_layer", stage.first_layer},
                      {"last_layer", stage.last_layer},
                      {"leaf_modules", stage.leaf_modules},
                      {"time_us", stage.time_us},
                      {"memory_bytes", stage.memory.count},
                      {"crossing_bytes", stage.crossing.count}};
  if (!stage.form.empty()) object["form"] = stage.form;
  return object;
}

Stage read_stage(const detail::JsonReader& reader) {
  reader.allow_only(
      {"node", "first_layer", "last_layer", "leaf_modules", "time_us", "memory_bytes", "crossing_bytes", "form"});
  Stage stage;
  reader.read("node", stage.node);
  reader.read("first_layer", stage.first_layer);
  reader.read("last_layer", stage.last_layer);
  reader.read_if_present("leaf_modules", stage.leaf_modules);
  reader.read_if_present("time_us", stage.time_us);
  reader.read_if_present("memory_bytes", stage.memory);
  reader.read_if_present("crossing_bytes", stage.crossing);
  reader.read_if_present("form", stage.form);
  return stage;
}

}  // namespace

json::object plan_to_json(const Plan& plan) {
  json::array pipelines;
  for (const Pipeline& pipeline : plan.pipelines) {
    json::array stages;
    for (const Stage& stage : pipeline.stages) stages.push_back(stage_to_json(stage));
    pipelines.push_back(json::object{{"stages", std::move(stages)}});
  }
  return {{"schema", 1},
          {"model_hash", plan.model_hash},
          {"strategy", plan.strategy},
          {"objective", plan.objective},
          {"pipelines", std::move(pipelines)},
          {"predicted",
           {{"throughput_rps", plan.predicted.throughput_rps},
            {"latency_ms", plan.predicted.latency_ms},
            {"slowdown", plan.predicted.slowdown},
            {"price", plan.predicted.price},
            {"estimated", plan.predicted.estimated}}},
          {"gap", plan.gap},
          {"advice", plan.advice}};
}

std::string write_plan(const Plan& plan) {
  return json_text(plan_to_json(plan)) + "\n";
}

Result<Plan> read_plan(std::string_view text) {
  const auto root = parse_json(text);
  if (!root) return root.error();
  std::optional<Error> fault;
  const detail::JsonReader reader(*root, fault);
  reader.read_schema();

  Plan plan;
  reader.read_if_present("model_hash", plan.model_hash);
  reader.read_if_present("strategy", plan.strategy);
  reader.read_if_present("objective", plan.objective);
  reader.read_each("pipelines", [&](const detail::JsonReader& pipeline) {
    pipeline.allow_only({"stages"});
    Pipeline& read = plan.pipelines.emplace_back();
    pipeline.read_each("stages", [&](const detail::JsonReader& stage) { read.stages.push_back(read_stage(stage)); });
  });
  if (reader.has("predicted")) {
    const detail::JsonReader predicted = reader.inside("predicted");
    predicted.read_if_present("throughput_rps", plan.predicted.throughput_rps);
    predicted.read_if_present("latency_ms", plan.predicted.latency_ms);
    predicted.read_if_present("slowdown", plan.predicted.slowdown);
    predicted.read_if_present("price", plan.predicted.price);
    predicted.read_if_present("estimated", plan.predicted.estimated);
  }
  plan.gap = -1;
  reader.read_if_present("gap", plan.gap);
  reader.read_if_present("advice", plan.advice);
  if (fault) return *std::move(fault);
  return plan;
}

}  // namespace amp4ec

// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/plan/explanation_json.hpp>

#include <boost/json/array.hpp>

#include <cmath>
#include <cstdint>
#include <utility>

namespace amp4ec {
namespace {

namespace json = boost::json;

json::value finite(double number) {
  return std::isfinite(number) ? json::value(number) : json::value(nullptr);
}

json::object worth_to_json(const Worth& worth) {
  return {{"throughput_rps", worth.predicted.throughput_rps},
          {"latency_ms", worth.predicted.latency_ms},
          {"largest_stage_bytes", worth.largest_stage.count}};
}

json::object pipeline_to_json(const PipelineUse& use) {
  return {{"bottleneck", use.bottleneck}, {"kind", use.link ? "link" : "stage"},  {"node", use.node},
          {"time_us", use.time_us},       {"throughput_rps", use.throughput_rps}, {"latency_ms", use.latency_ms}};
}

json::object node_to_json(const NodeUse& use) {
  const bool limited = use.limit.count > 0;
  const auto headroom = static_cast<std::int64_t>(use.limit.count) - static_cast<std::int64_t>(use.memory.count);
  return {{"node", use.node},
          {"busy", use.busy},
          {"slack", use.slack()},
          {"memory_bytes", use.memory.count},
          {"memory_limit_bytes", limited ? json::value(use.limit.count) : json::value(nullptr)},
          {"memory_headroom_bytes", limited ? json::value(headroom) : json::value(nullptr)}};
}

json::object link_to_json(const LinkUse& use) {
  return {{"from", use.from}, {"to", use.to}, {"time_us", use.time_us}, {"busy", use.busy}};
}

json::object alternative_to_json(const Alternative& alternative) {
  json::object object{{"name", alternative.name}, {"pipelines", alternative.plan.pipelines.size()}};
  for (auto& [key, value] : worth_to_json(alternative.worth)) object[key] = value;
  object["gain"] = finite(alternative.gain);
  object["same_plan"] = alternative.same_plan;
  object["layout"] = layout(alternative.plan);
  return object;
}

json::object relaxation_to_json(const Relaxation& relaxation) {
  json::object object{{"kind", to_string(relaxation.kind)}, {"where", relaxation.where}, {"change", relaxation.change}};
  for (auto& [key, value] : worth_to_json(relaxation.worth)) object[key] = value;
  object["gain"] = finite(relaxation.gain);
  return object;
}

template <class T, class ToJson>
json::array array_of(const std::vector<T>& items, ToJson to_json) {
  json::array array;
  for (const T& item : items) array.push_back(to_json(item));
  return array;
}

}  // namespace

json::object explanation_to_json(const Explanation& explanation) {
  const Limit& limit = explanation.limit;
  json::object object{{"objective", to_string(explanation.objective)}};
  for (auto& [key, value] : worth_to_json(explanation.worth)) object[key] = value;
  object["limit"] = {{"kind", to_string(limit.kind)}, {"where", limit.where}, {"sentence", limit.sentence}};
  object["splitting"] = explanation.splitting;
  object["pipelines"] = array_of(explanation.pipelines, pipeline_to_json);
  object["nodes"] = array_of(explanation.nodes, node_to_json);
  object["links"] = array_of(explanation.links, link_to_json);
  object["replanned"] = explanation.replanned;
  object["alternatives"] = array_of(explanation.alternatives, alternative_to_json);
  object["next_best"] =
      explanation.next_best ? json::value(explanation.alternatives[*explanation.next_best].name) : json::value(nullptr);
  object["relaxations"] = array_of(explanation.relaxations, relaxation_to_json);
  return object;
}

}  // namespace amp4ec

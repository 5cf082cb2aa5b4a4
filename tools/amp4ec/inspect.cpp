// SPDX-License-Identifier: Apache-2.0
#include "output.hpp"
#include "profiling.hpp"
#include "subject.hpp"
#include "table.hpp"
#include "text.hpp"
#include "verb.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

namespace amp4ec::cli {
namespace {

namespace json = boost::json;

struct InspectOptions {
  ModelOptions model;
  bool no_profile = false;
  bool leaves = false;
};

/// In microseconds; empty when they were not measured.
using LayerTimes = std::vector<double>;

json::array layers_json(const LayerGraph& graph, const LayerTimes& times) {
  json::array layers;
  for (std::size_t i = 0; i < graph.layers.size(); ++i) {
    const Layer& layer = graph.layers[i];
    layers.push_back(json::object{{"index", i},
                                  {"name", layer.name},
                                  {"operators", json::array{json::string(layer.op)}},
                                  {"flops", layer.flops},
                                  {"weight_bytes", layer.weights.count},
                                  {"output_bytes", layer.output.count},
                                  {"time_us", times.empty() ? json::value(nullptr) : json::value(times[i])}});
  }
  return layers;
}

json::array cuts_json(const LayerGraph& graph) {
  json::array cuts;
  for (std::size_t i = 0; i < graph.cuts.size(); ++i) {
    const Cut& cut = graph.cuts[i];
    cuts.push_back(json::object{{"after", i},
                                {"valid", cut.valid},
                                {"reason", cut.reason},
                                {"crossing_bytes", cut.crossing.count},
                                {"crossing_values", cut.crossing_values}});
  }
  return cuts;
}

json::array leaves_json(const LayerGraph& graph) {
  json::array leaves;
  for (const LeafModule& leaf : graph.leaves) {
    leaves.push_back(json::object{{"name", leaf.name}, {"cost", leaf.cost}, {"first_layer", leaf.first_layer}});
  }
  return leaves;
}

json::array shared_json(const std::vector<SharedWeight>& weights) {
  json::array shared;
  for (const SharedWeight& weight : weights) {
    shared.push_back(json::object{{"bytes", weight.bytes.count},
                                  {"layers", json::array(weight.layers.begin(), weight.layers.end())}});
  }
  return shared;
}

std::string shared_text(const std::vector<SharedWeight>& weights) {
  std::string text;
  for (const SharedWeight& weight : weights) {
    text += fmt::format("weights of {} are used by layers {}: a cut between them keeps a copy on either side\n",
                        format_bytes(weight.bytes), fmt::join(weight.layers, ", "));
  }
  return text;
}

std::string layers_text(const LayerGraph& graph, const LayerTimes& times) {
  Table table({"layer", "name", "Mflop", "weights", "output", "time"});
  for (std::size_t i = 0; i < graph.layers.size(); ++i) {
    const Layer& layer = graph.layers[i];
    table.add({fmt::format("{}", i), layer.name, layer.flops > 0 ? fmt::format("{:.3g}", layer.flops / 1e6) : "-",
               layer.weights.count > 0 ? format_bytes(layer.weights) : "-", format_bytes(layer.output),
               times.empty() ? "-" : format_us(times[i])});
  }
  return table.text();
}

std::string cuts_text(const LayerGraph& graph) {
  std::map<std::string, std::size_t> refused;
  std::size_t valid = 0;
  for (const Cut& cut : graph.cuts) {
    if (cut.valid) {
      ++valid;
    } else {
      ++refused[reason_code(cut.reason)];
    }
  }
  std::string text = fmt::format("\ncuts: {}, of which {} valid\n", graph.cuts.size(), valid);
  for (const auto& [reason, count] : refused) text += fmt::format("  refused, {}: {}\n", reason, count);
  return text;
}

std::string leaves_text(const LayerGraph& graph) {
  Table table({"leaf module", "AMP4EC cost", "first layer"});
  for (const LeafModule& leaf : graph.leaves) {
    table.add({leaf.name, fmt::format("{:.0f}", leaf.cost), fmt::format("{}", leaf.first_layer)});
  }
  return "\n" + table.text();
}

Result<Exit> run_inspect(const InspectOptions& options) {
  const auto subject = load_subject(options.model);
  if (!subject) return subject.error();
  LayerTimes times;
  double whole_us = 0;
  if (!options.no_profile) {
    auto profile = measure_profile(*subject, Form::Optimized);
    if (!profile) return profile.error();
    times = std::move(profile->layer_us);
    whole_us = profile->whole_us;
  }
  const LayerGraph& graph = subject->graph;
  const auto printed = [&] {
    if (options.model.json) {
      return print_json(json::object{{"model_hash", graph.model_hash},
                                     {"whole_us", times.empty() ? json::value(nullptr) : json::value(whole_us)},
                                     {"layers", layers_json(graph, times)},
                                     {"cuts", cuts_json(graph)},
                                     {"shared_weights", shared_json(subject->model.shared_weights())},
                                     {"stateful", subject->model.has_state()},
                                     {"leaves", leaves_json(graph)}});
    }
    std::string text = layers_text(graph, times) + cuts_text(graph) + shared_text(subject->model.shared_weights());
    if (!times.empty()) text += fmt::format("whole model: {}\n", format_us(whole_us));
    return print(options.leaves ? text + leaves_text(graph) : text);
  }();
  if (!printed) return printed.error();
  return Exit::success;
}

}  // namespace

void add_inspect(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<InspectOptions>();
  CLI::App* verb = app.add_subcommand("inspect", "Show a model's layers, what they cost, and where it can be cut");
  add_model_options(*verb, options->model);
  add_input_options(*verb, options->model);
  verb->add_flag("--no-profile", options->no_profile, "Do not measure times");
  verb->add_flag("--leaves", options->leaves, "List the leaf modules as well");
  verb->callback([options, &chosen] { chosen = [options](const Interrupt&) { return run_inspect(*options); }; });
}

}  // namespace amp4ec::cli

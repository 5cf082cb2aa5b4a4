// SPDX-License-Identifier: Apache-2.0
#include "files.hpp"
#include "output.hpp"
#include "planning.hpp"
#include "subject.hpp"
#include "table.hpp"
#include "verb.hpp"

#include <amp4ec/plan/json_text.hpp>
#include <amp4ec/plan/validate.hpp>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

namespace amp4ec::cli {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

struct SplitOptions {
  ModelOptions model;
  std::string plan;
  std::string folder;
};

using LayerRange = std::pair<std::size_t, std::size_t>;

/// Removes again what it was told of, unless all went well.
class Cleanup {
 public:
  Cleanup() = default;
  Cleanup(const Cleanup&) = delete;
  Cleanup& operator=(const Cleanup&) = delete;
  ~Cleanup() {
    std::error_code ignored;
    for (auto path = paths_.rbegin(); path != paths_.rend(); ++path) fs::remove(*path, ignored);
  }
  void add(fs::path path) { paths_.push_back(std::move(path)); }
  void keep_all() { paths_.clear(); }

 private:
  std::vector<fs::path> paths_;
};

/// Every pipeline covers every layer once. Cuts are judged when the segments are built.
Result<void> check_coverage(const Plan& plan, std::size_t layer_count) {
  LayerGraph graph;
  graph.layers.resize(layer_count);
  graph.cuts.assign(layer_count - 1, Cut{true, "", {}, 0});
  std::vector<NodeSpec> nodes;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) nodes.push_back({stage.node, Cpus{1}, {}});
  }
  return validate_plan(plan, graph, nodes);
}

std::vector<LayerRange> distinct_ranges(const Plan& plan) {
  std::vector<LayerRange> ranges;
  for (const Pipeline& pipeline : plan.pipelines) {
    for (const Stage& stage : pipeline.stages) {
      const LayerRange range{stage.first_layer, stage.last_layer};
      if (std::ranges::find(ranges, range) == ranges.end()) ranges.push_back(range);
    }
  }
  return ranges;
}

json::array pipelines_json(const Plan& plan, const std::vector<LayerRange>& ranges) {
  json::array pipelines;
  for (const Pipeline& pipeline : plan.pipelines) {
    json::array numbers;
    for (const Stage& stage : pipeline.stages) {
      numbers.push_back(std::ranges::find(ranges, LayerRange{stage.first_layer, stage.last_layer}) - ranges.begin());
    }
    pipelines.push_back(std::move(numbers));
  }
  return pipelines;
}

Result<json::array> write_segments(const Model& model, const std::vector<LayerRange>& ranges, const fs::path& folder,
                                   Cleanup& cleanup) {
  json::array segments;
  for (std::size_t k = 0; k < ranges.size(); ++k) {
    const auto segment = model.segment(ranges[k].first, ranges[k].second);
    if (!segment) return segment.error();
    const std::string name = fmt::format("segment-{}.pt", k);
    if (const auto writable = check_output(folder / name); !writable) return writable.error();
    if (const auto saved = segment->save(folder / name); !saved) return saved.error();
    cleanup.add(folder / name);
    segments.push_back(json::object{{"file", name},
                                    {"first_layer", segment->first_layer()},
                                    {"last_layer", segment->last_layer()},
                                    {"inputs", segment->input_count()},
                                    {"outputs", segment->output_count()}});
  }
  return segments;
}

Result<void> make_folder(const fs::path& folder, Cleanup& cleanup) {
  std::error_code failed;
  if (fs::create_directory(folder, failed)) {
    cleanup.add(folder);
  } else if (failed || !fs::is_directory(folder)) {
    return Error{Errc::SystemCall, fmt::format("cannot create the folder '{}': {}", folder.string(),
                                               failed ? failed.message() : "a file of that name is in the way")};
  }
  return {};
}

std::string segments_text(const json::array& segments, const std::string& folder) {
  Table table({"file", "layers", "inputs", "outputs"});
  for (const json::value& segment : segments) {
    table.add({std::string(segment.at("file").as_string()),
               fmt::format("{}-{}", segment.at("first_layer").to_number<std::size_t>(),
                           segment.at("last_layer").to_number<std::size_t>()),
               fmt::format("{}", segment.at("inputs").to_number<std::size_t>()),
               fmt::format("{}", segment.at("outputs").to_number<std::size_t>())});
  }
  return fmt::format("{}\n{}: {} segments and manifest.json\n", table.text(), folder, segments.size());
}

Result<Exit> run_split(const SplitOptions& options) {
  const auto model = load_model(options.model);
  if (!model) return model.error();
  const auto plan = load_plan(options.plan, *model);
  if (!plan) return plan.error();
  if (const auto valid = check_coverage(*plan, model->layer_count()); !valid) return valid.error();

  Cleanup cleanup;
  if (const auto made = make_folder(options.folder, cleanup); !made) return made.error();
  const auto ranges = distinct_ranges(*plan);
  auto segments = write_segments(*model, ranges, options.folder, cleanup);
  if (!segments) return segments.error();
  const json::object manifest{
      {"model_hash", model->hash()}, {"segments", *segments}, {"pipelines", pipelines_json(*plan, ranges)}};
  const auto written = write_file(fs::path(options.folder) / "manifest.json", json_text(manifest) + "\n");
  if (!written) return written.error();
  cleanup.keep_all();

  const auto printed = options.model.json ? print_json(manifest) : print(segments_text(*segments, options.folder));
  if (!printed) return printed.error();
  return Exit::success;
}

}  // namespace

void add_split(CLI::App& app, Action& chosen) {
  auto options = std::make_shared<SplitOptions>();
  CLI::App* verb =
      app.add_subcommand("split", "Write a plan's segments as TorchScript files that LibTorch and Python load");
  add_model_options(*verb, options->model);
  verb->add_option("--plan", options->plan, "The plan, as 'amp4ec plan -o' writes it")->required();
  verb->add_option("-o", options->folder, "The folder to write to; created if it is not there")->required();
  verb->callback([options, &chosen] { chosen = [options](const Interrupt&) { return run_split(*options); }; });
}

}  // namespace amp4ec::cli

// SPDX-License-Identifier: Apache-2.0
#include "subject.hpp"

#include "zoo/zoo.hpp"

#include <fmt/format.h>

#include <amp4ec/model/operator_library.hpp>
#include <amp4ec/runtime/probe.hpp>

#include <torch/csrc/jit/api/module.h>

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

namespace amp4ec::cli {
namespace {

const ZooEntry* find_zoo_entry(const ModelOptions& options) {
  std::error_code ignored;
  if (std::filesystem::exists(options.model, ignored)) return nullptr;
  const auto& entries = zoo_entries();
  const auto found = std::ranges::find(entries, options.model, &ZooEntry::name);
  return found == entries.end() ? nullptr : &*found;
}

Error no_such_model(const std::string& name) {
  std::string known;
  for (const ZooEntry& entry : zoo_entries()) known += fmt::format("{}{}", known.empty() ? "" : ", ", entry.name);
  return Error{Errc::FileNotFound,
               fmt::format("there is no file '{}', nor a reference model of that name; those are {}", name, known)};
}

Result<Inputs> make_inputs(const ModelOptions& options) {
  if (!options.examples.empty()) return Inputs::from_files(options.examples, options.seed);
  if (!options.inputs.empty()) return Inputs::random(options.inputs, options.seed);
  if (const ZooEntry* entry = find_zoo_entry(options)) return Inputs::random(entry->input_specs, options.seed);
  return Error{Errc::InvalidArgument,
               fmt::format("'{}' does not say what its inputs are; add --input 1x3x224x224 (once for each input) or "
                           "--example FILE",
                           options.model)};
}

}  // namespace

std::optional<std::string> Subject::random_layer() const {
  const auto found = std::ranges::find(graph.layers, true, &Layer::random);
  if (found == graph.layers.end()) return std::nullopt;
  return found->name;
}

Result<Model> load_model(const ModelOptions& options, const Values* example) {
  for (const std::string& library : options.op_libraries) {
    if (const auto loaded = load_operator_library(library); !loaded) return loaded.error();
  }
  std::error_code ignored;
  if (std::filesystem::exists(options.model, ignored))
    return options.trusted ? Model::load(options.model) : load_untrusted(options.model, example);
  if (find_zoo_entry(options) == nullptr) return no_such_model(options.model);
  const auto module = make_zoo_model(options.model, options.seed);
  if (!module) return module.error();
  return Model::adopt(*module);
}

Result<Subject> load_subject(const ModelOptions& options) {
  std::error_code ignored;
  if (!std::filesystem::exists(options.model, ignored) && find_zoo_entry(options) == nullptr)
    return no_such_model(options.model);
  auto inputs = make_inputs(options);
  if (!inputs) return inputs.error();
  auto model = load_model(options, &inputs->example());
  if (!model) return model.error();
  auto graph = model->layer_graph(inputs->example());
  if (!graph) return graph.error();
  return Subject{std::move(*model), std::move(*inputs), std::move(*graph)};
}

}  // namespace amp4ec::cli

// SPDX-License-Identifier: Apache-2.0
#include <amp4ec/model/model.hpp>

#include "model/archive.hpp"
#include "model/graph_hash.hpp"
#include "model/layer_graph_builder.hpp"
#include "model/lowering.hpp"
#include "model/segment_builder.hpp"
#include "model/shared_weights.hpp"
#include "model/typed_value.hpp"
#include "model/value_copy.hpp"

#include <fmt/format.h>

namespace amp4ec {

namespace jit = torch::jit;

struct Model::State {
  jit::Module unsplit;
  detail::Lowered lowered;
  std::vector<LeafModule> leaves;
  std::string hash;
};

Result<Model> Model::load(const std::filesystem::path& file) {
  auto module = detail::load_archive(file);
  if (!module) return module.error();
  return adopt(*module);
}

Result<Model> Model::from_module(const jit::Module& module) try {
  return adopt(module.clone(/*inplace=*/true));  // A type of its own, the same weights.
} catch (const std::exception& exception) {
  return Error{Errc::ModelRejected, "LibTorch cannot copy the module: " + detail::first_line(exception)};
}

Result<Model> Model::adopt(const jit::Module& module) try {
  auto state = std::make_shared<State>();
  state->unsplit = module;
  state->unsplit.eval();
  auto lowered = detail::lower(state->unsplit);
  if (!lowered) return lowered.error();
  state->lowered = std::move(*lowered);
  state->leaves = detail::leaf_modules(state->unsplit, state->lowered);
  state->hash = detail::hash_of(state->lowered);
  return Model(std::move(state));
} catch (const std::exception& exception) {
  return Error{Errc::ModelRejected, "LibTorch cannot lower the module: " + detail::first_line(exception)};
}

const std::string& Model::hash() const noexcept {
  return state_->hash;
}
std::size_t Model::layer_count() const noexcept {
  return state_->lowered.layers.size();
}
std::vector<SharedWeight> Model::shared_weights() const {
  return detail::shared_weights(state_->lowered);
}
bool Model::has_state() const noexcept {
  return state_->lowered.state.type()->numAttributes() != 0;
}
const jit::Module& Model::unsplit() const noexcept {
  return state_->unsplit;
}

Result<LayerGraph> Model::layer_graph(const Values& example) const try {
  auto inputs = check_inputs(example);
  if (!inputs) return inputs.error();
  auto graph = detail::build_layer_graph_data(state_->lowered, state_->leaves, *inputs);
  if (graph) graph->model_hash = state_->hash;
  return graph;
} catch (const std::exception& exception) {
  return Error{Errc::Internal, "cannot walk through the layers: " + detail::first_line(exception)};
}

Result<Segment> Model::segment(std::size_t first_layer, std::size_t last_layer) const try {
  const detail::Lowered& lowered = state_->lowered;
  const std::size_t layers = lowered.layers.size();
  if (first_layer > last_layer || last_layer >= layers) {
    return Error{Errc::PlanInvalid, fmt::format("layers {}-{} are outside the model, which has layers 0-{}",
                                                first_layer, last_layer, layers - 1)};
  }
  for (const std::size_t position : {first_layer, last_layer + 1}) {
    if (position == 0 || position == layers) continue;
    if (const std::string& reason = lowered.refused[position - 1]; !reason.empty()) {
      return Error{Errc::CutRejected, fmt::format("no cut after layer {}: {}", position - 1, reason)};
    }
  }
  const std::size_t outputs = last_layer + 1 == layers ? 1 : detail::crossing_values(lowered, last_layer + 1).size();
  std::vector<c10::Argument> signature;  // Its default values concern the first segment.
  if (first_layer == 0) signature = state_->unsplit.get_method("forward").function().getSchema().arguments();
  jit::Module module =
      detail::wrap_as_module(detail::build_segment_graph(lowered, first_layer, last_layer), lowered.state, signature);
  return Segment(std::make_shared<const jit::Module>(std::move(module)), first_layer, last_layer, outputs,
                 fmt::format("{}:{}-{}", state_->hash, first_layer, last_layer));
} catch (const std::exception& exception) {
  return Error{Errc::Internal,
               fmt::format("cannot build layers {}-{}: {}", first_layer, last_layer, detail::first_line(exception))};
}

Result<Values> Model::check_inputs(const Values& inputs) const try {
  const auto& schema = state_->unsplit.get_method("forward").function().getSchema();
  std::vector<c10::IValue> stack{state_->unsplit._ivalue()};
  for (const Value& input : inputs) {
    stack.push_back(input.ivalue());
    // What does not conform stays as it is: LibTorch says better than we could what is wrong with it.
    c10::IValue typed = input.ivalue();
    const bool known = stack.size() <= schema.arguments().size();
    if (known && detail::conform(typed, schema.arguments()[stack.size() - 1].type())) stack.back() = std::move(typed);
  }
  schema.checkAndNormalizeInputs(stack);
  Values normalized;
  normalized.reserve(stack.size() - 1);
  for (std::size_t i = 1; i < stack.size(); ++i) normalized.emplace_back(stack[i]);
  return normalized;
} catch (const std::exception& exception) {
  return Error{Errc::InputMismatch, detail::first_line(exception)};
}

Result<Value> Model::check_answer(const Value& answer) const try {
  c10::IValue typed = answer.ivalue();
  const auto& type = state_->lowered.graph->outputs().at(0)->type();
  if (detail::conform(typed, type)) return Value(std::move(typed));
  return Error{Errc::ProtocolViolation, fmt::format("an answer is no {}", type->annotation_str())};
} catch (const std::exception& exception) {
  return Error{Errc::ProtocolViolation, detail::first_line(exception)};
}

Result<std::unique_ptr<SegmentExecutor>> Model::reference_executor() const {
  // An executor keeps state of its own; weights that nothing writes are shared.
  return detail::make_reference_executor(has_state() ? detail::copy_module(state_->unsplit) : state_->unsplit);
}

}  // namespace amp4ec

// SPDX-License-Identifier: Apache-2.0
#include "model/layer_graph_builder.hpp"

#include "model/segment_builder.hpp"
#include "model/wire.hpp"

#include <fmt/format.h>

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/runtime/interpreter.h>

#include <algorithm>
#include <numeric>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

std::uint64_t tensor_bytes(const c10::IValue& value) {
  if (value.isTensor()) return value.toTensor().defined() ? value.toTensor().nbytes() : 0;
  if (value.isTensorList() || value.isTuple() || value.isList() || value.isGenericDict()) {
    std::uint64_t total = 0;
    value.visit([&](const c10::IValue& inner) {
      if (inner.isTensor() && inner.toTensor().defined()) total += inner.toTensor().nbytes();
      return false;
    });
    return total;
  }
  return 0;
}

const at::Tensor* constant_tensor(const jit::Value* value, c10::IValue& holder) {
  if (value->node()->kind() != c10::prim::Constant || !value->type()->isSubtypeOf(*c10::TensorType::get()))
    return nullptr;
  holder = jit::toIValue(value).value_or(c10::IValue());
  return holder.isTensor() ? &holder.toTensor() : nullptr;
}

Bytes weights_read_by(jit::Node* node) {
  Bytes total;
  c10::IValue holder;
  for (const jit::Value* input : node->inputs()) {
    if (const at::Tensor* tensor = constant_tensor(input, holder)) {
      total.count += tensor->nbytes();
    } else if (input->node()->kind() == c10::prim::Constant) {
      total.count +=
          tensor_bytes(jit::toIValue(input).value_or(c10::IValue()));  // Lists of weights, as aten::lstm takes.
    }
  }
  for (jit::Block* block : node->blocks()) {
    for (jit::Node* inner : block->nodes()) total += weights_read_by(inner);
  }
  return total;
}

// Multiply-accumulates times two. Every other operator moves memory rather than computes: 0.
double flops_of(jit::Node* node, const std::vector<c10::IValue>& outputs) {
  if (outputs.empty() || !outputs.front().isTensor()) return 0;
  const auto produced = static_cast<double>(outputs.front().toTensor().numel());
  const std::string_view op = node->kind().toUnqualString();
  if (op == "lstm" || op == "gru") {
    // Every weight takes part once in each time step; outputs are (steps x batch x directions*hidden, ...).
    const at::Tensor& sequence = outputs.front().toTensor();
    const std::int64_t steps = sequence.numel() / std::max<std::int64_t>(1, sequence.size(-1));
    return 2 * static_cast<double>(steps) * static_cast<double>(weights_read_by(node).count) /
           static_cast<double>(sequence.element_size());
  }
  c10::IValue holder;
  const at::Tensor* weight = node->inputs().size() > 1 ? constant_tensor(node->input(1), holder) : nullptr;
  if (weight == nullptr || weight->dim() < 2 || weight->numel() == 0) return 0;
  if (op == "conv1d" || op == "conv2d" || op == "conv3d" || op == "_convolution" || op == "linear") {
    // Each element of the output reads one filter: C_in/groups * k_h * k_w, or N_in.
    const std::int64_t filter = weight->numel() / weight->size(0);
    return 2 * produced * static_cast<double>(filter);
  }
  if (op == "matmul") return 2 * produced * static_cast<double>(weight->size(-2));
  return 0;
}

std::string layer_name(jit::Node* node) {
  const std::string path = module_path(node);
  const std::string op = node->kind().toQualString();
  return path.empty() ? op : path + "/" + op;
}

bool draws_random_numbers(jit::Node* node) {
  if (node->isNondeterministic()) return true;
  const auto blocks = node->blocks();
  return std::any_of(blocks.begin(), blocks.end(), [](jit::Block* block) {
    auto nodes = block->nodes();
    return std::any_of(nodes.begin(), nodes.end(), [](jit::Node* inner) { return draws_random_numbers(inner); });
  });
}

bool is_inside(std::string_view path, std::string_view leaf) {
  return path == leaf || (path.starts_with(leaf) && path.size() > leaf.size() && path[leaf.size()] == '.');
}

// The layer at which each leaf, or the first later one that does any work, begins. Layers outside every leaf
// (functional operators such as residual adds) belong to the leaf before them.
void place_leaves(const Lowered& lowered, std::vector<LeafModule>& leaves) {
  std::unordered_map<std::string, std::size_t> first_layer;
  for (std::size_t layer = lowered.layers.size(); layer-- > 0;) first_layer[module_path(lowered.layers[layer])] = layer;
  std::size_t next = lowered.layers.size();
  for (std::size_t leaf = leaves.size(); leaf-- > 0;) {
    const auto found = first_layer.find(leaves[leaf].name);
    if (found != first_layer.end()) next = std::min(next, found->second);
    leaves[leaf].first_layer = next;
  }
}

// Groups of a convolution are not among its weights: the lowered graph knows them.
double input_channels(const at::Tensor& weight, const std::string& path, const Lowered& lowered) {
  const auto per_group = static_cast<double>(weight.size(1));
  for (jit::Node* node : lowered.layers) {
    const std::string_view op = node->kind().toUnqualString();
    const bool functional = op == "conv1d" || op == "conv2d" || op == "conv3d";
    if ((!functional && op != "_convolution") || !is_inside(module_path(node), path)) continue;
    const auto groups = jit::toIValue(node->input(functional ? 6 : 8));
    return groups && groups->isInt() ? per_group * static_cast<double>(groups->toInt()) : per_group;
  }
  return per_group;
}

double amp4ec_cost(const jit::Module& leaf, const std::string& path, const Lowered& lowered) {
  const std::string type = leaf.type()->name() ? leaf.type()->name()->name() : "";
  if (leaf.hasattr("weight") && leaf.attr("weight").isTensor()) {
    const at::Tensor weight = leaf.attr("weight").toTensor();
    if (type.starts_with("Conv") && weight.dim() == 4) {
      return static_cast<double>(weight.size(2) * weight.size(3) * weight.size(0)) *
             input_channels(weight, path, lowered);
    }
    if (type.starts_with("Linear") && weight.dim() == 2) return static_cast<double>(weight.numel());
  }
  double parameters = 0;
  for (const at::Tensor& parameter : leaf.parameters(/*recurse=*/false))
    parameters += static_cast<double>(parameter.numel());
  return parameters;
}

/// Runs layers one at a time, keeping only the values that a later layer still reads. Works on a copy of the example:
/// a model may write its inputs.
class LayerWalk {
 public:
  LayerWalk(const Lowered& lowered, const Values& example) : lowered_(lowered) {
    const auto inputs = lowered.graph->inputs().slice(1);
    for (std::size_t i = 0; i < inputs.size(); ++i) alive_.emplace(inputs[i], example[i].ivalue().deepcopy());
  }

  std::vector<c10::IValue> run(std::size_t layer) {
    std::vector<jit::Value*> reads;
    const auto graph = build_layer_graph(lowered_, layer, reads);
    std::vector<c10::IValue> stack;
    stack.reserve(reads.size());
    for (const jit::Value* value : reads) stack.push_back(alive_.at(value));
    const jit::Code code(graph, "amp4ec_layer");
    jit::InterpreterState(code).run(stack);

    const auto outputs = lowered_.layers[layer]->outputs();
    for (std::size_t i = 0; i < outputs.size(); ++i) alive_[outputs[i]] = stack[i];
    for (auto entry = alive_.begin(); entry != alive_.end();) {
      const bool dead = lowered_.lifetimes.at(entry->first).last_use <= static_cast<std::ptrdiff_t>(layer);
      entry = dead ? alive_.erase(entry) : std::next(entry);
    }
    return stack;
  }

  /// Values alive after the last layer that ran are those that cross the cut there.
  [[nodiscard]] std::uint64_t bytes_alive() const {
    return std::accumulate(alive_.begin(), alive_.end(), std::uint64_t{0},
                           [](std::uint64_t sum, const auto& entry) { return sum + tensor_bytes(entry.second); });
  }
  [[nodiscard]] std::size_t values_alive() const { return alive_.size(); }
  /// Bytes of the message that carries them across the cut after `layer`, the last that ran.
  /// @error ValueNotTransferable.
  [[nodiscard]] Result<std::size_t> message_bytes(std::size_t layer) const {
    Values values;
    for (const jit::Value* value : crossing_values(lowered_, layer + 1)) values.emplace_back(alive_.at(value));
    return encoded_size(values);
  }

 private:
  const Lowered& lowered_;
  std::unordered_map<const jit::Value*, c10::IValue> alive_;
};

}  // namespace

std::vector<LeafModule> leaf_modules(const jit::Module& module, const Lowered& lowered) {
  std::vector<LeafModule> leaves;
  for (const auto& entry : module.named_modules()) {
    const auto children = entry.value.children();
    if (children.begin() != children.end() || entry.name.empty()) continue;
    leaves.push_back({entry.name, amp4ec_cost(entry.value, entry.name, lowered), 0});
  }
  place_leaves(lowered, leaves);
  return leaves;
}

Result<LayerGraph> build_layer_graph_data(const Lowered& lowered, std::vector<LeafModule> leaves,
                                          const Values& example) {
  LayerGraph graph;
  graph.leaves = std::move(leaves);
  const c10::InferenceMode inference;
  LayerWalk walk(lowered, example);
  std::size_t layer = 0;
  try {
    for (; layer < lowered.layers.size(); ++layer) {
      jit::Node* node = lowered.layers[layer];
      const auto outputs = walk.run(layer);
      Bytes written;
      for (const c10::IValue& output : outputs) written.count += tensor_bytes(output);
      graph.layers.push_back({layer_name(node), node->kind().toQualString(), flops_of(node, outputs),
                              weights_read_by(node), written, draws_random_numbers(node)});
      if (layer < lowered.refused.size()) {
        const std::string& reason = lowered.refused[layer];
        Cut cut{reason.empty(), reason, Bytes{walk.bytes_alive()}, walk.values_alive()};
        if (const auto message = walk.message_bytes(layer)) {
          cut.message = Bytes{*message};
        } else if (cut.valid) {
          cut.valid = false;
          cut.reason = "value cannot travel: " + message.error().message;
        }
        graph.cuts.push_back(std::move(cut));
      }
    }
  } catch (const std::exception& exception) {
    return Error{Errc::InputMismatch, fmt::format("the model does not accept this input: {} (at layer {}, {})",
                                                  first_line(exception), layer, layer_name(lowered.layers[layer]))};
  }
  return graph;
}

}  // namespace amp4ec::detail

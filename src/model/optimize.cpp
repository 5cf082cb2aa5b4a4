// SPDX-License-Identifier: Apache-2.0
#include "model/optimize.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/jit/ir/ir.h>
#include <torch/csrc/jit/ir/named_value.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/frozen_graph_optimizations.h>

#include <set>
#include <string_view>
#include <vector>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

using c10::Symbol;

// oneDNN keeps channels in blocks of up to 16 and pads the last block. LibTorch runs four operators (hardswish,
// hardsigmoid, hardtanh, which relu6 becomes, and clamp) over the first so many numbers of that memory as the tensor
// has elements, padding included: with padding the last images of a batch are wrong. Seen in LibTorch 1.13.1: a
// convolution to 9 channels, relu6, batch of 3.
constexpr std::int64_t channel_block = 16;

bool is_elementwise_over_memory(const jit::Node* node) {
  const std::string_view name = node->kind().toQualString();
  for (const std::string_view op :
       {"prim::MKLDNNHardSwish", "prim::MKLDNNHardSigmoid", "prim::MKLDNNHardTanh", "prim::MKLDNNClamp"}) {
    if (name.substr(0, op.size()) == op && name.size() <= op.size() + 1) return true;  // With "_" when in place.
  }
  return false;
}

bool keeps_channels(const jit::Node* node) {
  static const std::set<std::string_view> operators{"relu",      "relu_",      "sigmoid",    "sigmoid_",
                                                    "dropout",   "max_pool2d", "avg_pool2d", "adaptive_avg_pool2d",
                                                    "max_pool3d"};
  return is_elementwise_over_memory(node) || operators.count(node->kind().toUnqualString()) != 0;
}

/// True when oneDNN surely has nothing to pad: the channels come from a convolution to whole blocks of them.
bool has_whole_blocks(const jit::Value* value) {
  const jit::Node* node = value->node();
  while (keeps_channels(node)) node = node->input(0)->node();
  if (node->kind() != Symbol::fromQualString("prim::mkldnn_convolution")) return false;
  const jit::Node* weight = node->input(1)->node();
  if (!weight->hasAttribute(c10::attr::value) || weight->kindOf(c10::attr::value) != jit::AttributeKind::t)
    return false;
  const at::Tensor& filters = weight->t(c10::attr::value);
  return filters.dim() > 0 && filters.size(0) % channel_block == 0;
}

/// With the operator's own defaults, which differ from one LibTorch to the next.
jit::Value* insert(jit::Graph& graph, const char* op, const std::vector<jit::NamedValue>& inputs) {
  return graph.insert(Symbol::fromQualString(op), inputs);
}

/// The same on a plain tensor.
void compute_densely(jit::Graph& graph, jit::Node* node) {
  const jit::WithInsertPoint here(node);
  jit::Value* dense = insert(graph, "aten::to_dense", {node->input(0)});
  const std::string_view name = node->kind().toQualString();
  jit::Value* result = nullptr;
  if (name.find("HardSwish") != name.npos) {
    result = insert(graph, "aten::hardswish", {dense});
  } else if (name.find("HardSigmoid") != name.npos) {
    result = insert(graph, "aten::hardsigmoid", {dense});
  } else {
    result = insert(graph, "aten::clamp", {dense, node->f(Symbol::attr("min_val")), node->f(Symbol::attr("max_val"))});
  }
  node->output()->replaceAllUsesWith(insert(graph, "aten::to_mkldnn", {result}));
  node->destroy();
}

void mend(jit::Graph& graph, jit::Block& block) {
  for (auto at = block.nodes().begin(); at != block.nodes().end();) {
    jit::Node* node = *at++;
    for (jit::Block* inner : node->blocks()) mend(graph, *inner);
    if (is_elementwise_over_memory(node) && !has_whole_blocks(node->input(0))) compute_densely(graph, node);
  }
}

}  // namespace

jit::Module optimize_frozen(jit::Module module) {
  auto graph = module.get_method("forward").graph();
  // An archive spells lists of constants out ([1, 1] for a stride); the passes take constants alone.
  jit::ConstantPropagation(graph);
  jit::OptimizeFrozenGraph(graph, /*optimize_numerics=*/true);
  return module;
}

jit::Module optimize_for_inference(jit::Module module) {
  module = optimize_frozen(module);
  // A frozen module has no `training` attribute, so this optimises the graph in place and does not freeze again.
  module = jit::optimize_for_inference(module);
  const auto graph = module.get_method("forward").graph();
  mend(*graph, *graph->block());
  return module;
}

}  // namespace amp4ec::detail

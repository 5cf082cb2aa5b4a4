// SPDX-License-Identifier: Apache-2.0
#include "model/layer_graph_builder.hpp"

#include "model/cut_rules.hpp"
#include "model/graph_walk.hpp"
#include "model/segment_builder.hpp"
#include "model/state.hpp"
#include "model/typed_value.hpp"
#include "model/value_copy.hpp"
#include "model/wire.hpp"

#include <fmt/format.h>

#include <c10/core/InferenceMode.h>
#include <torch/csrc/jit/runtime/graph_executor.h>
#include <torch/csrc/jit/runtime/interpreter.h>

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <string_view>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

const at::Tensor* constant_tensor(const jit::Value* value, c10::IValue& holder) {
  if (value->node()->kind() != c10::prim::Constant || !value->type()->isSubtypeOf(*c10::TensorType::get()))
    return nullptr;
  holder = jit::toIValue(value).value_or(c10::IValue());
  return holder.isTensor() ? &holder.toTensor() : nullptr;
}

/// Lists of weights too, as aten::lstm takes.
Bytes weights_read_by(jit::Node* node) {
  Bytes total;
  for_each_constant_read(node, [&](const c10::IValue& value) { total.count += tensor_bytes(value); });
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

/// Whether an operator has an argument that says how often to drop out, and the answer is: never.
enum class Dropout { None, Never, Sometimes };

/// Recurrent layers and attention drop out between their own steps, which LibTorch does not count as chance; a dropout
/// at rate 0 it does.
Dropout dropout_of(const jit::Node* node) {
  const auto* schema = node->maybeSchema();
  if (schema == nullptr) return Dropout::None;
  const bool own = std::string_view(node->kind().toUnqualString()).find("dropout") != std::string_view::npos;
  std::optional<c10::IValue> rate;
  std::optional<c10::IValue> train;
  for (std::size_t i = 0; i < node->inputs().size() && i < schema->arguments().size(); ++i) {
    const std::string& name = schema->arguments()[i].name();
    const auto value = jit::toIValue(node->input(i)).value_or(c10::IValue());  // None when it is no constant.
    if (name == "dropout" || name == "dropout_p" || (own && name == "p")) rate = value;
    if (name == "train") train = value;
  }
  if (!rate) return Dropout::None;
  const bool never = (rate->isDouble() && rate->toDouble() == 0) || (train && train->isBool() && !train->toBool());
  return never ? Dropout::Never : Dropout::Sometimes;
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

/// LibTorch asks a tuple that is an argument for its type, and its elements for theirs: an undefined tensor throws.
bool is_untyped(const c10::IValue& value) {
  if (!value.isTuple()) return false;
  const auto& elements = value.toTupleRef().elements();
  return std::any_of(elements.begin(), elements.end(), [](const c10::IValue& element) {
    return element.isTensor() ? !element.toTensor().defined() : is_untyped(element);
  });
}

/// Runs layers one step at a time, keeping only the values that a later layer still reads. Works on copies of the
/// example and of the state: a model may write both.
class LayerWalk {
 public:
  LayerWalk(const Lowered& lowered, const Values& example) : lowered_(lowered), state_(copy_module(lowered.state)) {
    for (std::size_t i = 0; i < example.size(); ++i) alive_.emplace(i, copy_value(example[i].ivalue()));
  }
  ~LayerWalk() {
    for (const auto& future : futures_) wait(future);
  }
  LayerWalk(const LayerWalk&) = delete;
  LayerWalk& operator=(const LayerWalk&) = delete;

  /// Runs the step that begins with layer `first`; returns its last layer. A step is a layer, or all of them from the
  /// entry to a context to its exit, which one interpreter must see.
  std::size_t run(std::size_t first) {
    const std::size_t last = last_of_context(lowered_, first);
    std::vector<jit::Value*> reads;
    const auto graph = build_step_graph(lowered_, first, last, reads);
    std::vector<c10::IValue> stack{state_._ivalue()};
    for (const jit::Value* value : reads) stack.push_back(alive_.at(lowered_.range_of.at(value)));
    // Kept until the end: a forked function uses its program until it has returned.
    programs_.emplace_back(graph, "amp4ec_step");
    jit::InterpreterState(programs_.back()).run(stack);
    auto value = stack.begin();
    for (std::size_t layer = first; layer <= last; ++layer) {
      for (const jit::Value* output : lowered_.layers[layer]->outputs())
        alive_[lowered_.range_of.at(output)] = std::move(*value++);
    }
    return last;
  }

  [[nodiscard]] const c10::IValue& output(const jit::Value* value) const {
    return alive_.at(lowered_.range_of.at(value));
  }

  /// Drops what no layer after this one reads. What is left crosses the cut there.
  void finish(std::size_t layer) {
    for (auto entry = alive_.begin(); entry != alive_.end();) {
      const LiveRange& range = lowered_.ranges[entry->first];
      const bool dead = range.last_use <= static_cast<std::ptrdiff_t>(layer);
      if (dead && entry->second.isFuture()) futures_.push_back(entry->second);
      entry = dead ? alive_.erase(entry) : std::next(entry);
    }
  }

  /// What crosses the cut after `layer`, valid as far as these values can travel.
  [[nodiscard]] Cut cut_after(std::size_t layer) const {
    Cut cut;
    Values values;
    for (const auto& [range, value] : alive_) {
      if (lowered_.ranges[range].defined > static_cast<std::ptrdiff_t>(layer)) break;
      cut.crossing.count += tensor_bytes(value);
      ++cut.crossing_values;
      values.emplace_back(value);
    }
    if (std::any_of(values.begin(), values.end(), [](const Value& value) { return is_untyped(value.ivalue()); })) {
      cut.reason = "value cannot travel: a tuple with an undefined tensor, which LibTorch takes for no argument";
      return cut;
    }
    const auto message = encoded_size(values);
    cut.valid = message.has_value();
    if (message) {
      cut.message = Bytes{*message};
    } else {
      cut.reason = "value cannot travel: " + message.error().message;
    }
    return cut;
  }

 private:
  static void wait(const c10::IValue& future) noexcept {
    try {
      future.toFuture()->wait();
    } catch (...) {
      // Nobody reads the result: nor does its error concern anybody.
    }
  }

  const Lowered& lowered_;
  jit::Module state_;
  std::deque<jit::Code> programs_;
  std::vector<c10::IValue> futures_;          // of calls that nobody waited for
  std::map<std::size_t, c10::IValue> alive_;  // by index of the value's range: in order of definition
};

Layer describe(const Lowered& lowered, jit::Node* node, const std::vector<c10::IValue>& outputs) {
  Layer layer;
  layer.name = layer_name(node);
  layer.op = node->kind().toQualString();
  layer.flops = flops_of(node, outputs);
  layer.weights = weights_read_by(node);
  for (const c10::IValue& output : outputs) layer.output.count += tensor_bytes(output);
  layer.random = draws_random_numbers(node);
  layer.stateful = !attributes_touched(node, lowered.graph->inputs()[0]).empty();
  return layer;
}

}  // namespace

bool draws_random_numbers(const jit::Node* node) {
  const Dropout dropout = dropout_of(node);
  if (dropout == Dropout::Sometimes || (dropout == Dropout::None && node->isNondeterministic())) return true;
  const auto blocks = node->blocks();
  return std::any_of(blocks.begin(), blocks.end(), [](const jit::Block* block) {
    auto nodes = block->nodes();
    return std::any_of(nodes.begin(), nodes.end(), [](const jit::Node* inner) { return draws_random_numbers(inner); });
  });
}

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
  const jit::GraphOptimizerEnabledGuard no_optimizer(false);
  std::size_t first = 0;
  try {
    for (LayerWalk walk(lowered, example); first < lowered.layers.size();) {
      const std::size_t last = walk.run(first);
      for (; first <= last; ++first) {
        std::vector<c10::IValue> outputs;
        for (const jit::Value* output : lowered.layers[first]->outputs()) outputs.push_back(walk.output(output));
        graph.layers.push_back(describe(lowered, lowered.layers[first], outputs));
        walk.finish(first);
        if (first == lowered.refused.size()) continue;
        graph.cuts.push_back(walk.cut_after(first));
        if (const std::string& refused = lowered.refused[first]; !refused.empty()) {
          graph.cuts.back().valid = false;
          graph.cuts.back().reason = refused;
        }
      }
    }
  } catch (const std::exception& exception) {
    return Error{Errc::InputMismatch, fmt::format("the model does not accept this input: {} (at layer {}, {})",
                                                  first_line(exception), first, layer_name(lowered.layers[first]))};
  }
  return graph;
}

}  // namespace amp4ec::detail

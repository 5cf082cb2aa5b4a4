// SPDX-License-Identifier: Apache-2.0
#include "model/segment_builder.hpp"

#include "model/state.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

/// Copies top-level nodes of one graph into another.
class GraphCopier {
 public:
  explicit GraphCopier(const Lowered& lowered) : graph_(std::make_shared<jit::Graph>()) {
    add_input(lowered.graph->inputs()[0]);
  }

  void add_input(const jit::Value* value) {
    jit::Value* input = graph_->addInput();
    input->setType(value->type());
    copies_.emplace(value, input);
  }

  void copy(jit::Node* node) {
    // Constants that are read anywhere inside come first: cloning a node with blocks needs them in place.
    for_each_value_read(node, [&](jit::Value* value) { copy_of(value); });
    jit::Node* clone = graph_->createClone(node, [&](jit::Value* value) { return copy_of(value); });
    graph_->appendNode(clone);
    for (std::size_t i = 0; i < node->outputs().size(); ++i) {
      clone->outputs()[i]->setType(node->outputs()[i]->type());
      copies_.emplace(node->outputs()[i], clone->outputs()[i]);
    }
  }

  void add_output(jit::Value* value) { graph_->registerOutput(copy_of(value)); }

  void add_tuple_output(const std::vector<jit::Value*>& values) {
    std::vector<jit::Value*> copies;
    copies.reserve(values.size());
    for (jit::Value* value : values) copies.push_back(copy_of(value));
    graph_->registerOutput(graph_->appendNode(graph_->createTuple(copies))->output());
  }

  std::shared_ptr<jit::Graph> take() { return std::move(graph_); }

 private:
  template <class Visit>
  static void for_each_value_read(jit::Node* node, const Visit& visit) {
    for (jit::Value* input : node->inputs()) {
      if (input->node()->owningBlock() == node->owningGraph()->block() ||
          input->node() == node->owningGraph()->param_node()) {
        visit(input);
      }
    }
    for (jit::Block* block : node->blocks()) {
      for (jit::Node* inner : block->nodes()) for_each_value_read(inner, visit);
      for_each_value_read(block->return_node(), visit);
    }
  }

  jit::Value* copy_of(jit::Value* value) {
    if (const auto found = copies_.find(value); found != copies_.end()) return found->second;
    if (value->node()->kind() != c10::prim::Constant)
      throw std::logic_error("a segment reads a value that does not cross");
    jit::Node* clone = graph_->createClone(value->node(), [](jit::Value* v) { return v; });
    graph_->appendNode(clone);
    compact(clone);
    clone->output()->setType(value->type());
    copies_.emplace(value, clone->output());
    return clone->output();
  }

  // An archive holds whole storages: of a constant that shows a part of one, only that part shall travel.
  static void compact(jit::Node* constant) {
    if (!constant->hasAttribute(c10::attr::value) || constant->kindOf(c10::attr::value) != jit::AttributeKind::t)
      return;
    const at::Tensor& tensor = constant->t(c10::attr::value);
    if (!tensor.has_storage() || tensor.is_quantized() || tensor.storage().nbytes() <= tensor.nbytes()) return;
    constant->t_(c10::attr::value, tensor.clone());
  }

  std::shared_ptr<jit::Graph> graph_;
  std::unordered_map<const jit::Value*, jit::Value*> copies_;
};

}  // namespace

std::shared_ptr<jit::Graph> build_segment_graph(const Lowered& lowered, std::size_t first, std::size_t last) {
  GraphCopier copier(lowered);
  for (const jit::Value* value : crossing_values(lowered, first)) copier.add_input(value);
  for (std::size_t layer = first; layer <= last; ++layer) copier.copy(lowered.layers[layer]);
  if (last + 1 == lowered.layers.size()) {
    copier.add_output(lowered.graph->outputs().at(0));
  } else if (const auto crossing = crossing_values(lowered, last + 1); crossing.size() == 1) {
    copier.add_output(crossing.front());
  } else {
    copier.add_tuple_output(crossing);
  }
  return copier.take();
}

std::shared_ptr<jit::Graph> build_step_graph(const Lowered& lowered, std::size_t first, std::size_t last,
                                             std::vector<jit::Value*>& reads) {
  GraphCopier copier(lowered);
  reads.clear();
  for (std::size_t layer = first; layer <= last; ++layer) {
    for (jit::Value* value : values_read(lowered, lowered.layers[layer])) {
      const bool from_before = lowered.range(value).defined < static_cast<std::ptrdiff_t>(first);
      if (!from_before || std::find(reads.begin(), reads.end(), value) != reads.end()) continue;
      copier.add_input(value);
      reads.push_back(value);
    }
  }
  for (std::size_t layer = first; layer <= last; ++layer) copier.copy(lowered.layers[layer]);
  for (std::size_t layer = first; layer <= last; ++layer) {
    for (jit::Value* output : lowered.layers[layer]->outputs()) copier.add_output(output);
  }
  return copier.take();
}

jit::Module wrap_as_module(std::shared_ptr<jit::Graph> graph, const jit::Module& state,
                           const std::vector<c10::Argument>& signature) {
  jit::Module module(c10::QualifiedName("__torch__.Segment"), std::make_shared<jit::CompilationUnit>());
  jit::Value* self = graph->inputs()[0];
  for (const jit::Node* node : graph->nodes()) {
    for (const std::string& attribute : attributes_touched(node, self)) {
      if (module.hasattr(attribute)) continue;
      module.register_attribute(attribute, state.type()->getAttribute(attribute), state.attr(attribute));
    }
  }
  self->setDebugName("self");
  self->setType(module.type());

  // Names must be identifiers for the module to load again. Given last: a node that was copied in takes its own name
  // away from whoever had it before.
  std::vector<c10::Argument> arguments{c10::Argument("self", self->type())};
  for (std::size_t i = 1; i < graph->inputs().size(); ++i) {
    jit::Value* input = graph->inputs()[i];
    input->setDebugName(fmt::format("x{}", i - 1));
    auto otherwise = i < signature.size() ? signature[i].default_value() : c10::nullopt;
    arguments.emplace_back(input->debugName(), input->type(), c10::nullopt, std::move(otherwise));
  }
  const std::vector<c10::Argument> returns{c10::Argument("", graph->outputs().at(0)->type())};
  const c10::QualifiedName method(*module.type()->name(), "forward");
  auto* function = module._ivalue()->compilation_unit()->create_function(method, std::move(graph));
  function->setSchema(c10::FunctionSchema("forward", "", arguments, returns));
  module.type()->addMethod(function);
  return module;
}

}  // namespace amp4ec::detail

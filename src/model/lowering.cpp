// SPDX-License-Identifier: Apache-2.0
#include "model/lowering.hpp"

#include "model/aliases.hpp"
#include "model/call_stacks.hpp"
#include "model/cut_rules.hpp"
#include "model/graph_walk.hpp"
#include "model/state.hpp"
#include "model/undeclared_aliases.hpp"

#include <ATen/ATen.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/passes/remove_dropout.h>
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/csrc/jit/passes/shape_analysis.h>

#include <algorithm>
#include <functional>
#include <new>
#include <optional>
#include <set>
#include <string_view>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

// LibTorch's freezing asks whether an attribute is written by its own name. Written through what it holds, through
// another attribute in which it is stored, a loop, or an operator that returns its argument, it becomes a constant that
// every call changes.
bool writes_constants(const Lowered& lowered) {
  std::optional<Aliases> aliases;
  bool written = false;
  for_each_node(*lowered.graph->block(), [&](jit::Node* node) {
    if (written || node->kind() != c10::prim::Constant || !is_mutable(node->output()->type())) return;
    if (!aliases) aliases.emplace(lowered.graph, lowered.state);
    written = aliases->is_written(node->output());
  });
  return written;
}

/// Copies with their callees inlined, which a compilation unit's functions after the first `known` ones keep for calls
/// that never come: LibTorch's copies of a module live as long as the module that they were copied from.
void drop_inlined_copies(const jit::CompilationUnit& unit, std::size_t known) {
  const std::vector<jit::Function*> functions = unit.get_functions();
  for (std::size_t i = known; i < functions.size(); ++i) {
    if (functions[i] == nullptr) continue;  // Removed by freezing.
    if (auto* function = jit::tryToGraphFunction(*functions[i])) function->clear_optimized_graphs();
  }
}

/// The graph of `forward` and the state, of a copy that `copy` makes of the module.
template <class Copy>
Lowered inlined(const jit::Module& module, const Copy& copy) {
  const auto unit = module._ivalue()->compilation_unit();
  const std::size_t known = unit->get_functions().size();
  const jit::Module own = copy(module);
  Lowered lowered;
  lowered.graph = own.get_method("forward").graph();
  jit::Inline(*lowered.graph);
  drop_inlined_copies(*unit, known);
  detach_call_stacks(*lowered.graph);
  lowered.state = gather_state(own, lowered.graph);
  return lowered;
}

// Attributes become constants where nothing writes them. What LibTorch cannot freeze as a whole (interfaces, modules
// that are handed about), or freezes wrongly, keeps its attributes at first; gather_state makes constants of them one
// by one.
Lowered with_constants(const jit::Module& module) {
  try {
    Lowered frozen = inlined(module, [](const jit::Module& given) { return jit::freeze_module(given); });
    if (!writes_constants(frozen)) return frozen;
  } catch (const std::exception&) {
    // Below.
  }
  return inlined(module, [](const jit::Module& given) { return given.clone(/*inplace=*/true); });
}

/// Something of this type, made at the insertion point; null when there is no simple value of the type.
jit::Value* placeholder(jit::Graph& graph, const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::TensorType: return graph.insertConstant(at::empty({0}));
    case c10::TypeKind::IntType: return graph.insertConstant(0);
    case c10::TypeKind::FloatType: return graph.insertConstant(0.0);
    case c10::TypeKind::BoolType: return graph.insertConstant(false);
    case c10::TypeKind::StringType: return graph.insertConstant("");
    case c10::TypeKind::NoneType:
    case c10::TypeKind::OptionalType: return graph.insertConstant(c10::IValue());
    case c10::TypeKind::ListType: return graph.insertNode(graph.createList(type->containedType(0), {}))->output();
    case c10::TypeKind::DictType:
      return graph.insertNode(graph.createDict(type->containedType(0), type->containedType(1), {}, {}))->output();
    case c10::TypeKind::TupleType: {
      std::vector<jit::Value*> elements;
      for (const c10::TypePtr& element : type->containedTypes()) {
        elements.push_back(placeholder(graph, element));
        if (elements.back() == nullptr) return nullptr;
      }
      return graph
          .insertNode(graph.createTuple(
              elements, type->castRaw<c10::TupleType>()->schema() ? type->cast<c10::TupleType>() : nullptr))
          ->output();
    }
    default: return nullptr;
  }
}

// An early return leaves the results of the code that it skips without a value. Nobody reads them, but they may cross a
// cut, and uninitialized memory neither type-checks nor pickles.
void replace_uninitialized(jit::Graph& graph, jit::Block& block) {
  for (auto node = block.nodes().begin(); node != block.nodes().end();) {
    jit::Node* current = *node++;
    for (jit::Block* inner : current->blocks()) replace_uninitialized(graph, *inner);
    if (current->kind() != c10::prim::Uninitialized) continue;
    const jit::WithInsertPoint at(current);
    jit::Value* value = placeholder(graph, current->output()->type());
    if (value == nullptr) continue;
    current->output()->replaceAllUsesWith(value);
    current->destroy();
  }
}

/// True for what overwrites its first argument's copy, or looks at its shape alone.
bool ignores_contents(const jit::Use& use) {
  static const std::set<c10::Symbol> kinds{
      c10::Symbol::fromQualString("aten::fill"),       c10::Symbol::fromQualString("aten::zero"),
      c10::Symbol::fromQualString("aten::zeros_like"), c10::Symbol::fromQualString("aten::ones_like"),
      c10::Symbol::fromQualString("aten::full_like"),  c10::Symbol::fromQualString("aten::empty_like")};
  return use.offset == 0 && kinds.count(use.user->kind()) != 0;
}

// torch.empty of a known size is a constant of whatever memory held: each load of the model would have another hash,
// and each segment the remains of other computations.
void clear_uninitialized(jit::Graph& graph) {
  for_each_node(*graph.block(), [](jit::Node* node) {
    if (node->kind() != c10::prim::Constant || !node->output()->type()->isSubtypeOf(*c10::TensorType::get())) return;
    const auto& uses = node->output()->uses();
    if (!std::all_of(uses.begin(), uses.end(), ignores_contents)) return;
    const at::Tensor contents = node->t(c10::attr::value);
    if (contents.layout() == at::kStrided && !contents.is_quantized())
      node->t_(c10::attr::value, at::zeros_like(contents));
  });
}

// Containers and buffers are often made long before anybody fills them. Moved to their first user they are in nobody's
// way: parted from their first writer they could not be cut off.
void sink_constructors(jit::Graph& graph) {
  static const std::set<c10::Symbol> makers{c10::prim::DictConstruct,
                                            c10::prim::ListConstruct,
                                            c10::Symbol::fromQualString("aten::dict"),
                                            c10::Symbol::fromQualString("aten::zeros"),
                                            c10::Symbol::fromQualString("aten::ones"),
                                            c10::Symbol::fromQualString("aten::empty"),
                                            c10::Symbol::fromQualString("aten::full")};
  const auto made_of_constants = [](const jit::Node* node) {
    return makers.count(node->kind()) != 0 &&
           std::all_of(node->inputs().begin(), node->inputs().end(),
                       [](const jit::Value* input) { return input->node()->kind() == c10::prim::Constant; });
  };
  std::vector<jit::Node*> containers;
  for (jit::Node* node : graph.nodes()) {
    if (made_of_constants(node) && node->output()->hasUses()) containers.push_back(node);
  }
  for (jit::Node* container : containers) {
    const jit::Node* first = nullptr;
    for (const jit::Use& use : container->output()->uses()) {
      const jit::Node* user = top_level_owner(use.user);
      if (first == nullptr || user->isBefore(first)) first = user;
    }
    container->moveBefore(const_cast<jit::Node*>(first));  // The graph is ours to change; owners are found as const.
  }
}

void find_ranges(Lowered& lowered) {
  std::unordered_map<const jit::Node*, std::ptrdiff_t> positions;
  const auto end = static_cast<std::ptrdiff_t>(lowered.layers.size());
  for (std::ptrdiff_t i = 0; i < end; ++i) positions.emplace(lowered.layers[static_cast<std::size_t>(i)], i);
  const auto add = [&](jit::Value* value, std::ptrdiff_t defined) {
    LiveRange range{value, defined, defined};
    for (const jit::Use& use : value->uses()) {
      const jit::Node* user = top_level_owner(use.user);
      const auto position = positions.find(user);  // The return node is not a layer: it comes after all of them.
      range.last_use = std::max(range.last_use, position == positions.end() ? end : position->second);
    }
    lowered.range_of.emplace(value, lowered.ranges.size());
    lowered.ranges.push_back(range);
  };
  for (jit::Value* input : lowered.graph->inputs().slice(1)) add(input, -1);
  for (std::size_t i = 0; i < lowered.layers.size(); ++i) {
    for (jit::Value* output : lowered.layers[i]->outputs()) add(output, static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace

std::string first_line(const std::exception& exception) {
  std::string_view text = exception.what();
  text.remove_prefix(std::min(text.find_first_not_of("\n "), text.size()));
  // TorchScript errors lead with a header and a trace of source lines; the sentence stands after "RuntimeError: ".
  if (const auto at = text.rfind("Error: "); text.starts_with("The following operation failed") && at != text.npos) {
    text.remove_prefix(at + 7);
  }
  constexpr std::size_t longest = 500;
  std::string line(text.substr(0, std::min(text.find('\n'), longest)));
  // A damaged file is quoted as it is: what is no character must reach no terminal and no JSON.
  const auto unprintable = [](char c) { return c < ' ' || c > '~'; };
  std::replace_if(line.begin(), line.end(), unprintable, '?');
  return line;
}

Error failure(const std::exception& exception, Errc otherwise, std::string_view before) {
  const bool memory = dynamic_cast<const std::bad_alloc*>(&exception) != nullptr ||
                      std::string_view(exception.what()).find("you tried to allocate") != std::string_view::npos;
  return {memory ? Errc::OutOfMemory : otherwise, std::string(before) + first_line(exception)};
}

const jit::Node* top_level_owner(const jit::Node* node) {
  while (const jit::Node* owner = node->owningBlock()->owningNode()) node = owner;
  return node;
}

std::vector<jit::Value*> crossing_values(const Lowered& lowered, std::size_t position) {
  const auto at = static_cast<std::ptrdiff_t>(position);
  std::vector<jit::Value*> crossing;
  for (const LiveRange& range : lowered.ranges) {
    if (range.defined >= at) break;
    // The first segment keeps the signature of the model, unused inputs included.
    if (position == 0 || range.last_use >= at) crossing.push_back(range.value);
  }
  return crossing;
}

std::vector<jit::Value*> values_read(const Lowered& lowered, jit::Node* node) {
  std::vector<jit::Value*> values;
  const auto add = [&](jit::Node* reader) {
    for (jit::Value* value : reader->inputs()) {
      if (lowered.range_of.count(value) != 0 && std::find(values.begin(), values.end(), value) == values.end())
        values.push_back(value);
    }
  };
  const std::function<void(jit::Node*)> visit = [&](jit::Node* reader) {
    add(reader);
    for (jit::Block* block : reader->blocks()) {
      for (jit::Node* inner : block->nodes()) visit(inner);
      add(block->return_node());
    }
  };
  visit(node);
  return values;
}

std::string module_path(jit::Node* node) {
  std::string path;
  const auto callstack = node->callstack();
  if (!callstack) return path;
  for (const auto& entry : (*callstack)->vec()) {
    const auto& instance = std::get<2>(entry);
    if (!instance) continue;
    const std::string name = instance->instance_name();
    if (name.empty() || name == "self" || name == "SELF" || name == "INSTANCE_NAME_UNKNOWN") continue;
    if (!path.empty()) path += '.';
    path += name;
  }
  return path;
}

Result<Lowered> lower(const jit::Module& module) try {
  if (!module.find_method("forward")) {
    return Error{Errc::ModelRejected, "the module has no method 'forward'; script or trace the model that is called"};
  }
  Lowered lowered = with_constants(module);
  replace_uninitialized(*lowered.graph, *lowered.graph->block());
  // In evaluation dropout hands on its input itself, which its schema does not tell: it must be gone before writes are
  // judged.
  jit::removeDropout(lowered.graph);
  // Hidden writers fold to wrong constants once a cut parts them from their readers (right on the first call only).
  jit::RemoveListMutation(lowered.graph);
  jit::RemoveTensorMutation(lowered.graph, [](jit::Node* writer) {
    return writer->inputs().empty() || !comes_from_undeclared_alias(writer->input(0));
  });
  jit::ConstantPropagation(lowered.graph);
  jit::EliminateDeadCode(lowered.graph);
  clear_uninitialized(*lowered.graph);
  jit::EraseShapeInformation(lowered.graph);
  sink_constructors(*lowered.graph);

  for (jit::Node* node : lowered.graph->nodes()) {
    if (node->kind() != c10::prim::Constant) lowered.layers.push_back(node);
  }
  if (lowered.layers.empty())
    return Error{Errc::ModelRejected, "the module computes nothing: no operator is left after freezing"};
  lowered.refused.resize(lowered.layers.size() - 1);
  find_ranges(lowered);
  refuse_cuts(lowered);
  return lowered;
} catch (const std::exception& exception) {
  return Error{Errc::ModelRejected, "LibTorch cannot lower the module: " + first_line(exception)};
}

}  // namespace amp4ec::detail

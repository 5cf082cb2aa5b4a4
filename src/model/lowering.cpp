// SPDX-License-Identifier: Apache-2.0
#include "model/lowering.hpp"

#include <fmt/format.h>

#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/passes/constant_propagation.h>
#include <torch/csrc/jit/passes/dead_code_elimination.h>
#include <torch/csrc/jit/passes/freeze_module.h>
#include <torch/csrc/jit/passes/inliner.h>
#include <torch/csrc/jit/passes/remove_dropout.h>
#include <torch/csrc/jit/passes/remove_mutation.h>
#include <torch/csrc/jit/passes/shape_analysis.h>

#include <algorithm>
#include <string_view>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

std::unordered_map<const jit::Node*, std::ptrdiff_t> positions_of(const std::vector<jit::Node*>& layers) {
  std::unordered_map<const jit::Node*, std::ptrdiff_t> positions;
  for (std::size_t i = 0; i < layers.size(); ++i) positions.emplace(layers[i], static_cast<std::ptrdiff_t>(i));
  return positions;
}

void find_lifetimes(Lowered& lowered) {
  const auto positions = positions_of(lowered.layers);
  const auto end = static_cast<std::ptrdiff_t>(lowered.layers.size());
  const auto add = [&](const jit::Value* value, std::ptrdiff_t defined) {
    Lifetime lifetime{defined, defined};
    for (const jit::Use& use : value->uses()) {
      const jit::Node* user = top_level_owner(use.user);
      const auto position = positions.find(user);  // The return node is not a layer: it comes after all of them.
      lifetime.last_use = std::max(lifetime.last_use, position == positions.end() ? end : position->second);
    }
    lowered.lifetimes.emplace(value, lifetime);
  };
  for (const jit::Value* input : lowered.graph->inputs().slice(1)) add(input, -1);
  for (std::size_t i = 0; i < lowered.layers.size(); ++i) {
    for (const jit::Value* output : lowered.layers[i]->outputs()) add(output, static_cast<std::ptrdiff_t>(i));
  }
}

void refuse(Lowered& lowered, std::ptrdiff_t from, std::ptrdiff_t to, const std::string& reason) {
  const auto end = static_cast<std::ptrdiff_t>(lowered.refused.size());
  for (std::ptrdiff_t cut = std::max<std::ptrdiff_t>(from, 0); cut < std::min(to, end); ++cut) {
    std::string& slot = lowered.refused[static_cast<std::size_t>(cut)];
    if (slot.empty()) slot = reason;
  }
}

// Copying a value to another process breaks what it aliases. Where a layer writes memory, everything that may share
// that memory has to stay in one segment: no cut between the first definition and the last use of any of it.
void refuse_alias_cuts(Lowered& lowered) {
  const jit::AliasDb aliases(lowered.graph);
  const auto end = static_cast<std::ptrdiff_t>(lowered.layers.size());
  std::vector<std::pair<const jit::Value*, Lifetime>> written;
  for (const auto& [value, lifetime] : lowered.lifetimes) {
    if (aliases.hasWriters(value)) written.emplace_back(value, lifetime);
  }
  for (std::ptrdiff_t writer = 0; writer < end; ++writer) {
    jit::Node* node = lowered.layers[static_cast<std::size_t>(writer)];
    std::ptrdiff_t from = writer;
    std::ptrdiff_t to = writer;
    for (const auto& [value, lifetime] : written) {
      if (!aliases.writesToAlias(node, {const_cast<jit::Value*>(value)})) continue;
      from = std::min(from, lifetime.defined);
      to = std::max(to, lifetime.last_use);
    }
    refuse(lowered, from, to,
           fmt::format("alias crosses: {} (layer {}) writes memory that values on both sides share",
                       node->kind().toQualString(), writer));
  }
}

// Freezing makes constants of all attributes but those that the module writes.
std::string attribute_left(const jit::Block& block) {
  for (const jit::Node* node : block.nodes()) {
    if (node->kind() == c10::prim::GetAttr || node->kind() == c10::prim::SetAttr) return node->s(c10::attr::name);
    for (const jit::Block* inner : node->blocks()) {
      if (auto name = attribute_left(*inner); !name.empty()) return name;
    }
  }
  return {};
}

void refuse_values_that_cannot_travel(Lowered& lowered) {
  for (std::size_t cut = 0; cut < lowered.refused.size(); ++cut) {
    if (!lowered.refused[cut].empty()) continue;
    for (const jit::Value* value : crossing_values(lowered, cut + 1)) {
      if (value->node()->kind() == c10::prim::Uninitialized) {
        lowered.refused[cut] = "value cannot travel: an uninitialized value crosses";
      } else if (!is_transferable(value->type())) {
        lowered.refused[cut] = fmt::format("value cannot travel: type {}", value->type()->annotation_str());
      }
    }
  }
}

}  // namespace

std::string first_line(const std::exception& exception) {
  std::string_view text = exception.what();
  // TorchScript errors lead with a header and a trace of source lines; the sentence stands after "RuntimeError: ".
  if (const auto at = text.rfind("Error: "); text.starts_with("The following operation failed") && at != text.npos) {
    text.remove_prefix(at + 7);
  }
  return std::string(text.substr(0, text.find('\n')));
}

bool is_transferable(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::TensorType:
    case c10::TypeKind::IntType:
    case c10::TypeKind::FloatType:
    case c10::TypeKind::BoolType:
    case c10::TypeKind::StringType:
    case c10::TypeKind::NoneType:
    case c10::TypeKind::NumberType: return true;
    case c10::TypeKind::ListType:
    case c10::TypeKind::OptionalType:
    case c10::TypeKind::DictType: break;
    case c10::TypeKind::TupleType:
      if (type->cast<c10::TupleType>()->name()) return false;  // A named tuple is a class of the model's own.
      break;
    default: return false;
  }
  const auto contained = type->containedTypes();
  return std::all_of(contained.begin(), contained.end(), is_transferable);
}

const jit::Node* top_level_owner(const jit::Node* node) {
  while (const jit::Node* owner = node->owningBlock()->owningNode()) node = owner;
  return node;
}

std::vector<jit::Value*> crossing_values(const Lowered& lowered, std::size_t position) {
  const auto at = static_cast<std::ptrdiff_t>(position);
  std::vector<jit::Value*> crossing;
  const auto add = [&](jit::Value* value) {
    const Lifetime lifetime = lowered.lifetimes.at(value);
    // The first segment keeps the signature of the model, unused inputs included.
    if (position == 0 || (lifetime.defined < at && lifetime.last_use >= at)) crossing.push_back(value);
  };
  for (jit::Value* input : lowered.graph->inputs().slice(1)) add(input);
  for (std::size_t layer = 0; layer < position; ++layer) {
    for (jit::Value* output : lowered.layers[layer]->outputs()) add(output);
  }
  return crossing;
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
  jit::Module evaluated = module.clone();
  evaluated.eval();
  Lowered lowered;
  lowered.frozen = jit::freeze_module(evaluated);
  lowered.graph = lowered.frozen.get_method("forward").graph();
  jit::Inline(*lowered.graph);
  // In evaluation dropout hands on its input itself, which its schema does not tell: it must be gone before writes are
  // judged.
  jit::removeDropout(lowered.graph);
  // Hidden writers fold to wrong constants once a cut parts them from their readers (right on the first call only).
  jit::RemoveListMutation(lowered.graph);
  jit::RemoveTensorMutation(lowered.graph);
  jit::ConstantPropagation(lowered.graph);
  jit::EliminateDeadCode(lowered.graph);
  jit::EraseShapeInformation(lowered.graph);

  if (const std::string attribute = attribute_left(*lowered.graph->block()); !attribute.empty()) {
    return Error{Errc::ModelRejected,
                 fmt::format("the module changes its attribute '{}' while it runs; models that keep state are not "
                             "supported yet",
                             attribute)};
  }
  for (jit::Node* node : lowered.graph->nodes()) {
    if (node->kind() != c10::prim::Constant) lowered.layers.push_back(node);
  }
  if (lowered.layers.empty())
    return Error{Errc::ModelRejected, "the module computes nothing: no operator is left after freezing"};
  lowered.refused.resize(lowered.layers.size() - 1);
  find_lifetimes(lowered);
  refuse_alias_cuts(lowered);
  refuse_values_that_cannot_travel(lowered);
  return lowered;
} catch (const std::exception& exception) {
  return Error{Errc::ModelRejected, "LibTorch cannot freeze the module: " + first_line(exception)};
}

}  // namespace amp4ec::detail

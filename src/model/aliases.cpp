// SPDX-License-Identifier: Apache-2.0
#include "model/aliases.hpp"

#include "model/graph_walk.hpp"
#include "model/state.hpp"
#include "model/typed_value.hpp"
#include "model/undeclared_aliases.hpp"

#include <torch/csrc/jit/ir/constants.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

// AliasDb asks for more than it needs: it changes no value.
jit::Value* asked(const jit::Value* value) {
  return const_cast<jit::Value*>(value);
}

/// True when nothing but the graph itself can write what the state holds: no object whose methods are called.
bool is_plain(const jit::Module* state) {
  if (state == nullptr) return false;
  const auto attributes = state->type()->getAttributes();
  return std::all_of(attributes.begin(), attributes.end(),
                     [](const c10::ClassAttribute& attribute) { return is_transferable(attribute.getType()); });
}

/// True for what has elements or attributes: a list, an optional, an object.
bool holds_others(const c10::TypePtr& type) {
  return type->kind() != c10::TypeKind::TensorType && is_mutable(type);
}

/// May values of two types be one object? A list that is written is no tensor among its elements, and storing an
/// attribute writes the object, not what the attribute was before.
bool may_be_one(const c10::TypePtr& type, const c10::TypePtr& other) {
  static const std::set<c10::TypeKind> distinct{c10::TypeKind::TensorType, c10::TypeKind::ListType,
                                                c10::TypeKind::DictType, c10::TypeKind::TupleType,
                                                c10::TypeKind::ClassType};
  // The others are an optional, a union, an interface, Any.
  return type->kind() == other->kind() || distinct.count(type->kind()) == 0 || distinct.count(other->kind()) == 0;
}

/// True for a constant container without elements: what is put into it later is put there by writing it.
bool is_empty(const jit::Value* value) {
  if (value->node()->kind() != c10::prim::Constant) return false;
  const auto constant = jit::toIValue(value);
  return constant && ((constant->isList() && constant->toListRef().empty()) ||
                      (constant->isGenericDict() && constant->toGenericDict().empty()));
}

/// Can something of this type sit inside a value of that type?
bool can_hold(const c10::TypePtr& holder, const c10::TypePtr& held) {
  if (!holds_others(holder)) return false;
  const auto inside = holder->containedTypes();
  if (inside.empty()) return true;  // A class, Any: nobody knows.
  return std::any_of(inside.begin(), inside.end(),
                     [&](const c10::TypePtr& type) { return type->kind() == held->kind() || can_hold(type, held); });
}

}  // namespace

bool is_mutable(const c10::TypePtr& type) {
  switch (type->kind()) {
    case c10::TypeKind::IntType:
    case c10::TypeKind::FloatType:
    case c10::TypeKind::ComplexType:
    case c10::TypeKind::NumberType:
    case c10::TypeKind::BoolType:
    case c10::TypeKind::StringType:
    case c10::TypeKind::DeviceObjType:
    case c10::TypeKind::NoneType: return false;
    default: return true;
  }
}

std::map<std::string, std::set<const jit::Value*>> values_of_state(jit::Graph& graph) {
  std::map<std::string, std::set<const jit::Value*>> values;
  for_each_node(*graph.block(), [&](jit::Node* node) {
    const bool get = node->kind() == c10::prim::GetAttr;
    if ((!get && node->kind() != c10::prim::SetAttr) || node->input(0) != graph.inputs()[0]) return;
    values[node->s(c10::attr::name)].insert(get ? node->output() : node->input(1));
  });
  return values;
}

Aliases::Aliases(const std::shared_ptr<jit::Graph>& graph) : Aliases(graph, nullptr) {}

Aliases::Aliases(const std::shared_ptr<jit::Graph>& graph, const jit::Module& state) : Aliases(graph, &state) {
  tie_state(*graph, state);
}

// AliasDb takes all attributes for one memory, unless they are "frozen": then each reading of one is a memory of its
// own.
Aliases::Aliases(const std::shared_ptr<jit::Graph>& graph, const jit::Module* state)
    : db_(graph, /*isFrozen=*/is_plain(state)), block_(*graph->block()) {
  tie_nodes(block_);
}

void Aliases::tie_nodes(jit::Block& block) {
  values_.insert(block.inputs().begin(), block.inputs().end());
  for (jit::Node* node : block.nodes()) {
    values_.insert(node->outputs().begin(), node->outputs().end());
    if (returns_argument_undeclared(node)) {
      Tie tied(node->inputs().begin(), node->inputs().end());
      tied.insert(node->outputs().begin(), node->outputs().end());
      tie(tied);
    }
    if (node->kind() == c10::prim::Loop) {
      // The trip count and the condition come first in the node; the condition, in the body's results; the turn, in its
      // arguments. A loop of no turns returns what it was given.
      const jit::Block* body = node->blocks().at(0);
      for (std::size_t i = 0; i < node->outputs().size(); ++i)
        tie({node->input(i + 2), body->inputs().at(i + 1), body->outputs().at(i + 1), node->output(i)});
    }
    for (jit::Block* inner : node->blocks()) tie_nodes(*inner);
  }
}

void Aliases::tie_state(jit::Graph& graph, const jit::Module& state) {
  const auto values = values_of_state(graph);
  if (values.empty()) return;
  for (const std::vector<std::string>& names : groups_that_share(state)) {
    Tie tied;
    for (const std::string& name : names) {
      if (const auto found = values.find(name); found != values.end())
        tied.insert(found->second.begin(), found->second.end());
    }
    tie(tied);
  }
}

// Aliases of aliases are aliases: what shares memory with a value of an earlier tie joins that, as an attribute does in
// which a value is stored that is read from another.
void Aliases::tie(const Tie& values) {
  Tie tied;
  std::copy_if(values.begin(), values.end(), std::inserter(tied, tied.end()),
               [](const jit::Value* value) { return is_mutable(value->type()); });
  for (auto other = ties_.begin(); other != ties_.end();) {
    const bool joins = std::any_of(other->begin(), other->end(), [&](const jit::Value* value) {
      return std::any_of(tied.begin(), tied.end(),
                         [&](const jit::Value* mine) { return may_contain_alias(value, mine); });
    });
    if (joins) tied.insert(other->begin(), other->end());
    other = joins ? ties_.erase(other) : std::next(other);
  }
  if (tied.size() > 1) ties_.push_back(std::move(tied));
}

bool Aliases::may_alias(const jit::Value* value, const jit::Value* other) const try {
  return value == other || db_.mayAlias(asked(value), asked(other));
} catch (const std::out_of_range&) {
  return true;  // A value that AliasDb has not seen.
}

bool Aliases::may_contain_alias(const jit::Value* value, const jit::Value* other) const try {
  return value == other || db_.mayContainAlias(asked(value), asked(other));
} catch (const std::out_of_range&) {
  return true;
}

const std::vector<std::size_t>& Aliases::ties_of(const jit::Value* value) const {
  const auto [entry, added] = ties_of_.try_emplace(value);
  if (!added || !is_mutable(value->type())) return entry->second;
  for (std::size_t i = 0; i < ties_.size(); ++i) {
    const bool shares = std::any_of(ties_[i].begin(), ties_[i].end(),
                                    [&](const jit::Value* other) { return may_contain_alias(value, other); });
    if (shares) entry->second.push_back(i);
  }
  return entry->second;
}

const Aliases::Writes& Aliases::writes_of(jit::Node* node) const {
  if (const auto known = writes_of_.find(node); known != writes_of_.end()) return known->second;
  Writes writes;
  for (const jit::Value* target : values_written_by(node)) writes.values.insert(target);
  const bool explained = node->maybeSchema() != nullptr || node->kind() == c10::prim::SetAttr;
  writes.opaque = !explained && node->blocks().empty() && db_.writesToAlias(node, values_);
  for (jit::Block* block : node->blocks()) {
    for (jit::Node* inner : block->nodes()) writes.opaque = writes.opaque || writes_of(inner).opaque;
  }
  return writes_of_.emplace(node, std::move(writes)).first->second;
}

bool Aliases::is_tied(const jit::Value* value, const std::vector<std::size_t>& ties) const {
  if (ties.empty()) return false;
  const std::vector<std::size_t>& own = ties_of(value);
  return std::find_first_of(own.begin(), own.end(), ties.begin(), ties.end()) != own.end();
}

bool Aliases::share(const jit::Value* value, const jit::Value* other) const {
  return may_contain_alias(value, other) || is_tied(value, ties_of(other));
}

/// May two values be one memory, or one container? Containers that share elements are not.
bool Aliases::may_be_same(const jit::Value* value, const jit::Value* target) const {
  if (may_alias(value, target)) return true;
  if (!may_be_one(value->type(), target->type())) return false;
  const std::vector<std::size_t>& ties = ties_of(target);
  if (!holds_others(value->type())) return is_tied(value, ties);
  const auto is_member = [&](const jit::Value* asked_for, const Tie& tied) {
    return std::any_of(tied.begin(), tied.end(), [&](const jit::Value* other) { return may_alias(asked_for, other); });
  };
  return std::any_of(ties.begin(), ties.end(),
                     [&](std::size_t i) { return is_member(value, ties_[i]) && is_member(target, ties_[i]); });
}

bool Aliases::writes(jit::Node* node) const {
  const Writes& writes = writes_of(node);
  return writes.opaque || !writes.values.empty();
}

bool Aliases::writes(jit::Node* node, const jit::Value* value) const {
  const Writes& writes = writes_of(node);
  if (std::any_of(writes.values.begin(), writes.values.end(),
                  [&](const jit::Value* target) { return may_be_same(value, target); }))
    return true;
  if (!writes.opaque) return false;
  jit::ValueSet values{value};
  for (const std::size_t i : ties_of(value)) values.insert(ties_[i].begin(), ties_[i].end());
  return db_.writesToAlias(node, values);
}

bool Aliases::writes_inside(jit::Node* node, const jit::Value* value) const {
  if (!holds_others(value->type()) || is_empty(value)) return false;
  const Tie& targets = writes_of(node).values;
  // What two lists share are their elements; writing to one list does not write to the other.
  return std::any_of(targets.begin(), targets.end(), [&](const jit::Value* target) {
    return can_hold(value->type(), target->type()) &&
           (may_contain_alias(value, target) || is_tied(value, ties_of(target)));
  });
}

bool Aliases::writes_any(jit::Node* node, const jit::Value* value) const {
  return writes(node) && (writes(node, value) || writes_inside(node, value));
}

bool Aliases::is_written(const jit::Value* value) const {
  for (jit::Node* node : block_.nodes()) {
    if (writes_any(node, value)) return true;
  }
  return false;
}

}  // namespace amp4ec::detail

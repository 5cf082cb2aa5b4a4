// SPDX-License-Identifier: Apache-2.0
#include "model/state.hpp"

#include "model/aliases.hpp"
#include "model/graph_walk.hpp"

#include <fmt/format.h>

#include <torch/csrc/jit/ir/constants.h>
#include <torch/csrc/jit/passes/constant_propagation.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <set>
#include <stdexcept>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

bool is_attribute_access(const jit::Node* node) {
  return node->kind() == c10::prim::GetAttr || node->kind() == c10::prim::SetAttr;
}

bool is_module(const jit::Value* value) {
  const auto type = value->type()->cast<c10::ClassType>();
  return type && type->is_module();
}

std::string identifier(std::string_view path) {
  std::string name = "state_";
  for (const char c : path) name += std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
  return name;
}

/// Moves attributes of a module and its submodules, as a graph uses them, to a new flat module.
class Gathering {
 public:
  Gathering(const jit::Module& module, jit::Graph& graph)
      : graph_(graph), flat_(c10::QualifiedName("__torch__.amp4ec.State"), std::make_shared<jit::CompilationUnit>()) {
    places_.emplace(graph.inputs()[0], Place{module._ivalue(), ""});
  }

  jit::Module run() {
    find_places(*graph_.block());
    move_accesses();
    for (auto place = order_.rbegin(); place != order_.rend(); ++place) {
      if (!(*place)->hasUses()) (*place)->node()->destroy();
    }
    graph_.inputs()[0]->setType(flat_.type());
    return flat_;
  }

 private:
  struct Place {
    c10::ivalue::Object* operator->() const { return object.get(); }
    c10::intrusive_ptr<c10::ivalue::Object> object;
    std::string path;
  };

  /// Values that stand for a submodule which is only looked into.
  void find_places(jit::Block& block) {
    for (jit::Node* node : block.nodes()) {
      if (node->kind() == c10::prim::GetAttr && is_module(node->output())) {
        const auto owner = places_.find(node->input());
        if (owner != places_.end() && is_only_looked_into(node->output())) {
          const std::string& name = node->s(c10::attr::name);
          places_.emplace(node->output(), Place{owner->second->getAttr(name).toObject(), join(owner->second, name)});
          order_.push_back(node->output());
        }
      }
      for (jit::Block* inner : node->blocks()) find_places(*inner);
    }
  }

  static std::string join(const Place& place, const std::string& name) {
    return place.path.empty() ? name : place.path + "." + name;
  }

  static bool is_only_looked_into(const jit::Value* value) {
    return std::all_of(value->uses().begin(), value->uses().end(),
                       [](const jit::Use& use) { return is_attribute_access(use.user) && use.offset == 0; });
  }

  void move_accesses() {
    if (!is_only_looked_into(graph_.inputs()[0])) throw std::runtime_error("the module hands itself to an operator");
    std::vector<std::pair<jit::Node*, const Place*>> accesses;  // Found first: moving one makes it a use of `self`.
    for (const auto& [value, place] : places_) {
      for (const jit::Use& use : value->uses()) {
        const bool to_a_place = use.user->kind() == c10::prim::GetAttr && places_.count(use.user->output()) != 0;
        if (!to_a_place) accesses.emplace_back(use.user, &place);
      }
    }
    for (const auto& [node, place] : accesses) {
      node->s_(c10::attr::name, moved(*place, node->s(c10::attr::name)));
      node->replaceInput(0, graph_.inputs()[0]);
    }
  }

  /// The attribute's name in the flat module, where it is put at its first use.
  std::string moved(const Place& place, const std::string& name) {
    const auto key = std::pair(place.object.get(), name);
    if (const auto known = names_.find(key); known != names_.end()) return known->second;
    std::string wanted = identifier(join(place, name));
    while (flat_.hasattr(wanted)) wanted += '_';
    flat_.register_attribute(wanted, place.object->type()->getAttribute(name), place.object->getAttr(name));
    names_.emplace(key, wanted);
    return wanted;
  }

  jit::Graph& graph_;
  jit::Module flat_;
  std::map<const jit::Value*, Place> places_;
  std::vector<jit::Value*> order_;  // of places but `self`
  std::map<std::pair<const c10::ivalue::Object*, std::string>, std::string> names_;
};

std::vector<jit::Node*> accesses_in(jit::Graph& graph) {
  std::vector<jit::Node*> accesses;
  for_each_node(*graph.block(), [&](jit::Node* node) {
    if (is_attribute_access(node) && node->input(0) == graph.inputs()[0]) accesses.push_back(node);
  });
  return accesses;
}

std::set<std::string> attributes_set(jit::Graph& graph) {
  std::set<std::string> names;
  for (const jit::Node* node : accesses_in(graph)) {
    if (node->kind() == c10::prim::SetAttr) names.insert(node->s(c10::attr::name));
  }
  return names;
}

/// Makes constants of the attributes of the chosen types, but for those that are kept; returns these, and those of
/// which no constant can be made.
template <class Chosen>
std::set<std::string> make_constants(const jit::Module& flat, jit::Graph& graph, std::set<std::string> kept,
                                     const Chosen& chosen) {
  for (jit::Node* node : accesses_in(graph)) {
    const std::string name = node->s(c10::attr::name);
    if (kept.count(name) != 0 || !chosen(flat.type()->getAttribute(name))) continue;
    const jit::WithInsertPoint at(node);
    const auto constant = jit::tryInsertConstant(graph, flat.attr(name));
    if (!constant) {
      kept.insert(name);
      continue;
    }
    node->output()->replaceAllUsesWith(*constant);
    node->destroy();
  }
  return kept;
}

/// Attributes of the flat module that the graph, or someone through shared memory, writes.
std::set<std::string> written_attributes(const jit::Module& flat, const std::shared_ptr<jit::Graph>& graph,
                                         const std::vector<jit::Node*>& accesses) {
  const Aliases aliases(graph, flat);
  std::set<std::string> written;
  for (const jit::Node* node : accesses) {
    const bool set = node->kind() == c10::prim::SetAttr;
    if (set || is_module(node->output()) || aliases.is_written(node->output()))
      written.insert(node->s(c10::attr::name));
  }
  return written;
}

/// The module without the attributes that nothing writes; those are constants of the graph now.
jit::Module without_constants(const jit::Module& flat, std::shared_ptr<jit::Graph> graph) {
  // Numbers and flags first: whether normalization is training decides what it writes.
  make_constants(flat, *graph, attributes_set(*graph), [](const c10::TypePtr& type) { return !is_mutable(type); });
  jit::ConstantPropagationImmutableTypes(graph);
  std::vector<jit::Node*> accesses = accesses_in(*graph);
  if (accesses.empty()) return flat;  // As most models: the analysis below takes its time.
  const std::set<std::string> kept =
      make_constants(flat, *graph, written_attributes(flat, graph, accesses), [](const c10::TypePtr&) { return true; });
  jit::Module state(*flat.type()->name(), std::make_shared<jit::CompilationUnit>());
  for (const std::string& name : kept) state.register_attribute(name, flat.type()->getAttribute(name), flat.attr(name));
  graph->inputs()[0]->setType(state.type());
  return state;
}

}  // namespace

jit::Module gather_state(const jit::Module& module, const std::shared_ptr<jit::Graph>& graph) {
  return without_constants(Gathering(module, *graph).run(), graph);
}

std::vector<std::string> attributes_touched(const jit::Node* node, const jit::Value* self) {
  std::vector<std::string> names;
  if (is_attribute_access(node) && node->input(0) == self) names.push_back(node->s(c10::attr::name));
  for (const jit::Block* block : node->blocks()) {
    for (const jit::Node* inner : block->nodes()) {
      for (std::string& name : attributes_touched(inner, self)) names.push_back(std::move(name));
    }
  }
  return names;
}

std::vector<std::vector<std::string>> groups_that_share(const jit::Module& state) {
  std::vector<std::vector<std::string>> groups;
  for (const auto& attribute : state.named_attributes(/*recurse=*/false)) {
    std::vector<std::string> merged{attribute.name};
    for (auto group = groups.begin(); group != groups.end();) {
      const bool shares = std::any_of(group->begin(), group->end(), [&](const std::string& other) {
        return attribute.value.overlaps(state.attr(other));
      });
      if (shares) merged.insert(merged.end(), group->begin(), group->end());
      group = shares ? groups.erase(group) : std::next(group);
    }
    groups.push_back(std::move(merged));
  }
  return groups;
}

}  // namespace amp4ec::detail

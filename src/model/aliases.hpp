// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/api/module.h>
#include <torch/csrc/jit/ir/alias_analysis.h>
#include <torch/csrc/jit/ir/ir.h>

#include <cstddef>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <unordered_map>
#include <vector>

namespace amp4ec::detail {

/// False for numbers, strings and the like: nobody can write those, and they hold nothing.
bool is_mutable(const c10::TypePtr& type);

/// For each attribute of `self`, the values that are it: what is read from it, and what is stored in it.
std::map<std::string, std::set<const torch::jit::Value*>> values_of_state(torch::jit::Graph& graph);

/// What may share memory with what in a graph, and which node writes it, in this call or the next.
///
/// LibTorch's AliasDb, and what it does not know: operators that return an argument undeclared, what a loop carries
/// from one turn to the next, the statistics that normalization updates, and which attributes come to share memory. For
/// all of that, values are tied: each may share memory with every other of the tie. Cheap to ask, not to make; not
/// thread-safe.
class Aliases {
 public:
  /// The attributes of `self` are taken for one memory.
  explicit Aliases(const std::shared_ptr<torch::jit::Graph>& graph);
  /// They are told apart. `state` has them all: it is a module without submodules that are only looked into.
  Aliases(const std::shared_ptr<torch::jit::Graph>& graph, const torch::jit::Module& state);

  /// May two values, or what they hold, share memory?
  [[nodiscard]] bool share(const torch::jit::Value* value, const torch::jit::Value* other) const;

  /// May a node, or one inside it, write at all?
  [[nodiscard]] bool writes(torch::jit::Node* node) const;
  /// May it write the memory of this value itself?
  [[nodiscard]] bool writes(torch::jit::Node* node, const torch::jit::Value* value) const;
  /// May it write something that this value holds: an element of a list, say?
  [[nodiscard]] bool writes_inside(torch::jit::Node* node, const torch::jit::Value* value) const;

  /// One of the two.
  [[nodiscard]] bool writes_any(torch::jit::Node* node, const torch::jit::Value* value) const;

  /// May anything in the graph write this value or what it holds?
  [[nodiscard]] bool is_written(const torch::jit::Value* value) const;

 private:
  using Tie = std::set<const torch::jit::Value*>;

  /// What a node writes.
  struct Writes {
    Tie values;
    bool opaque = false;  ///< And what only AliasDb knows: a method that is called, say.
  };

  Aliases(const std::shared_ptr<torch::jit::Graph>& graph, const torch::jit::Module* state);
  void tie_nodes(torch::jit::Block& block);
  void tie_state(torch::jit::Graph& graph, const torch::jit::Module& state);
  void tie(const Tie& values);
  [[nodiscard]] bool may_alias(const torch::jit::Value* value, const torch::jit::Value* other) const;
  [[nodiscard]] bool may_contain_alias(const torch::jit::Value* value, const torch::jit::Value* other) const;
  [[nodiscard]] const std::vector<std::size_t>& ties_of(const torch::jit::Value* value) const;
  [[nodiscard]] bool is_tied(const torch::jit::Value* value, const std::vector<std::size_t>& ties) const;
  [[nodiscard]] bool may_be_same(const torch::jit::Value* value, const torch::jit::Value* target) const;
  [[nodiscard]] const Writes& writes_of(torch::jit::Node* node) const;

  torch::jit::AliasDb db_;
  torch::jit::Block& block_;
  torch::jit::ValueSet values_;  // all there are
  std::vector<Tie> ties_;
  mutable std::unordered_map<const torch::jit::Value*, std::vector<std::size_t>> ties_of_;
  mutable std::unordered_map<const torch::jit::Node*, Writes> writes_of_;
};

}  // namespace amp4ec::detail

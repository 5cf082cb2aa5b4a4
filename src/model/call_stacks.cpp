// SPDX-License-Identifier: Apache-2.0
#include "model/call_stacks.hpp"

#include <torch/csrc/jit/api/compilation_unit.h>

#include <memory>
#include <unordered_map>

namespace amp4ec::detail {

namespace jit = torch::jit;

namespace {

jit::Function* lasting_function() {
  // Never freed: segments may be run while the process ends.
  static auto& unit = *new jit::CompilationUnit();
  static jit::Function* const function =
      unit.create_function(c10::QualifiedName("forward"), std::make_shared<jit::Graph>());
  return function;
}

class Detaching {
 public:
  void visit(jit::Block& block) {
    for (jit::Node* node : block.nodes()) {
      if (const auto stack = node->callstack()) node->setCallStack(detached(*stack));
      for (jit::Block* inner : node->blocks()) visit(*inner);
      if (node->hasAttribute(c10::attr::Subgraph)) visit(*node->g(c10::attr::Subgraph)->block());
    }
  }

 private:
  jit::InlinedCallStackPtr detached(const jit::InlinedCallStackPtr& stack) {
    if (const auto known = detached_.find(stack); known != detached_.end()) return known->second;
    const auto callee = stack->callee();
    auto copy = callee ? c10::make_intrusive<jit::InlinedCallStack>(detached(*callee), lasting_function(),
                                                                    stack->source_range(), stack->module_instance())
                       : c10::make_intrusive<jit::InlinedCallStack>(lasting_function(), stack->source_range(),
                                                                    stack->module_instance());
    detached_.emplace(stack, copy);
    return copy;
  }

  std::unordered_map<jit::InlinedCallStackPtr, jit::InlinedCallStackPtr> detached_;  // Stacks share their ends.
};

}  // namespace

void detach_call_stacks(jit::Graph& graph) {
  Detaching().visit(*graph.block());
}

}  // namespace amp4ec::detail

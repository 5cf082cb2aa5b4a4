// SPDX-License-Identifier: Apache-2.0
#include "model/undeclared_aliases.hpp"

#include "model/graph_walk.hpp"

#include <torch/csrc/jit/ir/constants.h>

#include <set>

namespace amp4ec::detail {

namespace jit = torch::jit;

bool returns_argument_undeclared(const jit::Node* node) {
  static const std::set<c10::Symbol> operators = [] {
    std::set<c10::Symbol> symbols;
    for (const char* name : {"aten::dropout",
                             "aten::alpha_dropout",
                             "aten::feature_dropout",
                             "aten::feature_alpha_dropout",
                             "aten::type_as",
                             "aten::atleast_1d",
                             "aten::atleast_2d",
                             "aten::atleast_3d",
                             "aten::broadcast_tensors",
                             "aten::unsafe_chunk",
                             "aten::unsafe_split",
                             "aten::unsafe_split_with_sizes",
                             "aten::_unsafe_view",
                             "aten::meshgrid",
                             "aten::cartesian_prod",
                             "aten::conj_physical",
                             "aten::real",
                             "aten::pin_memory",
                             "aten::einsum",
                             "aten::dequantize",
                             "aten::to_dense",
                             "aten::to_mkldnn",
                             "aten::sum_to_size",
                             "aten::set_"}) {
      symbols.insert(c10::Symbol::fromQualString(name));
    }
    return symbols;
  }();
  return operators.count(node->kind()) != 0;
}

bool comes_from_undeclared_alias(const jit::Value* value) {
  while (true) {
    const jit::Node* node = value->node();
    if (returns_argument_undeclared(node)) return true;
    const bool unpacks = node->kind() == c10::prim::ListUnpack || node->kind() == c10::prim::TupleUnpack;
    const auto* schema = node->maybeSchema();
    const bool view = schema != nullptr && value->offset() < schema->returns().size() &&
                      schema->returns()[value->offset()].alias_info() != nullptr;
    if ((!view && !unpacks) || node->inputs().empty()) return false;
    value = node->input(0);
  }
}

namespace {

/// Normalization that takes its statistics from the input updates the running ones.
bool updates_statistics(jit::Node* node) {
  static const std::set<c10::Symbol> operators{
      c10::Symbol::fromQualString("aten::batch_norm"), c10::Symbol::fromQualString("aten::native_batch_norm"),
      c10::Symbol::fromQualString("aten::_batch_norm_impl_index"), c10::Symbol::fromQualString("aten::instance_norm")};
  if (operators.count(node->kind()) == 0 || node->inputs().size() < 6) return false;
  return jit::constant_as<bool>(node->input(5)).value_or(true);
}

}  // namespace

std::vector<jit::Value*> values_written_by(jit::Node* node) {
  std::vector<jit::Value*> written;
  for_each_node_of(node, [&](jit::Node* writer) {
    if (updates_statistics(writer)) written.insert(written.end(), {writer->input(3), writer->input(4)});
    const auto* schema = writer->maybeSchema();
    for (std::size_t i = 0; schema != nullptr && i < writer->inputs().size() && i < schema->arguments().size(); ++i) {
      const auto* alias = schema->arguments()[i].alias_info();
      if (alias != nullptr && alias->isWrite()) written.push_back(writer->input(i));
    }
    if (writer->kind() == c10::prim::SetAttr) written.push_back(writer->input(0));
  });
  return written;
}

}  // namespace amp4ec::detail

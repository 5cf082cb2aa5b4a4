// SPDX-License-Identifier: Apache-2.0
// Equality with the unsplit module, whatever way the segments are run.
#pragma once

#include "model/support.hpp"

#include <amp4ec/model/model.hpp>
#include <amp4ec/model/segment_executor.hpp>

#include <torch/script.h>

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace amp4ec::test {

/// The module through the bytes of an archive: nothing is shared with the given one.
torch::jit::Module reloaded(const torch::jit::Module& module);

/// Values of their own, which a model may write.
Values copies_of(const Values& values);

/// One answer of the reference, which begins with fresh state.
Value run_whole(const Model& model, const Values& inputs);

/// Answers of the unsplit module to one call after another, by LibTorch's interpreter.
Values answers_of_unsplit(const Model& model, const std::vector<Values>& inputs);

/// Values as the next worker sees them: bytes in a slot, computed on where they are. What shared memory shares it no
/// more.
Values over_the_wire(const Values& values);

struct Executors {
  std::vector<std::unique_ptr<SegmentExecutor>> segments;

  Value run(const Model& model, const Values& inputs);
};

/// Segments that end after the given layers and at the end, each through the bytes of an archive.
Executors split_through_archives(const Model& model, const std::vector<std::size_t>& ends, Form form);

/// What a segment gets of the one before it.
enum class Handover { Wire, Objects };

/// Two segments as any user of LibTorch runs them: loaded, called, optimised as LibTorch pleases from the second call.
class LoadedSegments {
 public:
  LoadedSegments(const Model& model, std::size_t cut, Handover handover);
  Value run(const Model& model, const Values& inputs);

 private:
  std::vector<std::pair<torch::jit::Module, std::size_t>> segments_;  // with the number of outputs
  Handover handover_;
};

/// Whether the model writes through what an operator returns that is its argument, and does not say so. LibTorch 2's
/// optimizer computes wrongly then, now the unsplit module and now a segment: what it makes of either is not compared.
enum class Aliases { Declared, Undeclared };

/// Every valid cut, and all of them at once, answers one call after another as the whole does: bit for bit in the plain
/// form, closely in the others. Every other cut is refused.
void check_all_cuts(const Model& model, const std::vector<Values>& inputs, Aliases aliases = Aliases::Declared);

/// The nth layer of an operator.
std::size_t layer_of(const LayerGraph& graph, std::string_view op, std::size_t nth = 0);

/// The codes before the colon of the refused cuts.
std::set<std::string> reasons(const LayerGraph& graph);

}  // namespace amp4ec::test

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment.hpp>
#include <amp4ec/model/segment_executor.hpp>
#include <amp4ec/model/value.hpp>
#include <amp4ec/plan/layer_graph.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace amp4ec {

/// A constant that several layers read. A cut between them leaves a copy on either side.
struct SharedWeight {
  Bytes bytes;
  std::vector<std::size_t> layers;  ///< Ascending.
};

/// A TorchScript module, loaded and lowered: in evaluation mode, frozen, inlined, free of the mutation that can be
/// proved unnecessary. The unsplit module is kept beside it as the reference for every answer (both share their
/// weights). A shared handle; immutable, hence thread-safe. Every function blocks; none lets an exception out.
class Model {
 public:
  /// Loads a file that `torch.jit.save` wrote. Weights go to the CPU.
  /// @error FileNotFound, NotTorchScript, ModelCorrupt, ModelRejected.
  [[nodiscard]] static Result<Model> load(const std::filesystem::path& file);

  /// Takes a module that the host built or loaded itself. It must not be changed afterwards. What is derived from it
  /// is freed with the module, not before: LibTorch keeps the code of copies with that of the original.
  /// @error ModelRejected when it has no `forward` or cannot be frozen.
  [[nodiscard]] static Result<Model> from_module(const torch::jit::Module& module);

  /// The same without a copy, for a module that nobody else uses: it goes into evaluation mode, also when this fails.
  /// Copying costs graphs and, where a module packs its weights (as quantized ones do), the weights once more.
  [[nodiscard]] static Result<Model> adopt(const torch::jit::Module& module);

  /// Content hash of the lowered model: operators and weights. Ties profiles and plans to this model.
  [[nodiscard]] const std::string& hash() const noexcept;

  [[nodiscard]] std::size_t layer_count() const noexcept;

  /// Layers, cuts and leaf modules, with the sizes learnt from running the example once, layer by layer.
  /// @error InputMismatch when the model does not accept the example; its message is LibTorch's.
  [[nodiscard]] Result<LayerGraph> layer_graph(const Values& example) const;

  /// Layers first..last (both included) as a module of their own.
  /// @error PlanInvalid for a range outside the model, CutRejected with the reason for a cut that changes the answer.
  [[nodiscard]] Result<Segment> segment(std::size_t first_layer, std::size_t last_layer) const;

  /// Checks number and types of the inputs against `forward`, and fills in its default arguments. @error InputMismatch.
  [[nodiscard]] Result<Values> check_inputs(const Values& inputs) const;

  /// Gives an answer that came from elsewhere the type that `forward` declares: messages carry lists without element
  /// types and named tuples without names. @error ProtocolViolation when it cannot have that type.
  [[nodiscard]] Result<Value> check_answer(const Value& answer) const;

  /// What segments would hold twice: tied weights, and tables that several layers look into.
  [[nodiscard]] std::vector<SharedWeight> shared_weights() const;

  /// True when the model keeps something from call to call. One segment owns each piece of that; it is never
  /// replicated.
  [[nodiscard]] bool has_state() const noexcept;

  /// An executor for the unsplit module, which begins with the state that the model was loaded with: what every split
  /// answer is compared with.
  [[nodiscard]] Result<std::unique_ptr<SegmentExecutor>> reference_executor() const;

  /// The module as it was given, in evaluation mode.
  [[nodiscard]] const torch::jit::Module& unsplit() const noexcept;

 private:
  struct State;
  explicit Model(std::shared_ptr<const State> state) : state_(std::move(state)) {}

  std::shared_ptr<const State> state_;
};

}  // namespace amp4ec

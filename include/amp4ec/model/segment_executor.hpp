// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment.hpp>
#include <amp4ec/model/value.hpp>

#include <memory>
#include <span>
#include <string_view>

namespace amp4ec {

/// How a segment is executed.
enum class Form {
  Plain,  ///< The operators as lowered. Bit-equal to the unsplit module under the same threads.
  /// The fastest that answers equally (within 5e-5) of the plain form, LibTorch's optimize_frozen_module (batch norms
  /// folded) and optimize_for_inference (oneDNN's layouts inside). The first call finds it with its inputs: it takes
  /// longer and needs memory for two forms. Segments with state are optimised for inference untimed; those that draw
  /// random numbers or have side effects stay plain.
  Optimized,
};

[[nodiscard]] std::string_view to_string(Form form) noexcept;
/// @error InvalidArgument.
[[nodiscard]] Result<Form> parse_form(std::string_view text);

/// Runs one segment. The plug point for inference engines; TorchScript is the first implementation.
/// Not thread-safe: one executor is driven by one thread at a time.
class SegmentExecutor {
 public:
  virtual ~SegmentExecutor() = default;

  /// Runs the segment once. Blocking. Inputs are never changed: what the model writes, it writes to a copy. Outputs may
  /// share the inputs' storage or that of the model's constants: read them, or clone them before you write.
  /// Exceptions of the model stop here. @error ExecutionFailed with LibTorch's own sentence.
  [[nodiscard]] virtual Result<Values> run(const Values& inputs) = 0;
};

/// An executor for a segment in this process. It works on a copy of the graph, never of the weights that stay plain.
/// LibTorch's fuser and threads are left as they are: they belong to the process.
[[nodiscard]] Result<std::unique_ptr<SegmentExecutor>> make_executor(const Segment& segment, Form form);

/// The same for the bytes of a TorchScript archive, as a worker receives them. `outputs`: Segment::output_count().
[[nodiscard]] Result<std::unique_ptr<SegmentExecutor>> make_executor(std::span<const std::byte> archive,
                                                                     std::size_t outputs, Form form);

namespace detail {
/// An executor for a whole module as it was given; it shares the module's weights and state.
[[nodiscard]] Result<std::unique_ptr<SegmentExecutor>> make_reference_executor(const torch::jit::Module& module);
}  // namespace detail

/// Turns the TensorExpr fuser off for the whole process: it compiles for seconds in the second call and gains nothing
/// that optimize_for_inference does not. A choice for processes that amp4ec owns (workers, the command), not for hosts.
void disable_fuser_in_this_process();

}  // namespace amp4ec

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "input_spec.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/value.hpp>

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace amp4ec::cli {

/// Inputs to try a model on: one example, and as many different ones of the same types and shapes as are wanted.
/// The same options and seed give the same inputs; no global generator is touched.
class Inputs {
 public:
  /// Random tensors: normal floats, uniform integers. @error InvalidArgument.
  static Result<Inputs> random(std::span<const std::string> specs, std::uint64_t seed);
  /// What Python's `torch.save` wrote: a tuple of inputs, or the only one. @error FileNotFound, InvalidArgument.
  static Result<Inputs> from_file(const std::filesystem::path& file, std::uint64_t seed);

  [[nodiscard]] const Values& example() const noexcept { return example_; }

  /// The example and `count - 1` others. Others of a file's example: floats with noise of a tenth of their spread,
  /// integers in another order, everything else as it is. @error Internal when LibTorch refuses.
  [[nodiscard]] Result<std::vector<Values>> different(std::size_t count) const;

 private:
  std::vector<InputSpec> specs_;  // empty: the example came from a file
  Values example_;
  std::uint64_t seed_ = 0;
};

}  // namespace amp4ec::cli

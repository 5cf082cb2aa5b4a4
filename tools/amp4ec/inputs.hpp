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
  /// What Python's `torch.save` wrote, in at least one file: a tuple of inputs, or the only one.
  /// @error FileNotFound, InvalidArgument.
  static Result<Inputs> from_files(std::span<const std::string> files, std::uint64_t seed);

  /// The first.
  [[nodiscard]] const Values& example() const noexcept { return examples_.front(); }

  /// The examples in turn, `count` in all, each different: of those from files the first round is as they are, later
  /// ones have floats with noise of a tenth of their spread, integers in another order, everything else as it is.
  /// @error Internal when LibTorch refuses.
  [[nodiscard]] Result<std::vector<Values>> different(std::size_t count) const;

 private:
  std::vector<InputSpec> specs_;  // empty: the examples came from files
  std::vector<Values> examples_;
  std::uint64_t seed_ = 0;
};

}  // namespace amp4ec::cli

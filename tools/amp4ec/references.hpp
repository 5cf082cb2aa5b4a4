// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "subject.hpp"

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/value.hpp>

#include <cstddef>
#include <vector>

namespace amp4ec::cli {

/// Different inputs with the unsplit module's answers.
struct References {
  std::vector<Values> inputs;  ///< Default arguments filled in.
  std::vector<Value> answers;  ///< Empty for a model that draws random numbers.
};

/// Runs the unsplit module on `count` different inputs, in this process.
/// @error ExecutionFailed; InvalidArgument when the answers are so near zero that comparing them means nothing.
Result<References> make_references(const Subject& subject, std::size_t count);

}  // namespace amp4ec::cli

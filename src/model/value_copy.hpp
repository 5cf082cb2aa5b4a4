// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <ATen/core/ivalue.h>
#include <torch/csrc/jit/api/module.h>

namespace amp4ec::detail {

/// A value of its own that shares no memory with the given one; what shared memory within it does so in the copy.
/// `c10::IValue::deepcopy` cannot be used: it takes every view of one storage for the same tensor, so that the rows of
/// an unbound matrix all become its first row. Objects of C++ classes (packed weights) are immutable and shared.
c10::IValue copy_value(const c10::IValue& value);

/// The same for a module with its attributes and submodules; types and graphs are shared.
torch::jit::Module copy_module(const torch::jit::Module& module);

}  // namespace amp4ec::detail

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <torch/csrc/jit/ir/ir.h>

namespace amp4ec::detail {

/// Where inlined code came from, without pointers to functions that may end before the graph does.
///
/// When an operator throws, the interpreter names every function on the way to it. The nodes point to those, but
/// freezing a module with state destroys them, and so does the end of the module. Afterwards they all point to one
/// function that lives as long as the process: LibTorch's traces call each of them "forward". Module paths and source
/// lines stay.
void detach_call_stacks(torch::jit::Graph& graph);

}  // namespace amp4ec::detail

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/lowering.hpp"

namespace amp4ec::detail {

/// Finds the cuts that would change the answer and writes the reason into `lowered.refused`. Needs layers and ranges.
///
///   alias crosses         A layer after the cut writes memory that several crossing values share; copies would part
///                         them. One value alone may cross and be written: its copy is all that is left of it.
///   context crosses       A `with` statement is open: one interpreter has to see its entry and its exit.
///   storage crosses       A layer looks at the storage behind a value (as_strided); a copy has another storage.
///   state would be shared Layers on both sides use the same attribute that the model keeps from call to call.
///   value cannot travel   A value of a type that no message can carry crosses.
void refuse_cuts(Lowered& lowered);

/// The layer that leaves the context which `layer` enters; `layer` itself when it enters none.
std::size_t last_of_context(const Lowered& lowered, std::size_t layer);

}  // namespace amp4ec::detail

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "runtime/runtime_state.hpp"

namespace amp4ec::detail {

/// See Runtime::profile.
Result<Profile> measure_profile(RuntimeState& runtime, const Model& model, const Values& example,
                                const ProfileOptions& options);

/// Which of the valid cuts to measure, in order: at most `count`, one for each equal share of the estimated work, each
/// the cheapest to cross of its share. Public to tests.
std::vector<std::size_t> choose_cuts(const LayerGraph& graph, std::size_t count);

}  // namespace amp4ec::detail

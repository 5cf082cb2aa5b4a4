// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/profile.hpp>

#include <cstddef>
#include <vector>

namespace amp4ec::detail {

/// Which of the valid cuts to measure, in order: at most `count`, one for each equal share of the estimated work, each
/// the cheapest to cross of its share.
std::vector<std::size_t> choose_cuts(const LayerGraph& graph, std::size_t count);

/// Derives from what was measured (the whole, and the cuts that say so) the times of layers and what the other cuts
/// cost, and makes memory fit for planning: it never falls where a segment grows.
void fit_profile(Profile& profile);

}  // namespace amp4ec::detail

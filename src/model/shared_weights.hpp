// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/lowering.hpp"

#include <amp4ec/model/model.hpp>

#include <vector>

namespace amp4ec::detail {

/// Constants of at least a kilobyte that several layers read, by first layer.
std::vector<SharedWeight> shared_weights(const Lowered& lowered);

}  // namespace amp4ec::detail

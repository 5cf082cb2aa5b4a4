// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "model/lowering.hpp"

#include <string>

namespace amp4ec::detail {

/// Content hash of a lowered model: operators, how they are connected, constants, and the state it begins with. The
/// same in every process; tells models apart, not attackers. 16 hexadecimal digits.
std::string hash_of(const Lowered& lowered);

}  // namespace amp4ec::detail

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/plan/detail/text_table.hpp>

namespace amp4ec::cli {

using Table = detail::TextTable;

}  // namespace amp4ec::cli

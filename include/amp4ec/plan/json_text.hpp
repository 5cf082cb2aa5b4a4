// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <boost/json/value.hpp>

#include <string>
#include <string_view>

namespace amp4ec {

/// JSON as people read it: two spaces a level, and what holds no further objects or arrays on one line if it is short.
/// Numbers are the shortest that read back equal; numbers that JSON has no form for (infinity, NaN) become null.
/// Ends without a newline. Compiled: part of `amp4ec::amp4ec`.
[[nodiscard]] std::string json_text(const boost::json::value& value);

/// Reads one JSON value, strictly: no comments, no trailing commas, nested at most 32 deep, valid UTF-8.
/// @error JsonInvalid with the line of the fault.
[[nodiscard]] Result<boost::json::value> parse_json(std::string_view text);

}  // namespace amp4ec

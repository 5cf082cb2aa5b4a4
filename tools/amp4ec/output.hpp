// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <boost/json/value.hpp>

#include <string_view>

namespace amp4ec::cli {

/// Writes to standard output, all of it. @error SystemCall when nobody takes it (a full disk, a closed pipe).
Result<void> print(std::string_view text);

/// The one object that `--json` promises. @error as `print`.
Result<void> print_json(const boost::json::value& value);

/// Something the user should know while work goes on: one line on standard error, "amp4ec: note: ...".
void print_note(std::string_view text);

/// The reason for ending without success: one line on standard error, "amp4ec: ...".
void print_failure(std::string_view text);

}  // namespace amp4ec::cli

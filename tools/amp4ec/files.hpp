// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <filesystem>
#include <string>
#include <string_view>

namespace amp4ec::cli {

/// A whole file. @error FileNotFound with the kernel's reason.
Result<std::string> read_file(const std::filesystem::path& file);

/// Whether a file can be put there, asked before long work: its folder exists and is writable, and what is there
/// already is a plain file (outputs are renamed into place, which must never replace a device). @error SystemCall.
Result<void> check_output(const std::filesystem::path& file);

/// Writes a file that appears whole or not at all. @error SystemCall.
Result<void> write_file(const std::filesystem::path& file, std::string_view text);

}  // namespace amp4ec::cli

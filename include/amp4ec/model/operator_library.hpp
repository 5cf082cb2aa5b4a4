// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <filesystem>
#include <vector>

namespace amp4ec {

/// Loads a shared library that registers custom operators with LibTorch (TORCH_LIBRARY) as it loads; it stays loaded.
/// Call it before Model::load; workers that a Runtime starts later load it as well.
/// Blocking; thread-safe. The library's code is trusted: it runs in this process.
/// @error FileNotFound, NotSupported when it cannot be loaded, with the loader's own sentence.
[[nodiscard]] Result<void> load_operator_library(const std::filesystem::path& file);

/// Absolute paths of the libraries loaded so far, in order. Thread-safe.
[[nodiscard]] std::vector<std::filesystem::path> loaded_operator_libraries();

}  // namespace amp4ec

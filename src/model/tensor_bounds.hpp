// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <torch/csrc/jit/api/module.h>

#include <filesystem>

namespace amp4ec::detail {

/// Loads an archive and refuses it when a tensor in it reaches beyond its data, or has none. LibTorch takes sizes,
/// strides, offsets and the length of a storage as the file states them, and leaves the memory of an entry that is
/// marked as a folder as it was: operators would read and write what is not theirs.
///
/// Observes LibTorch's allocator for the whole process, keeps that record, and loads a file twice that holds a tensor
/// of nothing but ones: only for a process that does nothing else.
/// @error ModelCorrupt, and those of `load_archive`.
Result<torch::jit::Module> load_within_bounds(const std::filesystem::path& file);

}  // namespace amp4ec::detail

// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>

#include <torch/csrc/jit/api/module.h>

#include <filesystem>

namespace amp4ec::detail {

/// Loads what torch.jit.save wrote. LibTorch trusts the file: see `load_untrusted`.
/// @error FileNotFound, NotTorchScript, ModelCorrupt; ModelRejected for an operator that no library has registered.
Result<torch::jit::Module> load_archive(const std::filesystem::path& file);

}  // namespace amp4ec::detail

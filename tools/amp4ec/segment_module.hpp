// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <amp4ec/core/error.hpp>
#include <amp4ec/model/segment.hpp>
#include <amp4ec/model/segment_executor.hpp>

#include <cstddef>
#include <filesystem>
#include <memory>

namespace amp4ec::cli {

/// How many values the segment's `forward` takes.
std::size_t input_count(const Segment& segment);

/// Runs a saved segment as any user of LibTorch would: `torch::jit::load`, `forward`. `outputs`: how many values it
/// returns. @error ModelCorrupt when LibTorch cannot load it.
Result<std::unique_ptr<SegmentExecutor>> load_plainly(const std::filesystem::path& file, std::size_t outputs);

}  // namespace amp4ec::cli
